package controller

import (
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/ledgerstore"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/source"
)

// remembering is a reconciler with a ledger that has this record.
func remembering(t *testing.T, now time.Time, record *ledger.Entry) *Reconciler {
	t.Helper()
	metrics, err := newMetrics(prometheus.NewRegistry(), &watches{}, false)
	if err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{
		log: logr.Discard(), options: Options{Now: func() time.Time { return now }, Selection: selection.Defaults()},
		sources: &source.Store{}, holds: newHolds(nil), policies: newBook(t).policies, ledger: ledgerstore.New(ledgerstore.Options{}),
		metrics: metrics, adoption: newAdoptionLimiter(),
	}
	if err := r.ledger.Put(record); err != nil {
		t.Fatal(err)
	}
	return r
}

// The record of an object ends with it, also if nobody saw it go and the one in its place asks for nothing.
func TestARecordEndsWithItsObject(t *testing.T) {
	now := time.Unix(1000, 0).UTC()
	r := remembering(t, now, &ledger.Entry{Workload: named("web"), UID: "former"})
	w := plan.Workload{Workload: named("web"), UID: "another"}
	if _, err := r.reconcile(t.Context(), w, &track{uid: w.UID}, true, now); err != nil {
		t.Fatal(err)
	}
	if former := r.ledger.Get("former"); !former.AbsentSince.Equal(now) {
		t.Errorf("gone since %s, want %s", former.AbsentSince, now)
	}
}
