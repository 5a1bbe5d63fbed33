package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// pauseImage holds the namespaces of each pod.
	pauseImage = "reloader.test/pause:1"
	// podGrace limits how long the removal of all pods may take.
	podGrace = 6 * time.Second
)

// containerRuntime is the running containerd and a client of it.
type containerRuntime struct {
	process *Process
	conn    *grpc.ClientConn
	client  runtimeapi.RuntimeServiceClient
}

func socketPath(dir string) string { return filepath.Join(dir, "containerd.sock") }

// startRuntime starts containerd with all its state in the cluster's folder.
func (c *Cluster) startRuntime(ctx context.Context, slot *nodeSlot) (*containerRuntime, error) {
	config, err := c.writeRuntimeConfig(slot)
	if err != nil {
		return nil, fmt.Errorf("configuring containerd: %w", err)
	}
	process, err := c.spawn(procContainerd, exec.Command("containerd", "--config", config), true)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix://"+slot.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connecting to containerd: %w", err)
	}
	runtime := &containerRuntime{process: process, conn: conn, client: runtimeapi.NewRuntimeServiceClient(conn)}
	return runtime, waitFor(ctx, "containerd", func(ctx context.Context) (bool, error) {
		// A failed attempt makes the connection wait before the next one; that
		// time grows and is longer than containerd needs.
		conn.ResetConnectBackoff()
		_, err := runtime.client.Version(ctx, &runtimeapi.VersionRequest{})
		return err == nil, err
	})
}

// stop removes all pods and ends containerd. Removing pods through it also frees
// their network namespaces and mounts; what fails here is left to the sweep.
func (r *containerRuntime) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), podGrace)
	defer cancel()
	if pods, err := r.client.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{}); err == nil {
		var group errgroup.Group
		for _, pod := range pods.Items {
			group.Go(func() error {
				if _, err := r.client.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod.Id}); err != nil {
					return err
				}
				_, err := r.client.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod.Id})
				return err
			})
		}
		_ = group.Wait()
	}
	_ = r.conn.Close()
	_ = r.process.Stop(stopGrace)
}

// writeRuntimeConfig writes containerd's configuration and that of its network.
func (c *Cluster) writeRuntimeConfig(slot *nodeSlot) (string, error) {
	base := filepath.Join(c.dir, "containerd")
	networks := filepath.Join(base, "networks")
	if err := os.MkdirAll(networks, 0o755); err != nil {
		return "", err
	}
	network, err := json.Marshal(map[string]any{
		"cniVersion": "0.4.0", "name": slot.Cgroup,
		"plugins": []map[string]any{{
			"type": "bridge", "bridge": slot.Interface, "isGateway": true, "ipMasq": false, "hairpinMode": true,
			"ipam": map[string]any{
				"type": "host-local", "dataDir": filepath.Join(base, "addresses"),
				"ranges": [][]map[string]string{{{"subnet": slot.subnet}}},
				"routes": []map[string]string{{"dst": "0.0.0.0/0"}},
			},
		}},
	})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(networks, "10-pods.conflist"), network, 0o644); err != nil {
		return "", err
	}
	config := fmt.Sprintf(runtimeConfig, filepath.Join(base, "root"), filepath.Join(base, "state"), slot.Socket,
		pauseImage, cniFolder, networks)
	path := filepath.Join(base, "config.toml")
	return path, os.WriteFile(path, []byte(config), 0o644)
}

// runtimeConfig is containerd's configuration: root, state, socket, pause image,
// folders of the CNI plugins and networks.
//
//   - restrict_oom_score_adj: where this process may not lower its own score, as in
//     a container, containerd could otherwise start no pod.
//   - netns_mounts_under_state_dir: so that the state folder holds all mounts.
//   - The optional plugin "opt" would make a folder in /opt.
const runtimeConfig = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  disable_tcp_service = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
`
