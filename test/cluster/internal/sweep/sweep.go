package sweep

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

const (
	// deathTimeout is how long killed processes may take to disappear: one that waits for its disk ends after that.
	deathTimeout  = 30 * time.Second
	retryInterval = 10 * time.Millisecond
)

// Dir ends every process recorded in the state folder dir and undoes the
// recorded node, if any. It may be called again after a failure and on a folder
// of a cluster that stopped cleanly, where it does nothing. The caller makes
// sure that no living owner uses the folder. The folder itself stays, with its logs.
func Dir(dir string) error {
	names, err := recorded(dir)
	if err != nil {
		return err
	}
	var pids []int
	for _, name := range names {
		if pid := PID(dir, name); pid != 0 {
			pids = append(pids, pid)
		}
	}
	if err := kill(pids); err != nil {
		return fmt.Errorf("ending processes of %s: %w", dir, err)
	}
	for _, name := range names {
		ForgetPID(dir, name)
	}
	node, err := readNode(dir)
	if err != nil || node == nil {
		return err
	}
	return node.Undo(dir)
}

// kill ends the given processes at once and waits until they are gone.
func kill(pids []int) error {
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("killing process %d: %w", pid, err)
		}
	}
	return retry(func() error {
		for _, pid := range pids {
			if alive(pid) {
				return fmt.Errorf("process %d still runs %s after SIGKILL", pid, deathTimeout)
			}
		}
		return nil
	})
}

// retry repeats what fails only while the kernel still buries killed processes,
// and returns its last error.
func retry(attempt func() error) error {
	ticker := time.NewTicker(retryInterval)
	defer ticker.Stop()
	deadline := time.Now().Add(deathTimeout)
	for {
		err := attempt()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-ticker.C
	}
}
