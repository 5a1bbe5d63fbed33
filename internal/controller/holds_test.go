package controller

import (
	"testing"
	"time"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

func TestHoldsWakeWhatIsHeld(t *testing.T) {
	var now time.Time
	apps := plan.Owner{Kind: "Kustomization", Namespace: "flux-system", Name: "apps"}
	web := plan.Workload{Workload: ledger.Workload{Kind: "Deployment", Namespace: "apps", Name: "web"}, Owners: []plan.Owner{apps}}
	other, nobodys := web, web
	other.Name, nobodys.Name, nobodys.Owners = "other", "nobodys", nil
	var hold *plan.Hold
	h := newHolds(func(owners []plan.Owner, _ time.Time) *plan.Hold {
		if len(owners) == 0 {
			t.Error("nobody's owner is asked for")
		}
		return hold
	})
	expect := func(when string, want map[string]bool) {
		t.Helper()
		for _, w := range []plan.Workload{web, other, nobodys} {
			if got := h.wakes(w.Workload, apps, now); got != want[w.Name] {
				t.Errorf("%s: %s is woken: %t", when, w.Name, got)
			}
		}
	}
	if h.of(web, now) != nil || h.of(other, now) != nil || h.of(nobodys, now) != nil {
		t.Error("something is held by nothing")
	}
	expect("nothing holds", nil)

	hold = &plan.Hold{Verdict: plan.OwnerReconciling}
	if h.of(web, now) != hold {
		t.Error("the hold is another")
	}
	expect("one was looked at in a reconcile", map[string]bool{"web": true})
	hold = nil
	expect("which is over", map[string]bool{"web": true})
	h.of(web, now)
	expect("it was looked at since", nil)

	hold = &plan.Hold{Verdict: plan.OwnerSuspended}
	expect("a suspension is shown", map[string]bool{"web": true, "other": true, "nobodys": true})
	h.of(web, now)
	h.forget(web.Workload)
	hold = nil
	expect("it is gone", nil)
}

// What ends while it is looked at must not be missed.
func TestAHoldThatEndsWhileItIsLookedAtWakes(t *testing.T) {
	apps := plan.Owner{Kind: "Kustomization", Namespace: "flux-system", Name: "apps"}
	web := plan.Workload{Workload: ledger.Workload{Name: "web"}, Owners: []plan.Owner{apps}}
	asked, woken := false, false
	var h *holds
	h = newHolds(func([]plan.Owner, time.Time) *plan.Hold {
		if !asked {
			asked = true
			woken = h.wakes(web.Workload, apps, time.Time{})
		}
		return nil
	})
	if h.of(web, time.Time{}); !woken {
		t.Error("the workload waits for what is over")
	}
}
