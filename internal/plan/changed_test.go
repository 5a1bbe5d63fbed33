package plan_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// Rule 5 of the design: what is a difference.

func TestDifferences(t *testing.T) {
	restart := func(changes string) outcome { return outcome{Verdict: plan.Restart, Changes: changes} }
	two := func(s *scenario) {
		s.uses(app, all).made(app, -3600, "k", "1").made(tls, -3600, "crt", "A", "key", "A").proven()
	}
	table{{
		name: "changed", reason: "the case this is for",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(5) }, want: restart("Secret/tls changed (crt)"),
	}, {
		name: "keys", reason: "the keys that changed are named, sorted: changed, added, removed",
		given: func(s *scenario) {
			s.made(tls, -3600, "a", "1", "b", "1", "c", "1").proven().wrote(tls, "d", "1", "c", "1", "b", "2").later(5)
		},
		want: restart("Secret/tls changed (a, b, d)"),
	}, {
		name: "two sources", reason: "both are named, in their order",
		given: func(s *scenario) { two(s); s.wrote(tls, "crt", "A", "key", "B").wrote(app, "k", "2").later(5) },
		want:  restart("ConfigMap/app changed (k), Secret/tls changed (key)"),
	}, {
		name: "one of two", reason: "only what changed is named",
		given: func(s *scenario) { two(s); s.wrote(app, "k", "2").later(5) }, want: restart("ConfigMap/app changed (k)"),
	}, {
		name: "deleted, required", reason: "new pods could not start",
		given: func(s *scenario) { s.proven().deleted(tls).later(5) }, want: outcome{Verdict: plan.Waiting},
	}, {
		name: "deleted, optional", reason: "present to absent counts only with reload-on-delete",
		given: func(s *scenario) { s.usesOptional(tls, all).proven().deleted(tls).later(5) }, want: outcome{Verdict: plan.InSync},
	}, {
		name: "deleted and made again with other content", reason: "that is a change",
		given: func(s *scenario) { s.proven().deleted(tls).decide(); s.later(60).remade(tls, "crt", "B").later(5) },
		want:  restart("Secret/tls changed (crt)"),
	}, {
		name: "deleted and made again with other content, optional", reason: "that is a change, and its record outlives proofs without it",
		given: func(s *scenario) {
			s.usesOptional(tls, all).proven().deleted(tls).decide()
			s.later(60).template().rolledOut().later(60).decide()
			s.later(60).remade(tls, "crt", "B").later(70)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "deleted and made again while away", reason: "no change is missed while the controller is down",
		given: func(s *scenario) {
			s.proven().made(tls, 650, "crt", "B").later(120).edit(tls, func(o *plan.Source) { o.UID, o.SeenAt = "new", at(700) })
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "text to bytes", reason: "other readers see it",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "A").edit(tls, func(o *plan.Source) {
				o.Content = s.in.Key.Content(tls, map[string][]byte{"crt": []byte("A")}, nil)
			}).later(5)
		},
		want: restart("Secret/tls changed (crt)"),
	}, {
		name: "many keys", reason: "a message names the first five",
		given: func(s *scenario) {
			s.proven().wrote(tls, "a", "1", "b", "1", "c", "1", "d", "1", "e", "1", "f", "1").later(5)
		},
		want: restart("Secret/tls changed (a, b, c, crt, d, …)"),
	}}.run(t)
}

// A kubelet may not notice that an immutable object is another: the decision names it, for those who watch the pods.
func TestImmutableObjectsThatAreReplacedAreNamed(t *testing.T) {
	immutable := func(s *scenario) *scenario {
		return s.edit(tls, func(o *plan.Source) { o.Immutable = true })
	}
	tests := map[string]struct {
		given   func(s *scenario)
		verdict plan.Verdict
		named   bool
	}{
		"replaced": {func(s *scenario) {
			immutable(s).proven().remade(tls, "crt", "B")
			immutable(s).decide()
			s.later(5)
		}, plan.Restart, true},
		"replaced by one that is not": {func(s *scenario) { immutable(s).proven().remade(tls, "crt", "B").later(5) }, plan.Restart, true},
		"replaced, and somebody rolled out": {func(s *scenario) {
			immutable(s).proven().remade(tls, "crt", "B").later(60).template().rolledOut().later(5)
		}, plan.AlreadyFresh, true},
		"made immutable by the change": {func(s *scenario) {
			s.proven().wrote(tls, "crt", "B")
			immutable(s).later(5)
		}, plan.Restart, false},
		"replaced with equal content": {func(s *scenario) { immutable(s).proven().remade(tls, "crt", "A").later(5) }, plan.InSync, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			tc.given(s)
			d := s.decide()
			var want []reference.Source
			if tc.named {
				want = []reference.Source{tls}
			}
			if d.Verdict != tc.verdict || !slices.Equal(d.Replaced, want) {
				t.Errorf("%s, replaced %v; want %s, %v", d.Verdict, d.Replaced, tc.verdict, want)
			}
		})
	}
}

func TestScopes(t *testing.T) {
	named := func(s *scenario) {
		s.made(tls, -3600, "a", "1", "b", "1").uses(tls, reference.Keys("a")).proven()
	}
	rolling := func(s *scenario, scope reference.Scope) { s.template().uses(tls, scope).later(5).decide() }
	table{{
		name: "a key outside", reason: "not for a key that the pod cannot see",
		given: func(s *scenario) { named(s); s.wrote(tls, "a", "1", "b", "2", "c", "1").later(5) },
		want:  outcome{Verdict: plan.InSync},
	}, {
		name: "a named key goes", reason: "the pod saw it",
		given: func(s *scenario) { named(s); s.wrote(tls, "b", "1").later(5) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (a)"},
	}, {
		name: "a named key comes", reason: "its absence was recorded; which keys there were is not",
		given: func(s *scenario) {
			s.made(tls, -3600, "b", "1").uses(tls, reference.Keys("a")).proven().wrote(tls, "a", "1", "b", "1").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed"},
	}, {
		name: "the template shows less", reason: "what it no longer shows is no difference",
		given: func(s *scenario) {
			s.made(tls, -3600, "a", "1", "b", "1").proven()
			rolling(s, reference.Keys("a"))
			s.wrote(tls, "a", "1", "b", "2").later(5)
		},
		want: outcome{Verdict: plan.InSync},
	}, {
		name: "the template shows less, proven", reason: "the narrower scope is recorded once it is proven",
		given: func(s *scenario) {
			s.made(tls, -3600, "a", "1", "b", "1").proven()
			rolling(s, reference.Keys("a"))
			s.rolledOut().later(60).decide()
			s.later(600).wrote(tls, "a", "2", "b", "2").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (a)"},
	}, {
		name: "the template shows more", reason: "keys seen for the first time: taken as what the new pods run with",
		given: func(s *scenario) { named(s); rolling(s, all); s.rolledOut().later(60) },
		want:  outcome{Verdict: plan.InSync},
	}, {
		name: "the template shows more, and that changes in mid-rollout", reason: "some of the new pods have read what it was",
		given: func(s *scenario) {
			named(s)
			rolling(s, all)
			s.rolledOut().later(60).wrote(tls, "a", "1", "b", "2").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (b)", Asked: true},
	}, {
		name: "the template shows another key", reason: "the old key is no difference any more, the new one is seen for the first time",
		given: func(s *scenario) {
			named(s)
			rolling(s, reference.Keys("b"))
			s.wrote(tls, "a", "2", "b", "1").later(5).decide()
			s.rolledOut().later(60)
		},
		want: outcome{Verdict: plan.InSync},
	}, {
		name: "a key renamed with its template, and changed in mid-rollout", reason: "some of the new pods have read what it was",
		given: func(s *scenario) {
			s.made(tls, -3600, "a", "1").uses(tls, reference.Keys("a")).proven()
			s.wrote(tls, "b", "1").template().uses(tls, reference.Keys("b")).later(5).decide()
			s.rolledOut().later(60).wrote(tls, "b", "2").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (b)", Asked: true},
	}, {
		name: "what the template still shows returned, what it does not differs", reason: "a pod of between runs with the other content",
		given: func(s *scenario) {
			s.made(tls, -3600, "a", "1").proven().held(plan.Suspended).wrote(tls, "a", "2").later(5).decide()
			s.template().uses(tls, reference.Keys("a")).later(5).rolledOut().later(60).wrote(tls, "a", "1", "b", "1").resumed().later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "the template shows more while a change is pending, and that changes while away", reason: "the time of the pending change is not that of the other key",
		given: func(s *scenario) {
			named(s)
			s.held(plan.Suspended).wrote(tls, "a", "2", "b", "1").later(5).decide()
			s.template().uses(tls, reference.Keys("a", "b")).later(5).rolledOut().later(20).decide()
			s.later(60).met(tls, 650, "a", "2", "b", "2").later(60).resumed()
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (a)", Asked: true},
	}, {
		name: "the template shows another key and is taken back, the old key changed meanwhile", reason: "old pods still run with what it was",
		given: func(s *scenario) {
			named(s)
			rolling(s, reference.Keys("b"))
			s.wrote(tls, "a", "2", "b", "1").later(5).decide()
			s.template().uses(tls, reference.Keys("a")).later(60).in.Workload.Rolling = false
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (a)", Asked: true},
	}, {
		name: "a source dropped", reason: "what the template no longer uses is no difference",
		given: func(s *scenario) {
			s.uses(app, all).made(app, -3600, "k", "1").proven()
			s.template().in.Selection.Uses = s.in.Selection.Uses[1:]
			s.wrote(app, "k", "2").later(5)
		},
		want: outcome{Verdict: plan.InSync},
	}}.run(t)
}

// A policy changes what counts of a source, and nothing of the template: pods stay as they are.
func TestPolicyScopes(t *testing.T) {
	narrowed := func(s *scenario, scope reference.Scope) { s.uses(tls, scope).later(5).decide() }
	matching := func(s *scenario) {
		s.made(tls, -3600, "tls.crt", "1", "x", "1").uses(tls, reference.Globs("tls.*")).proven()
	}
	table{{
		name: "a key that matches comes", reason: "keys to come count",
		given: func(s *scenario) { matching(s); s.wrote(tls, "tls.crt", "1", "x", "1", "tls.key", "1").later(5) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (tls.key)"},
	}, {
		name: "the first key that matches comes", reason: "keys to come count, also where there were none",
		given: func(s *scenario) {
			s.made(tls, -3600, "x", "1").uses(tls, reference.Globs("tls.*")).proven().wrote(tls, "x", "1", "tls.key", "1").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed"},
	}, {
		name: "another key comes", reason: "only what matches counts",
		given: func(s *scenario) { matching(s); s.wrote(tls, "tls.crt", "1", "x", "2", "y", "1").later(5) },
		want:  outcome{Verdict: plan.InSync},
	}, {
		name: "a key that matches goes", reason: "it counted",
		given: func(s *scenario) { matching(s); s.wrote(tls, "x", "1").later(5) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (tls.crt)"},
	}, {
		name: "narrowed to patterns", reason: "less counts, and what counts is as it was",
		given: func(s *scenario) {
			s.made(tls, -3600, "tls.crt", "1", "x", "1").proven()
			narrowed(s, reference.Globs("tls.*"))
		},
		want: outcome{Verdict: plan.InSync},
	}, {
		name: "narrowed to keys, and another changes", reason: "what does not count any more is no difference",
		given: func(s *scenario) {
			s.made(tls, -3600, "tls.crt", "1", "x", "1").proven()
			narrowed(s, reference.Keys("tls.crt"))
			s.wrote(tls, "tls.crt", "1", "x", "2").later(5)
		},
		want: outcome{Verdict: plan.InSync},
	}, {
		name: "narrowed while another key's change is held", reason: "what does not count any more is no difference",
		given: func(s *scenario) {
			s.made(tls, -3600, "tls.crt", "1", "x", "1").proven().held(plan.Suspended).wrote(tls, "tls.crt", "1", "x", "2").later(5).decide()
			s.uses(tls, reference.Globs("tls.*")).resumed().later(5)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "narrowed, and what counts changes", reason: "it counts still",
		given: func(s *scenario) {
			s.made(tls, -3600, "tls.crt", "1", "x", "1").proven()
			narrowed(s, reference.Globs("tls.*"))
			s.wrote(tls, "tls.crt", "2", "x", "2").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (tls.crt)"},
	}, {
		name: "widened", reason: "keys that count for the first time, older than the pods: taken as what these run with",
		given: func(s *scenario) { matching(s); s.uses(tls, all).later(5) },
		want:  outcome{Verdict: plan.Baseline},
	}, {
		name: "widened by keys that changed", reason: "first sight of content that is newer than a pod",
		given: func(s *scenario) {
			matching(s)
			s.wrote(tls, "tls.crt", "1", "x", "2").later(60).decide()
			s.uses(tls, all).later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed", Asked: true},
	}, {
		name: "widened by keys that changed, with present content for a baseline", reason: "first sight restarts nothing then",
		given: func(s *scenario) {
			matching(s)
			s.wrote(tls, "tls.crt", "1", "x", "2").later(60).decide()
			s.in.Policy.OnAdoption = plan.BaselineOnly
			s.uses(tls, all).later(5)
		},
		want: outcome{Verdict: plan.Baseline},
	}}.run(t)
}

// TestKeysUnknown covers records whose tags were left out because the entry was too large: no change is lost with them.
func TestKeysUnknown(t *testing.T) {
	for _, tc := range []struct {
		name  string
		scope reference.Scope
		now   []string
	}{
		{"changed", all, []string{"a", "2", "b", "1"}},
		{"a named key removed", reference.Keys("a", "b"), []string{"a", "1"}},
		{"the only named key removed", reference.Keys("b"), []string{"a", "1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScenario(t).made(tls, -3600, "a", "1", "b", "1").uses(tls, tc.scope).proven()
			record := s.in.Entry.Sources[tls]
			record.Tags = nil
			s.in.Entry.Sources[tls] = record
			s.wrote(tls, tc.now...).later(5).decide()
			want := outcome{Verdict: plan.Restart, Changes: "Secret/tls changed"}
			if diff := cmp.Diff(want, s.outcome()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
