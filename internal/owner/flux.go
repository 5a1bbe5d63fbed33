// Package owner knows the Flux objects that apply workloads: which they are, whether somebody suspended one, and whether
// one is about to apply configuration. It watches Kustomizations, HelmReleases and ResourceSets, where their APIs are
// served, and keeps a few bytes of each.
//
// Flux labels what it applies with the name of the object it applies it for, also the HelmReleases and Kustomizations
// among it. So a workload's owners are those that its labels name, their owners, and so on.
package owner

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/watch"
)

// kind is a kind of Flux objects that apply others.
type kind struct {
	name     string
	version  schema.GroupVersion
	resource string
	// labels are the prefix of the labels that it puts on what it applies.
	labels string
}

// kinds are those that are known, the nearest to a workload first: where a workload carries labels of several, a chart's
// are the last that were put on.
func kinds() []kind {
	return []kind{{
		name: "HelmRelease", resource: "helmreleases", labels: "helm.toolkit.fluxcd.io/",
		version: schema.GroupVersion{Group: "helm.toolkit.fluxcd.io", Version: "v2"},
	}, {
		name: "Kustomization", resource: "kustomizations", labels: "kustomize.toolkit.fluxcd.io/",
		version: schema.GroupVersion{Group: "kustomize.toolkit.fluxcd.io", Version: "v1"},
	}, {
		name: "ResourceSet", resource: "resourcesets", labels: "resourceset.fluxcd.controlplane.io/",
		version: schema.GroupVersion{Group: "fluxcd.controlplane.io", Version: "v1"},
	}}
}

// Of returns the owners that an object's labels name; nil if they name none.
func Of(labels map[string]string) []plan.Owner {
	var owners []plan.Owner
	for _, k := range kinds() {
		name, namespace := labels[k.labels+"name"], labels[k.labels+"namespace"]
		if name != "" && namespace != "" {
			owners = append(owners, plan.Owner{Kind: k.name, Namespace: namespace, Name: name})
		}
	}
	return owners
}

// fluxObject is the part of a Flux object that is read. All three kinds share it. The rest, values and inventories, is
// passed over when the JSON is decoded, and never in memory as a whole.
type fluxObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec struct {
		Suspend bool `json:"suspend,omitempty"`
	} `json:"spec,omitempty"`
	Status struct {
		ObservedGeneration     int64       `json:"observedGeneration,omitempty"`
		LastHandledReconcileAt string      `json:"lastHandledReconcileAt,omitempty"`
		Conditions             []condition `json:"conditions,omitempty"`
	} `json:"status,omitempty"`
}

type condition struct {
	Type               string                 `json:"type"`
	Status             metav1.ConditionStatus `json:"status"`
	ObservedGeneration int64                  `json:"observedGeneration,omitempty"`
	Reason             string                 `json:"reason,omitempty"`
	Message            string                 `json:"message,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (o *fluxObject) DeepCopyObject() runtime.Object {
	c := *o
	c.ObjectMeta = *o.ObjectMeta.DeepCopy()
	c.Status.Conditions = slices.Clone(o.Status.Conditions)
	return &c
}

// newScheme says how the kinds are decoded.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, k := range kinds() {
		watch.AddKind[fluxObject](scheme, k.version.WithKind(k.name))
	}
	return scheme
}

// object is what is kept of a Flux object. It never changes once made.
type object struct {
	name            plan.Owner
	uid             types.UID
	resourceVersion string
	state           state
	// owners are the Flux objects that apply this one; by is who did it, and when.
	owners []plan.Owner
	by     plan.Apply
}

// GetObjectMeta lets client-go's stores key and compare objects.
func (o *object) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: o.name.Namespace, Name: o.name.Name, UID: o.uid, ResourceVersion: o.resourceVersion}
}

// keep lets go of all but what counts; what it made before it returns as it is.
func keep(kind string) func(any) any {
	return func(from any) any {
		o, ok := from.(*fluxObject)
		if !ok {
			return from
		}
		return &object{
			name: plan.Owner{Kind: kind, Namespace: o.Namespace, Name: o.Name}, uid: o.UID, resourceVersion: o.ResourceVersion,
			state: stateOf(o), owners: Of(o.Labels), by: applier(o.ManagedFields),
		}
	}
}

// applier is the Flux or Helm manager that applies an object's spec. Flux's controllers also own some of the metadata of
// objects that they only work for.
func applier(fields []metav1.ManagedFieldsEntry) plan.Apply {
	for _, entry := range fields {
		if !plan.AppliesInOrder(entry.Manager) || !watch.Owns(entry.FieldsV1, "spec") {
			continue
		}
		by := plan.Apply{Manager: entry.Manager}
		if entry.Time != nil {
			by.At = entry.Time.UTC()
		}
		return by
	}
	return plan.Apply{}
}
