package plan_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/plan"
)

// A restart that somebody asks for by a token: once a token, and now.

// requests writes a token on the workload, or takes it away.
func (s *scenario) requests(token string) *scenario {
	w := &s.in.Workload
	if w.Annotations = nil; token != "" {
		w.Annotations = map[string]string{v1alpha1.RestartRequestedAtAnnotation: token}
	}
	w.Generation++
	w.ObservedGeneration++
	return s
}

// granted is a workload that was restarted by request of "1", and rolled out.
func granted(s *scenario) *scenario {
	s.proven().requests("1").decide()
	s.restarted().rolledOut().later(5).decide()
	return s.later(600)
}

var (
	byRequest = outcome{Verdict: plan.Restart}
	inSync    = outcome{Verdict: plan.InSync}
)

func TestRequest(t *testing.T) {
	table{{
		name: "none", reason: "nobody asks", given: func(s *scenario) { s.proven().requests("") }, want: inSync,
	}, {
		name: "new", reason: "somebody asks, and no pods are asked for", given: func(s *scenario) { s.proven().requests("1") }, want: byRequest,
	}, {
		name: "handled", reason: "once a token", given: func(s *scenario) { granted(s) }, want: inSync,
	}, {
		name: "another", reason: "each new token", given: func(s *scenario) { granted(s).requests("2") }, want: byRequest,
	}, {
		name: "taken away", reason: "that asks for nothing", given: func(s *scenario) { granted(s).requests("") }, want: inSync,
	}, {
		name: "taken away and put back", reason: "it was handled: who applies the manifest may strip it meanwhile",
		given: func(s *scenario) { granted(s).requests("").decide(); s.requests("1") }, want: inSync,
	}, {
		name: "first sight", reason: "whether it was handled is not known: never a storm",
		given: func(s *scenario) { s.requests("1") }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "after first sight", reason: "it was taken as handled",
		given: func(s *scenario) { s.requests("1").proven() }, want: inSync,
	}, {
		name: "another after first sight", reason: "this one was not there",
		given: func(s *scenario) { s.requests("1").proven().requests("2") }, want: byRequest,
	}, {
		name: "the ledger was lost", reason: "first sight of everything",
		given: func(s *scenario) { granted(s).in.Entry = nil }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "not selected", reason: "nothing is restarted without opting in",
		given: func(s *scenario) { s.proven().requests("1").in.Selection.Selected = false }, want: outcome{Verdict: plan.NotSelected},
	}, {
		name: "too long", reason: "it is none", given: func(s *scenario) { s.proven().requests(strings.Repeat("1", 254)) }, want: inSync,
	}, {
		name: "long", reason: "it is one", given: func(s *scenario) { s.proven().requests(strings.Repeat("1", 253)) }, want: byRequest,
	}, {
		name: "no sources", reason: "content has nothing to do with it",
		given: func(s *scenario) {
			s.in.Selection.Uses = nil
			s.proven().requests("1")
		},
		want: byRequest,
	}, {
		name: "scaled to zero", reason: "the template is new when it is scaled up",
		given: func(s *scenario) { s.proven().requests("1").hasPods().in.Workload.Replicas = 0 }, want: byRequest,
	}}.run(t)
}

// What does not hold back a restart that somebody asks for.
func TestRequestSkips(t *testing.T) {
	changed := outcome{Verdict: plan.Restart, Changes: changedCrt}
	table{{
		name: "settling", reason: "now, with what has changed so far",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").requests("1") }, want: changed,
	}, {
		name: "throttle", reason: "who asks does not want to wait",
		given: func(s *scenario) { s.proven().burst(); s.change(); s.requests("1") }, want: changed,
	}, {
		name: "rolled back", reason: "held until content changes or somebody asks",
		given: func(s *scenario) { restartedForB(s); s.undone().later(5).decide(); s.requests("1") }, want: changed,
	}, {
		name: "already fresh", reason: "who asks wants new pods",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").template().later(5).rolledOut().later(60).requests("1")
		},
		want: changed,
	}, {
		name: "our rollout", reason: "now", given: func(s *scenario) { restartedForB(s); s.requests("1") }, want: changed,
	}, {
		name: "our rollout, with another change", reason: "now", given: func(s *scenario) { afterRestart(s); s.requests("1") }, want: changed,
	}, {
		name: "somebody's rollout", reason: "now", given: func(s *scenario) { s.proven().template().requests("1") }, want: byRequest,
	}, {
		name: "spread", reason: "it is one restart, and no storm",
		given: func(s *scenario) {
			s.proven().uses(app, all).made(app, 500, "mode", "1").requests("1").in.AdoptionReady = false
		},
		want: byRequest,
	}, {
		name: "OnDelete", reason: "it gets the template",
		given: func(s *scenario) { s.proven().requests("1").in.Workload.Held = "OnDelete" }, want: byRequest,
	}}.run(t)
}

// What holds it back, and what becomes of it then.
func TestRequestWaits(t *testing.T) {
	asked := func(s *scenario) *scenario { return s.proven().requests("1") }
	crashed := func(s *scenario) *scenario {
		entry := s.proven().wrote(tls, "crt", "B").later(5).decide().Entry
		s.restarted()
		s.in.Entry, s.in.Written = entry, 0
		return s.later(5).met(tls, 600, "crt", "B").requests("1")
	}
	table{{
		name: "suspended", reason: "held", given: func(s *scenario) { asked(s).held(plan.Suspended) }, want: outcome{Verdict: plan.Suspended},
	}, {
		name: "owner suspended", reason: "held",
		given: func(s *scenario) { asked(s).held(plan.OwnerSuspended) }, want: outcome{Verdict: plan.OwnerSuspended},
	}, {
		name: "resumed", reason: "it happens then",
		given: func(s *scenario) { asked(s).held(plan.OwnerSuspended).decide(); s.later(60).resumed() }, want: byRequest,
	}, {
		name: "taken away in the hold", reason: "nobody asks any more",
		given: func(s *scenario) {
			asked(s).held(plan.OwnerSuspended).decide()
			s.later(60).requests("").resumed()
		},
		want: inSync,
	}, {
		name: "a required source is absent", reason: "pods could not start",
		given: func(s *scenario) { asked(s).deleted(tls) }, want: outcome{Verdict: plan.Waiting},
	}, {
		name: "a source is not seen", reason: "what pods would get is not known",
		given: func(s *scenario) { asked(s).edit(tls, func(o *plan.Source) { o.State = plan.Unknown }) }, want: outcome{Verdict: plan.Waiting},
	}, {
		name: "paused", reason: "spec.paused is never touched, nor a template behind it",
		given: func(s *scenario) { asked(s).in.Workload.Held = plan.HeldPaused }, want: outcome{Verdict: plan.Paused},
	}, {
		name: "unpaused", reason: "it happens then",
		given: func(s *scenario) {
			asked(s).in.Workload.Held = plan.HeldPaused
			s.decide()
			s.in.Workload.Held = ""
		},
		want: byRequest,
	}, {
		name: "record not stored", reason: "no restart before the last one is persisted",
		given: func(s *scenario) { asked(s).in.Unpersisted = true }, want: outcome{Verdict: plan.Throttled},
	}, {
		name: "record of another process not stored", reason: "nor before one that is adopted",
		given: func(s *scenario) { crashed(s) }, want: outcome{Verdict: plan.Throttled, Changes: changedCrt},
	}, {
		name: "record of another process stored", reason: "it happens then",
		given: func(s *scenario) { crashed(s).decide() }, want: outcome{Verdict: plan.Restart, Changes: changedCrt},
	}, {
		name: "cache behind", reason: "what it shows is from before the last restart",
		given: func(s *scenario) { granted(s).requests("2").in.Written += 2 }, want: outcome{Verdict: plan.Restarting},
	}}.run(t)
}

// The restart is through when the pods carry its value. No source tells.
func TestRequestRollsOut(t *testing.T) {
	asked := func(s *scenario) *scenario {
		s.proven().requests("1").decide()
		return s.restarted().later(5)
	}
	onDelete := func(s *scenario) *scenario {
		s.proven().in.Workload.Held = "OnDelete"
		s.requests("1").decide()
		return s.restarted().later(5)
	}
	restarting := outcome{Verdict: plan.Restarting}
	through := outcome{Verdict: plan.InSync, Asked: true}
	table{{
		name: "begun", reason: "the patch is sent, and no pod is new", given: func(s *scenario) { asked(s) }, want: restarting,
	}, {
		name: "half way", reason: "an old pod is active",
		given: func(s *scenario) { asked(s); s.hasPods(s.pods[0], s.newPod()).later(5) }, want: restarting,
	}, {
		name: "cache ahead of the pods", reason: "an old pod is active",
		given: func(s *scenario) { asked(s); s.hasPods(s.pods[0], s.newPod()).in.Workload.Rolling = false },
		want:  outcome{Verdict: plan.Restarting, Asked: true},
	}, {
		name: "no pods yet", reason: "nothing proves it",
		given: func(s *scenario) { asked(s).hasPods().in.Workload.Rolling = false }, want: outcome{Verdict: plan.Restarting, Asked: true},
	}, {
		name: "rolled out", reason: "all pods are new", given: func(s *scenario) { asked(s).rolledOut().later(5) }, want: through,
	}, {
		name: "proven", reason: "on record", given: func(s *scenario) { asked(s).rolledOut().later(5).decide() }, want: inSync,
	}, {
		name: "stuck", reason: "once: whatever becomes of the rollout", given: func(s *scenario) { asked(s).later(7200) }, want: restarting,
	}, {
		name: "scaled to zero", reason: "there is nothing to wait for",
		given: func(s *scenario) { asked(s).rolledOut().hasPods().in.Workload.Replicas = 0 }, want: through,
	}, {
		name: "the token is taken away meanwhile", reason: "the rollout goes on", given: func(s *scenario) { asked(s).requests("") }, want: restarting,
	}, {
		name: "another token meanwhile", reason: "now", given: func(s *scenario) { asked(s).requests("2") }, want: byRequest,
	}, {
		name: "content changes meanwhile", reason: "one rollout after the other",
		given: func(s *scenario) { asked(s).wrote(tls, "crt", "B").later(5) },
		want:  outcome{Verdict: plan.Restarting, Changes: changedCrt, Asked: true},
	}, {
		name: "content changed with it", reason: "there is nothing to settle any more",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").requests("1").decide()
			s.restarted()
		},
		want: outcome{Verdict: plan.Restarting, Changes: changedCrt},
	}, {
		name: "undone", reason: "not fought over: nothing differs", given: func(s *scenario) { asked(s).undone().later(5) }, want: inSync,
	}, {
		name: "OnDelete", reason: "written, and pending until its pods prove it",
		given: func(s *scenario) { onDelete(s) }, want: outcome{Verdict: plan.Paused, Asked: true},
	}, {
		name: "OnDelete, pods deleted", reason: "its pods prove it",
		given: func(s *scenario) { onDelete(s).rolledOut().later(5) }, want: through,
	}}.run(t)
}

// TestRequestIsHandled reads the record: the restart handles the token, and nothing else does.
func TestRequestIsHandled(t *testing.T) {
	s := newScenario(t).proven().requests("1").held(plan.Suspended)
	if d := s.decide(); d.Entry.Token != "" || d.Message != `held; restart requested at "1"` {
		t.Errorf("held: handled %q, told %q", d.Entry.Token, d.Message)
	}
	d := s.resumed().decide()
	if d.Entry.Token != "" || d.Requested != "1" || d.Message != `restart requested at "1"` || d.Adoption {
		t.Errorf("handled %q before it was written, for %q, told %q, adoption %t", d.Entry.Token, d.Requested, d.Message, d.Adoption)
	}
	content := s.in.Key.Sum([]digest.Part{{Source: tls, Digest: s.in.Key.Scoped(tls, all, s.in.Sources[tls].Content)}})
	if want := plan.Value(s.in.Key, "", content, "1"); d.Value != want {
		t.Errorf("value %q does not follow from the token, want %q", d.Value, want)
	}
	s.restarted()
	e := s.in.Entry
	if e.Token != "1" || e.Value != d.Value || !e.PendingSince.Equal(s.in.Now) || !e.Throttle.After(s.in.Now) {
		t.Errorf("recorded token %q, value %q, pending since %s, paid until %s", e.Token, e.Value, e.PendingSince, e.Throttle)
	}
}

// TestRequestIsOver follows a restart that was asked for to its end, and another that serves a change, too.
func TestRequestIsOver(t *testing.T) {
	s := newScenario(t).proven().requests("1")
	s.decide()
	s.restarted().rolledOut().later(5).requests("").decide()
	if e := s.in.Entry; e.Token != "1" || !e.PendingSince.IsZero() || e.Template != s.in.Workload.Template {
		t.Errorf("rolled out and taken away: token %q, pending since %s", e.Token, e.PendingSince)
	}
	s.later(600).requests("2").wrote(tls, "crt", "B").decide()
	if want := `restart requested at "2"; ` + changedCrt; s.decision.Message != want {
		t.Errorf("told %q, want %q", s.decision.Message, want)
	}
	s.restarted().rolledOut().later(5).decide()
	if diff := cmp.Diff(outcome{Verdict: plan.InSync, Asked: true}, s.outcome()); diff != "" {
		t.Errorf("one restart serves both: (-want +got)\n%s", diff)
	}
}

// A crash after the restart and before its record: the value follows from the token, which is handled by that.
func TestRequestCrash(t *testing.T) {
	crashed := func(s *scenario) *scenario {
		entry := s.proven().requests("1").decide().Entry
		s.restarted()
		s.in.Entry, s.in.Written = entry, 0
		return s.later(5)
	}
	table{{
		name: "rolling", reason: "recognised", given: func(s *scenario) { crashed(s) }, want: outcome{Verdict: plan.Restarting},
	}, {
		name: "rolled out", reason: "recognised", given: func(s *scenario) { crashed(s).rolledOut().later(5) },
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "taken away and put back", reason: "recognised then",
		given: func(s *scenario) { crashed(s).rolledOut().later(5).requests("").decide(); s.requests("1").later(5) },
		want:  inSync,
	}, {
		name: "another token", reason: "it is another", given: func(s *scenario) { crashed(s).requests("2") }, want: byRequest,
	}, {
		name: "held", reason: "recognised before any rule",
		given: func(s *scenario) { crashed(s).held(plan.Suspended).decide(); s.rolledOut().later(5).resumed() },
		want:  outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "content changed with it", reason: "one restart served both",
		given: func(s *scenario) {
			entry := s.proven().wrote(tls, "crt", "B").requests("1").decide().Entry
			s.restarted()
			s.in.Entry, s.in.Written = entry, 0
			s.later(5).met(tls, 600, "crt", "B").rolledOut().later(5)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}}.run(t)

	s := crashed(newScenario(t))
	live := s.in.Workload.Value
	if e := s.decide().Entry; e.Token != "1" || e.Value != live {
		t.Errorf("recorded token %q, value %q, want those of the restart", e.Token, e.Value)
	}
}

// Requests are paid for: what comes after them waits.
func TestRequestsPay(t *testing.T) {
	s := newScenario(t).proven()
	for _, token := range strings.Split("abcdefgh", "") {
		if d := s.requests(token).decide(); d.Verdict != plan.Restart {
			t.Fatalf("request %s: %s: %s", token, d.Verdict, d.Message)
		}
		s.restarted().rolledOut().later(5).decide()
	}
	if d := s.change(); d.Verdict != plan.Throttled {
		t.Errorf("a change after eight requests: %s, want Throttled", d.Verdict)
	}
}

func TestRequestThatIsNone(t *testing.T) {
	s := newScenario(t).proven().requests(strings.Repeat("é", 127))
	for _, verdict := range []plan.Verdict{plan.InSync, plan.Suspended} {
		d := s.decide()
		if d.Verdict != verdict || len(d.Problems) != 1 {
			t.Fatalf("%s with problems %v, want %s with one", d.Verdict, d.Problems, verdict)
		}
		want := "annotation reloader.contrib.fluxcd.io/restart-requested-at: invalid value \"" + strings.Repeat("é", 16) +
			"…\": is ignored: want at most 253 bytes"
		if diff := cmp.Diff(want, d.Problems[0].String()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		s.held(plan.Suspended)
	}
	s.in.Selection.Selected = false
	if d := s.decide(); d.Problems != nil {
		t.Errorf("not selected: %v", d.Problems)
	}
}

// What is written beside the mark names the workload, by a function of the request.
func TestReloadedByRequest(t *testing.T) {
	s := newScenario(t).proven().requests("2026-03-01T12:00:00Z")
	s.in.Workload.Container = "registry"
	var got map[string]any
	if err := json.Unmarshal([]byte(s.decide().ReloadedFrom), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type": "DEPLOYMENT", "name": "registry", "namespace": "apps", "containerRefs": []any{"registry"},
		"hash":       s.in.Key.Bytes("request", []byte("2026-03-01T12:00:00Z")).String(),
		"observedAt": float64(at(0).Unix()),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	first := s.decision.Write
	if diff := cmp.Diff(first, s.later(5).decide().Write); diff != "" {
		t.Errorf("five seconds later it is another: (-first +then)\n%s", diff)
	}
	if other := s.requests("now").decide().ReloadedFrom; other == first.ReloadedFrom || !strings.Contains(other, `"observedAt":0`) {
		t.Errorf("for another request: %s", other)
	}
}

// Somebody may ask to look at the pods: that decides what memory decides otherwise, and is no cause to restart.
func TestLook(t *testing.T) {
	look := func(s *scenario) *scenario {
		s.in.Look = true
		return s
	}
	table{{
		name: "in sync", reason: "the pods are asked for", given: func(s *scenario) { look(s.proven()) },
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "rolls out by the cache, is through by the pods", reason: "the pods decide",
		given: func(s *scenario) {
			restartedForB(s)
			look(s).rolledOut().later(5)
			s.in.Workload.Rolling = true
			s.live = func(w *plan.Workload) { w.Rolling = false }
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "rolls out", reason: "the pods decide", given: func(s *scenario) { restartedForB(s); look(s) },
		want: outcome{Verdict: plan.Restarting, Changes: changedCrt, Asked: true},
	}, {
		name: "rolled out and stuck", reason: "no cause to restart",
		given: func(s *scenario) { restartedForB(s); look(s).later(7200) },
		want:  outcome{Verdict: plan.Restarting, Changes: changedCrt, Asked: true},
	}, {
		name: "rolled back", reason: "no cause to restart", given: func(s *scenario) { restartedForB(s); look(s).undone().later(5) },
		want: outcome{Verdict: plan.RolledBack, Changes: changedCrt, Asked: true},
	}, {
		name: "the template is another by now", reason: "memory is behind",
		given: func(s *scenario) { look(s.proven()).live = func(w *plan.Workload) { w.Generation++ } },
		want:  outcome{Verdict: plan.Restarting, Asked: true},
	}, {
		name: "changed", reason: "restarted for the change", given: func(s *scenario) { look(s.proven()).wrote(tls, "crt", "B").later(5) },
		want: stale,
	}, {
		name: "waiting", reason: "pods have nothing to do with it", given: func(s *scenario) { look(s.proven()).deleted(tls) },
		want: outcome{Verdict: plan.Waiting},
	}}.run(t)
}
