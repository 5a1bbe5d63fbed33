package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/jitter"
	gotkmetrics "github.com/fluxcd/pkg/runtime/metrics"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/notify"
	"github.com/flux-reloader/reloader/internal/policy"
)

// PolicyReconciler has the workloads that a ReloadPolicy selects compared, and writes its status. It restarts nothing.
type PolicyReconciler struct {
	log      logr.Logger
	options  Options
	client   client.Client
	watches  *watches
	policies *policies
	events   *notify.Recorder
	duration *gotkmetrics.Recorder
	feed     *feed[ledger.Workload]
}

// +kubebuilder:rbac:groups=reloader.contrib.fluxcd.io,resources=reloadpolicies,verbs=list;watch
// +kubebuilder:rbac:groups=reloader.contrib.fluxcd.io,resources=reloadpolicies/status,verbs=patch

// Reconcile brings one policy's status up to date, and has its workloads looked at where that is due.
func (r *PolicyReconciler) Reconcile(ctx context.Context, name policy.Name) (ctrl.Result, error) {
	start := r.options.Now()
	object, exists := r.watches.policies.Get(name)
	if !exists {
		r.duration.DeleteDuration(corev1.ObjectReference{Kind: v1alpha1.ReloadPolicyKind, Namespace: name.Namespace, Name: name.Name})
		r.lookAt(r.policies.forget(name))
		return ctrl.Result{}, nil
	}
	round := r.policies.round(object)
	round.latest(object)
	defer func() { r.duration.RecordDuration(policyReference(object), start) }()
	if due(round, object, start) {
		r.begin(round, object, name, start)
	}
	if wait := round.writtenAt.Add(statusEvery).Sub(start); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	before := object.DeepCopy()
	r.status(round, object, name)
	switch err := r.store(ctx, round, before, object); {
	case err == nil:
	case kerrors.FilterOut(err, apierrors.IsNotFound) == nil:
		return ctrl.Result{}, nil // its deletion is on the way
	default:
		return ctrl.Result{}, fmt.Errorf("writing the status of ReloadPolicy/%s: %w", name, err)
	}
	r.tell(round, object)
	return ctrl.Result{RequeueAfter: max(time.Second, round.next.Sub(start))}, nil
}

// due reports whether everything that the policy selects has to be looked at: it is new or was changed, somebody asks for
// it, or the interval is over.
func due(r *round, object *v1alpha1.ReloadPolicy, now time.Time) bool {
	request := object.Annotations[meta.ReconcileRequestAnnotation]
	return r.generation != object.Generation || r.request != request || !now.Before(r.next)
}

// begun takes down what a round is begun for, and when the next one is due, give or take a little.
func (r *round) begun(object *v1alpha1.ReloadPolicy, now time.Time) {
	r.generation, r.request = object.Generation, object.Annotations[meta.ReconcileRequestAnnotation]
	r.next = now.Add(jitter.JitteredIntervalDuration(object.GetRequeueAfter()))
}

// begin has all workloads looked at that the policy selects, or selected.
func (r *PolicyReconciler) begin(round *round, object *v1alpha1.ReloadPolicy, name policy.Name, now time.Time) {
	round.begun(object, now)
	if object.Spec.Suspend {
		r.log.Info("reconciliation is suspended for this object", "reloadpolicy", name.String())
	}
	selectable := r.watches.workloads.In(name.Namespace)
	if name.Namespace == r.options.Namespace { // it may select others
		selectable = r.watches.workloads.All()
	}
	awaited := map[ledger.Workload]bool{}
	for _, w := range selectable {
		if governing, others, _ := r.watches.governing(w); governing != nil && (governing.Name == name || slices.Contains(others, name)) {
			awaited[w.Workload] = true
		}
	}
	r.lookAt(r.policies.begin(round, name, awaited))
}

func (r *PolicyReconciler) lookAt(workloads []ledger.Workload) {
	for _, w := range workloads {
		r.feed.send(w, true)
	}
}

// tell sends an event when the Ready condition comes to say something else, also than what another leader told.
func (r *PolicyReconciler) tell(round *round, object *v1alpha1.ReloadPolicy) {
	event, said := readyEvent(object)
	if event == nil || said == round.told {
		return
	}
	round.told = said
	r.log.Info(event.Message, "reloadpolicy", object.Namespace+"/"+object.Name, "reason", event.Reason)
	event.Related = &notify.Related{Object: policyReference(object), Own: true, Token: object.ResourceVersion}
	r.events.Send(*event)
}

func policyReference(object *v1alpha1.ReloadPolicy) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.ReloadPolicyKind, Namespace: object.Namespace, Name: object.Name,
		UID: object.UID, ResourceVersion: object.ResourceVersion,
	}
}
