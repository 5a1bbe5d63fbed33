package controller

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"

	"github.com/flux-reloader/reloader/internal/ledger"
)

func named(name string) ledger.Workload {
	return ledger.Workload{Kind: "Deployment", Namespace: "apps", Name: name}
}

// A real restart must not queue behind thousands of first sights.
func TestFirstSightsWaitBehindChanges(t *testing.T) {
	queue := priorityqueue.New[ledger.Workload]("test")
	defer queue.ShutDown()
	f := &feed[ledger.Workload]{}
	f.send(named("before-leading"), false) // nobody to tell: the leader begins with all there are
	f.open(queue)
	f.send(named("first-sight"), true)
	f.send(named("change"), false)
	for _, want := range []string{"change", "first-sight"} {
		got, shutdown := queue.Get()
		if shutdown || got.Name != want {
			t.Fatalf("next is %q, want %q", got.Name, want)
		}
		queue.Done(got)
	}
	if n := queue.Len(); n != 0 {
		t.Errorf("%d more in the queue", n)
	}
}
