package controller

import (
	"context"
	"errors"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/workload"
)

// replacementAgain is when to look again whether the former object is gone. That is told by a watch, as a rule.
const replacementAgain = 2 * time.Second

// begun is a replacement that this process has begun: what to tell of it once it is through.
type begun struct {
	workload  plan.Workload
	governing *policy.Policy
	decision  plan.Decision
	failure   string
}

func (r *Reconciler) noteBegun(w plan.Workload, t *track, d plan.Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun[w.Workload] = begun{workload: w, governing: t.governing, decision: d}
}

// begunOf is what is known of a replacement. One that another process has begun tells only that.
func (r *Reconciler) begunOf(name ledger.Workload) begun {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, known := r.begun[name]; known {
		return b
	}
	b := begun{workload: plan.Workload{Workload: name, APIVersion: "batch/v1"}}
	b.decision = plan.Decision{
		Verdict: plan.Restart, Entry: &ledger.Entry{Workload: name}, Message: "begun by a process that has ended since",
	}
	return b
}

// resume goes on with a replacement: whatever was decided since, what has begun is finished. Until it is, nothing else is
// decided about workloads of the name.
func (r *Reconciler) resume(ctx context.Context, name ledger.Workload) (ctrl.Result, error) {
	b := r.begunOf(name)
	after, err := r.workloads.Resume(ctx, name, r.actor)
	t := &track{uid: after.UID, governing: b.governing, failure: b.failure}
	if errors.Is(err, workload.ErrUnfinished) {
		r.policies.note(name, b.governing, nil, r.outcome(t, true, b.decision, nil, r.options.Now()))
		return ctrl.Result{RequeueAfter: replacementAgain}, nil
	}
	if r.workloads.Replacing(name) { // it cannot go on now
		r.reportFailure(b.workload, t, b.decision, err)
		b.failure = t.failure
		r.mu.Lock()
		r.begun[name] = b
		r.mu.Unlock()
		r.policies.note(name, b.governing, nil, r.outcome(t, true, b.decision, err, r.options.Now()))
		return ctrl.Result{}, err
	}
	r.mu.Lock()
	delete(r.begun, name)
	r.mu.Unlock()
	switch {
	case errors.Is(err, workload.ErrGone), errors.Is(err, workload.ErrConflict):
		return ctrl.Result{RequeueAfter: conflictAgain}, nil // somebody else was faster, or it was nothing yet: decide anew
	case err != nil:
		if after.UID == "" {
			after = b.workload
		}
		r.reportFailure(after, t, b.decision, err)
	default:
		b.decision.Value = after.Value
		r.reportRestart(after, t, b.decision, r.options.Now())
	}
	return ctrl.Result{RequeueAfter: conflictAgain}, nil // what was made is looked at
}
