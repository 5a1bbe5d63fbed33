// Package harness runs the controller for tests on a real cluster: as a child process, under an identity that has only the
// project's own RBAC.
package harness
