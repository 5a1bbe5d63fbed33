package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// Content that leaves and returns between two looks at a workload: while requests hang, while the cache does not show the
// last restart, while the workload does not opt in.

// turned writes content B and then A again, sixty seconds apart, without a decision in between.
func (s *scenario) turned(during func()) *scenario {
	s.wrote(tls, "crt", "B").later(60)
	if during != nil {
		during()
	}
	return s.later(60).wrote(tls, "crt", "A").later(5)
}

func TestTurned(t *testing.T) {
	podOfB := func(s *scenario) func() { return func() { s.hasPods(s.newPod()) } }
	returned := outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true}
	table{{
		name: "with a pod created during B", reason: "that pod runs with B",
		given: func(s *scenario) { s.proven().turned(podOfB(s)) }, want: returned,
	}, {
		name: "without a new pod", reason: "no pod has read B",
		given: func(s *scenario) { s.proven().turned(nil) }, want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "before the record was made", reason: "what was before is proven",
		given: func(s *scenario) { s.turned(nil).hasPods(s.newPod()).later(60).proven() }, want: outcome{Verdict: plan.InSync},
	}, {
		name: "in keys that pods cannot see", reason: "not for a key that the pod cannot see",
		given: func(s *scenario) { s.uses(tls, reference.Keys("key")).proven().turned(podOfB(s)) },
		want:  outcome{Verdict: plan.InSync},
	}, {
		name: "by way of C, pod created during B", reason: "content left with B, not with C",
		given: func(s *scenario) {
			s.proven().turned(func() { s.hasPods(s.newPod()).later(60).wrote(tls, "crt", "C") })
		},
		want: returned,
	}, {
		name: "C noted, pod created during B", reason: "content left with B, not with C, also when A is back",
		given: func(s *scenario) {
			s.proven().held(plan.Suspended).turned(func() { s.hasPods(s.newPod()).later(60).wrote(tls, "crt", "C").decide() }).resumed()
		},
		want: returned,
	}, {
		name: "by way of B that was met in a list, and C", reason: "content left before it was seen to turn",
		given: func(s *scenario) {
			s.proven().met(tls, 600, "crt", "B").later(60).hasPods(s.newPod()).later(60).wrote(tls, "crt", "C").later(5).decide()
			s.wrote(tls, "crt", "A").later(5)
		},
		want: returned,
	}, {
		name: "more often than is kept", reason: "what is forgotten is merged, and the first time kept",
		given: func(s *scenario) {
			s.proven().turned(podOfB(s))
			for range 10 {
				s.turned(nil)
			}
		},
		want: returned,
	}, {
		name: "then a key that pods cannot see, more often than is kept", reason: "what they can see has turned all the same",
		given: func(s *scenario) {
			s.uses(tls, reference.Keys("crt")).proven().turned(podOfB(s))
			for i := range 20 {
				s.later(60).wrote(tls, "crt", "A", "note", fmt.Sprint(i))
			}
			s.wrote(tls, "crt", "A").later(5)
		},
		want: returned,
	}, {
		name: "made again as B", reason: "the time of B is that of its creation",
		given: func(s *scenario) {
			s.proven().remade(tls, "crt", "B").later(60).hasPods(s.newPod()).later(60).wrote(tls, "crt", "A").later(5)
		},
		want: returned,
	}, {
		name: "from what a restart wrote", reason: "a pod of between has the value, and other content",
		given: func(s *scenario) {
			s.made(tls, -3600, "crt", "0").proven().wrote(tls, "crt", "A").later(5).decide()
			s.restarted().rolledOut().turned(podOfB(s))
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}}.run(t)
}

// TestTurnedBeforeARestore because turns of versions that a cluster does not reach again would never end.
func TestTurnedBeforeARestore(t *testing.T) {
	s := newScenario(t).proven().wrote(tls, "crt", "B").later(5)
	s.version -= 500
	s.wrote(tls, "crt", "C").later(5).decide()
	s.restarted().rolledOut().later(60)
	if d := s.decide(); d.Verdict != plan.InSync {
		t.Errorf("%s after the restart, want InSync", d.Verdict)
	}
}

// TestTurnsAreFew because each source keeps them.
func TestTurnsAreFew(t *testing.T) {
	s := newScenario(t)
	s.in.Now = at(100)
	for i := range 20 {
		s.later(1).wrote(tls, fmt.Sprint("key", i%3), fmt.Sprint(i))
	}
	turns := s.in.Sources[tls].Turns
	if len(turns) != 8 {
		t.Fatalf("%d turns", len(turns))
	}
	if keys := slices.Sorted(maps.Keys(turns[0].Keys)); !slices.Equal(keys, []string{"crt", "key0", "key1", "key2"}) || !turns[0].Merged {
		t.Errorf("the oldest: %+v", turns[0])
	}
	if !turns[0].Since.Equal(at(101)) || !turns[7].Since.Equal(s.in.Now) {
		t.Errorf("since %s and %s", turns[0].Since, turns[3].Since)
	}
}

// TestTurnsAreBounded because a source may have keys of ever new names. What is not kept apart counts for every key.
func TestTurnsAreBounded(t *testing.T) {
	s := newScenario(t).proven()
	for i := range 300 {
		s.later(1).wrote(tls, fmt.Sprint("key-", i), "1")
	}
	n := 0
	for _, turn := range s.in.Sources[tls].Turns {
		n += len(turn.Keys)
	}
	if n > 100 {
		t.Errorf("%d keys are kept", n)
	}
	s.hasPods(s.newPod()).later(60).wrote(tls, "crt", "A").later(5)
	if d := s.decide(); d.Verdict != plan.Restart {
		t.Errorf("%s for a pod of meanwhile, want Restart", d.Verdict)
	}
}

// status is a key that pods cannot see, written each minute; crt changed once, and the record knows of it.
func TestAKeyThatChangesOftenTurnsNoOther(t *testing.T) {
	start := func(t *testing.T) *scenario {
		s := newScenario(t).uses(tls, reference.Keys("crt")).proven().wrote(tls, "crt", "B", "status", "0").later(5)
		s.decide()
		s.restarted().rolledOut().later(60).decide()
		return s
	}
	status := func(s *scenario) { s.wrote(tls, "crt", "B", "status", s.in.Now.String()).later(3) }
	t.Run("record of a leader that died", func(t *testing.T) {
		s := start(t)
		stored := s.in.Entry // a mere version is stored seldom
		for range 10 {
			status(s.later(60))
			s.decide()
		}
		s.hasPods(s.newPod()).later(60)
		s.in.Entry, s.in.Began, s.in.Written = stored, s.in.Now, 0
		if d := s.decide(); d.Verdict != plan.InSync {
			t.Errorf("%s: %s", d.Verdict, d.Message)
		}
	})
	t.Run("slow rollout of somebody else's", func(t *testing.T) {
		s := start(t).later(60).template()
		for range 10 {
			status(s.later(57))
			s.in.Progressed = s.in.Now
			s.hasPods(append(s.pods, s.newPod())...)
			if d := s.decide(); d.Verdict != plan.InSync {
				t.Fatalf("%s: %s", d.Verdict, d.Message)
			}
		}
	})
}

// The cache of workloads may lag behind that of sources for long, and a leader may end meanwhile. The next one meets in a
// list what the restart was for, and pods that have read what came in between.
func TestWhatTurnsWhileTheCacheLagsIsOnRecord(t *testing.T) {
	s := newScenario(t).proven().wrote(tls, "crt", "B").later(5)
	s.decide()
	before := s.in.Workload
	s.restarted()
	shown := s.in.Workload
	s.in.Workload = before
	s.later(20).wrote(tls, "crt", "C").later(1).decide()
	read := s.newPod()
	read.Value = shown.Value
	s.later(5).wrote(tls, "crt", "B").later(1).decide()
	s.edit(tls, func(o *plan.Source) { o.Timing, o.Live, o.Turns = plan.Listed, false, nil }).hasPods(read)
	s.in.Workload, s.in.Written, s.in.Began = shown, 0, s.in.Now
	s.in.Workload.Rolling = false
	s.later(600)
	if d := s.decide(); d.Verdict != plan.Restart {
		t.Errorf("%s (%s) for a pod that has read C, want Restart", d.Verdict, d.Message)
	}
}
