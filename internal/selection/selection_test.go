package selection_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

const namespace = "apps"

var (
	tls    = source(reference.Secret, "tls")
	app    = source(reference.ConfigMap, "app")
	shared = source(reference.ConfigMap, "shared")
	// used is what the pods of the workload in most tests use.
	used = []reference.Use{
		{Source: app, Scope: reference.Keys("app.yaml"), Optional: true}, {Source: tls, Scope: reference.Keys("tls.crt")},
	}
)

func source(kind reference.Kind, name string) reference.Source {
	return reference.Source{Kind: kind, Namespace: namespace, Name: name}
}

// sources are the sources that there are, and their marks.
type sources map[reference.Source]selection.Marks

func (s sources) Marks(source reference.Source) selection.Marks { return s[source] }

func (s sources) Names(kind reference.Kind, namespace string) []string {
	var names []string
	for source := range maps.Keys(s) {
		if source.Kind == kind && source.Namespace == namespace {
			names = append(names, source.Name)
		}
	}
	return names
}

type annotations = map[string]string

// A rule is a case of the table in Stakater Reloader's documentation, or of what its users expect.
type rule struct {
	name     string
	reason   string
	settings func(*selection.Settings)
	workload annotations
	template annotations
	sources  sources
	// want are the selected sources; nil if the workload has not opted in.
	want []string
	// problems are the annotations that cannot be read.
	problems []string
}

func (tc rule) run(t *testing.T) {
	t.Helper()
	settings := selection.Defaults()
	if tc.settings != nil {
		tc.settings(&settings)
	}
	present := sources{tls: {}, app: {}, shared: {}}
	maps.Copy(present, tc.sources)
	got := selection.Read(settings, tc.workload, tc.template).Select(namespace, used, present)
	if got.Selected != (tc.want != nil) {
		t.Errorf("%s: selected: %t", tc.reason, got.Selected)
	}
	var names, problems []string
	for _, use := range got.Uses {
		names = append(names, use.Source.String())
	}
	for _, p := range got.Problems {
		problems = append(problems, p.Annotation+"="+p.Value)
	}
	if !slices.Equal(names, tc.want) {
		t.Errorf("%s: selected %v, want %v", tc.reason, names, tc.want)
	}
	if diff := cmp.Diff(tc.problems, problems); diff != "" {
		t.Errorf("%s: problems (-want +got)\n%s", tc.reason, diff)
	}
}

func run(t *testing.T, rules []rule) {
	t.Helper()
	for _, tc := range rules {
		t.Run(tc.name, tc.run)
	}
}

var (
	both    = []string{"ConfigMap/app", "Secret/tls"}
	nothing = []string{}
)

const (
	auto          = v1alpha1.AutoAnnotation
	secretAuto    = v1alpha1.SecretAutoAnnotation
	configMapAuto = v1alpha1.ConfigMapAutoAnnotation
	secrets       = v1alpha1.SecretReloadAnnotation
	configMaps    = v1alpha1.ConfigMapReloadAnnotation
	search        = v1alpha1.SearchAnnotation
)

func TestAuto(t *testing.T) {
	run(t, []rule{
		{name: "no annotations", reason: "nothing restarts without opting in"},
		{name: "other annotations", reason: "only its own keys count", workload: annotations{"example.com/auto": "true"}},
		{name: "workload", reason: "every source that its pods use", workload: annotations{auto: "true"}, want: both},
		{name: "false", reason: "false is not an opt-in", workload: annotations{auto: "false"}},
		{name: "1", reason: "as strconv.ParseBool", workload: annotations{auto: "1"}, want: both},
		{name: "T", reason: "as strconv.ParseBool", workload: annotations{auto: "T"}, want: both},
		{name: "TRUE", reason: "as strconv.ParseBool", workload: annotations{auto: "TRUE"}, want: both},
		{name: "0", reason: "as strconv.ParseBool", workload: annotations{auto: "0"}},
		{name: "yes", reason: "reported, and nothing restarts", workload: annotations{auto: "yes"}, problems: []string{auto + "=yes"}},
		{name: "empty", reason: "an annotation that is there must say what it means", workload: annotations{auto: ""}, problems: []string{auto + "="}},
		{name: "space", reason: "values are taken as they are", workload: annotations{auto: " true"}, problems: []string{auto + "= true"}},
		{name: "secrets only", reason: "opts in for one kind", workload: annotations{secretAuto: "true"}, want: []string{"Secret/tls"}},
		{name: "configmaps only", reason: "opts in for one kind", workload: annotations{configMapAuto: "true"}, want: []string{"ConfigMap/app"}},
		{
			name: "typed true, auto false", reason: "either's true is enough",
			workload: annotations{auto: "false", secretAuto: "true"}, want: []string{"Secret/tls"},
		},
		{
			name: "auto true, typed false", reason: "either's true is enough",
			workload: annotations{auto: "true", secretAuto: "false"}, want: both,
		},
		{
			name: "typed invalid, auto true", reason: "what cannot be read disables only itself",
			workload: annotations{auto: "true", secretAuto: "on"}, want: both, problems: []string{secretAuto + "=on"},
		},
		{
			name: "both invalid", reason: "both are reported, each once", workload: annotations{auto: "x", secretAuto: "y"},
			problems: []string{auto + "=x", secretAuto + "=y"},
		},
	})
}

func TestTemplateStandsIn(t *testing.T) {
	run(t, []rule{
		{name: "template", reason: "the template opts in as the workload does", template: annotations{auto: "true"}, want: both},
		{name: "workload false", reason: "the workload's own wins", workload: annotations{auto: "false"}, template: annotations{auto: "true"}},
		{
			name: "workload invalid", reason: "the template does not stand in for a value that is there",
			workload: annotations{auto: "ture"}, template: annotations{auto: "true"}, problems: []string{auto + "=ture"},
		},
		{
			name: "template invalid, workload true", reason: "what does not count is not reported",
			workload: annotations{auto: "true"}, template: annotations{auto: "?"}, want: both,
		},
		{
			name: "all or nothing", reason: "search on the workload hides the template's auto",
			workload: annotations{search: "true"}, template: annotations{auto: "true"}, want: nothing,
		},
		{
			name: "another kind's list", reason: "a key of another kind does not count: ConfigMaps still look at the template",
			workload: annotations{secrets: "other"}, template: annotations{auto: "true"}, want: []string{"ConfigMap/app", "Secret/other"},
		},
		{
			name: "another kind's auto", reason: "it hides the template from its own kind only",
			workload: annotations{secretAuto: "false"}, template: annotations{auto: "true"}, want: []string{"ConfigMap/app"},
		},
		{
			name: "a list on both", reason: "the workload's hides the template's",
			workload: annotations{secrets: "other"}, template: annotations{secrets: "tls"}, want: []string{"Secret/other"},
		},
		{
			name: "an exclude list on the workload", reason: "it is none of the four, and hides nothing",
			workload: annotations{v1alpha1.SecretExcludeAnnotation: "tls"}, template: annotations{auto: "true"}, want: []string{"ConfigMap/app"},
		},
		{
			name: "named on the template", reason: "lists count there, too", template: annotations{secrets: "tls"}, want: []string{"Secret/tls"},
		},
		{
			name: "excluded on the template", reason: "unlike in Stakater Reloader, which reads it from the workload alone",
			workload: annotations{auto: "true"}, template: annotations{v1alpha1.SecretExcludeAnnotation: "tls"}, want: []string{"ConfigMap/app"},
		},
	})
}

func TestNamed(t *testing.T) {
	run(t, []rule{
		{name: "used", reason: "named and used", workload: annotations{secrets: "tls"}, want: []string{"Secret/tls"}},
		{name: "not used", reason: "objects that no pod uses can be named", workload: annotations{configMaps: "shared"}, want: []string{"ConfigMap/shared"}},
		{name: "absent", reason: "it may come", workload: annotations{configMaps: "later"}, want: []string{"ConfigMap/later"}},
		{name: "several", reason: "commas and spaces separate", workload: annotations{configMaps: " app ,, shared,"}, want: []string{"ConfigMap/app", "ConfigMap/shared"}},
		{name: "empty", reason: "an empty list names nothing", workload: annotations{configMaps: ""}},
		{name: "auto false", reason: "a list counts even so", workload: annotations{configMaps: "app", auto: "false"}, want: []string{"ConfigMap/app"}},
		{name: "not used, auto false", reason: "neither keeps a list from counting", workload: annotations{configMaps: "shared", auto: "false"}, want: []string{"ConfigMap/shared"}},
		{name: "auto true", reason: "a list adds to auto", workload: annotations{configMaps: "shared", auto: "true"}, want: []string{"ConfigMap/app", "ConfigMap/shared", "Secret/tls"}},
		{name: "of its kind", reason: "a Secret's name selects no ConfigMap", workload: annotations{configMaps: "tls"}, want: []string{"ConfigMap/tls"}},
		{name: "pattern", reason: "an item may be a regular expression", workload: annotations{configMaps: "(app|sha).*"}, want: []string{"ConfigMap/app", "ConfigMap/shared"}},
		{name: "a pattern that matches nothing", reason: "selected, and nothing there yet", workload: annotations{configMaps: "x.*"}, want: nothing},
		{
			name: "whole names", reason: "a pattern has to match all of the name", workload: annotations{configMaps: "ap.?"},
			sources: sources{source(reference.ConfigMap, "app-2"): {}}, want: []string{"ConfigMap/app"},
		},
		{
			name: "grouped", reason: "foo|bar means foo or bar, where Stakater Reloader also takes foo-x and x-bar",
			workload: annotations{configMaps: "foo|bar"},
			sources: sources{
				source(reference.ConfigMap, "foo"): {}, source(reference.ConfigMap, "bar"): {},
				source(reference.ConfigMap, "foo-x"): {}, source(reference.ConfigMap, "x-bar"): {},
			},
			want: []string{"ConfigMap/bar", "ConfigMap/foo"},
		},
		{
			name: "dot", reason: "a dot is any character, as in Stakater Reloader", workload: annotations{configMaps: "a.b"},
			sources: sources{source(reference.ConfigMap, "a-b"): {}, source(reference.ConfigMap, "a.b"): {}},
			want:    []string{"ConfigMap/a-b", "ConfigMap/a.b"},
		},
		{
			name: "invalid", reason: "it disables only itself", workload: annotations{configMaps: "ap(p, shared"},
			want: []string{"ConfigMap/shared"}, problems: []string{configMaps + "=ap(p"},
		},
		{
			name: "no escape from the group", reason: "an item that is invalid alone stays so", workload: annotations{configMaps: "a)|(b"},
			problems: []string{configMaps + "=a)|(b"},
		},
		{
			name: "a comma in a pattern", reason: "it separates, as in Stakater Reloader", workload: annotations{configMaps: "a{1,3}"},
			want: nothing,
		},
	})
}

func TestSearch(t *testing.T) {
	matched := sources{tls: {Matched: true}}
	run(t, []rule{
		{name: "matched", reason: "used and marked", workload: annotations{search: "true"}, sources: matched, want: []string{"Secret/tls"}},
		{name: "not marked", reason: "selected, and nothing is marked yet", workload: annotations{search: "true"}, want: nothing},
		{
			name: "not used", reason: "marks count only on sources that the pods use", workload: annotations{search: "true"},
			sources: sources{shared: {Matched: true}}, want: nothing,
		},
		{name: "false", reason: "no", workload: annotations{search: "false"}, sources: matched},
		{name: "True", reason: "only the word counts, as in Stakater Reloader; here it is reported", workload: annotations{search: "True"}, sources: matched, problems: []string{search + "=True"}},
		{
			name: "auto false", reason: "search counts even so", workload: annotations{search: "true", auto: "false"},
			sources: matched, want: []string{"Secret/tls"},
		},
		{name: "auto true", reason: "auto takes what is not marked, too", workload: annotations{search: "true", auto: "true"}, want: both},
	})
}

func TestIgnoreAndExclude(t *testing.T) {
	run(t, []rule{
		{name: "ignored", reason: "an ignored source restarts nothing", workload: annotations{auto: "true"}, sources: sources{tls: {Ignored: true}}, want: []string{"ConfigMap/app"}},
		{name: "ignored and named", reason: "ignore beats a list", workload: annotations{secrets: "tls"}, sources: sources{tls: {Ignored: true}}, want: nothing},
		{name: "ignored and matched", reason: "ignore beats match", workload: annotations{search: "true"}, sources: sources{tls: {Ignored: true, Matched: true}}, want: nothing},
		{name: "ignore on a workload", reason: "it has no effect there", workload: annotations{auto: "true", v1alpha1.IgnoreAnnotation: "true"}, want: both},
		{
			name: "excluded", reason: "an exclude list beats auto", workload: annotations{auto: "true", v1alpha1.SecretExcludeAnnotation: "other, tls"},
			want: []string{"ConfigMap/app"},
		},
		{
			name: "excluded and named", reason: "an exclude list beats a list",
			workload: annotations{secrets: "tls, other", v1alpha1.SecretExcludeAnnotation: "tls"}, want: []string{"Secret/other"},
		},
		{
			name: "excluded and found by a pattern", reason: "an exclude list beats a pattern",
			workload: annotations{configMaps: ".*", v1alpha1.ConfigMapExcludeAnnotation: "shared"}, want: []string{"ConfigMap/app"},
		},
		{
			name: "excluded and matched", reason: "an exclude list beats search",
			workload: annotations{search: "true", v1alpha1.SecretExcludeAnnotation: "tls"}, sources: sources{tls: {Matched: true}}, want: nothing,
		},
		{
			name: "no patterns in an exclude list", reason: "names are exact there",
			workload: annotations{auto: "true", v1alpha1.SecretExcludeAnnotation: "t.*"}, want: both,
		},
		{
			name: "exclude of the other kind", reason: "each kind has its own",
			workload: annotations{auto: "true", v1alpha1.ConfigMapExcludeAnnotation: "tls"}, want: both,
		},
	})
}

func TestAutoAll(t *testing.T) {
	all := func(s *selection.Settings) { s.AutoAll = true }
	run(t, []rule{
		{name: "no annotations", reason: "every workload is in", settings: all, want: both},
		{name: "empty", reason: "an empty value says nothing", settings: all, workload: annotations{auto: "", secretAuto: ""}, want: both},
		{name: "false", reason: "opts out", settings: all, workload: annotations{auto: "false"}},
		{name: "template false", reason: "opts out", settings: all, template: annotations{auto: "false"}},
		{name: "typed false", reason: "opts out for its kind", settings: all, workload: annotations{secretAuto: "false"}, want: []string{"ConfigMap/app"}},
		{name: "typed true", reason: "the other kind is in anyway", settings: all, workload: annotations{secretAuto: "true"}, want: both},
		{
			name: "false and typed true", reason: "in for its kind only", settings: all,
			workload: annotations{auto: "false", secretAuto: "true"}, want: []string{"Secret/tls"},
		},
		{
			name: "empty and typed false", reason: "an empty value is no answer", settings: all,
			workload: annotations{auto: "", secretAuto: "false"}, want: []string{"ConfigMap/app"},
		},
		{name: "invalid", reason: "any other value opts out, and is reported", settings: all, workload: annotations{auto: "no!"}, problems: []string{auto + "=no!"}},
		{
			name: "search", reason: "it says nothing about auto", settings: all,
			workload: annotations{search: "true"}, want: both,
		},
		{
			name: "false and a list", reason: "the list is all that is left", settings: all,
			workload: annotations{auto: "false", configMaps: "shared"}, want: []string{"ConfigMap/shared"},
		},
		{
			name: "excluded", reason: "an exclude list beats it", settings: all,
			workload: annotations{v1alpha1.SecretExcludeAnnotation: "tls"}, want: []string{"ConfigMap/app"},
		},
		{
			name: "a list", reason: "a list adds", settings: all, workload: annotations{configMaps: "shared"},
			want: []string{"ConfigMap/app", "ConfigMap/shared", "Secret/tls"},
		},
	})
}

// What a workload restarts for at first sight depends on whether it asked.
func TestAsked(t *testing.T) {
	settings := selection.Defaults()
	settings.AutoAll = true
	for value, want := range map[string]bool{"true": true, "": false, "false": false} {
		rules := selection.Read(settings, annotations{auto: value}, nil)
		if got := rules.Select(namespace, used, sources{}); got.Asked != want {
			t.Errorf("auto %q: asked: %t", value, got.Asked)
		}
	}
	if got := selection.Read(settings, annotations{secrets: "tls"}, nil).Select(namespace, used, sources{}); !got.Asked {
		t.Error("who names a Secret asks")
	}
}

func TestSettings(t *testing.T) {
	renamed := func(s *selection.Settings) {
		s.Annotations.Auto, s.Annotations.Search = "example.com/auto", "example.com/search"
		s.Annotations.TypedAuto[reference.Secret] = "example.com/secret-auto"
		s.Annotations.Named[reference.Secret] = "example.com/secrets"
	}
	only := func(kinds ...reference.Kind) func(*selection.Settings) {
		return func(s *selection.Settings) { s.Kinds = kinds }
	}
	run(t, []rule{
		{name: "auto", reason: "a flag renames it", settings: renamed, workload: annotations{"example.com/auto": "true"}, want: both},
		{name: "auto as it was", reason: "the old name is nobody's", settings: renamed, workload: annotations{auto: "true"}},
		{name: "typed", reason: "a flag renames it", settings: renamed, workload: annotations{"example.com/secret-auto": "true"}, want: []string{"Secret/tls"}},
		{name: "list", reason: "a flag renames it", settings: renamed, workload: annotations{"example.com/secrets": "tls"}, want: []string{"Secret/tls"}},
		{name: "search", reason: "a flag renames it", settings: renamed, workload: annotations{"example.com/search": "true"}, sources: sources{tls: {Matched: true}}, want: []string{"Secret/tls"}},
		{name: "no Secrets", reason: "a kind can be ignored", settings: only(reference.ConfigMap), workload: annotations{auto: "true"}, want: []string{"ConfigMap/app"}},
		{name: "no ConfigMaps", reason: "a kind can be ignored, lists too", settings: only(reference.Secret), workload: annotations{auto: "true", configMaps: "app"}, want: []string{"Secret/tls"}},
		{name: "neither", reason: "legal, if useless", settings: only(), workload: annotations{auto: "true"}},
	})
}

func TestReadMarks(t *testing.T) {
	keys := selection.Defaults().Annotations
	for value, want := range map[string]bool{"true": true, "True": false, "1": false, "": false, "false": false} {
		got := selection.ReadMarks(keys, annotations{keys.Ignore: value, keys.Match: value})
		if got.Ignored != want || got.Matched != want {
			t.Errorf("%q: %+v, want %t", value, got, want)
		}
	}
}

// Who names an object depends on all of it. Whether pods start without it depends on how they use it.
func TestScopeOfNamedSources(t *testing.T) {
	rules := selection.Read(selection.Defaults(), annotations{secrets: "tls", configMaps: "shared", configMapAuto: "true"}, nil)
	got := rules.Select(namespace, used, sources{tls: {}, app: {}, shared: {}}).Uses
	all := reference.Scope{All: true}
	want := []reference.Use{
		{Source: app, Scope: reference.Keys("app.yaml"), Optional: true}, {Source: shared, Scope: all, Optional: true}, {Source: tls, Scope: all},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestIndexKeys(t *testing.T) {
	rules := selection.Read(selection.Defaults(), annotations{secrets: "tls, other", configMaps: "x.*, shared"}, nil)
	want := []string{
		selection.PatternKey(reference.ConfigMap, namespace), app.IndexKey(), shared.IndexKey(),
		source(reference.Secret, "other").IndexKey(), tls.IndexKey(),
	}
	if diff := cmp.Diff(want, rules.IndexKeys(namespace, used)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !rules.Lists(source(reference.ConfigMap, "xyz")) || rules.Lists(source(reference.Secret, "xyz")) || rules.Lists(app) {
		t.Error("the pattern is taken for what it is not")
	}
}

func TestProblemNamesAnnotationAndValue(t *testing.T) {
	got := selection.Read(selection.Defaults(), annotations{auto: "ja", configMaps: "a("}, nil).Select(namespace, nil, sources{})
	if len(got.Problems) != 2 {
		t.Fatalf("%d problems, want 2", len(got.Problems))
	}
	for _, p := range got.Problems {
		for _, part := range []string{p.Annotation, `"` + p.Value + `"`, p.Detail} {
			if part == "" || !strings.Contains(p.String(), part) {
				t.Errorf("%q does not name %q", p, part)
			}
		}
	}
}

// Every source that is selected can be found by its change.
func FuzzSelectedSourcesAreIndexed(f *testing.F) {
	f.Add("tls", "x.*,(", "true", "false", "shared", true)
	f.Add("a|b", ".*", "", "", "", false)
	f.Fuzz(func(t *testing.T, secretList, configMapList, autoValue, searchValue, excluded string, autoAll bool) {
		settings := selection.Defaults()
		settings.AutoAll = autoAll
		rules := selection.Read(settings, annotations{
			secrets: secretList, configMaps: configMapList, auto: autoValue, search: searchValue,
			v1alpha1.ConfigMapExcludeAnnotation: excluded,
		}, nil)
		there := sources{tls: {Matched: true}, app: {Ignored: true}, shared: {}}
		keys := rules.IndexKeys(namespace, used)
		for _, use := range rules.Select(namespace, used, there).Uses {
			byPattern := rules.Lists(use.Source) && slices.Contains(keys, selection.PatternKey(use.Source.Kind, namespace))
			if !byPattern && !slices.Contains(keys, use.Source.IndexKey()) {
				t.Errorf("%s is selected and not indexed: %q", use.Source, keys)
			}
			if use.Source == app {
				t.Error("an ignored source is selected")
			}
		}
	})
}
