package controller

import (
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/runtime/jitter"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flux-reloader/reloader/internal/notify"
	"github.com/flux-reloader/reloader/internal/plan"
)

// callWebhook has the webhook called, and writes the record once it has accepted that: a call without a record is made again, a
// record without its call would be a change that nobody hears of.
func (r *Reconciler) callWebhook(w plan.Workload, t *track, d plan.Decision) (ctrl.Result, error) {
	t.conflicts = 0
	ended, after, err := r.calls.tell(w.Workload, d.Value)
	t.telling = !ended
	switch {
	case !ended:
		return ctrl.Result{RequeueAfter: after}, r.record(d.Entry)
	case err != nil:
		err = fmt.Errorf("calling the webhook: %w", err)
		r.metrics.called(resultFailure)
		r.reportFailure(w, t, d, err)
		return ctrl.Result{}, errors.Join(err, r.record(d.Entry))
	}
	t.failure = ""
	r.metrics.called(resultSuccess)
	if err := r.record(d.Told); err != nil {
		return ctrl.Result{}, err
	}
	r.log.Info("webhook called", "workload", w.Workload.String(), "changes", d.Message)
	message := "webhook called instead of restarting " + w.Workload.Short() + ": " + d.Message
	r.tell(w, t, d, notify.Event{Object: referenceTo(w), Reason: notify.ReasonWebhookCalled, Message: message})
	return ctrl.Result{RequeueAfter: jitter.JitteredIntervalDuration(interval)}, nil
}
