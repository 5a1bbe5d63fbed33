package plan_test

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// The template value: a replay is a no-op, and no value ever returns.

func TestValue(t *testing.T) {
	key := newScenario(t).in.Key
	a, b := digest.Digest{1}, digest.Digest{2}
	value := plan.Value(key, "", a, "")
	if plan.Value(key, "", a, "") != value {
		t.Error("writing it again would change it")
	}
	if !strings.HasPrefix(value, a.String()+"-") {
		t.Errorf("%q does not begin with the digest %s", value, a)
	}
	seen := map[string]string{value: "the first"}
	for name, other := range map[string]string{
		"after another":        plan.Value(key, "x", a, ""),
		"after itself":         plan.Value(key, value, a, ""),
		"of other content":     plan.Value(key, "", b, ""),
		"with a token":         plan.Value(key, "", a, "t"),
		"with another token":   plan.Value(key, "", a, "u"),
		"token and previous":   plan.Value(key, "t", a, ""),
		"token after previous": plan.Value(key, "t", a, "t"),
	} {
		if twin, found := seen[other]; found {
			t.Errorf("%s: the value of %s", name, twin)
		}
		seen[other] = name
	}
}

func TestRestarted(t *testing.T) {
	entry := &ledger.Entry{
		Value: "old", PendingSince: at(0), Throttle: at(-3600), Token: "token",
		Sources: map[reference.Source]ledger.Source{tls: {Pending: digest.Digest{1}}, app: {}},
	}
	before := entry.Clone()
	decision := plan.Decision{Entry: entry, Write: plan.Write{Value: "new"}}
	got := plan.Restarted(decision, at(10))
	if diff := cmp.Diff(before, entry); diff != "" {
		t.Errorf("the record given was changed: (-before +after)\n%s", diff)
	}
	want := entry.Clone()
	want.Value, want.Throttle = "new", at(10).Add(2*time.Minute)
	want.Sources[tls] = ledger.Source{Pending: digest.Digest{1}, Written: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	decision.Entry, decision.Value = got, "newer"
	again := plan.Restarted(decision, at(20))
	if diff := cmp.Diff(at(10).Add(4*time.Minute), again.Throttle); diff != "" {
		t.Errorf("restarts in a row add up: (-want +got)\n%s", diff)
	}
}

// TestValueNeverReturns walks at random between few contents, so that each returns often.
func TestValueNeverReturns(t *testing.T) {
	for seed := range int64(20) {
		r := rand.New(rand.NewSource(seed))
		s := newScenario(t).proven()
		written := map[string]int{"": 0}
		for i := 1; len(written) < 20; i++ {
			if i > 1000 {
				t.Fatalf("seed %d: only %d restarts", seed, len(written))
			}
			s.later(600).wrote(tls, "crt", fmt.Sprint(r.Intn(3))).later(5).decide()
			if s.decision.Verdict != plan.Restart {
				continue
			}
			if before, found := written[s.decision.Value]; found {
				t.Fatalf("seed %d: value %q of step %d returns in step %d", seed, s.decision.Value, before, i)
			}
			written[s.decision.Value] = i
			s.restarted()
			if r.Intn(2) == 0 { // or the next content comes while it stalls
				s.later(60).rolledOut().later(60).decide()
			} else {
				s.later(1000)
			}
		}
	}
}

// TestReturningContentGetsAnotherValue is A, B (restart), A, B with pods created in between: the value for the second B
// must not be the first one's, or its old pods would be adopted again.
func TestReturningContentGetsAnotherValue(t *testing.T) {
	s := newScenario(t).proven()
	values := map[string]bool{}
	for _, content := range []string{"B", "A", "B", "A", "B"} {
		s.wrote(tls, "crt", content).later(5).decide()
		if s.decision.Verdict != plan.Restart || values[s.decision.Value] {
			t.Fatalf("content %s: %s with %q after %v", content, s.decision.Verdict, s.decision.Value, values)
		}
		values[s.decision.Value] = true
		s.restarted().later(5)
		// One pod of each restart is there before the next change comes; the rollout stalls.
		s.hasPods(append(s.pods, s.newPod())...).later(1000)
	}
	s.rolledOut().later(5).decide()
	if diff := cmp.Diff(outcome{Verdict: plan.InSync, Asked: true}, s.outcome()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestReplay decides again and again after a restart, with whatever pods there may be: it is never written twice.
func TestReplay(t *testing.T) {
	old := pod(-1800)
	for name, rollout := range map[string]func(s *scenario){
		"old pods, rolling":    func(s *scenario) { s.hasPods(old) },
		"old pods, complete":   func(s *scenario) { s.hasPods(old).in.Workload.Rolling = false },
		"old and new, rolling": func(s *scenario) { s.hasPods(old, s.newPod()) },
		"new, rolling":         func(s *scenario) { s.hasPods(s.newPod()) },
		"new, complete":        func(s *scenario) { s.rolledOut() },
		"none, rolling":        func(s *scenario) { s.hasPods() },
		"none, scaled to zero": func(s *scenario) { s.hasPods().in.Workload.Replicas = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t).proven().wrote(tls, "crt", "B").later(5)
			s.decide()
			s.restarted().later(1)
			rollout(s)
			for _, wait := range []int{0, 1, 10, 100, 1000, 10000, 100000} {
				if d := s.later(wait).decide(); d.Verdict == plan.Restart {
					t.Fatalf("restarted again after %d seconds", wait)
				}
			}
		})
	}
}

// A restart whose record was lost, and which somebody took back, has left pods with its value: the next for the same content
// must not make them current again. It is known by its own value when its record is lost, too.
func TestAValueThatPodsCarryIsNotWrittenAgain(t *testing.T) {
	s := newScenario(t)
	s.proven().wrote(tls, "crt", "B").later(5).decide()
	entry, first := s.in.Entry, s.decision.Value
	s.restarted().later(5)
	carries := s.newPod()
	s.undone().hasPods(pod(-1800), carries).later(120)
	s.in.Entry, s.in.Written = entry, 0
	if s.decide(); s.decision.Verdict != plan.Restart || s.decision.Value == first {
		t.Fatalf("%s with %q, want Restart with another value than %q", s.decision.Verdict, s.decision.Value, first)
	}
	entry, second := s.in.Entry, s.decision.Value
	s.restarted().rolledOut().later(5)
	s.in.Entry, s.in.Written = entry, 0
	if s.decide(); s.in.Entry.Value != second {
		t.Errorf("recorded value %q, want the live one %q", s.in.Entry.Value, second)
	}
}
