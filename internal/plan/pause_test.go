package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/plan"
)

// pauses gives the Deployment a pause period, ten minutes before whatever comes next.
func pauses(s *scenario, period string) *scenario {
	s.t.Helper()
	s.in.Pause = plan.PauseAnnotations{Period: v1alpha1.PausePeriodAnnotation, At: v1alpha1.PausedAtAnnotation}
	s.in.Workload.Annotations = map[string]string{v1alpha1.PausePeriodAnnotation: period}
	return s.proven()
}

// pausing is a change of a Deployment with a pause period of a minute, whose period has just begun.
func pausing(s *scenario) *scenario {
	s.t.Helper()
	pauses(s, "1m").wrote(tls, "crt", "B").later(2)
	if d := s.decide(); d.Verdict != plan.Throttled || d.After != time.Minute {
		s.t.Fatalf("%s, again after %s; want Throttled for a minute", d.Verdict, d.After)
	}
	return s
}

func TestPausePeriod(t *testing.T) {
	waits := outcome{Verdict: plan.Throttled, Changes: changedCrt}
	restart := outcome{Verdict: plan.Restart, Changes: changedCrt}
	both := "ConfigMap/app changed (k), " + changedCrt
	table{{
		name: "begins", reason: "the first change begins it, once it has settled",
		given: func(s *scenario) { pauses(s, "1m").wrote(tls, "crt", "B").later(2) }, want: waits,
	}, {
		name: "settling", reason: "changes that come together come first",
		given: func(s *scenario) { pauses(s, "1m").wrote(tls, "crt", "B") }, want: outcome{Verdict: plan.Settling, Changes: changedCrt},
	}, {
		name: "just before its end", reason: "not yet",
		given: func(s *scenario) { pausing(s).later(59) }, want: waits,
	}, {
		name: "at its end", reason: "what was put off; that pods are as old as before is asked for, as it is a while ago",
		given: func(s *scenario) { pausing(s).later(60) }, want: stale,
	}, {
		name: "another source changes meanwhile", reason: "later changes do not extend it, and are in the same restart",
		given: func(s *scenario) {
			s.uses(app, all).made(app, -3600, "k", "1")
			pausing(s).later(50).wrote(app, "k", "2").later(5).decide()
			s.later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: both, Asked: true},
	}, {
		name: "a change at its end", reason: "it is about to be in the restart, and has to settle for that",
		given: func(s *scenario) {
			s.uses(app, all).made(app, -3600, "k", "1")
			pausing(s).later(60).wrote(app, "k", "2")
		},
		want: outcome{Verdict: plan.Settling, Changes: both},
	}, {
		name: "nothing changes", reason: "there is nothing to put off",
		given: func(s *scenario) { pauses(s, "1m") }, want: outcome{Verdict: plan.InSync},
	}, {
		name: "after the restart", reason: "it is written, and is not put off again",
		given: func(s *scenario) { pausing(s).later(60).decide(); s.restarted().later(5) },
		want:  outcome{Verdict: plan.Restarting, Changes: changedCrt},
	}, {
		name: "changed in the rollout after it", reason: "that begins another period",
		given: func(s *scenario) {
			pausing(s).later(60).decide()
			s.restarted().later(5).wrote(tls, "crt", "C").later(2)
		},
		want: waits,
	}, {
		name: "changed after the rollout", reason: "that begins another period",
		given: func(s *scenario) {
			pausing(s).later(60).decide()
			s.restarted().later(5).rolledOut().later(60).decide()
			s.wrote(tls, "crt", "C").later(2)
		},
		want: waits,
	}, {
		name: "content returns", reason: "nothing is left to do, and the next change begins another period",
		given: func(s *scenario) {
			pausing(s).later(10).wrote(tls, "crt", "A").later(60).decide()
			s.later(600).wrote(tls, "crt", "C").later(2)
		},
		want: waits,
	}, {
		name: "somebody rolls out meanwhile", reason: "the pods are looked at when it is over: they are fresh",
		given: func(s *scenario) { pausing(s).template().rolledOut().later(60) },
		want:  outcome{Verdict: plan.AlreadyFresh, Changes: "", Asked: true},
	}, {
		name: "asked for", reason: "who asks for a restart does not wait",
		given: func(s *scenario) {
			pausing(s).in.Workload.Annotations[v1alpha1.RestartRequestedAtAnnotation] = "now"
		},
		want: restart,
	}, {
		name: "held", reason: "a hold comes first",
		given: func(s *scenario) { pausing(s).held(plan.OwnerSuspended) }, want: outcome{Verdict: plan.OwnerSuspended, Changes: changedCrt},
	}, {
		name: "resumed after its end", reason: "it goes on while the workload is held",
		given: func(s *scenario) { pausing(s).held(plan.OwnerSuspended).decide(); s.resumed().later(60) }, want: stale,
	}, {
		name: "paused by its user", reason: "that is what it waits for then",
		given: func(s *scenario) { pausing(s).in.Workload.Held = plan.HeldPaused }, want: outcome{Verdict: plan.Paused, Changes: changedCrt},
	}, {
		name: "paused by its user, beyond the end", reason: "spec.paused is never touched",
		given: func(s *scenario) { pausing(s).later(60).in.Workload.Held = plan.HeldPaused },
		want:  outcome{Verdict: plan.Paused, Changes: changedCrt, Asked: true},
	}, {
		name: "unpaused by its user, beyond the end", reason: "the period went on",
		given: func(s *scenario) {
			pauses(s, "1m").wrote(tls, "crt", "B").later(2).in.Workload.Held = plan.HeldPaused
			s.decide()
			s.later(60).in.Workload.Held = ""
		},
		want: stale,
	}, {
		name: "annotation taken away", reason: "nobody asks for it any more",
		given: func(s *scenario) { delete(pausing(s).in.Workload.Annotations, v1alpha1.PausePeriodAnnotation) }, want: restart,
	}, {
		name: "annotation shortened", reason: "the period is what it says now",
		given: func(s *scenario) {
			pausing(s).later(30).in.Workload.Annotations[v1alpha1.PausePeriodAnnotation] = "30s"
		},
		want: restart,
	}, {
		name: "begun by a clock ahead", reason: "it lasts no longer than it would by this one",
		given: func(s *scenario) {
			s = pausing(s)
			s.in.Entry = s.in.Entry.Clone()
			s.in.Entry.PausedSince = s.in.Now.Add(time.Hour)
			s.decide()
			s.later(60)
		},
		want: stale,
	}, {
		name: "record of the restart lost", reason: "the value is ours: its period is over, and another change begins another",
		given: func(s *scenario) {
			before := pausing(s).later(60).decide().Entry
			s.restarted().in.Entry = before
			s.later(60).wrote(tls, "crt", "C").later(5)
		},
		want: waits,
	}, {
		name: "zero", reason: "no period",
		given: func(s *scenario) { pauses(s, "0s").wrote(tls, "crt", "B").later(2) }, want: restart,
	}, {
		name: "not a Deployment", reason: "only these can ask for it",
		given: func(s *scenario) {
			s.in.Workload.Kind = "StatefulSet"
			pauses(s, "1m").wrote(tls, "crt", "B").later(2)
		},
		want: restart,
	}, {
		name: "no annotation is named", reason: "no period",
		given: func(s *scenario) {
			s.in.Workload.Annotations = map[string]string{"": "1m"}
			s.proven().wrote(tls, "crt", "B").later(2)
		},
		want: restart,
	}}.run(t)
}

// What cannot be read is reported, and puts nothing off.
func TestInvalidPausePeriod(t *testing.T) {
	for _, value := range []string{"", "5", "five minutes", "-5m", "5 m"} {
		s := pauses(newScenario(t), value)
		d := s.wrote(tls, "crt", "B").later(2).decide()
		if diff := cmp.Diff(outcome{Verdict: plan.Restart, Changes: changedCrt}, s.outcome()); diff != "" {
			t.Errorf("%q: (-want +got)\n%s", value, diff)
		}
		if len(d.Problems) != 1 || d.Problems[0].Annotation != v1alpha1.PausePeriodAnnotation || d.Problems[0].Value != value {
			t.Errorf("%q: problems %v", value, d.Problems)
		}
	}
	if d := pausing(newScenario(t)).decision; len(d.Problems) != 0 {
		t.Errorf("problems %v with a valid one", d.Problems)
	}
}

// A Deployment that Stakater Reloader paused is reported once that must be gone; one that its user paused is the user's.
func TestLeftPaused(t *testing.T) {
	const noon = "2026-03-01T12:00:00Z" // where a scenario begins, ten minutes before it has proven anything
	for name, tc := range map[string]struct {
		at, period, held string
		later            int
		want             string
	}{
		"its time is over":           {noon, "5m", plan.HeldPaused, 0, noon},
		"its time is not over":       {noon, "15m", plan.HeldPaused, 0, ""},
		"it may be about to resume":  {noon, "9m30s", plan.HeldPaused, 0, ""},
		"for hours":                  {noon, "15m", plan.HeldPaused, 7200, noon},
		"the period cannot be read":  {noon, "soon", plan.HeldPaused, 0, noon},
		"in another zone":            {"2026-03-01T14:00:00+02:00", "5m", plan.HeldPaused, 0, "2026-03-01T14:00:00+02:00"},
		"the time cannot be read":    {"noon", "5m", plan.HeldPaused, 0, "noon"},
		"paused by its user":         {"", "5m", plan.HeldPaused, 0, ""},
		"not paused, a stale remark": {noon, "5m", "", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := pauses(newScenario(t), tc.period)
			s.in.Workload.Held = tc.held
			if tc.at != "" {
				s.in.Workload.Annotations[v1alpha1.PausedAtAnnotation] = tc.at
			}
			if d := s.later(tc.later).decide(); d.LeftPaused != tc.want {
				t.Errorf("%q, want %q", d.LeftPaused, tc.want)
			}
		})
	}
}

// The annotation that says since when a restart is put off is written once, and goes with the restart, or without it.
func TestPauseMark(t *testing.T) {
	s := pausing(newScenario(t))
	carry := func(want *plan.Mark) { // out what was decided
		t.Helper()
		if diff := cmp.Diff(want, s.decision.Mark); diff != "" {
			t.Fatalf("%s: (-want +got)\n%s", s.decision.Verdict, diff)
		}
		if want != nil {
			s.in.Workload.Annotations[want.Annotation] = want.Value
		}
	}
	gone := &plan.Mark{Annotation: v1alpha1.PausedAtAnnotation}
	begun := func() *plan.Mark {
		return &plan.Mark{Annotation: v1alpha1.PausedAtAnnotation, Value: s.in.Now.Format(time.RFC3339)}
	}
	carry(begun())
	s.later(5).decide()
	carry(nil)
	s.in.Workload.Held = plan.HeldPaused
	if s.later(7200).decide(); s.decision.LeftPaused != "" {
		t.Error("our own annotation is taken for Stakater Reloader's")
	}
	carry(nil)
	s.in.Workload.Held = ""
	s.decide()
	carry(gone)
	s.restarted().rolledOut().later(60).decide()
	carry(nil)

	s.wrote(tls, "crt", "C").later(2).decide()
	carry(begun())
	s.template().rolledOut().later(60).decide()
	if s.decision.Verdict != plan.AlreadyFresh || s.decision.Mark == nil {
		t.Fatalf("%s with %v, want the annotation to go without a restart", s.decision.Verdict, s.decision.Mark)
	}
	s.decide() // the request failed
	carry(gone)
	s.decide()
	carry(nil)
	if !s.in.Entry.PausedSince.IsZero() {
		t.Error("the record keeps what is over")
	}

	s.in.Workload.Annotations[v1alpha1.PausedAtAnnotation] = "2026-01-01T00:00:00Z"
	s.decide()
	carry(nil) // it is somebody else's
	s.wrote(tls, "crt", "D").later(2).decide()
	carry(begun())
	s.in.Selection.Selected = false
	s.decide()
	carry(gone)
	s.decide()
	carry(nil)

	s = newScenario(t).proven().wrote(tls, "crt", "B").later(2)
	s.in.Pause = plan.PauseAnnotations{Period: v1alpha1.PausePeriodAnnotation, At: v1alpha1.PausedAtAnnotation}
	if d := s.decide(); d.Verdict != plan.Restart || d.Mark != nil {
		t.Errorf("%s with %v, want a restart that marks nothing", d.Verdict, d.Mark)
	}
}

// A message must stay what it is while the same is waited for.
func TestPauseMessage(t *testing.T) {
	s := pausing(newScenario(t))
	first := s.decision.Message
	if want := s.in.Now.Add(time.Minute).Format(time.RFC3339); !strings.Contains(first, want) {
		t.Errorf("%q does not name the end, %s", first, want)
	}
	if d := s.later(30).decide(); d.Message != first || d.After != 30*time.Second {
		t.Errorf("%q and again after %s, want %q and the rest of the period", d.Message, d.After, first)
	}
}
