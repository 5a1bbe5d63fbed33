package reference_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/reference"
)

func TestGlobs(t *testing.T) {
	for name, test := range map[string]struct {
		globs    []string
		want     reference.Scope
		includes []string
		excludes []string
	}{
		"none":           {nil, reference.Scope{}, nil, []string{"", "a"}},
		"a key":          {[]string{"tls.crt"}, reference.Keys("tls.crt"), []string{"tls.crt"}, []string{"", "tls.crt2", "a.tls.crt", "tlsxcrt", "TLS.CRT"}},
		"any end":        {[]string{"tls.*"}, reference.Scope{Globs: []string{"tls.*"}}, []string{"tls.", "tls.crt", "tls.key.bak"}, []string{"tls", "a.tls.crt"}},
		"any":            {[]string{"*"}, reference.Scope{Globs: []string{"*"}}, []string{"", "..data", "a"}, nil},
		"one character":  {[]string{"a?"}, reference.Scope{Globs: []string{"a?"}}, []string{"ab", "a."}, []string{"a", "abc"}},
		"a class":        {[]string{"[a-c]1"}, reference.Scope{Globs: []string{"[a-c]1"}}, []string{"a1", "c1"}, []string{"d1", "1"}},
		"an escaped one": {[]string{`a\*`}, reference.Scope{Globs: []string{`a\*`}}, []string{"a*"}, []string{"ab"}},
		"several, unsorted, twice": {
			[]string{"ca-*", "*.crt", "ca-*"}, reference.Scope{Globs: []string{"*.crt", "ca-*"}},
			[]string{"tls.crt", "ca-bundle"}, []string{"tls.key"},
		},
		"a key beside one":       {[]string{"x", "tls.*"}, reference.Scope{Keys: []string{"x"}, Globs: []string{"tls.*"}}, []string{"x", "tls.crt"}, []string{"y"}},
		"a key that one matches": {[]string{"tls.crt", "tls.*"}, reference.Scope{Globs: []string{"tls.*"}}, []string{"tls.crt"}, []string{"x"}},
		"bad ones":               {[]string{"[a-", `a\`}, reference.Scope{Globs: []string{"[a-", `a\`}}, nil, []string{"", "a", "[a-", `a\`}},
	} {
		t.Run(name, func(t *testing.T) {
			scope := reference.Globs(test.globs...)
			if diff := cmp.Diff(test.want, scope); diff != "" {
				t.Errorf("scope (-want +got):\n%s", diff)
			}
			for _, key := range test.includes {
				if !scope.Includes(key) {
					t.Errorf("excludes %q", key)
				}
			}
			for _, key := range test.excludes {
				if scope.Includes(key) {
					t.Errorf("includes %q", key)
				}
			}
			if scope.Empty() != (len(test.globs) == 0) {
				t.Errorf("empty: %v", scope.Empty())
			}
		})
	}
}

func TestUnion(t *testing.T) {
	globs := reference.Globs("tls.*", "x")
	for name, test := range map[string]struct{ a, b, want reference.Scope }{
		"of nothing":              {reference.Scope{}, reference.Scope{}, reference.Scope{}},
		"with nothing":            {globs, reference.Scope{}, globs},
		"with itself":             {globs, globs, globs},
		"with all":                {globs, all, all},
		"with another pattern":    {globs, reference.Globs("ca.*"), reference.Globs("ca.*", "tls.*", "x")},
		"with a key of it":        {globs, reference.Keys("tls.key"), globs},
		"with keys beside it":     {globs, reference.Keys("b", "a"), reference.Scope{Keys: []string{"a", "b", "x"}, Globs: []string{"tls.*"}}},
		"with what matches a key": {reference.Keys("tls.key", "x"), globs, globs},
	} {
		t.Run(name, func(t *testing.T) {
			for _, got := range []reference.Scope{test.a.Union(test.b), test.b.Union(test.a)} {
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestEqual(t *testing.T) {
	scopes := []reference.Scope{
		{}, all, reference.Keys("a"), reference.Keys("b"), reference.Globs("a*"), reference.Globs("b*"), reference.Globs("a*", "b"), reference.Globs("*"),
	}
	for i, a := range scopes {
		for j, b := range scopes {
			if a.Equal(b) != (i == j) {
				t.Errorf("%+v and %+v: equal %v", a, b, a.Equal(b))
			}
		}
	}
}
