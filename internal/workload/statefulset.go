package workload

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/plan"
)

const statefulSetKind = "StatefulSet"

func statefulSet() Kind {
	return Kind{
		Version: appsv1.SchemeGroupVersion, Resource: "statefulsets", Name: statefulSetKind,
		New:       func() client.Object { return &appsv1.StatefulSet{} },
		Observe:   observeStatefulSet,
		Selector:  func(o client.Object) *metav1.LabelSelector { return o.(*appsv1.StatefulSet).Spec.Selector },
		Revisions: controllerRevisions,
	}
}

func observeStatefulSet(o client.Object, by Observer) plan.Workload {
	set := o.(*appsv1.StatefulSet)
	w := describe(appsv1.SchemeGroupVersion, statefulSetKind, &set.ObjectMeta, &set.Spec.Template, by)
	s := set.Status
	w.ObservedGeneration = s.ObservedGeneration
	w.Replicas = ptr.Deref(set.Spec.Replicas, 1) // the API's default
	w.Rolling = s.ObservedGeneration < set.Generation || s.UpdatedReplicas < w.Replicas || s.Replicas > s.UpdatedReplicas
	w.Held = statefulSetHeld(set.Spec.UpdateStrategy)
	w.Progress = fmt.Sprint(s.ObservedGeneration, s.Replicas, s.UpdatedReplicas, s.ReadyReplicas)
	return w
}

// statefulSetHeld says why not every pod is replaced by itself.
func statefulSetHeld(strategy appsv1.StatefulSetUpdateStrategy) string {
	if strategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return "spec.updateStrategy is OnDelete"
	}
	if r := strategy.RollingUpdate; r != nil && r.Partition != nil && *r.Partition > 0 {
		return fmt.Sprintf("spec.updateStrategy.rollingUpdate.partition is %d", *r.Partition)
	}
	return ""
}

// controllerRevisions are the revisions of kinds that own their pods themselves.
func controllerRevisions(ctx context.Context, reader client.Reader, owner Owner) ([]Revision, error) {
	list := &appsv1.ControllerRevisionList{}
	if err := owner.list(ctx, reader, list); err != nil {
		return nil, fmt.Errorf("listing ControllerRevisions: %w", err)
	}
	var revisions []Revision
	for i := range list.Items {
		r := &list.Items[i]
		if owner.controls(r) {
			revisions = append(revisions, Revision{
				Owner: owner.UID, Hash: revisionHash(r), Created: r.CreationTimestamp, Number: r.Revision,
			})
		}
	}
	return revisions, nil
}

// revisionHash is the value of controller-revision-hash on the pods of a revision. A StatefulSet's controller writes the
// revision's name there, a DaemonSet's the hash that the revision itself is labelled with.
func revisionHash(r *appsv1.ControllerRevision) string {
	if hash, ok := r.Labels[appsv1.ControllerRevisionHashLabelKey]; ok {
		return hash
	}
	return r.Name
}
