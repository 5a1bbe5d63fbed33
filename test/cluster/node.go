package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// ErrNeedsRoot says that a real node was asked for without the right to run one.
var ErrNeedsRoot = errors.New("a real node (kubelet and containerd) needs root")

const (
	procContainerd = "containerd"
	// cniFolder is where Debian and most other distributions have the CNI plugins.
	cniFolder = "/usr/lib/cni"

	// RealNodeName is the name of the real node.
	RealNodeName = "real-1"
	realNodeType = "real"
)

// realNode is the running node of a cluster.
type realNode struct {
	slot    *nodeSlot
	sweeper *sweeper
	runtime *containerRuntime
	kubelet *Process
}

// prepareNode checks that this machine can run a real node, and installs the
// packages it needs where that is possible.
func prepareNode(ctx context.Context, log func(string, ...any)) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("a real node needs Linux, this is %s", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return ErrNeedsRoot
	}
	packages := missingPackages()
	if len(packages) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("a real node needs what Debian has in the packages %s; install these", strings.Join(packages, ", "))
	}
	log("installing %s", strings.Join(packages, ", "))
	if err := installPackages(ctx, packages); err != nil {
		return err
	}
	if packages := missingPackages(); len(packages) > 0 {
		return fmt.Errorf("packages %s are installed but their programs are not found", strings.Join(packages, ", "))
	}
	return nil
}

// missingPackages lists the Debian packages whose programs are not there.
func missingPackages() []string {
	needed := []struct{ program, pkg string }{
		{"containerd", "containerd"},
		{"ctr", "containerd"},
		{"runc", "runc"},
		{"ip", "iproute2"},
		{filepath.Join(cniFolder, "bridge"), "containernetworking-plugins"},
	}
	var packages []string
	for _, need := range needed {
		if _, err := exec.LookPath(need.program); err == nil {
			continue
		}
		if len(packages) == 0 || packages[len(packages)-1] != need.pkg {
			packages = append(packages, need.pkg)
		}
	}
	return packages
}

func installPackages(ctx context.Context, packages []string) error {
	install := append([]string{"install", "--yes", "--quiet", "--no-install-recommends"}, packages...)
	if aptGet(ctx, install...) == nil {
		return nil
	}
	// The usual reason is a stale or absent package list.
	if err := aptGet(ctx, "update", "--quiet"); err != nil {
		return err
	}
	return aptGet(ctx, install...)
}

func aptGet(ctx context.Context, args ...string) error {
	// On a fresh machine the system's own updates may hold the lock.
	options := []string{"-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"}
	cmd := exec.CommandContext(ctx, "apt-get", append(options, args...)...)
	cmd.Env = append(cmd.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// startNode starts containerd and the kubelet and waits until the node is Ready.
func (c *Cluster) startNode(ctx context.Context) error {
	node := &realNode{}
	c.node = node
	var err error
	// First what cleans up, should this process die from here on.
	if node.sweeper, err = c.startSweeper(); err != nil {
		return err
	}
	if node.slot, err = takeNodeSlot(c.dir); err != nil {
		return err
	}
	if node.runtime, err = c.startRuntime(ctx, node.slot); err != nil {
		return err
	}
	if err := c.LoadImage(ctx, pauseImage, map[string]string{"/pause": c.binaries[binPause]}, []string{"/pause"}); err != nil {
		return err
	}
	if node.kubelet, err = c.startKubelet(node.slot); err != nil {
		return err
	}
	return c.waitForNodes(ctx, realNodeType, 1)
}

// stop ends the kubelet, the pods and containerd, as far as they were started.
// What it cannot end, such as pods of a containerd that died, is left to the sweep.
func (n *realNode) stop() {
	if n.kubelet != nil {
		_ = n.kubelet.Stop(stopGrace)
	}
	if n.runtime != nil {
		n.runtime.stop()
	}
}

// release gives back what protects the node's traces, after these are removed.
func (n *realNode) release() error {
	if n == nil {
		return nil
	}
	if n.slot != nil {
		n.slot.unlock()
	}
	return n.sweeper.dismiss()
}
