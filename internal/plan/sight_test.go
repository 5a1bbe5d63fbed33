package plan_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// Rule 2 of the design: first sight of a workload or of a source.

// started is a pod of which a container started at that second.
func started(first int) plan.Pod {
	p := pod(first)
	p.FirstStart, p.LastStart = at(first), at(first)
	return p
}

func notStarted(created int) plan.Pod { return plan.Pod{Created: at(created), Current: true} }

// certificate says since when the certificate in tls is valid.
func (s *scenario) certificate(notBefore int) *scenario {
	return s.edit(tls, func(o *plan.Source) { o.NotBefore = at(notBefore) })
}

// renewed is a Secret that existed before the workload and was changed at that second, before the controller came.
func (s *scenario) renewed(second int) *scenario {
	return s.edit(tls, func(o *plan.Source) { o.Changed = at(second) })
}

func TestFirstSight(t *testing.T) {
	table{{
		name: "older than the workload", reason: "no pod can be stale: none is asked for",
		given: func(*scenario) {}, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "changed after the start", reason: "a registry is restarted within seconds of being annotated",
		given: func(s *scenario) { s.hasPods(started(-600)).renewed(-500) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "changed two seconds after the start", reason: "more than a second after",
		given: func(s *scenario) { s.hasPods(started(-600)).renewed(-598) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "changed a second after the start", reason: "within the grain of time stamps nothing is certain",
		given: func(s *scenario) { s.hasPods(started(-600)).renewed(-599) }, want: outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "changed in the second of the start", reason: "within the grain of time stamps nothing is certain",
		given: func(s *scenario) { s.hasPods(started(-600)).renewed(-600) }, want: outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "changed before the start", reason: "a container's start proves nothing stale",
		given: func(s *scenario) { s.hasPods(started(-600)).renewed(-700) }, want: outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "changed within a second of the workload's creation", reason: "no pod is older than its workload",
		given: func(s *scenario) { s.hasPods(started(-1800)).renewed(-1799) }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "one of several pods", reason: "one stale pod is enough",
		given: func(s *scenario) { s.hasPods(started(-400), started(-600)).renewed(-500) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "no container started", reason: "a pod that reads its volumes later is not stale",
		given: func(s *scenario) { s.hasPods(notStarted(-600)).renewed(-500) }, want: outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "an init container started", reason: "it read the volumes, though the last container has not started",
		given: func(s *scenario) {
			p := notStarted(-600)
			p.FirstStart = at(-590)
			s.hasPods(p).renewed(-500)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "created after the start", reason: "the pod ran without it: its coming is no change",
		given: func(s *scenario) { s.hasPods(started(-600)).made(tls, -500, "crt", "A") },
		want:  outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "time unknown", reason: "without a time nothing is certain",
		given: func(s *scenario) { s.edit(tls, func(o *plan.Source) { o.Changed = time.Time{} }) },
		want:  outcome{Verdict: plan.Baseline},
	}, {
		name: "a certificate issued long before the start", reason: "the change is one of something else than content: it refutes",
		given: func(s *scenario) { s.hasPods(started(-600)).renewed(-500).certificate(-600 - 7201) },
		want:  outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "a certificate issued shortly before the start", reason: "issuers date back: it does not refute",
		given: func(s *scenario) { s.hasPods(started(-600)).renewed(-500).certificate(-4100) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "a pod with the value for this content", reason: "the record was lost, the pod's annotation was not",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").later(5).decide()
			s.restarted().rolledOut().later(60)
			s.in.Entry = nil
			s.renewed(900)
		},
		want: outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "onAdoption: Baseline", reason: "what pods run with is taken as current",
		given: func(s *scenario) { s.hasPods(started(-600)).renewed(-500).in.Policy.OnAdoption = plan.BaselineOnly },
		want:  outcome{Verdict: plan.Baseline},
	}, {
		name: "adoption not ready", reason: "restarts by adoption are spread",
		given: func(s *scenario) { s.hasPods(started(-600)).renewed(-500).in.AdoptionReady = false },
		want:  outcome{Verdict: plan.Throttled, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "adoption not ready still", reason: "many may wait: none asks for its pods again before it may restart",
		given: func(s *scenario) {
			s.hasPods(started(-600)).renewed(-500).in.AdoptionReady = false
			s.decide()
			s.later(2)
		},
		want: outcome{Verdict: plan.Throttled, Changes: "Secret/tls changed"},
	}, {
		name: "generation not observed", reason: "its pods are about to change: look again",
		given: func(s *scenario) {
			s.hasPods(started(-600)).renewed(-500).live = func(w *plan.Workload) { w.ObservedGeneration-- }
		},
		want: outcome{Verdict: plan.Restarting, Asked: true},
	}, {
		name: "no pods yet", reason: "look again",
		given: func(s *scenario) { s.hasPods().renewed(-500) }, want: outcome{Verdict: plan.Restarting, Asked: true},
	}, {
		name: "scaled to zero", reason: "no pod is stale",
		given: func(s *scenario) { s.hasPods().renewed(-500).in.Workload.Replicas = 0 },
		want:  outcome{Verdict: plan.Baseline, Asked: true},
	}}.run(t)
}

// TestFirstSightWithoutPods because they may never come: the API server must not be asked for them every other second until then.
func TestFirstSightWithoutPods(t *testing.T) {
	s := newScenario(t).hasPods().renewed(-500)
	for _, again := range []struct {
		passed int
		want   time.Duration
	}{{0, 2 * time.Second}, {2, 2 * time.Second}, {58, 30 * time.Second}, {3600, 5 * time.Minute}} {
		s.later(again.passed)
		if d := s.decide(); d.Verdict != plan.Restarting || d.After != again.want {
			t.Errorf("%s after the workload last moved: %s, again after %s, want %s", s.in.Now.Sub(s.in.Progressed), d.Verdict, d.After, again.want)
		}
	}
}

func TestFirstSightWithoutLedger(t *testing.T) {
	table{{
		name: "no certificate", reason: "a storm at install or after a loss is worse: only a certificate is certain",
		given: func(s *scenario) { s.renewed(-500).in.Bootstrap = true }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "certificate from before the start", reason: "the pod may have it",
		given: func(s *scenario) { s.hasPods(started(-600)).renewed(-500).certificate(-900).in.Bootstrap = true },
		want:  outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "certificate from a second after the start", reason: "within the grain of time stamps nothing is certain",
		given: func(s *scenario) { s.hasPods(started(-600)).certificate(-599).in.Bootstrap = true },
		want:  outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "certificate from after the start", reason: "no pod read a certificate before it was issued",
		given: func(s *scenario) { s.hasPods(started(-600)).certificate(-598).in.Bootstrap = true },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "certificate from after the pod, which has not started", reason: "a pod that runs nothing has read nothing",
		given: func(s *scenario) { s.hasPods(notStarted(-600)).certificate(-598).in.Bootstrap = true },
		want:  outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "certificate from before the workload", reason: "no pod can be stale: none is asked for",
		given: func(s *scenario) { s.certificate(-1799).in.Bootstrap = true }, want: outcome{Verdict: plan.Baseline},
	}}.run(t)
}

func TestFirstSightInMidRollout(t *testing.T) {
	met := func(s *scenario) { s.hasPods(started(-600)).renewed(-500).in.Workload.Rolling = true }
	table{{
		name: "while it lasts", reason: "which pods stay is not known: provisional, nothing is asked",
		given: met, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "old pods stay", reason: "judged when the rollout ends",
		given: func(s *scenario) { met(s); s.decide(); s.in.Workload.Rolling = false },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "new pods only", reason: "judged when the rollout ends",
		given: func(s *scenario) { met(s); s.decide(); s.rolledOut() }, want: outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "judged once", reason: "what is proven is not asked for again",
		given: func(s *scenario) { met(s); s.decide(); s.rolledOut().decide() }, want: outcome{Verdict: plan.InSync},
	}, {
		name: "changed meanwhile", reason: "provisional content is a record: another one is a change",
		given: func(s *scenario) { met(s); s.decide(); s.wrote(tls, "crt", "B").later(5).in.Workload.Rolling = false },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "of a paused workload", reason: "a rollout that is held does not end by itself: its pods are judged now",
		given: func(s *scenario) { met(s); s.in.Workload.Held = plan.HeldPaused },
		want:  outcome{Verdict: plan.Paused, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "that does not move", reason: "a broken rollout must not keep stale pods from being healed",
		given: func(s *scenario) { met(s); s.decide(); s.later(16 * 60) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "only the cache still shows the rollout", reason: "another source's freshness does not prove this one",
		given: func(s *scenario) {
			s.proven().uses(app, all).made(app, -3000, "k", "1").template()
			s.edit(app, func(o *plan.Source) { o.Changed = at(620) })
			p := started(605)
			s.wrote(tls, "crt", "B").hasPods(p).later(30)
			s.edit(tls, func(o *plan.Source) { o.Changed = at(601) })
			s.live = func(w *plan.Workload) { w.Rolling = false }
			s.decide()
			s.in.Workload.Rolling = false
		},
		want: outcome{Verdict: plan.Restart, Changes: "ConfigMap/app changed", Asked: true},
	}}.run(t)
}

// What Stakater Reloader has left in a template counts as much as a ledger, while there is none.
func TestTakeover(t *testing.T) {
	left := func(s *scenario, current bool) *scenario {
		s.in.Bootstrap, s.in.Taken = true, map[reference.Source]bool{tls: current}
		return s.edit(tls, func(o *plan.Source) { o.Changed = at(-500) })
	}
	table{{
		name: "hash of the present content", reason: "it was restarted for that",
		given: func(s *scenario) { left(s, true).hasPods(started(-600)) }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "hash of the present content, certificate from after the start", reason: "the hash says more",
		given: func(s *scenario) { left(s.renewed(-500), true).hasPods(started(-600)) }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "another hash, older pods", reason: "a change that was missed",
		given: func(s *scenario) { left(s, false).hasPods(started(-600)) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "another hash, newer pods", reason: "somebody else rolled out since",
		given: func(s *scenario) { left(s, false).hasPods(started(-400)) }, want: outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "another hash, not its turn", reason: "restarts at first sight are spread",
		given: func(s *scenario) { left(s, false).hasPods(started(-600)).in.AdoptionReady = false },
		want:  outcome{Verdict: plan.Throttled, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "no hash", reason: "without a ledger only a certificate proves a pod stale",
		given: func(s *scenario) { left(s, false).hasPods(started(-600)).in.Taken = nil }, want: outcome{Verdict: plan.Baseline},
	}}.run(t)
}

func TestAbsentAtFirstSight(t *testing.T) {
	required := func(s *scenario) { s.uses(app, all).decide(); s.later(60) }
	optional := func(s *scenario) { s.usesOptional(app, all).decide(); s.later(60) }
	table{{
		name: "optional absent", reason: "it withholds nothing",
		given: func(s *scenario) { s.usesOptional(app, all) }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "optional absent, entered", reason: "nothing is new the second time",
		given: optional, want: outcome{Verdict: plan.InSync},
	}, {
		name: "optional appears", reason: "absent to present counts only with reload-on-create",
		given: func(s *scenario) { optional(s); s.remade(app, "k", "1").later(5) }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "optional appears, then changes", reason: "from its first sight on it is a source like others",
		given: func(s *scenario) {
			optional(s)
			s.remade(app, "k", "1").later(5).decide()
			s.later(600).wrote(app, "k", "2").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "ConfigMap/app changed (k)"},
	}, {
		name: "required absent", reason: "new pods could not start",
		given: func(s *scenario) { s.uses(app, all) }, want: outcome{Verdict: plan.Waiting},
	}, {
		name: "required absent, another changed", reason: "new pods could not start: the change waits, and is shown",
		given: func(s *scenario) { required(s); s.wrote(tls, "crt", "B").later(5) },
		want:  outcome{Verdict: plan.Waiting, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "required appears for pods that wait", reason: "they start with it",
		given: func(s *scenario) { required(s); s.hasPods(notStarted(-1800)).remade(app, "k", "1").later(5) },
		want:  outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "required appears while old pods run", reason: "they started with one that is gone",
		given: func(s *scenario) { required(s); s.remade(app, "k", "1").later(5) },
		want:  outcome{Verdict: plan.Restart, Changes: "ConfigMap/app changed", Asked: true},
	}, {
		name: "required appears a second after the last start", reason: "the container may have waited for it",
		given: func(s *scenario) { required(s); s.hasPods(started(59)).remade(app, "k", "1").later(5) },
		want:  outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "an init container runs, the others wait", reason: "they wait for what is required",
		given: func(s *scenario) {
			required(s)
			p := notStarted(-1800)
			p.FirstStart = at(-1799)
			s.hasPods(p).remade(app, "k", "1").later(5)
		},
		want: outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "not watched", reason: "what is not seen is not absent: nothing is entered",
		given: func(s *scenario) { s.edit(tls, func(o *plan.Source) { o.State = plan.Unknown }) },
		want:  outcome{Verdict: plan.Waiting},
	}, {
		name: "watched at last", reason: "first sight is when it is seen",
		given: func(s *scenario) {
			s.edit(tls, func(o *plan.Source) { o.State = plan.Unknown }).decide()
			s.edit(tls, func(o *plan.Source) { o.State = plan.Present }).hasPods(started(-600)).renewed(-500)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "another source goes on", reason: "a new reference withholds nothing",
		given: func(s *scenario) { s.proven().uses(app, all).made(app, -3000).wrote(tls, "crt", "B").later(5) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)"},
	}}.run(t)
}

func TestAdoptionIsReported(t *testing.T) {
	s := newScenario(t).hasPods(started(-600)).renewed(-500)
	if d := s.decide(); !d.Adoption {
		t.Error("the restart of pods that were stale at first sight is not reported as adoption")
	}
	s = newScenario(t).uses(app, all).made(app, -3600, "k", "1").proven().wrote(tls, "crt", "B").later(5)
	if d := s.decide(); d.Adoption {
		t.Error("the restart for a change is reported as adoption")
	}
}

// TestPredecessor covers a workload that was deleted and made again under its name.
func TestPredecessor(t *testing.T) {
	again := func(s *scenario) {
		s.proven()
		s.in.Predecessor, s.in.Entry = s.in.Entry, nil
		s.template().later(5)
		s.in.Workload.UID, s.in.Workload.Created = "second", at(600)
	}
	table{{
		name: "its own pods only", reason: "they are as new as it: first sight",
		given: func(s *scenario) { again(s); s.rolledOut().met(tls, 590, "crt", "B") },
		want:  outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "a pod of the second of its making", reason: "it is not older",
		given: func(s *scenario) { again(s); s.hasPods(pod(600)) }, want: outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "older pods, same content", reason: "the record of those pods goes on",
		given: func(s *scenario) { again(s); s.in.Workload.Rolling = false }, want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "older pods, other content", reason: "no change is missed by making a workload again",
		given: func(s *scenario) { again(s); s.met(tls, 603, "crt", "B").in.Workload.Rolling = false },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}}.run(t)

	s := newScenario(t)
	again(s)
	s.in.Workload.Rolling = false
	s.decide()
	if diff := cmp.Diff(s.in.Workload.UID, s.in.Entry.UID); diff != "" {
		t.Errorf("the record is not the new object's: (-want +got)\n%s", diff)
	}
}
