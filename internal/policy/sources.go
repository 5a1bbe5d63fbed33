package policy

import (
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/reference"
)

// sourceRule is one entry of spec.sources; what is empty matches any.
type sourceRule struct {
	kind, name string
	selector   labels.Selector
	keys       Keys
}

// Matches reports whether the labels of a source match. A source that is gone, or cannot be seen, has none: if it is on
// the workload's record it should count as it did, since it has to be compared if it comes back.
type Matches func(source reference.Source, selector labels.Selector) bool

// Allowed is a use of which at least some keys count.
type Allowed struct {
	// Use is narrowed to the keys that count where its scope can say so: where it names keys, or Keys has no wildcard.
	reference.Use
	// Keys are those that count, of a source of which pods see all keys, those to come included.
	Keys Keys
}

// Allow says which of these uses restart a workload, in their order. With no entry in spec.sources all do; with several, a
// key counts if it does for one of them.
func (p Policy) Allow(uses []reference.Use, matches Matches) []Allowed {
	var allowed []Allowed
	for _, use := range uses {
		keys := p.keysOf(use.Source, matches)
		if scope := keys.narrow(use.Scope); scope.All || len(scope.Keys) > 0 {
			use.Scope = scope
			allowed = append(allowed, Allowed{Use: use, Keys: keys})
		}
	}
	return allowed
}

func (p Policy) keysOf(source reference.Source, matches Matches) Keys {
	if p.everySource {
		return AllKeys()
	}
	var keys Keys
	for _, rule := range p.sources {
		if rule.matches(source, matches) {
			keys = keys.union(rule.keys)
		}
	}
	return keys
}

func (r sourceRule) matches(source reference.Source, matches Matches) bool {
	return (r.kind == "" || r.kind == string(source.Kind)) &&
		(r.name == "" || r.name == source.Name) &&
		(r.selector == nil || matches(source, r.selector))
}

// source compiles one entry. An empty one is of a later version, whose field this one does not know.
func (c *compiler) source(field string, from *v1alpha1.SourceSelector) (rule sourceRule, ok bool) {
	if from.Kind == "" && from.Name == "" && from.Selector == nil && from.Keys == nil {
		c.invalid(field, "", "must not be empty")
		return sourceRule{}, false
	}
	rule.kind, rule.name, rule.keys = from.Kind, from.Name, c.keys(field+".keys", from.Keys)
	rule.selector, ok = c.selector(field+".selector", from.Selector)
	return rule, ok
}
