package plan_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/plan"
)

// Rule 4 of the design: content as proven, unless it was another meanwhile.

// between is content that was B for a while and is A again, with a controller that saw both changes as they happened.
func (s *scenario) between(during func()) *scenario {
	s.wrote(tls, "crt", "B").held(plan.OwnerReconciling).later(5).decide()
	if s.later(60); during != nil {
		during()
	}
	return s.later(60).wrote(tls, "crt", "A").resumed().later(5)
}

func TestInSync(t *testing.T) {
	table{{
		name: "nothing happened", reason: "no pods are asked for",
		given: func(s *scenario) { s.proven() }, want: outcome{Verdict: plan.InSync},
	}, {
		name: "label-only write", reason: "labels and annotations are no content, though the time moves",
		given: func(s *scenario) {
			s.proven().edit(tls, func(o *plan.Source) { o.Changed, o.ResourceVersion = s.in.Now, "8" })
		},
		want: outcome{Verdict: plan.InSync},
	}, {
		name: "controller came back", reason: "a restart of the controller restarts nothing",
		given: func(s *scenario) { s.proven().met(tls, -3600, "crt", "A") }, want: outcome{Verdict: plan.InSync},
	}, {
		name: "deleted and made again with equal content", reason: "digests decide, not the object",
		given: func(s *scenario) { s.proven().deleted(tls).decide(); s.later(60).remade(tls, "crt", "A").later(5) },
		want:  outcome{Verdict: plan.InSync},
	}, {
		name: "somebody's rollout", reason: "nothing differs: its pods need not be looked at",
		given: func(s *scenario) { s.proven().template() }, want: outcome{Verdict: plan.InSync},
	}, {
		name: "A, B, A without a new pod", reason: "no pod has read B",
		given: func(s *scenario) { s.proven().between(nil) }, want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "A, B, A with a pod created during B", reason: "that pod runs with B",
		given: func(s *scenario) { s.proven().between(func() { s.hasPods(s.newPod()) }) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "A, B, A with a container started again during B", reason: "it read its environment again, B then",
		given: func(s *scenario) {
			s.proven().between(func() { s.pods[0].LastStart = s.in.Now })
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "A, B, A with a container that waits to be started again", reason: "which of them it will read is not known",
		given: func(s *scenario) {
			s.proven().between(func() { s.pods[0].LastStart = time.Time{} })
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "A, B, A with a pod created in the second of B", reason: "which of them it read is not known",
		given: func(s *scenario) {
			s.proven().between(func() { s.hasPods(pod(600)) })
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "A, B, A with a pod created after the return", reason: "it read A",
		given: func(s *scenario) { s.proven().between(nil).hasPods(s.newPod()) },
		want:  outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "A, B, A where A was written by a restart", reason: "a pod inherits the value for A, whatever it read",
		given: func(s *scenario) {
			s.made(tls, -3600, "crt", "0").proven().wrote(tls, "crt", "A").later(5).decide()
			s.restarted().rolledOut().later(60).decide()
			s.later(600).between(func() { s.hasPods(s.newPod()) })
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "A, B, A where A was written by a restart, without a new pod", reason: "no pod has read B",
		given: func(s *scenario) {
			s.made(tls, -3600, "crt", "0").proven().wrote(tls, "crt", "A").later(5).decide()
			s.restarted().rolledOut().later(60).decide()
			s.later(600).between(nil)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "A, B, A, somebody's rollout of A", reason: "its pods read A",
		given: func(s *scenario) {
			s.proven().between(func() { s.hasPods(s.newPod()) }).template().later(5).rolledOut().later(5)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "A, B while down, a pod, C met in a list, A", reason: "a listed time is that of the last change: the pod may have read B",
		given: func(s *scenario) {
			s.proven().hasPods(pod(620)).later(60).met(tls, 640, "crt", "C").held(plan.Suspended).decide()
			s.later(60).wrote(tls, "crt", "A").resumed().later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}}.run(t)
}

// TestProven says when the record advances: never in a rollout, never while there are differences.
func TestProven(t *testing.T) {
	s := newScenario(t).proven()
	before := s.in.Entry.Clone()
	s.template().later(60).decide()
	if s.in.Entry.Template != before.Template {
		t.Error("proven in mid-rollout")
	}
	s.rolledOut().later(60).decide()
	if s.in.Entry.Template != s.in.Workload.Template || !s.in.Entry.ProvenAt.Equal(s.in.Now) {
		t.Error("not proven when the rollout ended")
	}
	proven := s.in.Now
	s.later(3600).decide()
	if diff := cmp.Diff(proven, s.in.Entry.ProvenAt); diff != "" {
		t.Errorf("the time moves without a reason to write the record: (-want +got)\n%s", diff)
	}
	record := s.in.Entry.Sources[tls]
	s.wrote(tls, "crt", "B").later(1).decide()
	for range 3 {
		if got := s.in.Entry.Sources[tls]; got.Digest != record.Digest || !s.in.Entry.ProvenAt.Equal(proven) {
			t.Fatal("proven before pods were")
		}
		s.later(10).decide()
	}
	s.restarted().later(5).decide()
	if got := s.in.Entry.Sources[tls]; got.Digest != record.Digest {
		t.Fatal("proven when the patch was sent")
	}
	s.rolledOut().later(60).decide()
	if got := s.in.Entry.Sources[tls]; got.Digest == record.Digest || !got.Changed.Equal(s.in.Sources[tls].Changed) {
		t.Error("not proven when pods were")
	}
}

// TestInSyncNeedsNoTimer because what ends it is an event.
func TestInSyncNeedsNoTimer(t *testing.T) {
	if d := newScenario(t).proven().decide(); d.After != time.Duration(0) {
		t.Errorf("looks again after %s", d.After)
	}
}
