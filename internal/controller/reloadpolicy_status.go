package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/notify"
	"github.com/flux-reloader/reloader/internal/policy"
)

// statusManager is the field manager of the status of our own objects. Flux's controllers call theirs alike.
const statusManager = "gotk-reloader"

// status brings an object's status up to date with its round. A suspended policy keeps the conditions that it has: what
// waits is shown all the same.
func (r *PolicyReconciler) status(round *round, object *v1alpha1.ReloadPolicy, name policy.Name) {
	seen := r.policies.write(round, &object.Status)
	if seen.complete && seen.awaited == 0 && round.request != "" {
		object.Status.SetLastHandledReconcileRequest(round.request)
	}
	if object.Spec.Suspend {
		return
	}
	_, problems := r.watches.policies.Compiled(name)
	describe(object, seen, problems)
}

// describe sets the conditions of a policy that is not suspended.
func describe(object *v1alpha1.ReloadPolicy, seen observed, problems []policy.Problem) {
	if len(problems) > 0 {
		texts := make([]string, len(problems))
		for i, p := range problems {
			texts[i] = p.String()
		}
		message := shortened(strings.Join(texts, "; "))
		conditions.MarkStalled(object, problems[0].Reason, "%s", message)
		conditions.MarkFalse(object, meta.ReadyCondition, problems[0].Reason, "%s", message)
		object.Status.ObservedGeneration = object.Generation
		return
	}
	conditions.Delete(object, meta.StalledCondition)
	switch {
	case seen.awaited > 0 && asked(object):
		conditions.MarkReconciling(object, meta.ProgressingReason, "looking at the selected workloads")
		conditions.MarkUnknown(object, meta.ReadyCondition, meta.ProgressingReason, "looking at the selected workloads")
		return
	case !seen.complete: // the conditions are as another leader left them
		return
	case seen.counts.Failed > 0:
		message := fmt.Sprintf("%d of %d workloads could not be restarted: %s", seen.counts.Failed, seen.counts.Selected, seen.failure)
		conditions.MarkReconciling(object, meta.ProgressingWithRetryReason, "%s", shortened(message))
		conditions.MarkFalse(object, meta.ReadyCondition, v1alpha1.RestartFailedReason, "%s", shortened(message))
	default:
		conditions.Delete(object, meta.ReconcilingCondition)
		conditions.MarkTrue(object, meta.ReadyCondition, meta.SucceededReason, "%s", shortened(governs(seen)))
	}
	object.Status.ObservedGeneration = object.Generation
}

// asked reports whether the policy says something else than what was acted on last, or somebody asks to compare everything.
func asked(object *v1alpha1.ReloadPolicy) bool {
	request := object.Annotations[meta.ReconcileRequestAnnotation]
	return object.Status.ObservedGeneration != object.Generation || request != "" && request != object.Status.LastHandledReconcileAt
}

// governs says how many workloads a policy governs, and who governs others that it selects. It stays the same while that
// does, whatever becomes of them: a condition that does not change costs no write.
func governs(seen observed) string {
	text := fmt.Sprintf("governs %d workloads", seen.counts.Selected)
	if seen.counts.Selected == 1 {
		text = "governs 1 workload"
	}
	for _, name := range slices.SortedFunc(maps.Keys(seen.shadowed), func(a, b policy.Name) int { return strings.Compare(a.String(), b.String()) }) {
		text += fmt.Sprintf("; shadowed by ReloadPolicy/%s for %d", name, seen.shadowed[name])
	}
	return text
}

// shortened bounds the message of a condition.
func shortened(text string) string {
	const most = 1000
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// readyEvent is what there is to tell of the Ready condition, and what tells it from what is told before and after; nil while
// work on the policy goes on. How many workloads there are, or fail, moves all the time, and is not told each time.
func readyEvent(object *v1alpha1.ReloadPolicy) (event *notify.Event, said string) {
	ready := conditions.Get(object, meta.ReadyCondition)
	if ready == nil || conditions.IsUnknown(object, meta.ReadyCondition) {
		return nil, ""
	}
	said = ready.Reason
	if conditions.IsStalled(object) {
		said += ": " + ready.Message
	}
	return &notify.Event{Warning: !conditions.IsReady(object), Reason: ready.Reason, Message: ready.Message}, said
}
