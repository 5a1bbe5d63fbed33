package policy_test

import (
	"math/rand"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/reference"
)

type entries = []v1alpha1.SourceSelector

func use(kind reference.Kind, name string, keys ...string) reference.Use {
	u := reference.Use{Source: reference.Source{Kind: kind, Namespace: "a", Name: name}, Scope: reference.Keys(keys...), Optional: name == "config"}
	if len(keys) == 0 {
		u.Scope = reference.Scope{All: true}
	}
	return u
}

// byName takes a source's name for the value of its label app.
func byName(source reference.Source, selector labels.Selector) bool {
	return selector.Matches(labels.Set{"app": source.Name})
}

func TestAllow(t *testing.T) {
	tls, half, config := use(reference.Secret, "tls"), use(reference.Secret, "half", "ca.crt", "tls.crt"), use(reference.ConfigMap, "config")
	all := reference.Scope{All: true}
	type scopes = map[string]reference.Scope
	for name, test := range map[string]struct {
		sources entries
		want    scopes
	}{
		"no entries":               {nil, scopes{"tls": all, "half": half.Scope, "config": all}},
		"a kind":                   {entries{{Kind: "Secret"}}, scopes{"tls": all, "half": half.Scope}},
		"a name":                   {entries{{Kind: "Secret", Name: "tls"}}, scopes{"tls": all}},
		"a name of another kind":   {entries{{Kind: "ConfigMap", Name: "tls"}}, nil},
		"a name is no pattern":     {entries{{Kind: "Secret", Name: "t*"}}, nil},
		"labels":                   {entries{{Selector: labelled("app", "config")}}, scopes{"config": all}},
		"labels of another kind":   {entries{{Kind: "Secret", Selector: labelled("app", "config")}}, nil},
		"several":                  {entries{{Kind: "ConfigMap"}, {Kind: "Secret", Name: "half"}}, scopes{"half": half.Scope, "config": all}},
		"a key":                    {entries{{Keys: []string{"tls.crt"}}}, scopes{"tls": reference.Keys("tls.crt"), "half": reference.Keys("tls.crt"), "config": reference.Keys("tls.crt")}},
		"a wildcard":               {entries{{Kind: "Secret", Keys: []string{"tls.*"}}}, scopes{"tls": reference.Globs("tls.*"), "half": reference.Keys("tls.crt")}},
		"a key that is not seen":   {entries{{Keys: []string{"tls.key"}}}, scopes{"tls": reference.Keys("tls.key"), "config": reference.Keys("tls.key")}},
		"keys of several entries":  {entries{{Kind: "Secret", Keys: []string{"tls.*"}}, {Kind: "Secret", Name: "half", Keys: []string{"ca.crt"}}}, scopes{"tls": reference.Globs("tls.*"), "half": half.Scope}},
		"a wildcard and a key":     {entries{{Kind: "Secret", Keys: []string{"tls.*", "ca.crt"}}}, scopes{"tls": reference.Globs("tls.*", "ca.crt"), "half": half.Scope}},
		"keys, and all of them":    {entries{{Kind: "Secret", Keys: []string{"tls.crt"}}, {Kind: "Secret", Name: "tls"}}, scopes{"tls": all, "half": reference.Keys("tls.crt")}},
		"a bad glob":               {entries{{Keys: []string{"[a-"}}}, nil},
		"a bad glob beside a key":  {entries{{Keys: []string{"[a-", "tls.crt"}}}, scopes{"tls": reference.Keys("tls.crt"), "half": reference.Keys("tls.crt"), "config": reference.Keys("tls.crt")}},
		"an unreadable selector":   {entries{{Selector: unreadable()}}, nil},
		"an empty selector":        {entries{{Kind: "Secret", Selector: labelled()}}, nil},
		"a field yet unknown":      {entries{{}}, nil},
		"one of those and another": {entries{{}, {Kind: "ConfigMap"}}, scopes{"config": all}},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := policy.Compile(object("a", "policy", v1alpha1.ReloadPolicySpec{Sources: test.sources}), reach)
			got := scopes{}
			for _, allowed := range p.Allow([]reference.Use{config, half, tls}, byName) {
				got[allowed.Source.Name] = allowed.Scope
				if allowed.Optional != (allowed.Source == config.Source) {
					t.Errorf("%s is optional: %v", allowed.Source, allowed.Optional)
				}
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("scopes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSelectsSourcesByLabels(t *testing.T) {
	for name, test := range map[string]struct {
		sources entries
		want    bool
	}{
		"no entries":             {nil, false},
		"names":                  {entries{{Kind: "Secret", Name: "tls"}}, false},
		"labels":                 {entries{{Kind: "ConfigMap"}, {Selector: labelled("app", "config")}}, true},
		"an unreadable selector": {entries{{Selector: unreadable()}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := policy.Compile(object("a", "policy", v1alpha1.ReloadPolicySpec{Sources: test.sources}), reach)
			if got := p.SelectsSourcesByLabels(); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

// One entry more never takes a key away, and the order of the entries does not count.
func TestAllowIsAUnion(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	pick := func(from ...string) string { return from[random.Intn(len(from))] }
	all := []string{"tls.crt", "tls.key", "ca.crt", "config.yml", "x"}
	uses := []reference.Use{use(reference.Secret, "tls"), use(reference.Secret, "half", "ca.crt", "tls.crt"), use(reference.ConfigMap, "config")}
	counts := func(sources entries) map[string]bool {
		p, _ := policy.Compile(object("a", "policy", v1alpha1.ReloadPolicySpec{Sources: sources}), reach)
		count := map[string]bool{}
		for _, allowed := range p.Allow(uses, byName) {
			for _, key := range all {
				if allowed.Scope.Includes(key) {
					count[allowed.Source.String()+" "+key] = true
				}
			}
		}
		return count
	}
	for range 500 {
		var sources entries
		for range 1 + random.Intn(4) {
			entry := v1alpha1.SourceSelector{Kind: pick("Secret", "ConfigMap")}
			switch random.Intn(4) {
			case 0:
				entry.Name = pick("tls", "half", "config")
			case 1:
				entry.Selector = labelled("app", pick("tls", "config"))
			}
			for range random.Intn(3) {
				entry.Keys = append(entry.Keys, pick("*", "tls.*", "ca.crt", "[a-", "?", "tls.crt"))
			}
			sources = append(sources, entry)
		}
		with := counts(sources)
		for counted := range counts(sources[:len(sources)-1]) {
			if len(sources) > 1 && !with[counted] {
				t.Fatalf("%v: %s does not count any more with the last entry", sources, counted)
			}
		}
		random.Shuffle(len(sources), func(i, j int) { sources[i], sources[j] = sources[j], sources[i] })
		if diff := cmp.Diff(with, counts(sources)); diff != "" {
			t.Fatalf("%v: the order counts (-want +got):\n%s", sources, diff)
		}
	}
}

// A glob is a problem, or it matches as path.Match says; narrowing a scope of named keys takes exactly those that match.
func FuzzKeys(f *testing.F) {
	for _, glob := range []string{"tls.*", "[a-c]?", `a\*`, "[a-", "[]a]", "a\\", "**", "[^a]", "", "é?", "\xff"} {
		f.Add(glob, "tls.crt", "a*")
	}
	f.Fuzz(func(t *testing.T, glob, one, other string) {
		spec := v1alpha1.ReloadPolicySpec{Sources: entries{{Kind: "Secret", Keys: []string{glob}}}}
		p, problems := policy.Compile(object("a", "policy", spec), reach)
		named := use(reference.Secret, "tls")
		named.Scope = reference.Keys(one, other)
		var got []string
		for _, allowed := range p.Allow([]reference.Use{named}, byName) {
			got = allowed.Scope.Keys
		}
		var want []string
		for _, key := range named.Scope.Keys {
			matched, err := path.Match(glob, key)
			if (err != nil) != (len(problems) > 0) {
				t.Fatalf("glob %q, key %q: %v, problems: %v", glob, key, err, problems)
			}
			if matched {
				want = append(want, key)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("glob %q (-want +got):\n%s", glob, diff)
		}
		everything := p.Allow([]reference.Use{use(reference.Secret, "tls")}, byName)
		literal := !strings.ContainsAny(glob, `*?[\`)
		for _, allowed := range everything {
			if literal && !allowed.Scope.Equal(reference.Keys(glob)) {
				t.Errorf("glob %q: scope %v", glob, allowed.Scope)
			}
			if matched, err := path.Match(glob, one); err == nil && allowed.Scope.Includes(one) != matched {
				t.Errorf("glob %q: includes %q: %v", glob, one, !matched)
			}
		}
		if len(everything) != 1-len(problems) {
			t.Errorf("glob %q: %d sources allowed, problems: %v", glob, len(everything), problems)
		}
	})
}
