//go:build !linux

package sweep

// Undo does nothing: a node only ever runs on Linux.
func (n *Node) Undo(string) error { return nil }
