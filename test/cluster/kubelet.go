package cluster

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// startKubelet starts the kubelet as the node's own user, which the Node
// authorizer limits to what the pods on it need.
func (c *Cluster) startKubelet(slot *nodeSlot) (*Process, error) {
	kubeconfig, err := c.KubeconfigFor("system:node:"+RealNodeName, "system:nodes")
	if err != nil {
		return nil, err
	}
	config, err := c.writeKubeletConfig(slot)
	if err != nil {
		return nil, fmt.Errorf("configuring the kubelet: %w", err)
	}
	root := c.kubeletRoot()
	return c.spawn(binKubelet, exec.Command(c.binaries[binKubelet],
		"--config="+config, "--kubeconfig="+kubeconfig, "--root-dir="+root, "--cert-dir="+filepath.Join(root, "pki"),
		"--hostname-override="+RealNodeName, "--node-ip="+slot.address, "--node-labels="+nodeTypeLabel+"="+realNodeType,
	), true)
}

func (c *Cluster) kubeletRoot() string { return filepath.Join(c.dir, "kubelet") }

func (c *Cluster) writeKubeletConfig(slot *nodeSlot) (string, error) {
	root := c.kubeletRoot()
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	port, err := freePort(slot.address)
	if err != nil {
		return "", err
	}
	config, err := json.Marshal(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		// Cgroups: version 1 still works, and all pods are below the slot's own.
		"failCgroupV1": false,
		"cgroupDriver": "cgroupfs",
		"cgroupRoot":   "/" + slot.Cgroup,
		// Network: only the slot's address, and no change of the machine's iptables.
		"address":                slot.address,
		"port":                   port,
		"readOnlyPort":           0,
		"healthzPort":            0,
		"makeIPTablesUtilChains": false,
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": c.authority.certFile()},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix://" + slot.Socket,
		"podLogsDir":               filepath.Join(root, "logs"),
		"volumePluginDir":          filepath.Join(root, "volume-plugins"),
		// Tests wait for changed Secrets and ConfigMaps to be on disk.
		"syncFrequency":             "5s",
		"nodeStatusUpdateFrequency": "5s",
		"failSwapOn":                false,
		// The machine is not the node's own: its images must not be collected nor
		// its pods evicted because others fill the disk or the memory.
		"evictionHard": map[string]string{
			"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi",
		},
		"imageGCHighThresholdPercent": 100,
		"imageGCLowThresholdPercent":  99,
		// Keeps pods off that are meant for simulated nodes: their images do not exist.
		"registerWithTaints": []map[string]string{{"key": "real", "value": "true", "effect": "NoSchedule"}},
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "config.json")
	return path, os.WriteFile(path, config, 0o644)
}

// freePort returns a port that nobody listens on at the address.
func freePort(address string) (int, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	tcp, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("looking for a free port: unexpected address %s", listener.Addr())
	}
	return tcp.Port, nil
}
