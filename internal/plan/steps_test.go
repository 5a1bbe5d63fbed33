package plan_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/plan"
)

// Workloads that must not get a template while a rollout is held or under way, and those that restart by the age of pods.

// barred has somebody's rollout hold the workload for that reason; none if it is empty, and the rollout goes on.
func (s *scenario) barred(held string) *scenario {
	s.in.Workload.Barred, s.in.Workload.Held = true, held
	return s
}

// age makes the workload one whose pods are replaced by their age.
func (s *scenario) age() *scenario {
	s.in.Workload.Restarts = plan.ByAge
	return s
}

func TestBarred(t *testing.T) {
	paused := outcome{Verdict: plan.Paused, Changes: changedCrt}
	due := func(s *scenario) *scenario { return s.proven().wrote(tls, "crt", "B").later(5) }
	// stepping is in the middle of somebody's rollout, which began a minute before the change.
	stepping := func(s *scenario) *scenario {
		s.proven().template().hasPods(pod(-1800), s.newPod())
		return s.later(60).wrote(tls, "crt", "B").later(5)
	}
	table{{
		name: "paused at a step", reason: "a new template would begin the steps anew",
		given: func(s *scenario) { due(s).barred("paused at a step") }, want: paused,
	}, {
		name: "paused at a step, in the middle of a rollout", reason: "the same",
		given: func(s *scenario) { stepping(s).barred("paused at a step") },
		want:  outcome{Verdict: plan.Paused, Changes: changedCrt, Asked: true},
	}, {
		name: "held, and not barred", reason: "the template may be written, and is pending then",
		given: func(s *scenario) { due(s).barred("OnDelete").in.Workload.Barred = false },
		want:  outcome{Verdict: plan.Restart, Changes: changedCrt},
	}, {
		name: "goes on", reason: "once it is not held any more, once",
		given: func(s *scenario) { due(s).barred("paused at a step").decide(); s.later(600).barred("") }, want: again,
	}, {
		name: "a rollout is under way", reason: "its steps would begin anew",
		given: func(s *scenario) { stepping(s).barred("") },
		want:  outcome{Verdict: plan.Restarting, Changes: changedCrt, Asked: true},
	}, {
		name: "a rollout is under way, and not barred", reason: "it is no restart of ours",
		given: func(s *scenario) { stepping(s) }, want: again,
	}, {
		name: "a rollout is stuck", reason: "a restart may be what heals it",
		given: func(s *scenario) { stepping(s).barred("").later(900) }, want: again,
	}, {
		name: "asked for while a rollout is under way", reason: "that is what skips waiting for it",
		given: func(s *scenario) { stepping(s).barred("").decide(); s.requests("now") },
		want:  outcome{Verdict: plan.Restart, Changes: changedCrt},
	}, {
		name: "asked for while it is paused", reason: "who asks for a restart may resume it as well",
		given: func(s *scenario) { due(s).barred("paused at a step").decide(); s.requests("now") }, want: paused,
	}, {
		name: "written, and aborted", reason: "the rollout that was aborted is not begun again",
		given: func(s *scenario) {
			due(s).decide()
			s.restarted().barred("aborted").later(600)
		},
		want: outcome{Verdict: plan.Paused, Changes: changedCrt, Asked: true},
	}, {
		name: "written and aborted, and content changes", reason: "nor is it for other content",
		given: func(s *scenario) {
			due(s).decide()
			s.restarted().barred("aborted").later(600).wrote(tls, "crt", "C").later(5)
		},
		want: outcome{Verdict: plan.Paused, Changes: changedCrt, Asked: true},
	}, {
		name: "all pods are newer", reason: "held or not, nothing is to be done",
		given: func(s *scenario) {
			due(s).barred("paused at a step").template().later(60).hasPods(s.newPod())
		},
		want: outcome{Verdict: plan.AlreadyFresh, Asked: true},
	}}.run(t)
}

// Where the template is not known, nothing is claimed of what pods run with, and what is on record stays.
func TestUnseenTemplate(t *testing.T) {
	s := newScenario(t).proven()
	record := deepCopyEntry(s.in.Entry)
	s.in.Workload.Unseen = "its template is somewhere else"
	s.wrote(tls, "crt", "B").later(5).decide()
	if diff := cmp.Diff(outcome{Verdict: plan.Waiting}, s.outcome()); diff != "" || s.decision.Message != s.in.Workload.Unseen {
		t.Errorf("(-want +got)\n%s\n%s", diff, s.decision.Message)
	}
	if diff := cmp.Diff(record, s.in.Entry); diff != "" {
		t.Errorf("the record (-before +after)\n%s", diff)
	}
	s.in.Workload.Unseen = ""
	if s.decide(); s.decision.Verdict != plan.Restart {
		t.Errorf("once it is known: %s", s.decision.Verdict)
	}
}

func TestRestartAt(t *testing.T) {
	due := func(s *scenario) *scenario { return s.age().proven().wrote(tls, "crt", "B").later(5) } // at second 605
	for name, tc := range map[string]struct {
		given func(s *scenario)
		want  time.Time
	}{
		"the next whole second":     {func(s *scenario) { due(s).in.Now = s.in.Now.Add(time.Millisecond) }, at(606)},
		"never the one that begins": {func(s *scenario) { due(s) }, at(606)},
		"the change is later by the API server's clock": {func(s *scenario) {
			due(s).edit(tls, func(o *plan.Source) { o.Changed = at(640) })
		}, at(642)},
		"another source is later, and does not differ": {func(s *scenario) {
			s.uses(app, all).made(app, -3600, "k", "1")
			due(s).edit(app, func(o *plan.Source) { o.Changed = at(640) })
		}, at(606)},
		"not the last one again":           {func(s *scenario) { due(s).in.Workload.RestartAt = at(606) }, at(607)},
		"one that was scheduled for later": {func(s *scenario) { due(s).in.Workload.RestartAt = at(90000) }, at(606)},
		"asked for": {func(s *scenario) {
			s.age().proven().decide()
			s.requests("now").later(5)
		}, at(606)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			s.in.Policy.Strategy = plan.EnvVars
			tc.given(s)
			s.decide()
			if s.decision.Verdict != plan.Restart {
				t.Fatalf("%s: %s", s.decision.Verdict, s.decision.Message)
			}
			want := plan.Write{Value: s.decision.Value, RestartAt: tc.want}
			if diff := cmp.Diff(want, s.decision.Write); diff != "" || want.Value == "" {
				t.Errorf("writes (-want +got)\n%s", diff)
			}
		})
	}
}

func TestRestartByAge(t *testing.T) {
	// replacing is in the middle of a restart by age.
	replacing := func(s *scenario) *scenario {
		s.age().proven().wrote(tls, "crt", "B").later(5).decide()
		return s.restarted()
	}
	table{{
		name: "under way", reason: "old pods are still to be replaced",
		given: func(s *scenario) { replacing(s).later(5) }, want: outcome{Verdict: plan.Restarting, Changes: changedCrt},
	}, {
		name: "another change", reason: "the last restart is to be through first",
		given: func(s *scenario) { replacing(s).later(60).wrote(tls, "crt", "C").later(5) },
		want:  outcome{Verdict: plan.Restarting, Changes: changedCrt, Asked: true},
	}, {
		name: "all pods are younger", reason: "it is through",
		given: func(s *scenario) { replacing(s).later(5).rolledOut() }, want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "all pods are younger, in a canary that is paused", reason: "the canary is somebody's, and no matter here",
		given: func(s *scenario) {
			replacing(s).later(5).rolledOut()
			s.in.Workload.Rolling, s.in.Workload.Held = true, "paused at a step"
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "a canary is paused", reason: "pods of both revisions are replaced in place",
		given: func(s *scenario) {
			s.age().proven().wrote(tls, "crt", "B").later(5)
			s.in.Workload.Rolling, s.in.Workload.Held = true, "paused at a step"
		},
		want: again,
	}, {
		name: "its record is lost", reason: "the value tells",
		given: func(s *scenario) {
			s.age().proven().wrote(tls, "crt", "B").later(5).decide()
			before := deepCopyEntry(s.in.Entry)
			s.restarted().later(5)
			s.in.Entry, s.in.Written = before, 0
		},
		want: outcome{Verdict: plan.Restarting, Changes: changedCrt},
	}, {
		name: "taken back", reason: "it is not fought over",
		given: func(s *scenario) {
			replacing(s).later(5)
			s.in.Workload.Value, s.in.Workload.Rolling, s.born = "", false, at(-1800)
		},
		want: outcome{Verdict: plan.RolledBack, Changes: changedCrt, Asked: true},
	}}.run(t)
}
