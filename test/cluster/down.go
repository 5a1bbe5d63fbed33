package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// downTimeout is how long an owner may take to stop its cluster.
const downTimeout = 30 * time.Second

// Down stops the running clusters of the repository that were started with
// DownStops, and cleans up what clusters left whose owner was killed: processes,
// mounts, network interfaces and cgroups. Clusters that others own, such as a
// running test, are left alone. Each of these gives a line in log. An empty root
// means the repository that the working directory is in.
func Down(ctx context.Context, root string, log func(format string, args ...any)) error {
	if root == "" {
		found, err := FindRoot()
		if err != nil {
			return err
		}
		root = found
	}
	found, err := sweepFolders(runFolder(root))
	for _, dir := range found.swept {
		log("cleaned up: %s", dir)
	}
	for _, dir := range found.used {
		owner, stops := readOwner(dir)
		if !stops {
			log("left alone, as process %d uses it: %s", owner, dir)
			continue
		}
		if stopErr := stopOwner(ctx, owner, dir); stopErr != nil {
			err = errors.Join(err, stopErr)
			continue
		}
		log("stopped: %s", dir)
	}
	return err
}

// stopOwner asks the owner of a state folder to end and waits until it has.
func stopOwner(ctx context.Context, owner int, dir string) error {
	if err := syscall.Kill(owner, syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending process %d, which uses %s: %w", owner, dir, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, downTimeout,
		fmt.Errorf("process %d did not stop its cluster within %s", owner, downTimeout))
	defer cancel()
	unlock, err := lock(ctx, filepath.Join(dir, ownerFile))
	if err != nil {
		return err
	}
	unlock()
	return nil
}

// readOwner tells which process owns a state folder and whether Down may stop it.
func readOwner(dir string) (pid int, stops bool) {
	content, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if err != nil {
		return 0, false
	}
	first, second, _ := strings.Cut(string(content), " ")
	pid, err = strconv.Atoi(first)
	if err != nil || pid <= 1 {
		return 0, false
	}
	return pid, second == ownerStops
}
