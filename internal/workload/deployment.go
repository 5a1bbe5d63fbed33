package workload

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/plan"
)

const (
	deploymentKind = "Deployment"

	// revisionAnnotation is how the Deployment controller numbers ReplicaSets.
	revisionAnnotation = "deployment.kubernetes.io/revision"
)

func deployment() Kind {
	return Kind{
		Version: appsv1.SchemeGroupVersion, Resource: "deployments", Name: deploymentKind,
		New:       func() client.Object { return &appsv1.Deployment{} },
		Observe:   observeDeployment,
		Selector:  func(o client.Object) *metav1.LabelSelector { return o.(*appsv1.Deployment).Spec.Selector },
		Revisions: replicaSets(revisionAnnotation),
	}
}

func observeDeployment(o client.Object, by Observer) plan.Workload {
	d := o.(*appsv1.Deployment)
	w := describe(appsv1.SchemeGroupVersion, deploymentKind, &d.ObjectMeta, &d.Spec.Template, by)
	w.ObservedGeneration = d.Status.ObservedGeneration
	w.Replicas = ptr.Deref(d.Spec.Replicas, 1) // the API's default
	s := d.Status
	w.Rolling = s.ObservedGeneration < d.Generation || s.UpdatedReplicas < w.Replicas || s.Replicas > s.UpdatedReplicas
	if d.Spec.Paused {
		w.Held = plan.HeldPaused
	}
	w.Progress = fmt.Sprint(s.ObservedGeneration, s.Replicas, s.UpdatedReplicas, s.ReadyReplicas, s.AvailableReplicas)
	return w
}

// replicaSets are the revisions of a kind whose controller numbers its ReplicaSets by that annotation.
func replicaSets(numbered string) func(context.Context, client.Reader, Owner) ([]Revision, error) {
	return numberedRevisions(appsv1.SchemeGroupVersion.WithKind("ReplicaSetList"), numbered)
}

// numberedRevisions are the objects of a kind that own the pods of a workload, and that its controller numbers by an
// annotation.
func numberedRevisions(kind schema.GroupVersionKind, numbered string) func(context.Context, client.Reader, Owner) ([]Revision, error) {
	return func(ctx context.Context, reader client.Reader, owner Owner) ([]Revision, error) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind)
		if err := owner.list(ctx, reader, list); err != nil {
			return nil, fmt.Errorf("listing %ss: %w", strings.TrimSuffix(kind.Kind, "List"), err)
		}
		var revisions []Revision
		for i := range list.Items {
			o := &list.Items[i]
			if !owner.controls(o) {
				continue
			}
			// One without a number is too new to have one, or not the workload's doing: it comes last.
			number, err := strconv.ParseInt(o.Annotations[numbered], 10, 64)
			if err != nil {
				number = 0
			}
			revisions = append(revisions, Revision{Owner: o.UID, Created: o.CreationTimestamp, Number: number})
		}
		return revisions, nil
	}
}
