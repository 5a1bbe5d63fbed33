package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReloadPolicyKind is the kind of a ReloadPolicy.
const ReloadPolicyKind = "ReloadPolicy"

// DefaultInterval is what the API server fills in, and what counts for objects that never passed through one.
const DefaultInterval = 10 * time.Minute

// Mode says what is done about a workload that needs a restart.
// +kubebuilder:validation:Enum=Auto;Observe
type Mode string

const (
	// ModeAuto restarts it.
	ModeAuto Mode = "Auto"
	// ModeObserve reports it as pending and leaves it as it is.
	ModeObserve Mode = "Observe"
)

// OptIn says which of the selected workloads are restarted.
// +kubebuilder:validation:Enum=Annotation;All
type OptIn string

const (
	// OptInAnnotation restarts those that ask for it with an annotation.
	OptInAnnotation OptIn = "Annotation"
	// OptInAll restarts all but those that say with an annotation that they do not want it.
	OptInAll OptIn = "All"
)

// Adoption says what happens to pods that are stale already when a workload is met for the first time.
// +kubebuilder:validation:Enum=RestartStale;Baseline
type Adoption string

const (
	// AdoptionRestartStale restarts the workload if one of them is certainly stale.
	AdoptionRestartStale Adoption = "RestartStale"
	// AdoptionBaseline takes what the pods run with as current.
	AdoptionBaseline Adoption = "Baseline"
)

// Strategy says what a restart writes to the pod template.
// +kubebuilder:validation:Enum=Annotations;EnvVars
type Strategy string

const (
	// StrategyAnnotations writes annotations.
	StrategyAnnotations Strategy = "Annotations"
	// StrategyEnvVars writes an environment variable to the container that uses the source, too.
	StrategyEnvVars Strategy = "EnvVars"
)

// SettleOwner says whether a restart waits for the Flux object that owns the workload.
// +kubebuilder:validation:Enum=Wait;Ignore
type SettleOwner string

const (
	// SettleOwnerWait waits while that object is being reconciled.
	SettleOwnerWait SettleOwner = "Wait"
	// SettleOwnerIgnore does not.
	SettleOwnerIgnore SettleOwner = "Ignore"
)

// ReloadPolicySpec says which workloads are restarted, for which changes, and how.
type ReloadPolicySpec struct {
	// Interval at which everything that the policy selects is compared in full. Changes are acted on when they
	// happen, whatever the interval. At least one second.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="interval must be at least 1s"
	// +kubebuilder:default="10m"
	// +optional
	Interval metav1.Duration `json:"interval,omitzero"`

	// Suspend holds the restarts of the selected workloads. What changes meanwhile is shown as pending, and restarts
	// each of them once when this is set back to false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// Mode says what is done about a workload that needs a restart: restart it (Auto), or only report it (Observe).
	// +kubebuilder:default=Auto
	// +optional
	Mode Mode `json:"mode,omitempty"`

	// OptIn says which of the selected workloads are restarted: those that ask for it with an annotation (Annotation),
	// or all but those that carry 'reloader.stakater.com/auto: "false"' (All). Defaults to what the controller's flag
	// --auto-reload-all says.
	// +optional
	OptIn OptIn `json:"optIn,omitempty"`

	// OnAdoption says what happens to pods that are stale already when a workload is met for the first time: restart
	// the workload if one is certainly stale (RestartStale), or take what the pods run with as current (Baseline).
	// Defaults to Baseline with optIn All and for what only the controller's flag --auto-reload-all opts in, and otherwise
	// to what its flag --on-adoption says.
	// +optional
	OnAdoption Adoption `json:"onAdoption,omitempty"`

	// NamespaceSelector selects the namespaces of the workloads by their labels; an empty selector selects all
	// namespaces. It is for policies in the controller's own namespace, and refused elsewhere. Without it, a policy
	// selects workloads of its own namespace.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// Workloads selects workloads: those that match any of the entries, or every workload of a supported kind if there
	// are none.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Workloads []WorkloadSelector `json:"workloads,omitempty"`

	// Sources selects, among the Secrets, ConfigMaps and SecretProviderClasses that a workload uses, those whose changes
	// restart it, or parts of them: what any of the entries matches, or everything if there are none.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Sources []SourceSelector `json:"sources,omitempty"`

	// Settle says how long to wait for more changes, so that changes that come together restart once.
	// +kubebuilder:default={}
	// +optional
	Settle *Settle `json:"settle,omitempty"`

	// Strategy says what a restart writes to the pod template: annotations (Annotations), or an environment variable as
	// well (EnvVars). Defaults to what the controller's flag --reload-strategy says.
	// +optional
	Strategy Strategy `json:"strategy,omitempty"`

	// ServiceAccountName is the name of the ServiceAccount in the policy's namespace that is impersonated to restart
	// workloads. Defaults to what the controller's flag --default-service-account says; without either, the controller
	// restarts them with its own rights.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$"
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
}

// WorkloadSelector matches workloads. What is left out matches any; at least one field has to be given.
// +kubebuilder:validation:XValidation:rule="has(self.apiVersion) || has(self.kind) || has(self.name) || has(self.selector)",message="at least one of apiVersion, kind, name and selector must be given"
// +kubebuilder:validation:XValidation:rule="!has(self.name) || !has(self.selector)",message="name and selector exclude each other"
// +kubebuilder:validation:XValidation:rule="!has(self.name) || has(self.kind)",message="name needs a kind"
// +kubebuilder:validation:XValidation:rule="!has(self.selector) || has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0 || has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0",message="selector must not be empty"
type WorkloadSelector struct {
	// APIVersion of the workload, such as 'apps/v1'. Only its group counts.
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?v[0-9]+((alpha|beta)[0-9]+)?$"
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the workload.
	// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet;CronJob;Job;Rollout;DeploymentConfig
	// +optional
	Kind string `json:"kind,omitempty"`

	// Name of the workload, exactly. It needs a kind, and excludes a selector.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
	// +optional
	Name string `json:"name,omitempty"`

	// Selector matches the labels of the workload itself, not those of its pods. It must not be empty.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// SourceSelector matches Secrets, ConfigMaps and SecretProviderClasses, or keys of them: of a class, the objects that it has
// mounted. What is left out matches any; at least one field has to be given.
// +kubebuilder:validation:XValidation:rule="has(self.kind) || has(self.name) || has(self.selector) || has(self.keys)",message="at least one of kind, name, selector and keys must be given"
// +kubebuilder:validation:XValidation:rule="!has(self.name) || !has(self.selector)",message="name and selector exclude each other"
// +kubebuilder:validation:XValidation:rule="!has(self.name) || has(self.kind)",message="name needs a kind"
// +kubebuilder:validation:XValidation:rule="!has(self.selector) || has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0 || has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0",message="selector must not be empty"
type SourceSelector struct {
	// Kind of the source.
	// +kubebuilder:validation:Enum=Secret;ConfigMap;SecretProviderClass
	// +optional
	Kind string `json:"kind,omitempty"`

	// Name of the source, exactly. It needs a kind, and excludes a selector.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
	// +optional
	Name string `json:"name,omitempty"`

	// Selector matches the labels of the source. It must not be empty.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// Keys are globs, as Go's path.Match reads them, of the keys that count, such as 'tls.*'. Without them, all keys
	// do.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	Keys []string `json:"keys,omitempty"`
}

// Settle says how long a restart waits for more changes.
// +kubebuilder:validation:XValidation:rule="!has(self.quiet) || !has(self.max) || duration(self.max) >= duration(self.quiet)",message="max must not be less than quiet"
type Settle struct {
	// Quiet is how long no source of a workload must have changed before the workload is restarted. Defaults to what
	// the controller's flag --settle-quiet says, but no more than max.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="quiet must not be negative"
	// +optional
	Quiet *metav1.Duration `json:"quiet,omitempty"`

	// Max is how long changes that keep coming may hold a restart back. It must not be less than quiet. Defaults to what
	// the controller's flag --settle-max says, but no less than quiet.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="max must not be negative"
	// +optional
	Max *metav1.Duration `json:"max,omitempty"`

	// Owner says whether to wait while the Kustomization or HelmRelease that owns the workload is being reconciled, for as
	// long as the controller's flag --owner-settle-timeout says at most (Wait), or not (Ignore).
	// +kubebuilder:default=Wait
	// +optional
	Owner SettleOwner `json:"owner,omitempty"`
}

// ReloadPolicy selects workloads and says how they are restarted when the Secrets and ConfigMaps that they use change.
// +genclient
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rlp,categories=all;fluxcd;fluxcd-appliers
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description=""
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description=""
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description=""
// +kubebuilder:printcolumn:name="Pending",type="integer",JSONPath=".status.workloads.pending",description=""
type ReloadPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:default={}
	// +optional
	Spec ReloadPolicySpec `json:"spec,omitempty"`
	// +kubebuilder:default:={"observedGeneration":-1}
	// +optional
	Status ReloadPolicyStatus `json:"status,omitempty"`
}

// GetConditions returns the status conditions of the object.
func (in *ReloadPolicy) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets the status conditions on the object.
func (in *ReloadPolicy) SetConditions(conditions []metav1.Condition) {
	in.Status.Conditions = conditions
}

// GetRequeueAfter returns the duration after which the policy must be reconciled again.
func (in *ReloadPolicy) GetRequeueAfter() time.Duration {
	if in.Spec.Interval.Duration == 0 {
		return DefaultInterval
	}
	return in.Spec.Interval.Duration
}

// ReloadPolicyList is a list of ReloadPolicies.
// +kubebuilder:object:root=true
type ReloadPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ReloadPolicy `json:"items"`
}
