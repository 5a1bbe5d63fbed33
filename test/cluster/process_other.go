//go:build !linux

package cluster

import "syscall"

// childAttributes puts a child in its own process group. Only Linux can tie it
// to its owner's life; elsewhere the next start sweeps what is left.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// orphanAttributes lets a child outlive its owner.
func orphanAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true}
}
