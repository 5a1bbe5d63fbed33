package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/plan"
)

// Rule 3 of the design: the live template does not carry the value that was written last.

// undone takes the template of the last restart back, as `kubectl rollout undo` does: old template, old revision.
func (s *scenario) undone() *scenario {
	s.template()
	s.in.Workload.Template, s.in.Workload.Value = digest.Digest{1}, ""
	s.born = at(-1800)
	for i := range s.pods {
		s.pods[i].Current = s.pods[i].Value == ""
	}
	return s
}

// restartedForB is in the middle of the restart for content B: an old pod and a new one.
func restartedForB(s *scenario) {
	s.proven().wrote(tls, "crt", "B").later(5).decide()
	s.restarted().later(5)
	s.hasPods(s.pods[0], s.newPod()).later(5)
}

func TestRolledBack(t *testing.T) {
	rolledBack := outcome{Verdict: plan.RolledBack, Changes: "Secret/tls changed (crt)", Asked: true}
	undone := func(s *scenario) { restartedForB(s); s.undone().later(5) }
	table{{
		name: "undo in mid-rollout", reason: "whoever takes the template back means it: held, not fought over",
		given: undone, want: rolledBack,
	}, {
		name: "undo completed", reason: "still held: old pods run with old content",
		given: func(s *scenario) { undone(s); s.hasPods(pod(-1800)).later(600).in.Workload.Rolling = false },
		want:  rolledBack,
	}, {
		name: "undo completed, controller came back", reason: "the ledger remembers what a process forgets",
		given: func(s *scenario) {
			undone(s)
			s.decide()
			s.hasPods(pod(-1800)).met(tls, 600, "crt", "B").later(600).in.Workload.Rolling = false
			s.in.Written = 0
		},
		want: rolledBack,
	}, {
		name: "an operator writes its template back", reason: "another revision than the proven one, without the value",
		given: func(s *scenario) { undone(s); s.in.Workload.Template = digest.Digest{77} }, want: rolledBack,
	}, {
		name: "controller has not acted on it", reason: "its pods are about to change: look again",
		given: func(s *scenario) { undone(s); s.live = func(w *plan.Workload) { w.ObservedGeneration-- } },
		want:  outcome{Verdict: plan.Restarting, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "an optional source goes away", reason: "its absence is no change, and does not look like one",
		given: func(s *scenario) {
			s.usesOptional(app, all).made(app, -3600, "mode", "1")
			undone(s)
			s.deleted(app).later(5)
		},
		want: rolledBack,
	}, {
		name: "an optional source appears", reason: "it is no change: held still",
		given: func(s *scenario) { s.usesOptional(app, all); undone(s); s.remade(app, "a", "1").later(5) },
		want:  rolledBack,
	}, {
		name: "held", reason: "a hold comes first",
		given: func(s *scenario) { undone(s); s.held(plan.Suspended) },
		want:  outcome{Verdict: plan.Suspended, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "content changes", reason: "new content is a new reason",
		given: func(s *scenario) { undone(s); s.decide(); s.wrote(tls, "crt", "C").later(20) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "content changes and returns", reason: "pods that came meanwhile run with what was there then",
		given: func(s *scenario) {
			undone(s)
			s.decide()
			s.wrote(tls, "crt", "C").later(5).decide()
			s.wrote(tls, "crt", "B").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "content changes back", reason: "the old pods run with it",
		given: func(s *scenario) {
			undone(s)
			s.decide()
			s.hasPods(pod(-1800)).wrote(tls, "crt", "A").later(20).in.Workload.Rolling = false
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "all pods fresh", reason: "nothing was lost by taking the template back: go on",
		given: func(s *scenario) {
			restartedForB(s)
			s.template().in.Workload.Value = ""
			s.later(5).hasPods(s.newPod()).in.Workload.Rolling = false
		},
		want: outcome{Verdict: plan.AlreadyFresh, Asked: true},
	}, {
		name: "a revision born after the change", reason: "a new template that lacks the value brings new pods: wait for them",
		given: func(s *scenario) { restartedForB(s); s.template().later(5).in.Workload.Value = "" },
		want:  outcome{Verdict: plan.Restarting, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "undo of a proven restart", reason: "its pods ran with the new content, and so do those that replace them",
		given: func(s *scenario) {
			restartedForB(s)
			s.rolledOut().later(60).decide()
			s.undone().later(5).rolledOut().later(5)
		},
		want: outcome{Verdict: plan.InSync},
	}, {
		name: "change after a template without the value was proven", reason: "a change is no roll back, whatever the template carries",
		given: func(s *scenario) {
			restartedForB(s)
			s.rolledOut().later(60).decide()
			s.template().in.Workload.Value = ""
			s.rolledOut().later(60).decide()
			s.later(600).wrote(tls, "crt", "C").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "change to the value's content, after it had been left", reason: "pods that somebody else rolled out run with C, not with B",
		given: func(s *scenario) {
			restartedForB(s)
			s.rolledOut().later(60).decide()
			s.wrote(tls, "crt", "C").later(5).template().in.Workload.Value = ""
			s.later(5).rolledOut().later(60).decide()
			s.later(600).wrote(tls, "crt", "B").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "stripped, on the steady path", reason: "pods of that template are new: the answer of rule 3 counts in rule 6 too",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").later(2).decide()
			s.restarted()
			s.in.Workload.Value, s.in.Workload.Template, s.in.Workload.Rolling = "", s.in.Entry.Template, false
			s.later(5).hasPods(pod(604))
		},
		want: outcome{Verdict: plan.AlreadyFresh, Asked: true},
	}}.run(t)
}

// TestCrash covers a restart whose record was lost between the write and the ledger: the value tells that it is ours.
func TestCrash(t *testing.T) {
	crashed := func(s *scenario) {
		s.proven().wrote(tls, "crt", "B").later(5).decide()
		entry := s.in.Entry
		s.restarted()
		s.in.Entry, s.in.Written = entry, 0
		s.later(5).hasPods(s.pods[0], s.newPod()).later(5).met(tls, 600, "crt", "B")
	}
	// leftUnseen is one whose record names no app, which left what it was restarted for while nobody looked.
	leftUnseen := func(s *scenario) {
		entry := s.proven().in.Entry
		s.usesOptional(app, all).made(app, -3600, "a", "1").decide()
		s.later(600).wrote(app, "a", "2").later(5).decide()
		s.restarted().rolledOut()
		s.in.Entry, s.in.Written = entry, 0
		s.later(60).met(app, 1265, "a", "3").later(5).hasPods(s.newPod())
		s.in.Began = s.in.Now
		s.decide()
	}
	table{{
		name: "mid-rollout", reason: "the value is adopted and its rollout waited for",
		given: crashed, want: outcome{Verdict: plan.Restarting, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "rolled out", reason: "pods with the value are fresh",
		given: func(s *scenario) { crashed(s); s.rolledOut().later(5) }, want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "rolled out, change time unknown", reason: "the value proves it without any time",
		given: func(s *scenario) {
			crashed(s)
			s.edit(tls, func(o *plan.Source) { o.Changed = at(-3600) }).rolledOut().later(5)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "content changed since", reason: "no restart before the last one is persisted, though another process made it",
		given: func(s *scenario) { crashed(s); s.met(tls, 615, "crt", "C") },
		want:  outcome{Verdict: plan.Throttled, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "content changed since, record stored", reason: "the value stands for other content: its rollout first, then the change",
		given: func(s *scenario) { crashed(s); s.met(tls, 615, "crt", "C").decide() },
		want:  outcome{Verdict: plan.Restarting, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "content changed since, rolled out", reason: "pods of the lost restart are stale again",
		given: func(s *scenario) { crashed(s); s.rolledOut().met(tls, 620, "crt", "C").later(60).decide() },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "held when the controller came back, content left and returned", reason: "a pod of between has the value, and other content",
		given: func(s *scenario) {
			crashed(s)
			s.held(plan.Suspended).decide()
			s.later(60).wrote(tls, "crt", "C").later(5).decide()
			s.later(60).rolledOut().later(60).wrote(tls, "crt", "B").later(5).decide()
			s.later(600).resumed().decide()
			s.decide()
		},
		want: stale,
	}, {
		name: "content returned since, its difference lost too", reason: "pods of the lost restart run with B, though nothing differs from the record",
		given: func(s *scenario) {
			entry := s.proven().in.Entry
			s.wrote(tls, "crt", "B").later(5).decide()
			s.restarted().rolledOut()
			s.in.Entry, s.in.Written = entry, 0
			s.met(tls, 615, "crt", "A").later(60).decide()
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "seen by a cache that lags behind", reason: "what the value stands for is found out when all is seen",
		given: func(s *scenario) {
			s.uses(app, all).made(app, -3600, "a", "1").edit(app, func(o *plan.Source) { o.ResourceVersion = "20" })
			crashed(s)
			present := s.in.Sources[app]
			s.rolledOut().made(app, -3600, "a", "0").edit(app, func(o *plan.Source) { o.ResourceVersion = "13" }).in.Began = s.in.Now
			s.decide()
			s.in.Sources[app] = present
			s.later(5)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "while a source cannot be seen", reason: "what the value stands for is found out when all is seen",
		given: func(s *scenario) {
			unproven := func(o *plan.Source) { o.Timing = plan.Inexact }
			entry := s.uses(app, all).made(app, -3600, "a", "1").proven().in.Entry
			s.wrote(tls, "crt", "B").edit(tls, unproven).wrote(app, "a", "2").edit(app, unproven).later(5).decide()
			s.restarted().rolledOut()
			s.in.Entry, s.in.Written = entry, 0
			present := s.in.Sources[app]
			s.edit(app, func(o *plan.Source) { *o = plan.Source{} }).later(120).decide()
			s.in.Sources[app] = present
			s.later(5)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "an optional source went away since", reason: "what is absent counts as what it held last",
		given: func(s *scenario) {
			s.usesOptional(app, all).made(app, -3600, "a", "1")
			crashed(s)
			s.rolledOut().deleted(app).edit(tls, func(o *plan.Source) { o.Changed = at(-3600) }).later(120)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "content changed since, or not seen yet", reason: "a new leader's cache may lag behind what the value stands for",
		given: func(s *scenario) { crashed(s); s.rolledOut().met(tls, 615, "crt", "C").in.Began = s.in.Now },
		want:  outcome{Verdict: plan.Waiting, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "content left and returned, and left again unseen", reason: "the value was for its first time: pods of later have it, too",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").later(5).decide()
			entry := s.restarted().in.Entry
			s.rolledOut().later(60).wrote(tls, "crt", "C").later(5).decide()
			s.restarted().in.Entry, s.in.Written = entry, 0
			s.later(60).met(tls, 730, "crt", "B").rolledOut().in.Began = s.in.Now
			s.later(5).decide()
			s.later(5).wrote(tls, "crt", "C").later(5).decide()
			s.later(60).decide()
		},
		want: stale,
	}, {
		name: "content left and returned before it was adopted", reason: "a pod of between has the value, and other content",
		given: func(s *scenario) {
			entry := s.proven().in.Entry
			s.wrote(tls, "crt", "B").later(5).decide()
			s.restarted().rolledOut()
			s.in.Entry, s.in.Written, s.in.Began = entry, 0, s.in.Now
			s.wrote(tls, "crt", "A").later(5).decide()
			s.hasPods(s.newPod()).later(5).wrote(tls, "crt", "B").later(120).decide()
			s.decide()
		},
		want: stale,
	}, {
		name: "content left and returned while the cache did not show the restart", reason: "each look brings the record up to date",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").later(5).decide()
			entry, before := s.in.Entry, s.in.Workload
			s.restarted().rolledOut()
			after := s.in.Workload
			s.in.Entry, s.in.Workload, s.in.Written = entry, before, 0
			s.later(5).wrote(tls, "crt", "A").later(5).decide()
			s.in.Workload = after
			created := s.newPod()
			s.in.Workload = before
			s.later(5).wrote(tls, "crt", "B").later(5).decide()
			s.in.Workload = after
			s.hasPods(created).decide()
			s.decide()
		},
		want: stale,
	}, {
		name: "content left while nobody looked and returned before it was adopted", reason: "what is met is no cache that lags behind",
		given: func(s *scenario) {
			entry := s.proven().in.Entry
			s.wrote(tls, "crt", "B").later(5).decide()
			s.restarted().rolledOut()
			s.in.Entry, s.in.Written, s.in.Began = entry, 0, s.in.Now
			s.later(60).met(tls, 660, "crt", "A").later(5).hasPods(s.newPod())
			s.in.Began = s.in.Now
			s.decide()
			s.later(5).wrote(tls, "crt", "B").later(5).decide()
			s.decide()
		},
		want: stale,
	}, {
		name: "a source met for the first time, whose content left the value and returned", reason: "its record is younger than the restart",
		given: func(s *scenario) {
			leftUnseen(s)
			s.later(5).wrote(app, "a", "2").later(5).decide()
			s.decide()
		},
		want: outcome{Verdict: plan.Restart, Changes: "ConfigMap/app changed (a)", Asked: true},
	}, {
		name: "a source met for the first time, and by the next leader with the value's content", reason: "it left that after the restart, too",
		given: func(s *scenario) {
			leftUnseen(s)
			s.later(5).met(app, 1275, "a", "2").later(5).decide()
			s.decide()
		},
		want: outcome{Verdict: plan.Restart, Changes: "ConfigMap/app changed (a)", Asked: true},
	}, {
		name: "content left while nobody looked and returned in another object", reason: "what is known of an object goes with it",
		given: func(s *scenario) {
			entry := s.proven().in.Entry
			s.wrote(tls, "crt", "B").later(5).decide()
			s.restarted().rolledOut()
			s.in.Entry, s.in.Written = entry, 0
			s.later(60).met(tls, 660, "crt", "A").later(5).hasPods(s.newPod())
			s.in.Began = s.in.Now
			s.decide()
			s.later(5).remade(tls, "crt", "B").later(5).decide()
			s.decide()
		},
		want: stale,
	}, {
		name: "a value that is not ours", reason: "anybody may write an annotation: without its chain it is nothing",
		given: func(s *scenario) {
			crashed(s)
			s.in.Workload.Value = s.in.Workload.Value[:len(s.in.Workload.Value)-1] + "!"
			s.in.Workload.Rolling = false
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "nothing written", reason: "a crash before the write leaves the difference",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(5).decide() },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)"},
	}}.run(t)
}

// TestAdoptedValueIsChained because a value that returns would re-adopt old pods.
func TestAdoptedValueIsChained(t *testing.T) {
	s := newScenario(t)
	s.proven().wrote(tls, "crt", "B").later(5).decide()
	entry, first := s.in.Entry, s.decision.Value
	s.restarted()
	s.in.Entry, s.in.Written = entry, 0
	s.rolledOut().later(60).decide()
	if got := s.in.Entry.Value; got != first {
		t.Fatalf("recorded value %q, want the live one %q", got, first)
	}
	s.later(600).wrote(tls, "crt", "A").later(5).decide()
	s.restarted().rolledOut().later(60).decide()
	s.later(600).wrote(tls, "crt", "B").later(5).decide()
	if s.decision.Verdict != plan.Restart || s.decision.Value == first {
		t.Errorf("%s with %q, want Restart with another value than %q", s.decision.Verdict, s.decision.Value, first)
	}
}

// Who wrote a restart whose record was lost may not have come to tell of it: whoever recognises it can, in the same words.
func TestALostRestartIsRecovered(t *testing.T) {
	lose := func(s *scenario) (written plan.Decision) {
		entry := s.in.Entry
		written = s.decision
		s.restarted()
		s.in.Entry, s.in.Written = entry, 0
		s.later(5)
		return written
	}
	for name, given := range map[string]func(s *scenario) *scenario{
		"changed":           func(s *scenario) *scenario { return s.proven().wrote(tls, "crt", "B").later(5) },
		"asked for":         func(s *scenario) *scenario { return s.proven().requests("1") },
		"changed and asked": func(s *scenario) *scenario { return s.proven().wrote(tls, "crt", "B").later(5).requests("1") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			given(s).decide()
			written := lose(s)
			want := &plan.Recovered{Value: written.Value, Changes: written.Changes, Message: written.Message, Since: s.in.Entry.ProvenAt}
			if len(written.Changes) > 0 {
				want.Since = at(600)
			}
			ignored := cmpopts.IgnoreFields(plan.Change{}, "SeenAt")
			if diff := cmp.Diff(want, s.decide().Recovered, ignored); diff != "" {
				t.Errorf("recovered (-want +got):\n%s", diff)
			}
			if again := s.decide().Recovered; again != nil {
				t.Errorf("recovered once more: %+v", again)
			}
		})
	}

	t.Run("a new pod has mounted its own version since", func(t *testing.T) {
		s := newScenario(t).mounts().proven().wrote(tls, "crt", "B").later(5)
		s.decide()
		message := lose(s).Message
		s.copied("c", 610, "2").later(5)
		if d := s.decide(); d.Recovered == nil || d.Recovered.Message != message {
			t.Errorf("recovered %+v, want %q", d.Recovered, message)
		}
		if again := s.decide().Recovered; again != nil {
			t.Errorf("recovered once more: %+v", again)
		}
	})
	t.Run("its pods cannot be listed", func(t *testing.T) {
		s := newScenario(t).proven().wrote(tls, "crt", "B").later(5)
		s.decide()
		lose(s)
		s.rolledOut().in.Rollout = nil
		d := plan.Decide(s.in)
		if !d.NeedsRollout || d.Entry.Value != s.in.Workload.Value || d.Recovered == nil {
			t.Fatalf("asks for pods: %t, records %q, recovers %+v", d.NeedsRollout, d.Entry.Value, d.Recovered)
		}
		s.in.Entry = d.Entry
		if again := s.decide().Recovered; again != nil {
			t.Errorf("recovered once more: %+v", again)
		}
	})

	s := newScenario(t).proven().wrote(tls, "crt", "B").later(5)
	s.decide()
	lose(s)
	s.met(tls, 600, "crt", "B").met(tls, 615, "crt", "C")
	if recovered := s.decide().Recovered; recovered != nil || s.in.Entry.Value != s.in.Workload.Value {
		t.Errorf("recovered %+v, and content is another by now", recovered)
	}
}
