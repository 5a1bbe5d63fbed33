package policy

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/reference"
)

// sourceRule is one entry of spec.sources; what is empty matches any.
type sourceRule struct {
	kind, name string
	selector   labels.Selector
	keys       reference.Scope
}

// Matches reports whether the labels of a source match. A source that is gone, or cannot be seen, has none: if it is on
// the workload's record it should count as it did, since it has to be compared if it comes back.
type Matches func(source reference.Source, selector labels.Selector) bool

// Allow says which of these uses restart a workload, in their order, each narrowed to what counts of it. With no entry in
// spec.sources all do; with several, a key counts if it does for one of them.
func (p Policy) Allow(uses []reference.Use, matches Matches) []reference.Use {
	var allowed []reference.Use
	for _, use := range uses {
		if use.Scope = narrow(use.Scope, p.scopeOf(use.Source, matches)); !use.Scope.Empty() {
			allowed = append(allowed, use)
		}
	}
	return allowed
}

// SelectsSourcesByLabels reports whether what Allow says may change with the labels of a source.
func (p Policy) SelectsSourcesByLabels() bool {
	return slices.ContainsFunc(p.sources, func(r sourceRule) bool { return r.selector != nil })
}

// scopeOf is what of a source counts.
func (p Policy) scopeOf(source reference.Source, matches Matches) reference.Scope {
	if p.everySource {
		return reference.Scope{All: true}
	}
	var scope reference.Scope
	for _, rule := range p.sources {
		if rule.matches(source, matches) {
			scope = scope.Union(rule.keys)
		}
	}
	return scope
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
