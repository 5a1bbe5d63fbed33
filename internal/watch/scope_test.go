package watch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestScope(t *testing.T) {
	tests := map[string]struct {
		scope    Scope
		includes map[string]bool
		watchOf  map[string]string
	}{
		"all":     {AllNamespaces(), map[string]bool{"a": true, "b": true}, map[string]string{"a": "", "b": ""}},
		"nothing": {Namespaces(), map[string]bool{"a": false}, map[string]string{"a": "a"}},
		"all but": {
			AllNamespaces().Except("b", "c"), map[string]bool{"a": true, "b": false, "c": false}, map[string]string{"a": ""},
		},
		"some but": {Namespaces("a", "b").Except("b", "c"), map[string]bool{"a": true, "b": false, "c": false}, map[string]string{"a": "a"}},
		"some":     {Namespaces("b", "a", "b"), map[string]bool{"a": true, "b": true, "c": false}, map[string]string{"a": "a", "c": "c"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for namespace, want := range test.includes {
				if got := test.scope.Includes(namespace); got != want {
					t.Errorf("includes %s: %t", namespace, got)
				}
			}
			for namespace, want := range test.watchOf {
				if got := test.scope.watchOf(namespace); got != want {
					t.Errorf("watch of %s: %q", namespace, got)
				}
			}
		})
	}
}

func TestWith(t *testing.T) {
	for name, test := range map[string]struct {
		scope    Scope
		includes []string
		excludes []string
		watches  int
	}{
		"everything":                   {AllNamespaces().With("a"), []string{"a", "b"}, nil, 1},
		"everything but it":            {AllNamespaces().Except("a", "b").With("a"), []string{"a", "c"}, []string{"b"}, 1},
		"a list without it":            {Namespaces("b").With("a"), []string{"a", "b"}, []string{"c"}, 2},
		"a list with it":               {Namespaces("b", "a").With("a"), []string{"a", "b"}, []string{"c"}, 2},
		"a list from which it is left": {Namespaces("b", "a", "c").Except("a", "c").With("a"), []string{"a", "b"}, []string{"c"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			for _, namespace := range test.includes {
				if !test.scope.Includes(namespace) {
					t.Errorf("%q is left out", namespace)
				}
			}
			for _, namespace := range test.excludes {
				if test.scope.Includes(namespace) {
					t.Errorf("%q is included", namespace)
				}
			}
			if len(test.scope.namespaces) != test.watches {
				t.Errorf("watches of %q, want %d", test.scope.namespaces, test.watches)
			}
		})
	}
}

func TestWithExcepted(t *testing.T) {
	if !AllNamespaces().Except("a").WithExcepted().Includes("a") {
		t.Error("what was excepted is still left out")
	}
	if list := Namespaces("a", "b").Except("b").WithExcepted(); !list.Includes("a") || list.Includes("b") || list.Includes("c") {
		t.Errorf("a list is not what it was: %+v", list)
	}
}

func TestNamespacesAreWatchedOnce(t *testing.T) {
	names := []string{"b", "a", "b"}
	if diff := cmp.Diff([]string{"a", "b"}, Namespaces(names...).namespaces); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"b", "a", "b"}, names); diff != "" {
		t.Errorf("the argument was changed (-want +got):\n%s", diff)
	}
}

func TestScopeNarrows(t *testing.T) {
	for want, scope := range map[string]Scope{
		"type!=x": AllNamespaces(), "type!=x,metadata.namespace!=a,metadata.namespace!=b": AllNamespaces().Except("b", "a"),
	} {
		options := metav1.ListOptions{FieldSelector: "type!=x"}
		if scope.narrow(&options); options.FieldSelector != want {
			t.Errorf("field selector %q, want %q", options.FieldSelector, want)
		}
	}
	options := metav1.ListOptions{}
	if Namespaces("a", "b").Except("b").narrow(&options); options.FieldSelector != "" {
		t.Errorf("field selector %q: a list needs none", options.FieldSelector)
	}
}
