package cluster

import (
	"slices"
	"testing"
)

func TestParseComponents(t *testing.T) {
	tests := map[string]struct {
		list  string
		want  []Component
		fails bool
	}{
		"none":     {list: ""},
		"one":      {list: "kwok", want: []Component{KWOK}},
		"several":  {list: "kwok, node,cert-manager,flux", want: []Component{KWOK, Node, CertManager, Flux}},
		"trailing": {list: "node,", want: []Component{Node}},
		"unknown":  {list: "kwok,helm", fails: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseComponents(test.list)
			if (err != nil) != test.fails || !slices.Equal(got, test.want) {
				t.Errorf("got %v and error %v, want %v and failure %t", got, err, test.want, test.fails)
			}
		})
	}
}

func TestOptionsComplete(t *testing.T) {
	got, err := Options{Root: "/somewhere"}.complete()
	if err != nil {
		t.Fatal(err)
	}
	if got.KwokNodes != DefaultKwokNodes || got.StartTimeout != DefaultStartTimeout || got.Log == nil {
		t.Errorf("defaults are missing: %+v", got)
	}
	for name, options := range map[string]Options{
		"unknown component": {With: []Component{"helm"}},
		"negative nodes":    {KwokNodes: -1},
		"bad argument":      {APIServerArgs: []string{"audit-log-path=x"}},
		"unknown in Flux":   {FluxArgs: map[string][]string{"image-reflector-controller": nil}},
		"reflector alone":   {With: []Component{ImageReflector}},
		"bad Flux argument": {FluxArgs: map[string][]string{binSource: {"concurrent=1"}}},
	} {
		if _, err := options.complete(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSplitFlag(t *testing.T) {
	name, value, err := splitFlag("--feature-gates=A=true,B=false")
	if name != "feature-gates" || value != "A=true,B=false" || err != nil {
		t.Errorf("got %q, %q and error %v", name, value, err)
	}
	for _, bad := range []string{"", "--", "--=x", "--flag", "flag=x", "-f=x"} {
		if _, _, err := splitFlag(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
