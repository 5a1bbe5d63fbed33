package workload

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
)

// object is what is kept of a workload in memory. It never changes once made.
type object struct {
	observed plan.Workload
	// selector of its pods, as text.
	selector string
	rules    selection.Rules
	labels   watch.Labels
	// refers is the Deployment that has its template; nil if it has one itself.
	refers *templateRef
}

// GetObjectMeta lets client-go's stores key and compare objects.
func (o *object) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{
		Namespace: o.observed.Namespace, Name: o.observed.Name,
		UID: o.observed.UID, ResourceVersion: o.observed.ResourceVersion,
	}
}

// skipped is what is kept of an object that is never restarted: enough for client-go's stores. There may be many.
type skipped struct {
	namespace, name string
	uid             types.UID
	version         string
}

// GetObjectMeta lets client-go's stores key and compare objects.
func (s *skipped) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: s.namespace, Name: s.name, UID: s.uid, ResourceVersion: s.version}
}

// describe is the part of an observation that all kinds share: metadata and pod template.
func describe(version schema.GroupVersion, kind string, meta *metav1.ObjectMeta, template *corev1.PodTemplateSpec, by Observer) plan.Workload {
	manager, applied := applier(meta.ManagedFields)
	uses := reference.Of(meta.Namespace, &template.Spec)
	return plan.Workload{
		Workload:   ledger.Workload{Kind: kind, Namespace: meta.Namespace, Name: meta.Name},
		APIVersion: version.String(), UID: meta.UID, ResourceVersion: meta.ResourceVersion,
		Generation: meta.Generation, Created: meta.CreationTimestamp.UTC(),
		Annotations: by.own(meta.Annotations), TemplateAnnotations: by.own(template.Annotations),
		Owners:    by.owners(meta.Labels),
		Container: firstContainer(&template.Spec),
		Uses:      uses, StakaterHashes: stakaterHashes(meta.Namespace, template, uses),
		Template: templateDigest(template, by.Key),
		Value:    template.Annotations[v1alpha1.ConfigDigestAnnotation],
		Manager:  manager, Applied: applied,
	}
}

func firstContainer(spec *corev1.PodSpec) string {
	if len(spec.Containers) == 0 {
		return ""
	}
	return spec.Containers[0].Name
}

func (by Observer) owners(labels map[string]string) []plan.Owner {
	if by.Owners == nil {
		return nil
	}
	return by.Owners(labels)
}

// own keeps Reloader's annotations, Stakater's and Flux's request included, and lets go of the rest, which may be large or
// secret.
func (by Observer) own(annotations map[string]string) map[string]string {
	const stakater, ours = "reloader.stakater.com/", "reloader.contrib.fluxcd.io/"
	kept := maps.Clone(annotations)
	maps.DeleteFunc(kept, func(key, _ string) bool {
		return !strings.Contains(key, stakater) && !strings.HasPrefix(key, ours) &&
			key != v1alpha1.ReconcileRequestAnnotation && !slices.Contains(by.Annotations, key)
	})
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// templateDigest stands for a pod template. The protobuf encoding sorts maps and is fast. Another version of the API's
// types may encode the same template otherwise; then the pods are asked for once more, and nothing restarts.
func templateDigest(template *corev1.PodTemplateSpec, key digest.Key) digest.Digest {
	encoded, err := template.Marshal()
	if err != nil {
		// Not possible for a decoded object; a zero digest is never proven, so the pods would be asked for each time.
		return digest.Digest{}
	}
	return key.Bytes("template", encoded)
}

// applier returns the Flux or Helm manager that applies the pod template, and when it last changed something of the
// workload. These apply configuration before workloads.
func applier(fields []metav1.ManagedFieldsEntry) (manager string, applied time.Time) {
	for _, entry := range fields {
		if !plan.AppliesInOrder(entry.Manager) || !watch.Owns(entry.FieldsV1, "spec", "template") {
			continue
		}
		if entry.Time != nil {
			applied = entry.Time.UTC()
		}
		return entry.Manager, applied
	}
	return "", time.Time{}
}
