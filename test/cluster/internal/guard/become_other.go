//go:build !linux

package main

import (
	"fmt"
	"os"
	"syscall"
)

// become replaces this process by the program. Only Linux can kill it with its
// parent; elsewhere the next start of a cluster sweeps what is left.
func become(path string, argv []string) error {
	if err := syscall.Exec(path, argv, os.Environ()); err != nil {
		return fmt.Errorf("executing %s: %w", path, err)
	}
	return nil
}
