package controller

import (
	"sync"
	"time"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

// holds knows which workloads their owners hold, so that the end of a reconcile, which comes every few minutes, wakes
// those and not everything that the owner applies.
type holds struct {
	// hold is what holds whatever these objects apply.
	hold func(owners []plan.Owner, now time.Time) *plan.Hold

	mu   sync.Mutex
	held map[ledger.Workload]bool
}

func newHolds(hold func([]plan.Owner, time.Time) *plan.Hold) *holds {
	return &holds{hold: hold, held: map[ledger.Workload]bool{}}
}

// of returns what holds a workload; nil if nothing does.
func (h *holds) of(w plan.Workload, now time.Time) *plan.Hold {
	if len(w.Owners) == 0 {
		h.set(w.Workload, false)
		return nil
	}
	h.set(w.Workload, true) // before it is looked at: what holds it may end at any time
	hold := h.hold(w.Owners, now)
	h.set(w.Workload, hold != nil)
	return hold
}

// wakes reports whether a workload has to be looked at when one of its direct or indirect owners changes: it is held and may
// be free now, or the owner is suspended, which is to be shown.
func (h *holds) wakes(name ledger.Workload, by plan.Owner, now time.Time) bool {
	h.mu.Lock()
	held := h.held[name]
	h.mu.Unlock()
	if held {
		return true
	}
	hold := h.hold([]plan.Owner{by}, now)
	return hold != nil && hold.Verdict == plan.OwnerSuspended
}

func (h *holds) forget(name ledger.Workload) { h.set(name, false) }

func (h *holds) set(name ledger.Workload, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !held {
		delete(h.held, name)
		return
	}
	h.held[name] = true
}
