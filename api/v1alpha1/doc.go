// Package v1alpha1 is the public API of Reloader: the annotations by which workloads opt in and by which Reloader
// marks what it restarted.
package v1alpha1
