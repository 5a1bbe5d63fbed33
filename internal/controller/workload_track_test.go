package controller

import (
	"testing"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

// A request to look at the pods counts once, and not if it was there before this process.
func TestAsked(t *testing.T) {
	r := &Reconciler{tracks: map[ledger.Workload]*track{}}
	for i, step := range []struct {
		request string
		want    bool
	}{{"1", false}, {"2", true}, {"2", false}, {"", false}, {"2", false}, {"3", true}} {
		w := plan.Workload{Workload: named("web"), Annotations: map[string]string{v1alpha1.ReconcileRequestAnnotation: step.request}}
		tracked := r.track(w)
		if got := tracked.asked(w); got != step.want {
			t.Errorf("step %d, request %q: asked %t, want %t", i+1, step.request, got, step.want)
		}
		tracked.look(w)
	}
}
