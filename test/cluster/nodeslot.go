package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/flux-reloader/reloader/test/cluster/internal/sweep"
)

const (
	// nodeSlots is how many clusters of a machine can have a real node at once.
	nodeSlots = 32
	// cgroupRoot is where every Linux distribution mounts the cgroup hierarchies.
	cgroupRoot = "/sys/fs/cgroup"
)

// nodeSlot is a share of what real nodes of one machine must not have in common:
// an interface, addresses and a cgroup. It belongs to one cluster at a time.
type nodeSlot struct {
	sweep.Node
	// address is the node's own address, the first of the subnet of its pods.
	address string
	subnet  string
	unlock  func()
}

// takeNodeSlot takes a free slot and makes its interface and cgroup, recorded in
// the state folder dir.
func takeNodeSlot(dir string) (*nodeSlot, error) {
	for number := range nodeSlots {
		unlock, err := tryLock(filepath.Join(os.TempDir(), fmt.Sprintf("reloader-node-%d.lock", number)))
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking for a free network: %w", err)
		}
		slot := &nodeSlot{
			Node: sweep.Node{
				Interface: fmt.Sprintf("rlnode%d", number),
				Cgroup:    fmt.Sprintf("reloader-node-%d", number),
				Socket:    socketPath(dir),
			},
			address: nodeAddress(number),
			subnet:  fmt.Sprintf("10.88.%d.0/24", number),
			unlock:  unlock,
		}
		if err := slot.make(dir); err != nil {
			unlock()
			return nil, err
		}
		return slot, nil
	}
	return nil, fmt.Errorf("%d clusters with a real node run on this machine, there is no network for another", nodeSlots)
}

// nodeAddress is the address of the node in the slot of this number.
func nodeAddress(number int) string { return fmt.Sprintf("10.88.%d.1", number) }

// make makes the slot's interface and cgroup, after removing what a former
// owner may have left whose state folder is gone.
func (s *nodeSlot) make(dir string) error {
	if err := s.Undo(dir); err != nil {
		return err
	}
	if err := sweep.RecordNode(dir, s.Node); err != nil {
		return err
	}
	// The kubelet refuses a loopback address and must not use the machine's own,
	// so the bridge of the pods' network is made early and gives it one.
	for _, args := range [][]string{
		{"link", "add", s.Interface, "type", "bridge"},
		{"address", "add", s.address + "/24", "dev", s.Interface},
		{"link", "set", s.Interface, "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("making the node's interface: ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return s.makeCgroup()
}

// makeCgroup makes the cgroup below which the kubelet keeps all pods, in each
// hierarchy. The kubelet does not make it itself.
func (s *nodeSlot) makeCgroup() error {
	hierarchies := []string{cgroupRoot}
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err != nil {
		processLists, _ := filepath.Glob(filepath.Join(cgroupRoot, "*", "cgroup.procs"))
		hierarchies = nil
		for _, list := range processLists {
			hierarchies = append(hierarchies, filepath.Dir(list))
		}
	}
	if len(hierarchies) == 0 {
		return fmt.Errorf("making the node's cgroup: none is mounted on %s", cgroupRoot)
	}
	for _, hierarchy := range hierarchies {
		if err := os.MkdirAll(filepath.Join(hierarchy, s.Cgroup), 0o755); err != nil {
			return fmt.Errorf("making the node's cgroup: %w", err)
		}
	}
	return nil
}
