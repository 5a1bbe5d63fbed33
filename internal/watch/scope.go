// Package watch keeps what the API server holds of a resource in memory, over a scope of namespaces. It is the only way
// in which Reloader watches anything: the whole cluster or a static list of namespaces, kinds that are always there and
// kinds whose API appears and goes.
//
// Every namespace of a static list is watched on its own, so that Roles suffice and one that is forbidden stops none of
// the others. A resource that the API server does not serve, or does not let us see, is tried again until it does; what
// was known of it is not trusted meanwhile.
package watch

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// Scope is the set of namespaces that are watched.
type Scope struct {
	// namespaces are watched each; one without a name stands for all but the excepted.
	namespaces []string
	excepted   []string
}

// AllNamespaces is the scope of the whole cluster. It needs a ClusterRole.
func AllNamespaces() Scope { return Scope{namespaces: []string{metav1.NamespaceAll}} }

// Namespaces is a scope of just these. It needs a Role in each.
func Namespaces(names ...string) Scope {
	names = slices.Clone(names)
	slices.Sort(names)
	return Scope{namespaces: slices.Compact(names)}
}

// Except is the scope without these namespaces. The API server leaves them out.
func (s Scope) Except(names ...string) Scope {
	without := Scope{excepted: Namespaces(names...).namespaces}
	for _, namespace := range s.namespaces {
		if !slices.Contains(without.excepted, namespace) {
			without.namespaces = append(without.namespaces, namespace)
		}
	}
	return without
}

// WithExcepted is the scope with what Except left out of the whole cluster. A list of namespaces stays what it is.
func (s Scope) WithExcepted() Scope { return Scope{namespaces: s.namespaces} }

// With is the scope and these namespaces, also where they were excepted.
func (s Scope) With(names ...string) Scope {
	with := Scope{namespaces: s.namespaces}
	for _, namespace := range s.excepted {
		if !slices.Contains(names, namespace) {
			with.excepted = append(with.excepted, namespace)
		}
	}
	if !s.all() {
		with.namespaces = Namespaces(slices.Concat(s.namespaces, names)...).namespaces
	}
	return with
}

// Includes reports whether objects of the namespace are watched.
func (s Scope) Includes(namespace string) bool {
	if slices.Contains(s.excepted, namespace) {
		return false
	}
	return slices.Contains(s.namespaces, namespace) || s.all()
}

// all reports whether every namespace is watched but for the excepted.
func (s Scope) all() bool { return slices.Contains(s.namespaces, metav1.NamespaceAll) }

// narrow leaves out what is excepted. Every namespaced resource can be selected by its namespace.
func (s Scope) narrow(options *metav1.ListOptions) {
	if !s.all() {
		return
	}
	for _, namespace := range s.excepted {
		if options.FieldSelector != "" {
			options.FieldSelector += ","
		}
		options.FieldSelector += fields.OneTermNotEqualSelector("metadata.namespace", namespace).String()
	}
}

// watchOf is the namespace under which objects of a namespace are watched.
func (s Scope) watchOf(namespace string) string {
	if s.all() {
		return metav1.NamespaceAll
	}
	return namespace
}
