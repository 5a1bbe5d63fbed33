// Package v1alpha1 is the public API of Reloader: the ReloadPolicy, and the annotations by which workloads opt in and by
// which Reloader marks what it restarted.
//
// +kubebuilder:object:generate=true
// +groupName=reloader.contrib.fluxcd.io
package v1alpha1
