package owner

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names of Flux's API, of github.com/fluxcd/pkg/apis/meta but for the last.
const (
	requestedAt          = "reconcile.fluxcd.io/requestedAt"
	readyCondition       = "Ready"
	reconcilingCondition = "Reconciling"
	healthyCondition     = "Healthy"
	progressingWithRetry = "ProgressingWithRetry"

	// reconcileAnnotation is how the Flux operator's objects, ResourceSets among them, are suspended.
	reconcileAnnotation = "fluxcd.controlplane.io/reconcile"
)

// state is what a Flux object means for what it applies.
type state int

const (
	// settled objects apply nothing that they have not applied already, as far as can be told.
	settled state = iota
	// reconciling objects are about to apply configuration, or just do.
	reconciling
	// suspended objects were told to leave what they apply alone.
	suspended
)

// stateOf reads a Flux object. It is reconciling if
//
//   - its controller has not looked at its present generation: it will apply that. Conditions tell as well as the status
//     itself, which a failure leaves at the generation that succeeded last. A status that says nothing proves nothing;
//   - somebody asked for a reconcile, and that is not through yet;
//   - its condition Reconciling says so. Reason ProgressingWithRetry does not count: that attempt has failed, and the next
//     one may be an hour away, or fail the same way.
//
// A Kustomization that waits for the health of what it has applied is still Reconciling, for as long as its own timeout.
// Nothing is applied any more then, and a restart may be just what its workloads need to become healthy. So this does not
// count, nor does a request, which is only handled when the wait is over.
//
// Whether the source holds a revision that was not attempted yet is not asked: the controller is told of it at once, and
// its attempt shows as Reconciling before anything is applied.
func stateOf(o *fluxObject) state {
	switch {
	case o.Spec.Suspend || strings.EqualFold(o.Annotations[reconcileAnnotation], "disabled"):
		return suspended
	case o.DeletionTimestamp != nil:
		return settled // it takes things away, if anything
	case o.behind():
		return reconciling
	case o.waitsForHealth():
		return settled
	case o.Annotations[requestedAt] != "" && o.Annotations[requestedAt] != o.Status.LastHandledReconcileAt:
		return reconciling
	}
	c := o.condition(reconcilingCondition)
	if c.Status == metav1.ConditionTrue && c.Reason != progressingWithRetry {
		return reconciling
	}
	return settled
}

// behind reports whether the controller has not looked at the present generation.
func (o *fluxObject) behind() bool {
	observed := o.Status.ObservedGeneration
	for _, c := range o.Status.Conditions {
		if c.Type == readyCondition || c.Type == reconcilingCondition {
			observed = max(observed, c.ObservedGeneration)
		}
	}
	return observed != 0 && observed < o.Generation
}

// waitsForHealth reports whether everything is applied and the rest is waiting. While that is so, both conditions carry
// one message; Healthy may keep it until the next wait, if a new revision ends this one.
func (o *fluxObject) waitsForHealth() bool {
	healthy, running := o.condition(healthyCondition), o.condition(reconcilingCondition)
	return healthy.Status == metav1.ConditionUnknown && running.Status == metav1.ConditionTrue &&
		running.Message != "" && healthy.Message == running.Message
}

// condition returns the condition of the type; a zero one if there is none.
func (o *fluxObject) condition(name string) condition {
	i := slices.IndexFunc(o.Status.Conditions, func(c condition) bool { return c.Type == name })
	if i < 0 {
		return condition{}
	}
	return o.Status.Conditions[i]
}
