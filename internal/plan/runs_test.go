package plan_test

import (
	"testing"
	"time"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

// Workloads that have runs: a CronJob gets one more, a Job is made again.

// cronJob makes the workload a CronJob whose last run began, and ended, half an hour ago.
func (s *scenario) cronJob() *scenario {
	w := &s.in.Workload
	w.Kind, w.Restarts, w.Replicas, s.pods = "CronJob", plan.ByRun, 0, nil
	s.runs = []plan.Run{{Name: "registry-1", Began: at(-1800), Ended: at(-1790)}}
	return s
}

// job makes it a Job that began half an hour ago and has ended.
func (s *scenario) job() *scenario {
	s.cronJob()
	s.in.Workload.Kind, s.in.Workload.Restarts = "Job", plan.ByReplacement
	return s
}

// run is a run that begins now.
func (s *scenario) run(name, value string) *scenario {
	s.runs = append(s.runs, plan.Run{Name: name, Began: s.in.Now, Value: value})
	return s
}

// ran carries out the last decision about a CronJob, now; recorded is whether the record of it is kept.
func (s *scenario) ran(recorded bool) *scenario {
	s.t.Helper()
	if s.decision.Verdict != plan.Restart {
		s.t.Fatalf("%s: nothing to carry out: %s", s.decision.Verdict, s.decision.Message)
	}
	s.run("registry-r"+s.decision.Value[:8], s.decision.Value)
	if recorded {
		s.in.Entry = plan.Restarted(s.decision, s.in.Now)
	}
	return s
}

// remadeJob carries out the last decision about a Job, now: it is another object by the same name.
func (s *scenario) remadeJob(recorded bool) *scenario {
	s.t.Helper()
	s.ran(recorded)
	s.in.Predecessor, s.in.Entry = s.in.Entry, nil
	w := &s.in.Workload
	w.UID, w.Created, w.Value = w.UID+"+", s.in.Now, s.decision.Value
	s.runs = []plan.Run{{Name: "registry", Began: s.in.Now, Value: w.Value}}
	return s
}

var again = outcome{Verdict: plan.Restart, Changes: changedCrt, Asked: true}

// changedNow is a change a while after everything was in order, settled.
func (s *scenario) changedNow(crt string) *scenario { return s.wrote(tls, "crt", crt).later(5) }

// TestWhoAsksForARunWaitsForTheOtherOnly because nobody tells that a run ends that is not the schedule's.
func TestWhoAsksForARunWaitsForTheOtherOnly(t *testing.T) {
	s := newScenario(t).cronJob()
	s.in.Workload.Alone = true
	s.proven().run("registry-2", "").later(3600).requests("1")
	if d := s.decide(); d.Verdict != plan.Paused || d.After != 2*time.Second {
		t.Errorf("%s, again after %s; want Paused, and 2s", d.Verdict, d.After)
	}
}

func TestCronJob(t *testing.T) {
	suspended := func(s *scenario) *scenario {
		s.in.Workload.Held = plan.HeldSuspended
		return s
	}
	alone := func(s *scenario) *scenario {
		s.in.Workload.Alone = true
		return s
	}
	table{{
		name: "first sight", reason: "what ran before is nobody's wish to run again, however old it is",
		given: func(s *scenario) { s.cronJob().made(tls, -60, "crt", "A") }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "nothing changed", reason: "and nobody asks for its runs",
		given: func(s *scenario) { s.cronJob().proven() }, want: inSync,
	}, {
		name: "change", reason: "a Job at once", given: func(s *scenario) { s.cronJob().proven().changedNow("B") }, want: again,
	}, {
		name: "settling", reason: "changes that come together are one Job",
		given: func(s *scenario) { s.cronJob().proven().wrote(tls, "crt", "B") }, want: outcome{Verdict: plan.Settling, Changes: changedCrt},
	}, {
		name: "never run", reason: "as if it had", given: func(s *scenario) { s.cronJob().proven().changedNow("B").runs = nil }, want: again,
	}, {
		name: "done", reason: "once",
		given: func(s *scenario) { s.cronJob().proven().changedNow("B").decide(); s.ran(true).later(60) }, want: inSync,
	}, {
		name: "next change", reason: "one more",
		given: func(s *scenario) {
			s.cronJob().proven().changedNow("B").decide()
			s.ran(true).later(600).changedNow("C")
		},
		want: again,
	}, {
		name: "change before the record is stored", reason: "no more than one may be lost in a crash",
		given: func(s *scenario) {
			s.cronJob().proven().changedNow("B").decide()
			s.ran(true).later(600).changedNow("C").in.Unpersisted = true
		},
		want: outcome{Verdict: plan.Throttled, Changes: changedCrt},
	}, {
		name: "the schedule was faster", reason: "that run has read it",
		given: func(s *scenario) { s.cronJob().proven().wrote(tls, "crt", "B").later(5).run("registry-2", "").later(5) },
		want:  outcome{Verdict: plan.AlreadyFresh, Asked: true},
	}, {
		name: "a run in the same second", reason: "it may have read either",
		given: func(s *scenario) { s.cronJob().proven().wrote(tls, "crt", "B").run("registry-2", "").later(5) }, want: again,
	}, {
		name: "an older run besides", reason: "only the newest counts",
		given: func(s *scenario) {
			s.cronJob().proven().run("registry-2", "").later(5).wrote(tls, "crt", "B").later(5).run("registry-3", "").later(5)
		},
		want: outcome{Verdict: plan.AlreadyFresh, Asked: true},
	}, {
		name: "suspended", reason: "never a Job of a suspended CronJob",
		given: func(s *scenario) { suspended(s.cronJob().proven().changedNow("B")) }, want: outcome{Verdict: plan.Paused, Changes: changedCrt},
	}, {
		name: "suspended and asked for", reason: "not even then",
		given: func(s *scenario) { suspended(s.cronJob().proven().requests("1")) }, want: outcome{Verdict: plan.Paused},
	}, {
		name: "resumed", reason: "what is held happens then, once",
		given: func(s *scenario) {
			suspended(s.cronJob().proven().changedNow("B")).decide()
			s.later(60).in.Workload.Held = ""
		},
		want: again,
	}, {
		name: "another run is active", reason: "they may be", given: func(s *scenario) { s.cronJob().proven().run("registry-2", "").later(60).changedNow("B") }, want: again,
	}, {
		name: "alone, another run is active", reason: "none may be",
		given: func(s *scenario) { alone(s.cronJob()).proven().run("registry-2", "").later(60).changedNow("B") },
		want:  outcome{Verdict: plan.Paused, Changes: changedCrt, Asked: true},
	}, {
		name: "alone, an older run is active", reason: "that neither",
		given: func(s *scenario) {
			alone(s.cronJob()).proven()
			s.runs[0].Ended = time.Time{}
			s.run("registry-2", "").runs[1].Ended = s.in.Now
			s.later(60).changedNow("B")
		},
		want: outcome{Verdict: plan.Paused, Changes: changedCrt, Asked: true},
	}, {
		name: "alone, another run has ended", reason: "now", given: func(s *scenario) { alone(s.cronJob()).proven().changedNow("B") }, want: again,
	}, {
		name: "held by its owner", reason: "as everything is",
		given: func(s *scenario) { s.cronJob().proven().changedNow("B").held(plan.OwnerSuspended) },
		want:  outcome{Verdict: plan.OwnerSuspended, Changes: changedCrt},
	}, {
		name: "required source absent", reason: "its pods could not start",
		given: func(s *scenario) { s.cronJob().proven().deleted(tls) }, want: outcome{Verdict: plan.Waiting},
	}, {
		name: "asked for", reason: "a Job, content or not", given: func(s *scenario) { s.cronJob().proven().requests("1") },
		want: outcome{Verdict: plan.Restart, Asked: true},
	}, {
		name: "asked for, and fresh", reason: "who asks wants a run",
		given: func(s *scenario) {
			s.cronJob().proven().wrote(tls, "crt", "B").later(5).run("registry-2", "").later(5).requests("1")
		},
		want: again,
	}, {
		name: "looked at", reason: "there are no pods to look at",
		given: func(s *scenario) { s.cronJob().proven().in.Look = true }, want: inSync,
	}}.run(t)
}

// A crash after the Job was made, and before that was on record, makes no other.
func TestCronJobAfterACrash(t *testing.T) {
	table{{
		name: "recognised", reason: "the run carries the value that follows",
		given: func(s *scenario) {
			s.cronJob().proven().changedNow("B").decide()
			s.ran(false).later(5)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "found in a list", reason: "when it changed does not matter",
		given: func(s *scenario) {
			s.cronJob().proven().changedNow("B").decide()
			s.ran(false).later(5).met(tls, 600, "crt", "B").edit(tls, func(o *plan.Source) { o.Changed = time.Time{} })
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "asked for", reason: "the token is in the value",
		given: func(s *scenario) {
			s.cronJob().proven().requests("1").decide()
			s.ran(false).later(5)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "asked for, and the schedule ran since", reason: "that is another run",
		given: func(s *scenario) {
			s.cronJob().proven().requests("1").decide()
			s.ran(false).later(60).run("registry-2", "").later(60)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "other content since", reason: "the run was for what there was",
		given: func(s *scenario) {
			s.cronJob().proven().changedNow("B").decide()
			s.ran(false).later(60).changedNow("C")
		},
		want: again,
	}, {
		name: "returned since", reason: "the last run has read what is gone",
		given: func(s *scenario) {
			s.cronJob().proven().changedNow("B").decide()
			s.ran(false).later(60).changedNow("A")
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}}.run(t)
}

// What was handled once does not count for a later change to the same content.
func TestValuesOfRunsDoNotReturn(t *testing.T) {
	s := newScenario(t).cronJob().proven()
	seen := map[string]bool{}
	for _, content := range []string{"B", "A", "B", "A"} {
		s.changedNow(content).decide()
		if seen[s.decision.Value] {
			t.Fatalf("%s: the value %s returns", content, s.decision.Value)
		}
		seen[s.decision.Value] = true
		s.ran(true).later(600)
		if d := s.decide(); d.Verdict != plan.InSync || d.Entry.PendingSince != (time.Time{}) || d.Entry.Value == "" {
			t.Fatalf("%s afterwards: %s", d.Verdict, d.Message)
		}
	}

	t.Log("a value that was made for a ledger that is lost")
	lost := newScenario(t).cronJob().proven().changedNow("B")
	lost.decide()
	lost.ran(false).later(600)
	lost.run("registry-later", "").later(600)
	lost.in.Entry = nil
	lost.made(tls, 1200, "crt", "A").proven().changedNow("B").decide()
	if d := lost.decision; d.Verdict != plan.Restart || d.Value == lost.runs[1].Value {
		t.Errorf("%s, with the value of an old run: %t", d.Verdict, d.Value == lost.runs[1].Value)
	}
}

func TestContentThatReturnsBeforeARun(t *testing.T) {
	table{{
		name: "nothing ran meanwhile", reason: "the last run has read what there is",
		given: func(s *scenario) {
			s.cronJob().proven().changedNow("B").held(plan.Suspended).decide()
			s.changedNow("A").resumed()
		},
		want: outcome{Verdict: plan.AlreadyFresh, Asked: true},
	}, {
		name: "the schedule ran meanwhile", reason: "that run has read what is gone",
		given: func(s *scenario) {
			s.cronJob().proven().changedNow("B").held(plan.Suspended).decide()
			s.run("registry-2", "").later(60).changedNow("A").resumed()
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}}.run(t)
}

func TestRunsOnCreateAndDelete(t *testing.T) {
	table{{
		name: "appears", reason: "by itself no change", given: func(s *scenario) {
			s.cronJob().usesOptional(app, all).proven().remade(app, "mode", "1").later(5)
		},
		want: outcome{Verdict: plan.Baseline},
	}, {
		name: "appears, asked for", reason: "a run", given: func(s *scenario) {
			s.in.Policy.OnCreate = true
			s.cronJob().usesOptional(app, all).proven().remade(app, "mode", "1").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "ConfigMap/app created", Asked: true},
	}, {
		name: "was there at first sight", reason: "no run", given: func(s *scenario) {
			s.in.Policy.OnCreate = true
			s.cronJob().made(tls, -60, "crt", "A")
		},
		want: outcome{Verdict: plan.Baseline},
	}, {
		name: "goes, asked for", reason: "a run", given: func(s *scenario) {
			s.in.Policy.OnDelete = true
			s.cronJob().usesOptional(app, all).made(app, -3600, "mode", "1").proven().deleted(app).later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "ConfigMap/app deleted", Asked: true},
	}, {
		name: "gone, and handled", reason: "once", given: func(s *scenario) {
			s.in.Policy.OnDelete = true
			s.cronJob().usesOptional(app, all).made(app, -3600, "mode", "1").proven().deleted(app).later(5).decide()
			s.ran(true).later(60)
		},
		want: inSync,
	}}.run(t)
}

func TestJob(t *testing.T) {
	table{{
		name: "first sight", reason: "nothing is made again for what was before",
		given: func(s *scenario) { s.job().made(tls, -60, "crt", "A") }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "change", reason: "it is made again, ended or not", given: func(s *scenario) { s.job().proven().changedNow("B") }, want: again,
	}, {
		name: "active", reason: "as well",
		given: func(s *scenario) { s.job().proven().changedNow("B").runs[0].Ended = time.Time{} }, want: again,
	}, {
		name: "made again", reason: "it goes by its predecessor's record",
		given: func(s *scenario) { s.job().proven().changedNow("B").decide(); s.remadeJob(true).later(5) }, want: inSync,
	}, {
		name: "made again, and the record is lost", reason: "its value follows from what is on record",
		given: func(s *scenario) { s.job().proven().changedNow("B").decide(); s.remadeJob(false).later(5) }, want: inSync,
	}, {
		name: "made again, and asked for meanwhile", reason: "another token", given: func(s *scenario) {
			s.job().proven().changedNow("B").decide()
			s.remadeJob(true).later(5).requests("1")
		},
		want: outcome{Verdict: plan.Restart, Asked: true},
	}, {
		name: "made again by request, and the record is lost", reason: "the token is in the value", given: func(s *scenario) {
			s.job().proven().requests("1").decide()
			s.remadeJob(false).later(5)
		},
		want: inSync,
	}, {
		name: "changed before it was made again", reason: "its pods are newer than that", given: func(s *scenario) {
			s.job().proven().changedNow("B").decide()
			s.wrote(tls, "crt", "C").later(5).remadeJob(true).later(5)
		},
		want: outcome{Verdict: plan.AlreadyFresh, Asked: true},
	}, {
		name: "changed since it was made again", reason: "once more", given: func(s *scenario) {
			s.job().proven().changedNow("B").decide()
			s.remadeJob(true).later(60).changedNow("C")
		},
		want: again,
	}, {
		name: "made again by somebody", reason: "it has read what there was then", given: func(s *scenario) {
			s.job().proven().changedNow("B").decide()
			s.remadeJob(false).in.Workload.Value = ""
		},
		want: outcome{Verdict: plan.Baseline},
	}}.run(t)
}

// The record of a change is that of its content, once it is handled.
func TestRecordOfARun(t *testing.T) {
	s := newScenario(t).cronJob().proven().changedNow("B")
	d := s.decide()
	if d.Entry.PendingSince.IsZero() || d.Entry.Value != "" {
		t.Errorf("before it is done: pending since %s, value %q", d.Entry.PendingSince, d.Entry.Value)
	}
	e := plan.Restarted(d, s.in.Now)
	want := ledger.Source{
		Present: true, Scope: all, Digest: s.in.Key.Scoped(tls, all, s.in.Sources[tls].Content),
		Tags: ledger.Tags(s.in.Sources[tls].Content, all), ResourceVersion: s.in.Sources[tls].ResourceVersion, Changed: s.in.Sources[tls].Changed,
	}
	if got := e.Sources[tls]; got.Digest != want.Digest || got.ResourceVersion != want.ResourceVersion || !got.Diverged.IsZero() {
		t.Errorf("record %+v, want %+v", got, want)
	}
	if e.Value != d.Value || !e.PendingSince.IsZero() || e.Throttle.IsZero() {
		t.Errorf("value %q, pending since %s, paid for until %s", e.Value, e.PendingSince, e.Throttle)
	}
}
