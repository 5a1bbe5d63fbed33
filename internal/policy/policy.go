// Package policy says which workloads a ReloadPolicy governs, which of their sources restart them, and how. It is pure:
// policies are compiled once, and asked about values.
//
// What cannot be read disables only itself, and never turns into "everything": a list of which no entry can be read
// selects nothing. A value that this version does not know, such as one of a later version, counts as the most cautious of
// those that it knows.
package policy

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
)

// Name names a ReloadPolicy. It is comparable and serves as a key.
type Name struct{ Namespace, Name string }

// String is namespace/name.
func (n Name) String() string { return n.Namespace + "/" + n.Name }

// Policy is a compiled ReloadPolicy. It never changes once made.
type Policy struct {
	Name
	// Created is the age that counts between policies.
	Created time.Time
	// Settings are how the workloads are restarted.
	Settings Settings

	// scope reports whether workloads of a namespace are selected; namespaces is whether that depends on its labels.
	scope      func(namespace string, of labels.Set) bool
	namespaces bool
	workloads  []workloadRule
	sources    []sourceRule
	// everyWorkload and everySource are whether there are no entries at all, readable or not.
	everyWorkload, everySource bool
}

// Workload is what a policy has to know of a workload.
type Workload struct {
	ledger.Workload
	// APIVersion as in the API, "apps/v1".
	APIVersion string
	// Labels are the workload's own, not those of its pods.
	Labels labels.Set
	// NamespaceLabels are those of its namespace. They count only for policies of the controller's namespace.
	NamespaceLabels labels.Set
}

// Problem is a part of a spec that makes no sense.
type Problem struct {
	// Reason is AccessDenied, with which the policy selects nothing and stays so until it is changed; or InvalidSpec, which
	// disables what Field names and nothing else. Both are reasons of conditions.
	Reason string
	// Field is the path of what is wrong, "spec.sources[0].keys[1]".
	Field  string
	Value  string
	Detail string
}

// String names the field, its value if it is short, and what is wrong with it.
func (p Problem) String() string {
	if p.Value == "" {
		return p.Field + ": " + p.Detail
	}
	return fmt.Sprintf("%s: invalid value %q: %s", p.Field, p.Value, p.Detail)
}

// Reach is which namespaces policies may select.
type Reach struct {
	// Trusted is the namespace, the controller's, whose policies may select others; none may if it is empty.
	Trusted string
	// Unlabelled is true where labels of namespaces are not known, and nobody can select by them.
	Unlabelled bool
}

// Compile reads a ReloadPolicy. It can be used whatever the problems, which come in the order of the spec's fields.
func Compile(object *v1alpha1.ReloadPolicy, reach Reach) (Policy, []Problem) {
	c := compiler{}
	spec := &object.Spec
	p := Policy{
		Name:          Name{Namespace: object.Namespace, Name: object.Name},
		Created:       object.CreationTimestamp.Time,
		everyWorkload: len(spec.Workloads) == 0,
		everySource:   len(spec.Sources) == 0,
	}
	p.Settings = c.settings(spec)
	p.scope, p.namespaces = c.scope(p.Namespace, spec.NamespaceSelector, reach)
	for i := range spec.Workloads {
		if rule, ok := c.workload(fmt.Sprintf("spec.workloads[%d]", i), &spec.Workloads[i]); ok {
			p.workloads = append(p.workloads, rule)
		}
	}
	for i := range spec.Sources {
		if rule, ok := c.source(fmt.Sprintf("spec.sources[%d]", i), &spec.Sources[i]); ok {
			p.sources = append(p.sources, rule)
		}
	}
	return p, c.problems
}

// compiler collects problems.
type compiler struct{ problems []Problem }

func (c *compiler) invalid(field, value, detail string) {
	c.problems = append(c.problems, Problem{Reason: v1alpha1.InvalidSpecReason, Field: field, Value: value, Detail: detail})
}

// selector compiles a label selector that must say something. It is nil if there is none.
func (c *compiler) selector(field string, from *metav1.LabelSelector) (selector labels.Selector, ok bool) {
	if from == nil {
		return nil, true
	}
	selector, err := metav1.LabelSelectorAsSelector(from)
	switch {
	case err != nil:
		c.invalid(field, "", err.Error())
	case selector.Empty():
		c.invalid(field, "", "must not be empty")
	default:
		return selector, true
	}
	return nil, false
}
