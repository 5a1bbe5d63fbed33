package sweep

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where every Linux distribution mounts the cgroup hierarchies.
const cgroupRoot = "/sys/fs/cgroup"

// Undo ends the node's pods and removes its mounts, network interfaces and
// cgroups; dir is the cluster's state folder. It may be called again after a failure.
func (n *Node) Undo(dir string) error {
	err := errors.Join(
		n.killPods(),
		unmountBelow(dir),
		deleteLink(n.Interface),
		n.removeCgroups(),
		n.removeTraces(dir),
	)
	if err != nil {
		return fmt.Errorf("undoing the node of %s: %w", dir, err)
	}
	if err := os.Remove(filepath.Join(dir, nodeFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the node of %s: %w", dir, err)
	}
	return nil
}

// killPods ends containerd's shims and then all processes in the node's cgroups.
// Shims first: they are not in the pods' cgroups and have no parent to end them.
func (n *Node) killPods() error {
	if err := kill(n.shims()); err != nil {
		return fmt.Errorf("ending container shims: %w", err)
	}
	for _, folder := range n.cgroups() {
		pids, err := cgroupProcesses(folder)
		if err != nil {
			return err
		}
		if err := kill(pids); err != nil {
			return fmt.Errorf("ending processes of %s: %w", folder, err)
		}
	}
	return nil
}

// shims finds the containerd shims that were started with this node's socket.
func (n *Node) shims() []int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var pids []int
	for _, file := range files {
		cmdline, err := os.ReadFile(file)
		if err != nil {
			continue // The process ended while the list was read.
		}
		args := strings.Split(string(cmdline), "\x00")
		if !strings.Contains(filepath.Base(args[0]), "containerd-shim") || !slices.Contains(args, n.Socket) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cgroups lists the existing folders of the node's cgroup: one with cgroup v2,
// one per hierarchy with v1.
func (n *Node) cgroups() []string {
	candidates, _ := filepath.Glob(filepath.Join(cgroupRoot, "*", n.Cgroup))
	candidates = append(candidates, filepath.Join(cgroupRoot, n.Cgroup))
	var folders []string
	for _, folder := range candidates {
		if info, err := os.Stat(folder); err == nil && info.IsDir() {
			folders = append(folders, folder)
		}
	}
	return folders
}

func cgroupProcesses(folder string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "cgroup.procs" {
			return ignoreMissing(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return ignoreMissing(err)
		}
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading processes of %s: %w", folder, err)
	}
	return pids, nil
}

// removeCgroups removes the node's cgroups, deepest first. The kernel refuses
// while it still buries their processes, hence the retries.
func (n *Node) removeCgroups() error {
	return retry(func() error {
		var err error
		for _, folder := range n.cgroups() {
			err = errors.Join(err, removeTree(folder))
		}
		return err
	})
}

func removeTree(folder string) error {
	var folders []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return ignoreMissing(err)
	})
	slices.Reverse(folders)
	for _, path := range folders {
		err = errors.Join(err, ignoreMissing(unix.Rmdir(path)))
	}
	return err
}

// unmountBelow unmounts everything mounted in dir, deepest first.
func unmountBelow(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("reading mounts: %w", err)
	}
	var points []string
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasPrefix(fields[1], dir+string(filepath.Separator)) {
			points = append(points, fields[1])
		}
	}
	slices.Reverse(points)
	for _, point := range points {
		// A point may be gone with one that was above it.
		if e := unix.Unmount(point, unix.MNT_DETACH); e != nil && !errors.Is(e, unix.EINVAL) && !errors.Is(e, unix.ENOENT) {
			err = errors.Join(err, fmt.Errorf("unmounting %s: %w", point, e))
		}
	}
	return err
}

func deleteLink(name string) error {
	if _, err := os.Stat(filepath.Join("/sys/class/net", name)); name == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if out, err := exec.Command("ip", "link", "delete", name).CombinedOutput(); err != nil {
		return fmt.Errorf("deleting interface %s: %w: %s", name, err, out)
	}
	return nil
}

// removeTraces removes files that containerd, its network library and the kubelet
// keep at fixed places of the machine. Each is known by the state folder's path
// in it; some stay although the pod is removed in an orderly way.
func (n *Node) removeTraces(dir string) error {
	inside := dir + string(filepath.Separator)
	var traces []string
	results, _ := filepath.Glob("/var/lib/cni/results/*")
	for _, file := range results {
		if content, err := os.ReadFile(file); err == nil && strings.Contains(string(content), inside) {
			traces = append(traces, file)
		}
	}
	links, _ := filepath.Glob("/var/log/containers/*.log")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, inside) {
			traces = append(traces, link)
		}
	}
	addresses, _ := filepath.Glob(filepath.Join(dir, "containerd", "state", "*", "*", "*", "address"))
	for _, file := range addresses {
		if address, err := os.ReadFile(file); err == nil {
			traces = append(traces, strings.TrimPrefix(strings.TrimSpace(string(address)), "unix://"))
		}
	}
	var err error
	for _, trace := range traces {
		err = errors.Join(err, ignoreMissing(os.Remove(trace)))
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
