package cluster

import "syscall"

// childAttributes puts a child in its own process group, so that Ctrl-C in a
// terminal reaches it only through its owner, and ties it to its owner's life.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// orphanAttributes lets a child outlive its owner.
func orphanAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true}
}
