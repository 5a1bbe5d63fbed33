package v1alpha1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Bounds of what a status holds, which keep it below 80 KiB however long the names in it are. Lengths are in
// characters; text that is longer has to be cut by who writes it.
const (
	// MaxPending bounds ReloadPolicyStatus.Pending.
	MaxPending = 50
	// MaxHistory bounds ReloadPolicyStatus.History.
	MaxHistory = 20
	// MaxPendingChanges bounds PendingWorkload.Changes.
	MaxPendingChanges = 3
	// MaxChangeLength bounds each of PendingWorkload.Changes.
	MaxChangeLength = 160
	// MaxMessageLength bounds PendingWorkload.Message and Restart.Cause.
	MaxMessageLength = 200
)

// Reasons of a policy's conditions, beside those of github.com/fluxcd/pkg/apis/meta.
const (
	// AccessDeniedReason says that the policy selects other namespaces, and is not in the controller's own.
	AccessDeniedReason string = "AccessDenied"
	// InvalidSpecReason says that a part of the spec could not be read, and selects nothing.
	InvalidSpecReason string = "InvalidSpec"
	// RestartFailedReason says that a workload could not be restarted, or that its rollout makes no progress.
	RestartFailedReason string = "RestartFailed"
)

// ReloadPolicyStatus is what was observed of the policy's workloads.
type ReloadPolicyStatus struct {
	meta.ReconcileRequestStatus `json:",inline"`

	// ObservedGeneration is the last generation of the policy that was acted on.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions holds the conditions of the policy.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Workloads counts the workloads that the policy governs.
	// +optional
	Workloads *WorkloadCounts `json:"workloads,omitempty"`

	// Pending lists workloads that need a restart and have not had it yet, those that wait longest first. At most 50
	// are listed; workloads.pending counts all of them.
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	// +optional
	Pending []PendingWorkload `json:"pending,omitempty"`

	// History lists the last restarts, the latest first, at most 20.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	History []Restart `json:"history,omitempty"`
}

// WorkloadCounts counts the workloads that a policy governs.
type WorkloadCounts struct {
	// Selected is the number of workloads that the policy governs and that have opted in.
	Selected int32 `json:"selected"`

	// InSync is the number of those whose pods all run with the present content.
	InSync int32 `json:"inSync"`

	// Pending is the number of those that need a restart and have not had it yet.
	Pending int32 `json:"pending"`

	// Restarting is the number of those whose restart is being rolled out.
	Restarting int32 `json:"restarting"`

	// Failed is the number of those that could not be restarted, or whose rollout makes no progress.
	Failed int32 `json:"failed"`
}

// WorkloadReference names a workload.
type WorkloadReference struct {
	// Kind of the workload.
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// Namespace of the workload.
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`

	// Name of the workload.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// PendingWorkload is a workload that needs a restart and has not had it yet.
type PendingWorkload struct {
	// Workload that waits.
	Workload WorkloadReference `json:"workload"`

	// Reason it waits for, in CamelCase, such as Settling or Suspended.
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`

	// Message says in words why it waits.
	// +kubebuilder:validation:MaxLength=200
	// +optional
	Message string `json:"message,omitempty"`

	// Since is when the difference was first seen.
	// +optional
	Since metav1.Time `json:"since,omitzero"`

	// Until is when the workload is looked at again at the latest, if that is known.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`

	// Changes say what differs from what the pods run with, such as 'Secret/registry-tls changed (tls.crt, tls.key)'.
	// At most three are listed.
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:MaxLength=160
	// +listType=atomic
	// +optional
	Changes []string `json:"changes,omitempty"`
}

// Restart is a restart that happened.
type Restart struct {
	// Workload that was restarted.
	Workload WorkloadReference `json:"workload"`

	// Cause is what changed, such as 'Secret/registry-tls changed (tls.crt, tls.key)'.
	// +kubebuilder:validation:MaxLength=200
	Cause string `json:"cause"`

	// At is when the restart was written.
	At metav1.Time `json:"at"`

	// RolloutDuration is how long it took until all pods ran with the new content; absent while they do not.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="rolloutDuration must not be negative"
	// +optional
	RolloutDuration *metav1.Duration `json:"rolloutDuration,omitempty"`
}
