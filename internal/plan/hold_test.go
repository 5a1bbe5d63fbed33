package plan_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/selection"
)

// Rule 1 of the design: workloads that are not selected, suspended or held by their owner.

func TestHold(t *testing.T) {
	changedInHold := func(s *scenario) {
		s.proven().held(plan.OwnerSuspended).wrote(tls, "crt", "B").later(5).decide()
		s.later(3600)
	}
	writtenBeforeHold := func(s *scenario) *scenario {
		s.proven().wrote(tls, "crt", "B").later(5).decide()
		return s.restarted().held(plan.Suspended).later(5)
	}
	table{{
		name: "not selected", reason: "nothing is restarted without opting in",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(5).in.Selection = selection.Result{} },
		want:  outcome{Verdict: plan.NotSelected},
	}, {
		name: "not selected, held", reason: "what is not selected is not held either",
		given: func(s *scenario) { s.held(plan.Suspended).in.Selection = selection.Result{} },
		want:  outcome{Verdict: plan.NotSelected},
	}, {
		name: "suspended", reason: "the verdict is the hold's, and the difference is shown",
		given: func(s *scenario) { s.proven().held(plan.Suspended).wrote(tls, "crt", "B").later(5) },
		want:  outcome{Verdict: plan.Suspended, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "owner suspended", reason: "the verdict is the hold's, and the difference is shown",
		given: func(s *scenario) { s.proven().held(plan.OwnerSuspended).wrote(tls, "crt", "B").later(5) },
		want:  outcome{Verdict: plan.OwnerSuspended, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "owner reconciling", reason: "the verdict is the hold's, and the difference is shown",
		given: func(s *scenario) { s.proven().held(plan.OwnerReconciling).wrote(tls, "crt", "B").later(5) },
		want:  outcome{Verdict: plan.OwnerReconciling, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "observed", reason: "the verdict is the hold's, and the difference is shown",
		given: func(s *scenario) { s.proven().held(plan.Observed).wrote(tls, "crt", "B").later(5) },
		want:  outcome{Verdict: plan.Observed, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "observed, and somebody rolled out", reason: "nothing is left to restart for",
		given: func(s *scenario) {
			s.proven().held(plan.Observed).wrote(tls, "crt", "B").later(5).decide()
			s.later(60).template().rolledOut().later(5)
		},
		want: outcome{Verdict: plan.AlreadyFresh, Asked: true},
	}, {
		name: "observed, and content returned", reason: "pods have run with it all along",
		given: func(s *scenario) {
			s.proven().held(plan.Observed).wrote(tls, "crt", "B").later(5).decide()
			s.later(60).wrote(tls, "crt", "A").later(5)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "observed, stale at first sight", reason: "that is what somebody wants to know",
		given: func(s *scenario) { s.held(plan.Observed).hasPods(started(-600)).renewed(-500) },
		want:  outcome{Verdict: plan.Observed, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "nothing to hold", reason: "a hold is shown whether or not there is a difference",
		given: func(s *scenario) { s.proven().held(plan.Suspended) }, want: outcome{Verdict: plan.Suspended},
	}, {
		name: "held before it waits", reason: "a hold comes first",
		given: func(s *scenario) { s.proven().held(plan.Suspended).deleted(tls) }, want: outcome{Verdict: plan.Suspended},
	}, {
		name: "held in mid-rollout", reason: "the restart was written before: there is nothing to hold",
		given: func(s *scenario) { writtenBeforeHold(s) },
		want:  outcome{Verdict: plan.Restarting, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "held in mid-rollout, old pods are left", reason: "it is not through before they are gone",
		given: func(s *scenario) { writtenBeforeHold(s).in.Workload.Rolling = false },
		want:  outcome{Verdict: plan.Restarting, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "held in mid-rollout, through", reason: "pods run with the present content, whatever is held",
		given: func(s *scenario) { writtenBeforeHold(s).rolledOut().later(5) },
		want:  outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "held in mid-rollout, changed again", reason: "that is held",
		given: func(s *scenario) { writtenBeforeHold(s).wrote(tls, "crt", "C").later(5) },
		want:  outcome{Verdict: plan.Suspended, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "held in mid-rollout, and a required source goes", reason: "what pods cannot start with proves nothing",
		given: func(s *scenario) {
			writtenBeforeHold(s.uses(app, all).made(app, -3600, "k", "1")).rolledOut().later(5).deleted(app)
		},
		want: outcome{Verdict: plan.Suspended, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "held in mid-rollout, and somebody asks", reason: "the request is held",
		given: func(s *scenario) { writtenBeforeHold(s).requests("1") },
		want:  outcome{Verdict: plan.Suspended, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "held after a requested restart", reason: "it was written before, though nothing differs",
		given: func(s *scenario) { s.proven().requests("1").decide(); s.restarted().held(plan.Suspended).later(5) },
		want:  outcome{Verdict: plan.Restarting},
	}, {
		name: "held after a requested restart, through", reason: "all pods carry its value",
		given: func(s *scenario) {
			s.proven().requests("1").decide()
			s.restarted().held(plan.Suspended).rolledOut().later(5).decide()
		},
		want: outcome{Verdict: plan.Suspended},
	}, {
		name: "observed in mid-rollout", reason: "the restart was written before",
		given: func(s *scenario) { writtenBeforeHold(s).held(plan.Observed) },
		want:  outcome{Verdict: plan.Restarting, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "first sight in a hold", reason: "sources are entered all the same",
		given: func(s *scenario) { s.held(plan.Suspended).decide(); s.resumed() }, want: outcome{Verdict: plan.InSync},
	}, {
		name: "stale at first sight in a hold", reason: "no pods are asked for what may not be restarted",
		given: func(s *scenario) { s.held(plan.Suspended).hasPods(started(-600)).renewed(-500) },
		want:  outcome{Verdict: plan.Suspended},
	}, {
		name: "stale at first sight, resumed", reason: "judged when the hold ends",
		given: func(s *scenario) { s.held(plan.Suspended).hasPods(started(-600)).renewed(-500).decide(); s.resumed() },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "resumed", reason: "what was held happens on resume",
		given: func(s *scenario) { changedInHold(s); s.resumed() },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "resumed after several changes", reason: "once, for all of them",
		given: func(s *scenario) {
			changedInHold(s)
			s.wrote(tls, "crt", "C", "key", "C").later(5).decide()
			s.resumed().decide()
			s.restarted().rolledOut().later(60)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "resumed when somebody else has rolled out", reason: "not when the pods already run with the new content",
		given: func(s *scenario) { changedInHold(s); s.template().rolledOut().later(60).resumed() },
		want:  outcome{Verdict: plan.AlreadyFresh, Asked: true},
	}, {
		name: "changed back in a hold", reason: "no pod has read anything else",
		given: func(s *scenario) { changedInHold(s); s.wrote(tls, "crt", "A").later(60).resumed() },
		want:  outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "changed back in a hold, with a pod created between", reason: "that pod runs with what was there then",
		given: func(s *scenario) {
			changedInHold(s)
			s.hasPods(s.pods[0], s.newPod()).later(60).wrote(tls, "crt", "A").later(60).resumed()
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}}.run(t)
}

// TestHeldDifferenceIsRemembered reads the record, which outlives the process: since when, and since when content differs.
func TestHeldDifferenceIsRemembered(t *testing.T) {
	s := newScenario(t).proven().held(plan.Suspended).wrote(tls, "crt", "B").later(5)
	digest := s.in.Entry.Sources[tls].Digest
	d := s.decide()
	since := s.in.Now
	if diff := cmp.Diff(5*time.Minute, d.After); diff != "" {
		t.Errorf("when to look again is the hold's: (-want +got)\n%s", diff)
	}
	for range 2 {
		s.later(60).wrote(tls, "crt", "C").later(5).decide()
		if diff := cmp.Diff(since, s.in.Entry.PendingSince); diff != "" {
			t.Errorf("PendingSince moved: (-want +got)\n%s", diff)
		}
		record := s.in.Entry.Sources[tls]
		if diff := cmp.Diff(at(600), record.Diverged); diff != "" {
			t.Errorf("Diverged is the first change's time: (-want +got)\n%s", diff)
		}
		if record.Digest != digest {
			t.Error("the record of what pods run with was overwritten while they still do")
		}
	}
	s.resumed().decide()
	s.restarted().rolledOut().later(60).decide()
	if e := s.in.Entry; !e.PendingSince.IsZero() || !e.Sources[tls].Diverged.IsZero() {
		t.Errorf("still pending since %s, diverged %s", e.PendingSince, e.Sources[tls].Diverged)
	}
}

// TestNotSelectedKeepsTheRecord because an annotation that is taken away and put back must not lose a change.
func TestNotSelectedKeepsTheRecord(t *testing.T) {
	s := newScenario(t).proven()
	selected, entry := s.in.Selection, s.in.Entry
	s.in.Selection = selection.Result{}
	s.wrote(tls, "crt", "B").later(60).decide()
	if diff := cmp.Diff(entry, s.in.Entry); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	s.in.Selection = selected
	if d := s.decide(); d.Verdict != plan.Restart {
		t.Errorf("selected again: %s, want Restart", d.Verdict)
	}
}
