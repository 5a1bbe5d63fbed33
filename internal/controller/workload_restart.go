package controller

import (
	"context"
	"errors"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/workload"
)

const (
	// conflictAgain is the first wait after a conflict: about as long as a watch event takes. Later ones double.
	conflictAgain = 20 * time.Millisecond
	conflictMost  = 2 * time.Second
	// adoptionAgain is when to look again at a restart that others were faster to have.
	adoptionAgain = 2 * time.Second
)

// mark writes an annotation of the workload without a restart. Again is when to decide anew, if it is another by now.
func (r *Reconciler) mark(ctx context.Context, w plan.Workload, t *track, mark plan.Mark) (again time.Duration, err error) {
	by, err := r.actorFor(t.governing)
	if err != nil {
		return 0, err
	}
	err = r.workloads.Mark(ctx, by, w, mark)
	switch {
	case errors.Is(err, workload.ErrGone):
		return unknownAgain, nil // its deletion is on the way
	case errors.Is(err, workload.ErrConflict):
		return conflictMost, nil // and so is what it is now
	default:
		return 0, err
	}
}

// restart writes the template, then the record: a restart without a record is recognised as ours and adopted, a record
// without its restart would be a change that is missed.
func (r *Reconciler) restart(ctx context.Context, w plan.Workload, t *track, d plan.Decision) (ctrl.Result, error) {
	now := r.options.Now()
	if d.Adoption && !r.adoption.AllowN(now, 1) {
		return ctrl.Result{RequeueAfter: adoptionAgain}, r.record(d.Entry)
	}
	by, err := r.actorFor(t.governing)
	if err != nil {
		return ctrl.Result{}, errors.Join(err, r.record(d.Entry))
	}
	after, err := r.workloads.Restart(ctx, by, w, d.Write)
	switch {
	case err == nil, errors.Is(err, workload.ErrStripped):
		t.conflicts, t.written = 0, after.Generation
		t.observe(after, now)
		if recordErr := r.record(plan.Restarted(d, now)); recordErr != nil {
			return ctrl.Result{}, recordErr
		}
		if err != nil {
			r.reportFailure(w, t, d, err)
			return ctrl.Result{RequeueAfter: interval}, nil
		}
		r.metrics.stakater.latency.WithLabelValues(w.Kind).Observe(r.options.Now().Sub(now).Seconds())
		r.reportRestart(w, t, d, now)
		return ctrl.Result{RequeueAfter: interval}, nil
	case errors.Is(err, workload.ErrUnfinished):
		t.conflicts = 0
		r.noteBegun(w, t, d)
		return ctrl.Result{RequeueAfter: replacementAgain}, r.record(plan.Restarted(d, now))
	case errors.Is(err, workload.ErrGone):
		return ctrl.Result{RequeueAfter: unknownAgain}, nil // its deletion is on the way
	case ctx.Err() != nil:
		return ctrl.Result{}, err // cut off by the end of the process, not refused
	case errors.Is(err, workload.ErrConflict):
		t.conflicts++
		if err := r.record(d.Entry); err != nil {
			return ctrl.Result{}, err
		}
		return ctrl.Result{RequeueAfter: min(conflictMost, conflictAgain<<min(t.conflicts, 10))}, nil
	default:
		r.reportFailure(w, t, d, err)
		return ctrl.Result{}, errors.Join(err, r.record(d.Entry))
	}
}
