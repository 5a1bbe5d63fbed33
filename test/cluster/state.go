package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/flux-reloader/reloader/test/cluster/internal/sweep"
)

const (
	// ownerFile is locked by the owner of a state folder as long as it lives, and
	// holds the owner's process id, in stoppable ones followed by ownerStops.
	ownerFile  = "owner"
	ownerStops = "stops"
	// keptFolders is how many default state folders of ended clusters are kept
	// for their logs.
	keptFolders = 10
	// folderTime sorts the names of default state folders by age.
	folderTime = "20060102-150405"
)

// runFolder is where clusters have their state by default.
func runFolder(root string) string { return filepath.Join(root, "build", "cluster", "run") }

// openFolder makes the state folder and locks it. The names inside are short:
// sockets are among them, whose paths are limited.
func openFolder(ctx context.Context, opts Options) (dir string, unlock func(), err error) {
	dir = opts.Dir
	if dir == "" {
		if err := tidy(runFolder(opts.Root)); err != nil {
			opts.Log("cleaning up after former clusters: %v", err)
		}
		if err := os.MkdirAll(runFolder(opts.Root), 0o755); err != nil {
			return "", nil, fmt.Errorf("making the state folder: %w", err)
		}
		pattern := time.Now().UTC().Format(folderTime) + "-*"
		if dir, err = os.MkdirTemp(runFolder(opts.Root), pattern); err != nil {
			return "", nil, fmt.Errorf("making the state folder: %w", err)
		}
	}
	if dir, err = realPath(dir); err != nil {
		return "", nil, fmt.Errorf("making the state folder: %w", err)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return "", nil, fmt.Errorf("state folder %s is not empty", dir)
	}
	if unlock, err = own(ctx, dir, opts.DownStops); err != nil {
		return "", nil, fmt.Errorf("making the state folder: %w", err)
	}
	for _, sub := range []string{"logs", "pki", "kubeconfigs", "guarded", "etcd"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			unlock()
			return "", nil, fmt.Errorf("making the state folder: %w", err)
		}
	}
	return dir, unlock, nil
}

// realPath makes the folder if needed and returns its absolute path without
// symbolic links, as the kernel reports it in the list of mounts.
func realPath(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// own locks a state folder for this process. Another process may hold the lock
// for a moment, while it looks whether the folder's owner is dead.
func own(ctx context.Context, dir string, stops bool) (unlock func(), err error) {
	file := filepath.Join(dir, ownerFile)
	if unlock, err = lock(ctx, file); err != nil {
		return nil, err
	}
	owner := strconv.Itoa(os.Getpid())
	if stops {
		owner += " " + ownerStops
	}
	if err := os.WriteFile(file, []byte(owner), 0o644); err != nil {
		unlock()
		return nil, fmt.Errorf("owning %s: %w", dir, err)
	}
	return unlock, nil
}

// removeData removes all of a state folder but what explains the cluster's
// behaviour afterwards.
func removeData(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("removing data: %w", err)
	}
	for _, entry := range entries {
		if explains(entry.Name()) {
			continue
		}
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}

// explains tells whether an entry of a state folder stays after the cluster's end.
func explains(entry string) bool {
	return slices.Contains([]string{"logs", ownerFile, auditFile}, entry)
}

// tidy cleans up after clusters whose owner is dead and removes all but the
// latest of their folders.
func tidy(run string) error {
	found, err := sweepFolders(run)
	ended := slices.Concat(found.clean, found.swept)
	slices.Sort(ended)
	for len(ended) > keptFolders {
		err = errors.Join(err, os.RemoveAll(ended[0]))
		ended = ended[1:]
	}
	return err
}

// folders are the state folders of a repository.
type folders struct {
	// clean are those of clusters that stopped in order.
	clean []string
	// swept are those which their owner left without stopping its cluster.
	swept []string
	// used have a living owner.
	used []string
}

// sweepFolders cleans up each state folder in run whose owner is dead.
func sweepFolders(run string) (folders, error) {
	var found folders
	entries, err := os.ReadDir(run)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("looking for former clusters: %w", err)
	}
	for _, entry := range entries {
		dir := filepath.Join(run, entry.Name())
		if _, err := os.Stat(filepath.Join(dir, ownerFile)); err != nil {
			continue // Not a state folder, or one that is just being made.
		}
		unlock, lockErr := tryLock(filepath.Join(dir, ownerFile))
		if lockErr != nil {
			found.used = append(found.used, dir)
			continue
		}
		swept, sweepErr := sweepFolder(dir)
		unlock()
		switch {
		case sweepErr != nil:
			err = errors.Join(err, sweepErr)
		case swept:
			found.swept = append(found.swept, dir)
		default:
			found.clean = append(found.clean, dir)
		}
	}
	return found, err
}

// sweepFolder cleans up one state folder and tells whether there was anything to do.
func sweepFolder(dir string) (swept bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("looking for what a cluster left: %w", err)
	}
	swept = slices.ContainsFunc(entries, func(entry os.DirEntry) bool { return !explains(entry.Name()) })
	return swept, errors.Join(sweep.Dir(dir), removeData(dir))
}
