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
)

// Scope is the set of namespaces that are watched.
type Scope struct{ namespaces []string }

// AllNamespaces is the scope of the whole cluster. It needs a ClusterRole.
func AllNamespaces() Scope { return Scope{namespaces: []string{metav1.NamespaceAll}} }

// Namespaces is a scope of just these. It needs a Role in each.
func Namespaces(names ...string) Scope {
	names = slices.Clone(names)
	slices.Sort(names)
	return Scope{namespaces: slices.Compact(names)}
}

// Includes reports whether objects of the namespace are watched.
func (s Scope) Includes(namespace string) bool {
	return slices.Contains(s.namespaces, namespace) || slices.Contains(s.namespaces, metav1.NamespaceAll)
}

// watchOf is the namespace under which objects of a namespace are watched.
func (s Scope) watchOf(namespace string) string {
	if slices.Contains(s.namespaces, metav1.NamespaceAll) {
		return metav1.NamespaceAll
	}
	return namespace
}
