package plan_test

import (
	"testing"

	"github.com/flux-reloader/reloader/internal/plan"
)

// What appears and what goes away, where the policy takes that for a change: once each, also while nobody looked.

func TestOnCreate(t *testing.T) {
	created := outcome{Verdict: plan.Restart, Changes: "ConfigMap/app created", Asked: true}
	// absent is a workload, proven without its optional source.
	absent := func(s *scenario) *scenario {
		s.in.Policy.OnCreate = true
		return s.usesOptional(app, all).proven()
	}
	table{{
		name: "appears", reason: "pods started without it",
		given: func(s *scenario) { absent(s).remade(app, "mode", "1").later(5) }, want: created,
	}, {
		name: "appears, and settles", reason: "changes may come with it",
		given: func(s *scenario) { absent(s).remade(app, "mode", "1").later(1); s.decide(); s.later(5) },
		want:  outcome{Verdict: plan.Restart, Changes: "ConfigMap/app created"},
	}, {
		name: "once", reason: "the pods that were made since have it",
		given: func(s *scenario) {
			absent(s).remade(app, "mode", "1").later(5).decide()
			s.restarted().later(5).rolledOut().later(5).decide()
			s.later(600)
		},
		want: outcome{Verdict: plan.InSync},
	}, {
		name: "while away", reason: "what pods started without is known from their age",
		given: func(s *scenario) { absent(s).made(app, 650, "mode", "1").later(120) }, want: created,
	}, {
		name: "before the pods", reason: "they have it",
		given: func(s *scenario) {
			absent(s).made(app, 650, "mode", "1").later(120).template().rolledOut().later(60)
		},
		want: outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "named or found only now", reason: "one that was never recorded is told by its age alone",
		given: func(s *scenario) {
			s.in.Policy.OnCreate = true
			s.proven()
			s.usesOptional(app, all).remade(app, "mode", "1").later(5)
		},
		want: created,
	}, {
		name: "for all workloads", reason: "that adoption changes nothing does not matter here",
		given: func(s *scenario) {
			absent(s).in.Policy.OnAdoption = plan.BaselineOnly
			s.remade(app, "mode", "1").later(5)
		},
		want: created,
	}, {
		name: "installation", reason: "without any ledger nobody knows what was done about it",
		given: func(s *scenario) {
			s.in.Policy.OnCreate, s.in.Bootstrap = true, true
			s.usesOptional(app, all).made(app, -60, "mode", "1")
		},
		want: outcome{Verdict: plan.Baseline},
	}}.run(t)
}

func TestOnDelete(t *testing.T) {
	deleted := outcome{Verdict: plan.Restart, Changes: "Secret/tls deleted", Asked: true}
	policy := func(s *scenario) *scenario {
		s.in.Policy.OnDelete = true
		return s.usesOptional(tls, all).proven()
	}
	through := func(s *scenario) {
		policy(s).deleted(tls).later(5).decide()
		s.restarted().later(5).rolledOut().later(5).decide()
	}
	table{{
		name: "goes", reason: "pods still have it", given: func(s *scenario) { policy(s).deleted(tls).later(5) }, want: deleted,
	}, {
		name: "required goes", reason: "who asks for it gets it, though new pods cannot start",
		given: func(s *scenario) { s.in.Policy.OnDelete = true; s.proven().deleted(tls).later(5) }, want: deleted,
	}, {
		name: "settles", reason: "it may be made again at once",
		given: func(s *scenario) {
			policy(s).deleted(tls).edit(tls, func(o *plan.Source) { o.SeenAt = s.in.Now })
		},
		want: outcome{Verdict: plan.Settling, Changes: "Secret/tls deleted"},
	}, {
		name: "once", reason: "the pods that were made since run without it", given: func(s *scenario) { through(s); s.later(600) },
		want: outcome{Verdict: plan.InSync},
	}, {
		name: "made again as it was, at once", reason: "nothing has happened to the pods",
		given: func(s *scenario) {
			policy(s).deleted(tls).decide()
			s.later(1).remade(tls, "crt", "A").later(5)
		},
		want: outcome{Verdict: plan.InSync},
	}, {
		name: "made again with other content, at once", reason: "that is a change",
		given: func(s *scenario) {
			policy(s).deleted(tls).decide()
			s.later(1).remade(tls, "crt", "B").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "made again in mid-rollout", reason: "some pods were made without it",
		given: func(s *scenario) {
			policy(s).deleted(tls).later(5).decide()
			s.restarted().later(60).remade(tls, "crt", "A").later(5)
			s.hasPods(pod(-1800), s.newPod()).in.Workload.Rolling = false
			s.later(60)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "made again later", reason: "absent to present counts only with reload-on-create",
		given: func(s *scenario) { through(s); s.later(600).remade(tls, "crt", "B").later(5) },
		want:  outcome{Verdict: plan.Baseline},
	}, {
		name: "made again later, and that counts too", reason: "pods run without it",
		given: func(s *scenario) {
			through(s)
			s.in.Policy.OnCreate = true
			s.later(600).remade(tls, "crt", "B").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls created", Asked: true},
	}, {
		name: "never there", reason: "nothing went away",
		given: func(s *scenario) { s.in.Policy.OnDelete = true; s.usesOptional(app, all).proven().later(5) }, want: outcome{Verdict: plan.InSync},
	}}.run(t)
}
