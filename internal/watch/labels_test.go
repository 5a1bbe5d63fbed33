package watch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
)

func TestLabels(t *testing.T) {
	for name, set := range map[string]labels.Set{
		"none":            nil,
		"one":             {"app": "web"},
		"one without":     {"app": ""},
		"several":         {"app.kubernetes.io/name": "web", "tier": "a", "b": ""},
		"as long as some": {"a": "b-c_d.e"},
	} {
		t.Run(name, func(t *testing.T) {
			kept := KeepLabels(set)
			if diff := cmp.Diff(set, kept.Set()); diff != "" {
				t.Errorf("(-given +kept):\n%s", diff)
			}
			if kept != KeepLabels(set) || kept == KeepLabels(labels.Set{"app": "other"}) {
				t.Error("they do not compare as what they stand for")
			}
		})
	}
	if KeepLabels(nil) != KeepLabels(labels.Set{}) {
		t.Error("no labels are other than no labels")
	}
}
