package selection_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

func auto(value string) map[string]string { return map[string]string{v1alpha1.AutoAnnotation: value} }

func TestSelect(t *testing.T) {
	uses := []reference.Use{
		{Source: reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "tls"}, Scope: reference.Keys("tls.crt")},
		{Source: reference.Source{Kind: reference.ConfigMap, Namespace: "apps", Name: "app"}, Scope: reference.Scope{All: true}, Optional: true},
	}
	selected := selection.Result{Selected: true, Uses: uses}
	invalid := func(value string) selection.Result {
		return selection.Result{Problems: []selection.Problem{{Annotation: v1alpha1.AutoAnnotation, Value: value}}}
	}
	other := selection.Settings{AutoAnnotation: "example.com/restart"}

	for _, tc := range []struct {
		name     string
		reason   string
		settings selection.Settings
		workload map[string]string
		template map[string]string
		want     selection.Result
	}{
		{name: "no annotations", reason: "nothing restarts without opting in"},
		{name: "others' annotations", reason: "only its own key counts", workload: map[string]string{"reloader.stakater.com/search": "true"}},
		{name: "workload", reason: "the workload opts in, with all its uses in their order", workload: auto("true"), want: selected},
		{name: "template", reason: "so does its template", template: auto("true"), want: selected},
		{name: "both", reason: "they agree", workload: auto("true"), template: auto("true"), want: selected},
		{name: "workload true, template false", reason: "the workload's own wins", workload: auto("true"), template: auto("false"), want: selected},
		{name: "workload false, template true", reason: "the workload's own wins", workload: auto("false"), template: auto("true")},
		{name: "workload false", reason: "false is not an opt-in", workload: auto("false")},
		{name: "template false", reason: "false is not an opt-in", template: auto("false")},
		{name: "workload invalid", reason: "reported, and nothing restarts", workload: auto("yes"), want: invalid("yes")},
		{name: "template invalid", reason: "reported, and nothing restarts", template: auto("on"), want: invalid("on")},
		{
			name: "workload invalid, template true", reason: "the template does not stand in for a value that is there",
			workload: auto("ture"), template: auto("true"), want: invalid("ture"),
		},
		{name: "workload true, template invalid", reason: "what does not count is not reported", workload: auto("true"), template: auto("?"), want: selected},
		{name: "empty value", reason: "an annotation that is there must say what it means", workload: auto(""), want: invalid("")},
		{name: "spaces", reason: "values are taken as they are", workload: auto(" true"), want: invalid(" true")},
		{name: "1", reason: "as strconv.ParseBool", workload: auto("1"), want: selected},
		{name: "t", reason: "as strconv.ParseBool", workload: auto("t"), want: selected},
		{name: "T", reason: "as strconv.ParseBool", workload: auto("T"), want: selected},
		{name: "True", reason: "as strconv.ParseBool", workload: auto("True"), want: selected},
		{name: "TRUE", reason: "as strconv.ParseBool", workload: auto("TRUE"), want: selected},
		{name: "0", reason: "as strconv.ParseBool", workload: auto("0")},
		{name: "f", reason: "as strconv.ParseBool", workload: auto("f")},
		{name: "False", reason: "as strconv.ParseBool", workload: auto("False")},
		{name: "FALSE", reason: "as strconv.ParseBool", workload: auto("FALSE")},
		{
			name: "another key", reason: "a flag renames the annotation",
			settings: other, workload: map[string]string{"example.com/restart": "true"}, want: selected,
		},
		{name: "the usual key under another setting", reason: "a flag renames the annotation", settings: other, workload: auto("true")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			settings := tc.settings
			if settings == (selection.Settings{}) {
				settings = selection.Defaults()
			}
			got := selection.Select(settings, tc.workload, tc.template, uses)
			ignoreDetail := cmpopts.IgnoreFields(selection.Problem{}, "Detail")
			if diff := cmp.Diff(tc.want, got, ignoreDetail); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tc.reason, diff)
			}
		})
	}
}

func TestProblemNamesAnnotationAndValue(t *testing.T) {
	got := selection.Select(selection.Defaults(), auto("ja"), nil, nil)
	if len(got.Problems) != 1 {
		t.Fatalf("%d problems, want 1", len(got.Problems))
	}
	p := got.Problems[0]
	for _, part := range []string{p.Annotation, `"ja"`, p.Detail} {
		if part == "" || !strings.Contains(p.String(), part) {
			t.Errorf("%q does not name %q", p, part)
		}
	}
}
