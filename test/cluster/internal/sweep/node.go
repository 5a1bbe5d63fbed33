package sweep

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const nodeFile = "node.json"

// Node records what a real node makes outside the state folder.
type Node struct {
	// Interface is the network interface that holds the node's address and that
	// the pods are attached to.
	Interface string `json:"interface"`
	// Cgroup is the name of the cgroup below the root of each hierarchy.
	Cgroup string `json:"cgroup"`
	// Socket is the path of containerd's socket, by which its shims are known.
	Socket string `json:"socket"`
}

// RecordNode notes the node in the state folder dir; to be called before the
// first of the things it names is made.
func RecordNode(dir string, node Node) error {
	data, err := json.Marshal(node)
	if err != nil {
		return fmt.Errorf("recording the node: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, nodeFile), data, 0o644); err != nil {
		return fmt.Errorf("recording the node: %w", err)
	}
	return nil
}

// readNode returns the recorded node, or nil when there is none.
func readNode(dir string) (*Node, error) {
	data, err := os.ReadFile(filepath.Join(dir, nodeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the recorded node: %w", err)
	}
	var node Node
	if err := json.Unmarshal(data, &node); err != nil {
		return nil, fmt.Errorf("reading the recorded node: %w", err)
	}
	return &node, nil
}
