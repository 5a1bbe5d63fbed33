package controller

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/workload"
)

// keepGone is how long the record of a workload that is gone is kept: a mistaken deletion is often undone.
const keepGone = 24 * time.Hour

// gone notes that there is no workload of this name.
func (r *Reconciler) gone(name ledger.Workload) error {
	r.mu.Lock()
	delete(r.tracks, name)
	r.mu.Unlock()
	r.holds.forget(name)
	r.calls.forget(name)
	r.policies.gone(name)
	r.endBootstrap(name)
	if entry := r.ledger.Named(name); entry != nil {
		return r.markGone(entry)
	}
	return nil
}

func (r *Reconciler) markGone(entry *ledger.Entry) error {
	if !entry.AbsentSince.IsZero() {
		return nil
	}
	entry = entry.Clone()
	entry.AbsentSince = r.options.Now()
	return r.record(entry)
}

// forgetGone deletes the records of workloads that have been gone for long, once the API server confirms it. A workload
// that is there, but not watched any more, is asked for again after as long.
func (r *Reconciler) forgetGone(ctx context.Context) {
	for _, entry := range r.ledger.Entries() {
		if entry.AbsentSince.IsZero() || r.options.Now().Sub(entry.AbsentSince) < keepGone {
			continue
		}
		live, err := r.workloads.Live(ctx, entry.Workload)
		switch {
		case apierrors.IsNotFound(err), errors.Is(err, workload.ErrKind), err == nil && live.UID != entry.UID:
			r.ledger.Delete(entry.UID)
		case err == nil, apierrors.IsForbidden(err):
			still := entry.Clone()
			still.AbsentSince = r.options.Now()
			err = r.ledger.Replace(entry, still) // it may be watched again by now
		}
		if err != nil && !apierrors.IsNotFound(err) && !errors.Is(err, workload.ErrKind) {
			r.log.Error(err, "cannot tell whether a workload is gone; trying again", "workload", entry.Workload.String())
		}
	}
}
