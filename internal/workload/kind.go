// Package workload is the edge to the workloads: it watches them, asks for their pods, and restarts them. There is one
// adapter a kind; everything else is shared.
package workload

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/plan"
)

// Kind adapts one kind of workload.
type Kind struct {
	// Version and Resource are where the API server serves it.
	Version  schema.GroupVersion
	Resource string
	// Name is the kind as in the API.
	Name string
	// New makes an empty object to decode into.
	New func() client.Object
	// Observe keeps what a decision needs of an object that New made.
	Observe func(object client.Object, by Observer) plan.Workload
	// Selector is the label selector of the object's pods; nil for a kind that has runs.
	Selector func(object client.Object) *metav1.LabelSelector
	// Revisions lists the versions of the template that the workload's controller keeps; nil for a kind that has runs.
	Revisions func(ctx context.Context, reader client.Reader, owner Owner) ([]Revision, error)
	// Runs lists what the workload has started; nil for a kind that has a rollout.
	Runs func(ctx context.Context, reader client.Reader, live client.Object) ([]plan.Run, error)
	// Restart restarts a workload in the kind's own way; nil to write to its template.
	Restart func(ctx context.Context, s *Store, by Actor, w plan.Workload, write plan.Write) (plan.Workload, error)
	// Refers says which Deployment has the template that the object lacks; it returns nil if the object has its own. Kinds
	// that never refer to one have no such function.
	Refers func(object client.Object) *templateRef
	// Optional kinds are picked up when their API appears, and dropped when it goes. Their types are our own, of the
	// documented fields.
	Optional bool
	// Skip reports whether the object is never restarted, so that only its name and version are kept; nil to skip none.
	Skip func(object client.Object) bool
}

// Actor is who restarts a workload.
type Actor struct {
	// Account is the ServiceAccount, "namespace/name"; empty for the controller itself.
	Account string
	// Writer sends its requests; nil for the store's own.
	Writer client.Writer
}

// Observer is what it takes to observe a workload beside the object.
type Observer struct {
	Key digest.Key
	// Annotations are the keys that are kept beside those in Stakater Reloader's domain and in ours.
	Annotations []string
	// Owners are the Flux objects that labels name; nil to look for none.
	Owners func(labels map[string]string) []plan.Owner
}

// Owner is how the pods and revisions of a workload are found.
type Owner struct {
	Namespace string
	UID       types.UID
	// Selector of the workload. It cannot change.
	Selector labels.Selector
}

// list asks for the objects in the owner's namespace that its selector matches.
func (o Owner) list(ctx context.Context, reader client.Reader, into client.ObjectList, options ...client.ListOption) error {
	options = append(options, client.InNamespace(o.Namespace), client.MatchingLabelsSelector{Selector: o.Selector})
	return reader.List(ctx, into, options...)
}

// controls reports whether the workload owns the object.
func (o Owner) controls(object metav1.Object) bool {
	controller := metav1.GetControllerOfNoCopy(object)
	return controller != nil && controller.UID == o.UID
}

// Revision is one version of a workload's template.
type Revision struct {
	// Owner is the UID that the controller reference of its pods names: the revision's own, or the workload's.
	Owner types.UID
	// Hash is the value of the pods' label controller-revision-hash; empty where the owner tells.
	Hash string
	// Created is when the revision was first made.
	Created metav1.Time
	// Number orders revisions: the present one has the greatest. An undo gives an old revision a new number.
	Number int64
}

// Kinds are the kinds that are supported, but for those that are ignored.
func Kinds(ignored ...string) []Kind {
	kinds := []Kind{deployment(), statefulSet(), daemonSet(), cronJob(), job(), argoRollout(), deploymentConfig()}
	return slices.DeleteFunc(kinds, func(k Kind) bool { return slices.Contains(ignored, k.Name) })
}
