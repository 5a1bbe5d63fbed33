package watch

import (
	"strings"
	"unique"

	"k8s.io/apimachinery/pkg/labels"
)

// Labels are the labels of an object as they are kept: a text, of which objects with the same labels share one. They are
// comparable. The zero value is no labels.
type Labels struct{ text unique.Handle[string] }

// KeepLabels keeps labels as the API server has checked them.
func KeepLabels(of map[string]string) Labels {
	if len(of) == 0 {
		return Labels{}
	}
	return Labels{unique.Make(labels.FormatLabels(of))}
}

// Set is the labels that were kept, as selectors take them; nil if there are none.
func (l Labels) Set() labels.Set {
	if l == (Labels{}) {
		return nil
	}
	set := labels.Set{}
	for pair := range strings.SplitSeq(l.text.Value(), ",") {
		key, value, _ := strings.Cut(pair, "=")
		set[key] = value
	}
	return set
}
