package source

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
)

const (
	classResource     = "secretproviderclasses"
	podStatusKind     = "SecretProviderClassPodStatus"
	podStatusResource = "secretproviderclasspodstatuses"
)

func csiVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: "secrets-store.csi.x-k8s.io", Version: "v1"}
}

// podStatus is the part that is read of what the driver tells of the pods that it mounts something for: one object for each
// pod and class. Of a class only the metadata are read, by the same type.
type podStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status struct {
		PodName                 string      `json:"podName,omitempty"`
		SecretProviderClassName string      `json:"secretProviderClassName,omitempty"`
		Objects                 []csiObject `json:"objects,omitempty"`
	} `json:"status,omitempty"`
}

// csiObject is something in an external store. Some providers derive the version from the content.
type csiObject struct {
	ID      string `json:"id,omitempty"`
	Version string `json:"version,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (s *podStatus) DeepCopyObject() runtime.Object {
	c := *s
	c.ObjectMeta = *s.ObjectMeta.DeepCopy()
	c.Status.Objects = slices.Clone(s.Status.Objects)
	return &c
}

type podStatusList = watch.List[podStatus, *podStatus]

// csiScheme says how both kinds are decoded.
func csiScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, kind := range []string{string(reference.SecretProviderClass), podStatusKind} {
		watch.AddKind[podStatus](scheme, csiVersion().WithKind(kind))
	}
	return scheme
}

// keepClass lets go of all of a class but what selects it: what it asks of a provider is none of our business.
func keepClass(annotations selection.Annotations, selected labels.Selector) func(any) any {
	return func(from any) any {
		o, ok := from.(*podStatus)
		if !ok {
			return from
		}
		kept := newObject(reference.SecretProviderClass, &o.ObjectMeta, nil)
		kept.marks = marks(&o.ObjectMeta, annotations, selected)
		return kept
	}
}

// mounted is what is kept of what the driver tells of a pod. It never changes once made.
type mounted struct {
	name    string
	source  reference.Source
	uid     types.UID
	version string
	// pod is its name, copied what it holds.
	pod    string
	copied plan.Copy
	// at is when the driver last wrote what it tells of objects.
	at time.Time
}

// GetObjectMeta lets client-go's stores key and compare objects.
func (m *mounted) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: m.source.Namespace, Name: m.name, UID: m.uid, ResourceVersion: m.version}
}

// keepMounted digests the versions of what is mounted; what it made before it returns as it is.
func keepMounted(key digest.Key) func(any) any {
	return func(from any) any {
		o, ok := from.(*podStatus)
		if !ok {
			return from
		}
		source := reference.Source{Kind: reference.SecretProviderClass, Namespace: o.Namespace, Name: o.Status.SecretProviderClassName}
		versions := make(map[string]string, len(o.Status.Objects))
		for _, object := range o.Status.Objects {
			versions[object.ID] = object.Version
		}
		kept := &mounted{
			name: o.Name, source: source, uid: o.UID, version: o.ResourceVersion, pod: o.Status.PodName,
			at: lastStatusWrite(o.ManagedFields),
			copied: plan.Copy{
				Pod: podOf(o.OwnerReferences), Made: o.CreationTimestamp.UTC(), Content: key.Content(source, nil, versions),
			},
		}
		if kept.at.After(kept.copied.Made) {
			kept.copied.Changed = kept.at
		} else {
			kept.at = kept.copied.Made
		}
		return kept
	}
}

func podOf(owners []metav1.OwnerReference) types.UID {
	for _, owner := range owners {
		if owner.Kind == "Pod" {
			return owner.UID
		}
	}
	return ""
}

// lastStatusWrite is when a status was last written, as its managed fields tell; zero if they do not.
func lastStatusWrite(fields []metav1.ManagedFieldsEntry) time.Time {
	var last time.Time
	for _, entry := range fields {
		if entry.Time != nil && watch.Owns(entry.FieldsV1, "status") && entry.Time.After(last) {
			last = entry.Time.UTC()
		}
	}
	return last
}

// classHandler is told of classes: of them only their marks and labels count.
type classHandler struct{ store *Store }

// Added implements watch.Handler.
func (h classHandler) Added(kept any, origin watch.Origin) { h.tell(kept, origin == watch.Initial) }

// Updated implements watch.Handler.
func (h classHandler) Updated(before, after any, _ watch.Origin) {
	older, ok := before.(*object)
	newer, isObject := after.(*object)
	if ok && isObject && (older.marks != newer.marks || h.store.relabelled(older, newer)) {
		h.tell(newer, false)
	}
}

// Deleted implements watch.Handler.
func (h classHandler) Deleted(kept any) { h.tell(kept, false) }

func (h classHandler) tell(kept any, initial bool) {
	if o, ok := kept.(*object); ok {
		h.store.options.Changed(o.source, initial)
	}
}
