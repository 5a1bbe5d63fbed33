// Package sweep removes what a test cluster leaves behind when its owner died
// before it could stop it: processes, mounts, network interfaces and cgroups.
//
// Everything a cluster makes outside its own state folder is recorded in that
// folder before it is made, so the folder alone is enough to clean up. The
// package has no dependency beyond the standard library and golang.org/x/sys,
// because the guard process that runs it must start at once.
package sweep
