package plan_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// Rule 7 of the design: why a restart that is due waits, and that it does not wait for ever.

func TestSettling(t *testing.T) {
	settling := outcome{Verdict: plan.Settling, Changes: changedCrt}
	restart := outcome{Verdict: plan.Restart, Changes: changedCrt}
	// busy is a source that changes every second for that long, with a decision at each change.
	busy := func(s *scenario, seconds int) {
		s.proven()
		for i := range seconds {
			s.wrote(tls, "crt", string(rune('B'+i))).decide()
			s.later(1)
		}
	}
	table{{
		name: "just changed", reason: "more may come",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B") }, want: settling,
	}, {
		name: "a second ago", reason: "not quiet for long enough",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").decide(); s.later(1) }, want: settling,
	}, {
		name: "two seconds ago", reason: "quiet for long enough",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").decide(); s.later(2) }, want: restart,
	}, {
		name: "another source changes meanwhile", reason: "one restart for changes that come together",
		given: func(s *scenario) {
			s.uses(app, all).made(app, -3600, "k", "1").proven().wrote(tls, "crt", "B").decide()
			s.later(1).wrote(app, "k", "2").later(1)
		},
		want: outcome{Verdict: plan.Settling, Changes: "ConfigMap/app changed (k), " + changedCrt},
	}, {
		name: "never quiet, 29 seconds", reason: "not yet the longest wait",
		given: func(s *scenario) { busy(s, 30); s.later(-1) }, want: settling,
	}, {
		name: "never quiet, 30 seconds", reason: "not for ever",
		given: func(s *scenario) { busy(s, 30); s.wrote(tls, "crt", "last") }, want: restart,
	}, {
		name: "pods are not asked for while it settles", reason: "they are asked for once, at its end",
		given: func(s *scenario) {
			s.proven().template().wrote(tls, "crt", "B")
		},
		want: settling,
	}, {
		name: "held", reason: "a hold comes first",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").held(plan.Suspended) },
		want:  outcome{Verdict: plan.Suspended, Changes: changedCrt},
	}, {
		name: "nothing differs", reason: "what settles is no difference",
		given: func(s *scenario) { s.proven().edit(tls, func(o *plan.Source) { o.SeenAt = s.in.Now }) },
		want:  outcome{Verdict: plan.InSync},
	}}.run(t)

	s := newScenario(t).proven().wrote(tls, "crt", "B")
	if d := s.decide(); d.After != 2*time.Second {
		t.Errorf("looks again after %s, want 2s", d.After)
	}
	s = newScenario(t)
	busy(s, 29)
	s.wrote(tls, "crt", "last")
	if d := s.decide(); d.After != time.Second {
		t.Errorf("looks again after %s, want the second that is left of 30", d.After)
	}
}

// change is another content, each time it is called, and a decision on it once it has settled.
func (s *scenario) change() plan.Decision {
	s.t.Helper()
	return s.wrote(tls, "crt", s.in.Now.String()).later(3).decide()
}

// burst is as many restarts in a row as a workload may have.
func (s *scenario) burst() {
	s.t.Helper()
	for i := range 5 {
		if d := s.change(); d.Verdict != plan.Restart {
			s.t.Fatalf("restart %d in a row: %s", i+1, d.Verdict)
		}
		s.restarted().rolledOut().later(5).decide()
	}
}

func TestThrottle(t *testing.T) {
	s := newScenario(t).proven()
	s.burst()
	d := s.change()
	if d.Verdict != plan.Throttled || d.After <= 0 || d.After > 2*time.Minute {
		t.Fatalf("the sixth in a row: %s, again after %s; want Throttled for at most two minutes", d.Verdict, d.After)
	}
	due := s.in.Now.Add(d.After)
	s.in.Now = due.Add(-time.Millisecond)
	if d := s.decide(); d.Verdict != plan.Throttled || d.After != time.Millisecond {
		t.Errorf("just before its time: %s, again after %s", d.Verdict, d.After)
	}
	for i := range 3 {
		s.in.Now = due
		if d := s.decide(); d.Verdict != plan.Restart {
			t.Fatalf("at its time: %s", d.Verdict)
		}
		s.restarted().rolledOut().later(5).decide()
		if d = s.change(); d.Verdict != plan.Throttled {
			t.Fatalf("%d after the burst: %s, want Throttled", i, d.Verdict)
		}
		if spacing := s.in.Now.Add(d.After).Sub(due); spacing != 2*time.Minute {
			t.Errorf("spaced by %s, want two minutes", spacing)
		}
		due = s.in.Now.Add(d.After)
	}
}

func TestThrottleEases(t *testing.T) {
	s := newScenario(t).proven()
	s.burst()
	s.later(3600).burst()
	if d := s.change(); d.Verdict != plan.Throttled {
		t.Errorf("an hour pays for five restarts, not more: %s", d.Verdict)
	}
}

// afterRestart is the middle of the rollout for B, with content C that has settled.
func afterRestart(s *scenario) {
	restartedForB(s)
	s.wrote(tls, "crt", "C").later(10)
}

func TestGates(t *testing.T) {
	table{{
		name: "record not stored", reason: "no restart before the last one is persisted",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(5).in.Unpersisted = true },
		want:  outcome{Verdict: plan.Throttled, Changes: changedCrt},
	}, {
		name: "cache behind the last restart", reason: "what it shows is from before",
		given: func(s *scenario) { afterRestart(s); s.in.Workload.Generation-- },
		want:  outcome{Verdict: plan.Restarting},
	}, {
		name: "last restart rolls out", reason: "one rollout after the other",
		given: afterRestart, want: outcome{Verdict: plan.Restarting, Changes: changedCrt, Asked: true},
	}, {
		name: "last restart rolls out slowly", reason: "progress starts the wait anew",
		given: func(s *scenario) { afterRestart(s); s.later(3600).in.Progressed = s.in.Now.Add(-899 * time.Second) },
		want:  outcome{Verdict: plan.Restarting, Changes: changedCrt, Asked: true},
	}, {
		name: "last restart stalled", reason: "the change may be what heals it",
		given: func(s *scenario) { afterRestart(s); s.in.Progressed = s.in.Now.Add(-900 * time.Second) }, want: stale,
	}, {
		name: "last restart through", reason: "nothing to wait for",
		given: func(s *scenario) { restartedForB(s); s.rolledOut().later(5).wrote(tls, "crt", "C").later(10) }, want: stale,
	}, {
		name: "somebody's rollout", reason: "only our own is waited for; its pods may be stale",
		given: func(s *scenario) { s.proven().template().later(5).wrote(tls, "crt", "B").later(5) }, want: stale,
	}, {
		name: "written, rolling for hours", reason: "once: whatever becomes of the rollout",
		given: func(s *scenario) { restartedForB(s); s.later(7200) },
		want:  outcome{Verdict: plan.Restarting, Changes: changedCrt},
	}, {
		name: "written, complete, an old pod active", reason: "once: a workload is done when its pods are fresh",
		given: func(s *scenario) { restartedForB(s); s.later(7200).in.Workload.Rolling = false },
		want:  outcome{Verdict: plan.Restarting, Changes: changedCrt, Asked: true},
	}, {
		name: "paused", reason: "spec.paused is never touched, nor a template behind it",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(5).in.Workload.Held = plan.HeldPaused },
		want:  outcome{Verdict: plan.Paused, Changes: changedCrt},
	}, {
		name: "unpaused", reason: "it happens then",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").later(5).in.Workload.Held = plan.HeldPaused
			s.decide()
			s.later(5).in.Workload.Held = ""
		},
		want: outcome{Verdict: plan.Restart, Changes: changedCrt},
	}, {
		name: "OnDelete", reason: "it gets the template: whoever deletes its pods gets new ones",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(5).in.Workload.Held = "OnDelete" },
		want:  outcome{Verdict: plan.Restart, Changes: changedCrt},
	}, {
		name: "OnDelete, written", reason: "once a change, pending until its pods prove it",
		given: func(s *scenario) {
			s.proven().in.Workload.Held = "OnDelete"
			s.wrote(tls, "crt", "B").later(5).decide()
			s.restarted().later(7200)
		},
		want: outcome{Verdict: plan.Paused, Changes: changedCrt, Asked: true},
	}, {
		name: "OnDelete, written, another change", reason: "the template goes on although no pod did",
		given: func(s *scenario) {
			s.proven().in.Workload.Held = "OnDelete"
			s.wrote(tls, "crt", "B").later(5).decide()
			s.restarted().later(60).wrote(tls, "crt", "C").later(5)
		},
		want: stale,
	}, {
		name: "OnDelete, written, an optional source appears", reason: "what appears is no change, and no reason to write again",
		given: func(s *scenario) {
			s.usesOptional(app, all).proven().in.Workload.Held = "OnDelete"
			s.wrote(tls, "crt", "B").edit(tls, func(o *plan.Source) { o.Timing = plan.Inexact }).later(5).decide()
			s.restarted().later(60).remade(app, "a", "1").later(5)
		},
		want: outcome{Verdict: plan.Paused, Changes: changedCrt, Asked: true},
	}, {
		name: "OnDelete, written, a source goes, another changes, the first returns", reason: "its absence is no change, so it is written still",
		given: func(s *scenario) {
			s.usesOptional(app, all).made(app, -3600, "a", "1").proven().in.Workload.Held = "OnDelete"
			s.wrote(app, "a", "2").edit(app, func(o *plan.Source) { o.Timing = plan.Inexact }).later(5).decide()
			s.restarted().later(60).deleted(app).wrote(tls, "crt", "B").later(5).decide()
			s.restarted().later(60).remade(app, "a", "2").edit(app, func(o *plan.Source) { o.Timing = plan.Listed }).later(5)
		},
		want: outcome{Verdict: plan.Paused, Changes: "ConfigMap/app changed (a), " + changedCrt, Asked: true},
	}, {
		name: "paused, a key shown no more, then again", reason: "old pods run with the key that was removed, whatever their age proves",
		given: func(s *scenario) {
			s.made(tls, -3600, "crt", "A", "key", "A").proven().in.Workload.Held = plan.HeldPaused
			s.wrote(tls, "crt", "A").later(5).decide()
			s.uses(tls, reference.Keys("crt")).template().later(5).decide()
			s.uses(tls, all).template().later(5)
		},
		want: outcome{Verdict: plan.Paused, Changes: "Secret/tls changed (key)", Asked: true},
	}, {
		name: "paused, an equal key shown no more, then again", reason: "it changed when nobody looked at it",
		given: func(s *scenario) {
			s.made(tls, -3600, "crt", "A", "key", "A").proven().in.Workload.Held = plan.HeldPaused
			s.wrote(tls, "crt", "B", "key", "A").hasPods(s.later(5).newPod()).later(5)
			s.uses(tls, reference.Keys("crt")).template().later(5).decide()
			s.wrote(tls, "crt", "B").later(5).decide()
			s.uses(tls, all).template().later(5)
		},
		want: outcome{Verdict: plan.Paused, Changes: "Secret/tls changed (crt, key)", Asked: true},
	}, {
		name: "paused, a source shown no more, then again", reason: "what old pods run with is known of it",
		given: func(s *scenario) {
			s.uses(app, all).made(app, -3600, "a", "1", "b", "1").proven().in.Workload.Held = plan.HeldPaused
			s.wrote(tls, "crt", "B").later(5).hasPods(s.newPod()).later(5).in.Selection.Uses = []reference.Use{{Source: tls, Scope: all}}
			s.template().later(5).decide()
			s.wrote(app, "a", "1").later(60).uses(app, all).template().later(5)
		},
		want: outcome{Verdict: plan.Paused, Changes: "ConfigMap/app changed (b)", Asked: true},
	}, {
		name: "written while a source that had changed was absent", reason: "it counts as what it held last",
		given: func(s *scenario) {
			s.usesOptional(app, all).made(app, -3600, "a", "1").proven().held(plan.Suspended).wrote(app, "a", "2").later(5).decide()
			s.deleted(app).wrote(tls, "crt", "B").resumed().later(5).decide()
			s.restarted().rolledOut().later(60).decide()
			s.remade(app, "a", "2").edit(app, func(o *plan.Source) { o.Timing = plan.Listed }).later(5)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "written while a difference was not shown", reason: "the value stands for all content, what equals the record included",
		given: func(s *scenario) {
			s.made(tls, -3600, "crt", "A", "key", "A").uses(app, all).made(app, -3600, "a", "1").proven().held(plan.Suspended)
			s.wrote(tls, "crt", "A", "key", "B").later(5).decide()
			s.uses(tls, reference.Keys("crt")).wrote(app, "a", "2").template().in.Workload.Held = "OnDelete"
			s.resumed().later(5).decide()
			s.restarted().later(5).decide()
			s.wrote(tls, "crt", "A", "key", "A").edit(tls, func(o *plan.Source) { o.Turns, o.Timing = nil, plan.Inexact }).later(5)
		},
		want: outcome{Verdict: plan.Paused, Changes: "ConfigMap/app changed (a), Secret/tls changed", Asked: true},
	}, {
		name: "OnDelete, pods deleted", reason: "its pods prove it",
		given: func(s *scenario) {
			s.proven().in.Workload.Held = "OnDelete"
			s.wrote(tls, "crt", "B").later(5).decide()
			s.restarted().later(60).rolledOut().later(60)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "partition, a pod behind it deleted", reason: "its successor is of the former revision, and reads the present content",
		given: func(s *scenario) {
			s.proven().in.Workload.Held = "partition"
			s.wrote(tls, "crt", "B").later(5).decide()
			former := s.restarted().later(60).newPod()
			former.Current, former.Value = false, ""
			s.hasPods(former).later(60)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}}.run(t)
}

// TestOrderOfGates takes away one reason to wait after the other: each must uncover the next of the design's order.
func TestOrderOfGates(t *testing.T) {
	s := newScenario(t)
	afterRestart(s)
	s.held(plan.OwnerSuspended)
	s.uses(app, all)
	s.wrote(tls, "crt", "D")
	s.in.Workload.Held, s.in.Unpersisted = plan.HeldPaused, true
	s.in.Entry.Throttle = s.in.Now.Add(time.Hour)
	var got []plan.Verdict
	next := func(remove func()) {
		remove()
		got = append(got, s.decide().Verdict)
	}
	next(func() {})
	next(func() { s.resumed() })
	next(func() { s.made(app, 0, "k", "1") })
	next(func() { s.later(3) })
	next(func() { s.in.Entry.Throttle = time.Time{} })
	next(func() { s.in.Unpersisted = false })
	next(func() { s.in.Workload.Held = "" })
	next(func() { s.later(3600) })
	want := []plan.Verdict{
		plan.OwnerSuspended, plan.Waiting, plan.Settling, plan.Throttled, plan.Throttled, plan.Paused, plan.Restarting, plan.Restart,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestAskedAgain says when a decision that waits is looked at again: nothing else may come to wake it up.
func TestAskedAgain(t *testing.T) {
	for _, tc := range []struct {
		name  string
		given func(s *scenario)
		most  time.Duration
	}{
		{"throttled", func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(5).in.Unpersisted = true }, 5 * time.Second},
		{"not watched", func(s *scenario) { s.edit(tls, func(o *plan.Source) { o.State = plan.Unknown }) }, 30 * time.Second},
		{"old pods active", restartedForB, 5 * time.Minute},
		{"our rollout", afterRestart, 15 * time.Minute},
		{"cache behind", func(s *scenario) { restartedForB(s); s.in.Workload.Generation-- }, 5 * time.Second},
		{"rolled back", func(s *scenario) { restartedForB(s); s.undone().later(5) }, 5 * time.Minute},
		{"no pods", func(s *scenario) { restartedForB(s); s.hasPods().in.Workload.Rolling = false }, 30 * time.Second},
		{"no pods for a day", func(s *scenario) { restartedForB(s); s.hasPods().later(86400).in.Workload.Rolling = false }, 5 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScenario(t)
			tc.given(s)
			if d := s.decide(); d.After <= 0 || d.After > tc.most {
				t.Errorf("%s: looks again after %s, want at most %s", d.Verdict, d.After, tc.most)
			}
		})
	}
}

// TestControllerRestartInMidRollout covers a source that is not watched yet for a moment: that is no other content.
func TestControllerRestartInMidRollout(t *testing.T) {
	s := newScenario(t)
	restartedForB(s)
	observed := s.in.Sources[tls]
	s.in.Sources[tls], s.in.Written = plan.Source{}, 0
	s.decide()
	s.in.Sources[tls] = observed
	// A time that proves nothing, so that only the value does.
	s.met(tls, -3600, "crt", "B").later(60).rolledOut().later(60).decide()
	if diff := cmp.Diff(outcome{Verdict: plan.InSync, Asked: true}, s.outcome()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if s.in.Entry.Template != s.in.Workload.Template || s.in.Entry.Template == (digest.Digest{}) {
		t.Error("not proven")
	}
}

// A record made on a node whose clock was ahead must not hold a workload for as long, nor one that goes by the record of another.
func TestThrottleOfAnotherClock(t *testing.T) {
	s := newScenario(t).proven().wrote(tls, "crt", "B").later(2)
	ahead(t, s)
	s = newScenario(t).proven().wrote(tls, "crt", "B").later(2)
	s.in.Predecessor, s.in.Entry = s.in.Entry, nil
	s.in.Workload.UID, s.in.Workload.Created = "second", s.in.Now
	ahead(t, s)
}

func ahead(t *testing.T, s *scenario) {
	t.Helper()
	for _, record := range []**ledger.Entry{&s.in.Entry, &s.in.Predecessor} {
		if *record != nil {
			*record = (*record).Clone()
			(*record).Throttle = s.in.Now.Add(2 * time.Hour)
		}
	}
	if d := s.decide(); d.Verdict != plan.Throttled || d.After > 2*time.Minute {
		t.Fatalf("%s for %s, want Throttled for what one restart costs", d.Verdict, d.After)
	}
	s.later(120)
	if d := s.decide(); d.Verdict != plan.Restart {
		t.Errorf("two minutes later: %s: %s", d.Verdict, d.Message)
	}
}
