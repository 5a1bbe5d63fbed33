package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

// observedSource stands for a source of the same name in each of its store's answers.
type observedSource struct {
	states []plan.State // one after the other, the last again and again
	marks  selection.Marks
	labels labels.Set
	known  bool
}

type observedSources map[string]*observedSource

func (s observedSources) Get(source reference.Source) plan.Source {
	o := s[source.Name]
	state := o.states[0]
	if len(o.states) > 1 {
		o.states = o.states[1:]
	}
	return plan.Source{State: state}
}

func (s observedSources) Marks(source reference.Source) (selection.Marks, bool) {
	return s[source.Name].marks, s[source.Name].known
}

func (s observedSources) Labels(source reference.Source) (labels.Set, bool) {
	return s[source.Name].labels, s[source.Name].known
}

func (observedSources) Names(reference.Kind, string) []string { return nil }

// A source that cannot be seen may be marked, or labelled as a policy says: it counts, as unknown, so that the decision waits.
func TestSourcesThatCannotBeSeenCountAsUnknown(t *testing.T) {
	matched, selected := selection.Marks{Matched: true}, labels.Set{"reload": "yes"}
	type states = []plan.State
	for name, test := range map[string]struct {
		observed observedSource
		recorded bool
		want     bool
		state    plan.State
	}{
		"not known":                           {observedSource{states: states{plan.Unknown}}, false, true, plan.Unknown},
		"not known, and recorded":             {observedSource{states: states{plan.Unknown}}, true, true, plan.Unknown},
		"known later":                         {observedSource{states: states{plan.Unknown, plan.Present}}, false, true, plan.Unknown},
		"not known any more":                  {observedSource{states: states{plan.Present}}, false, true, plan.Unknown},
		"marked":                              {observedSource{states{plan.Present}, matched, selected, true}, false, true, plan.Present},
		"marked, its event under way":         {observedSource{states{plan.Unknown}, matched, selected, true}, false, true, plan.Unknown},
		"not marked":                          {observedSource{states: states{plan.Present}, known: true}, false, false, plan.Present},
		"not marked, its event under way":     {observedSource{states: states{plan.Unknown}, known: true}, false, false, plan.Unknown},
		"absent":                              {observedSource{states: states{plan.Absent}, known: true}, false, false, plan.Absent},
		"absent, and recorded":                {observedSource{states: states{plan.Absent}, known: true}, true, true, plan.Absent},
		"absent, though its kind is not seen": {observedSource{states: states{plan.Absent}}, false, false, plan.Absent},
	} {
		t.Run(name, func(t *testing.T) {
			source := reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "tls"}
			entry := &ledger.Entry{Sources: map[reference.Source]ledger.Source{}}
			if test.recorded {
				entry.Sources[source] = ledger.Source{}
			}
			for by, counts := range map[string]func(known) bool{
				"marks":  func(k known) bool { return k.Marks(source).Matched },
				"labels": func(k known) bool { return k.Matches(source, labels.SelectorFromSet(selected)) },
			} {
				of := test.observed
				k := known{sources: observedSources{"tls": &of}, entry: entry, seen: map[reference.Source]plan.Source{}}
				if got := counts(k); got != test.want {
					t.Errorf("by its %s: it counts: %t, want %t", by, got, test.want)
				}
				if got := k.get(source).State; got != test.state {
					t.Errorf("by its %s: state %d, want %d", by, got, test.state)
				}
			}
		})
	}
}

// What does not depend on marks does not wait for them: a search does.
func TestOnlyASearchWaitsForMarks(t *testing.T) {
	keys := selection.Defaults().Annotations
	uses := []reference.Use{
		{Source: reference.Source{Kind: reference.ConfigMap, Namespace: "apps", Name: "settings"}, Scope: reference.Scope{All: true}},
		{Source: reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "tls"}, Scope: reference.Scope{All: true}},
	}
	for annotation, test := range map[string]struct {
		value string
		want  []string
	}{
		keys.Search:                            {"true", []string{"settings", "tls"}},
		keys.Named[reference.ConfigMap]:        {"settings", []string{"settings"}},
		keys.TypedAuto[reference.ConfigMap]:    {"true", []string{"settings"}},
		"example.test/something-else-entirely": {"true", nil},
	} {
		k := known{seen: map[reference.Source]plan.Source{}, sources: observedSources{
			"settings": {states: []plan.State{plan.Present}, marks: selection.Marks{Matched: true}, known: true},
			"tls":      {states: []plan.State{plan.Unknown}},
		}}
		rules := selection.Read(selection.Defaults(), map[string]string{annotation: test.value}, nil)
		in := plan.Input{Workload: plan.Workload{Workload: named("web"), UID: "uid"}, Sources: k.seen}
		in.Selection = rules.Select("apps", uses, k)
		var got []string
		for _, use := range in.Selection.Uses {
			got = append(got, use.Source.Name)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: sources (-want +got):\n%s", annotation, diff)
		}
		decision := plan.Decide(in)
		if waits := decision.Verdict == plan.Waiting && decision.After > 0; waits != (annotation == keys.Search) {
			t.Errorf("%s: %s, again after %s", annotation, decision.Verdict, decision.After)
		}
	}
}
