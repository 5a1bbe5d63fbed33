package plan_test

import (
	"testing"

	"github.com/flux-reloader/reloader/internal/plan"
)

// Somebody else restarts: changes are told, each until somebody was, and nothing is written.

// tells has the workload's changes told to somebody else.
func (s *scenario) tells() *scenario {
	s.in.Policy.Tell = true
	return s
}

// told carries out the last decision.
func (s *scenario) told() *scenario {
	s.t.Helper()
	if s.decision.Verdict != plan.Tell {
		s.t.Fatalf("%s: nothing to tell", s.decision.Verdict)
	}
	s.in.Entry = s.decision.Told
	return s
}

func TestTell(t *testing.T) {
	changed := outcome{Verdict: plan.Tell, Changes: "Secret/tls changed (crt)"}
	table{{
		name: "first sight", reason: "only changes are told, not what was there before",
		given: func(s *scenario) { s.tells().made(tls, -60, "crt", "A") }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "same content", reason: "there is nothing to tell", given: func(s *scenario) { s.tells().proven() }, want: inSync,
	}, {
		name: "changed", reason: "it is told, without a look at the pods",
		given: func(s *scenario) { s.tells().proven().wrote(tls, "crt", "B").later(5) }, want: changed,
	}, {
		name: "settling", reason: "changes that come together are told once",
		given: func(s *scenario) { s.tells().proven().wrote(tls, "crt", "B") },
		want:  outcome{Verdict: plan.Settling, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "held", reason: "what is held is told when it is held no more",
		given: func(s *scenario) {
			s.tells().proven().held(plan.OwnerSuspended).wrote(tls, "crt", "B").later(5)
		},
		want: outcome{Verdict: plan.OwnerSuspended, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "resumed", reason: "what is held is told when it is held no more",
		given: func(s *scenario) {
			s.tells().proven().held(plan.OwnerSuspended).wrote(tls, "crt", "B").later(5).decide()
			s.resumed().later(60)
		},
		want: changed,
	}, {
		name: "not accepted", reason: "it is told until somebody takes it",
		given: func(s *scenario) { s.tells().proven().wrote(tls, "crt", "B").later(5).decide(); s.later(60) }, want: changed,
	}, {
		name: "accepted", reason: "once",
		given: func(s *scenario) { s.tells().proven().wrote(tls, "crt", "B").later(5).decide(); s.told().later(60) }, want: inSync,
	}, {
		name: "changed while it was told", reason: "who was told of the one does not know of the other",
		given: func(s *scenario) {
			s.tells().proven().wrote(tls, "crt", "B").later(5).decide()
			s.wrote(tls, "crt", "C").told().later(5)
		},
		want: changed,
	}, {
		name: "back to what it was", reason: "that is a change to who was told",
		given: func(s *scenario) {
			s.tells().proven().wrote(tls, "crt", "B").later(5).decide()
			s.told().later(60).wrote(tls, "crt", "A").later(5)
		},
		want: changed,
	}, {
		name: "already fresh", reason: "somebody else restarts, and is told whatever pods there are",
		given: func(s *scenario) { s.tells().proven().wrote(tls, "crt", "B").template().rolledOut().later(5) }, want: changed,
	}, {
		name: "in mid-rollout", reason: "that holds nothing back",
		given: func(s *scenario) { s.tells().proven().template().wrote(tls, "crt", "B").later(5) }, want: changed,
	}, {
		name: "requested", reason: "a request is one to be told",
		given: func(s *scenario) { s.tells().proven().requests("1") }, want: outcome{Verdict: plan.Tell},
	}, {
		name: "requested and told", reason: "once a token",
		given: func(s *scenario) { s.tells().proven().requests("1").decide(); s.told().later(60) }, want: inSync,
	}, {
		name: "often", reason: "there is no rate to keep: nothing is restarted",
		given: func(s *scenario) {
			s.tells().proven()
			for _, value := range []string{"B", "C", "D", "E", "F", "G", "H"} {
				s.wrote(tls, "crt", value).later(5).decide()
				s.told()
			}
			s.wrote(tls, "crt", "I").later(5)
		},
		want: changed,
	}, {
		name: "deleted", reason: "with on-delete",
		given: func(s *scenario) {
			s.tells().usesOptional(app, all).made(app, -3600, "k", "A")
			s.in.Policy.OnDelete = true
			s.proven().deleted(app).later(5)
		},
		want: outcome{Verdict: plan.Tell, Changes: "ConfigMap/app deleted"},
	}, {
		name: "deleted and told", reason: "once",
		given: func(s *scenario) {
			s.tells().usesOptional(app, all).made(app, -3600, "k", "A")
			s.in.Policy.OnDelete = true
			s.proven().deleted(app).later(5).decide()
			s.told().later(60)
		},
		want: inSync,
	}}.run(t)
}

// What is told next must differ from what was told before, or who passes it on takes it for the same.
func TestWhatIsToldHasAMark(t *testing.T) {
	s := newScenario(t).tells().proven()
	first := s.wrote(tls, "crt", "B").later(5).decide().Value
	second := s.told().wrote(tls, "crt", "C").later(5).decide().Value
	if first == "" || first == second {
		t.Errorf("marks %q and %q", first, second)
	}
}
