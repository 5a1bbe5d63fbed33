package workload

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/plan"
)

const daemonSetKind = "DaemonSet"

func daemonSet() Kind {
	return Kind{
		Version: appsv1.SchemeGroupVersion, Resource: "daemonsets", Name: daemonSetKind,
		New:       func() client.Object { return &appsv1.DaemonSet{} },
		Observe:   observeDaemonSet,
		Selector:  func(o client.Object) *metav1.LabelSelector { return o.(*appsv1.DaemonSet).Spec.Selector },
		Revisions: controllerRevisions,
	}
}

func observeDaemonSet(o client.Object, by Observer) plan.Workload {
	set := o.(*appsv1.DaemonSet)
	w := describe(appsv1.SchemeGroupVersion, daemonSetKind, &set.ObjectMeta, &set.Spec.Template, by)
	s := set.Status
	w.ObservedGeneration, w.Replicas = s.ObservedGeneration, s.DesiredNumberScheduled
	w.Rolling = s.ObservedGeneration < set.Generation || s.UpdatedNumberScheduled < s.DesiredNumberScheduled
	if set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		w.Held = "spec.updateStrategy is OnDelete"
	}
	w.Progress = fmt.Sprint(s.ObservedGeneration, s.CurrentNumberScheduled, s.UpdatedNumberScheduled, s.NumberReady)
	return w
}
