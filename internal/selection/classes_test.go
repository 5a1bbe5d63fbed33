package selection_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

// SecretProviderClasses are selected as other sources are, by annotations of their own, if they are watched at all.
func TestClasses(t *testing.T) {
	vault, other := source(reference.SecretProviderClass, "vault"), source(reference.SecretProviderClass, "other")
	for name, tt := range map[string]struct {
		workload annotations
		template annotations
		marks    selection.Marks
		off      bool
		want     []string
	}{
		"auto":                   {workload: annotations{auto: "true"}, want: []string{"ConfigMap/app", "Secret/tls", "SecretProviderClass/vault"}},
		"auto, not watched":      {workload: annotations{auto: "true"}, off: true, want: both},
		"typed":                  {workload: annotations{v1alpha1.SecretProviderClassAutoAnnotation: "true"}, want: []string{"SecretProviderClass/vault"}},
		"typed, on the template": {template: annotations{v1alpha1.SecretProviderClassAutoAnnotation: "true"}, want: []string{"SecretProviderClass/vault"}},
		"typed, not watched":     {workload: annotations{v1alpha1.SecretProviderClassAutoAnnotation: "true"}, off: true},
		"typed of another kind":  {workload: annotations{secretAuto: "true"}, want: []string{"Secret/tls"}},
		"listed, not used":       {workload: annotations{v1alpha1.SecretProviderClassReloadAnnotation: "oth.*"}, want: []string{"SecretProviderClass/other"}},
		"excluded": {
			workload: annotations{auto: "true", v1alpha1.SecretProviderClassExcludeAnnotation: "vault"}, want: both,
		},
		"excluded of another kind": {
			workload: annotations{v1alpha1.SecretProviderClassAutoAnnotation: "true", v1alpha1.SecretExcludeAnnotation: "vault"},
			want:     []string{"SecretProviderClass/vault"},
		},
		"searched and found":     {workload: annotations{search: "true"}, marks: selection.Marks{Matched: true}, want: []string{"SecretProviderClass/vault"}},
		"searched and not found": {workload: annotations{search: "true"}, want: nothing},
		"ignored":                {workload: annotations{auto: "true"}, marks: selection.Marks{Ignored: true}, want: both},
	} {
		t.Run(name, func(t *testing.T) {
			settings := selection.Defaults()
			if !tt.off {
				settings.Kinds = append(settings.Kinds, reference.SecretProviderClass)
			}
			uses := append(slices.Clone(used), reference.Use{Source: vault, Scope: reference.Scope{All: true}, Optional: true})
			got := selection.Read(settings, tt.workload, tt.template).Select(namespace, uses, sources{tls: {}, app: {}, vault: tt.marks, other: {}})
			names := nothing
			for _, use := range got.Uses {
				names = append(names, use.Source.String())
			}
			if !got.Selected {
				names = nil
			}
			if diff := cmp.Diff(tt.want, names); diff != "" || len(got.Problems) > 0 {
				t.Errorf("problems %v, (-want +got)\n%s", got.Problems, diff)
			}
		})
	}
}

// What is listed and used is marked on the container that uses it.
func TestContainerOfNamedSources(t *testing.T) {
	uses := []reference.Use{{Source: tls, Scope: reference.Scope{All: true}, Container: "proxy"}}
	got := selection.Read(selection.Defaults(), annotations{secrets: "tls, spare"}, nil).Select(namespace, uses, sources{tls: {}})
	containers := map[string]string{}
	for _, use := range got.Uses {
		containers[use.Source.Name] = use.Container
	}
	if diff := cmp.Diff(map[string]string{"tls": "proxy", "spare": ""}, containers); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
