package plan_test

import (
	"testing"

	"github.com/flux-reloader/reloader/internal/plan"
)

// A new leader's first list may come from an API server that lags behind: what is older than the record is no change.
func TestOlderThanTheRecord(t *testing.T) {
	behind := func(s *scenario) {
		s.edit(tls, func(o *plan.Source) { o.ResourceVersion = "20" }).proven()
		s.edit(tls, func(o *plan.Source) {
			o.ResourceVersion, o.Content = "13", s.content(tls, []string{"crt", "before"})
		})
		s.in.Began = s.in.Now
	}
	table{{
		name: "just begun to lead", reason: "the cache will catch up",
		given: func(s *scenario) { behind(s); s.later(5) }, want: outcome{Verdict: plan.Waiting},
	}, {
		name: "for a minute", reason: "the cluster was restored from a backup: this is what there is",
		given: func(s *scenario) { behind(s); s.later(60) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}, {
		name: "of another object", reason: "one that was made again has a greater version: this is its predecessor",
		given: func(s *scenario) {
			behind(s)
			s.edit(tls, func(o *plan.Source) { o.UID = "another" }).later(5)
		},
		want: outcome{Verdict: plan.Waiting},
	}, {
		name: "than a difference that is held", reason: "the record knows of that content too",
		given: func(s *scenario) {
			s.edit(tls, func(o *plan.Source) { o.ResourceVersion = "20" }).proven().held(plan.Suspended)
			s.wrote(tls, "crt", "B").edit(tls, func(o *plan.Source) { o.ResourceVersion = "25" }).later(5).decide()
			s.wrote(tls, "crt", "between").edit(tls, func(o *plan.Source) { o.ResourceVersion = "22" }).resumed()
			s.in.Began = s.in.Now
			s.later(5)
		},
		want: outcome{Verdict: plan.Waiting},
	}, {
		name: "a newer one", reason: "an ordinary change",
		given: func(s *scenario) {
			behind(s)
			s.edit(tls, func(o *plan.Source) { o.ResourceVersion = "21" }).later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)", Asked: true},
	}}.run(t)
}
