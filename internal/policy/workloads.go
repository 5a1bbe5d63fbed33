package policy

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// workloadRule is one entry of spec.workloads; what is empty matches any.
type workloadRule struct {
	group      *string
	kind, name string
	selector   labels.Selector
}

// Selects reports whether the policy applies to the workload, were there no other.
func (p Policy) Selects(w Workload) bool {
	if !p.scope(w.Namespace, w.NamespaceLabels) {
		return false
	}
	if p.everyWorkload {
		return true
	}
	for _, rule := range p.workloads {
		if rule.matches(w) {
			return true
		}
	}
	return false
}

func (r workloadRule) matches(w Workload) bool {
	return (r.group == nil || *r.group == schema.FromAPIVersionAndKind(w.APIVersion, w.Kind).Group) &&
		(r.kind == "" || r.kind == w.Kind) &&
		(r.name == "" || r.name == w.Name) &&
		(r.selector == nil || r.selector.Matches(w.Labels))
}

// workload compiles one entry. An empty one is of a later version, whose field this one does not know.
func (c *compiler) workload(field string, from *v1alpha1.WorkloadSelector) (rule workloadRule, ok bool) {
	if *from == (v1alpha1.WorkloadSelector{}) {
		c.invalid(field, "", "must not be empty")
		return workloadRule{}, false
	}
	rule.kind, rule.name = from.Kind, from.Name
	rule.selector, ok = c.selector(field+".selector", from.Selector)
	if from.APIVersion != "" {
		version, err := schema.ParseGroupVersion(from.APIVersion)
		if err != nil {
			c.invalid(field+".apiVersion", from.APIVersion, err.Error())
			ok = false
		}
		rule.group = &version.Group
	}
	return rule, ok
}

// SelectsNamespaces reports whether what Selects says may change with the labels of a namespace.
func (p Policy) SelectsNamespaces() bool { return p.namespaces }

// scope is the policy's own namespace, or those that the selector selects if this is the trusted one; byLabels is whether
// their labels count.
func (c *compiler) scope(own string, from *metav1.LabelSelector, reach Reach) (includes func(string, labels.Set) bool, byLabels bool) {
	const field = "spec.namespaceSelector"
	nowhere := func(string, labels.Set) bool { return false }
	switch {
	case from == nil:
		return func(namespace string, _ labels.Set) bool { return namespace == own }, false
	case own != reach.Trusted:
		detail := "only policies in the controller's namespace may select other namespaces"
		if reach.Trusted == "" {
			detail = "no policy may select other namespaces, as the controller runs with --no-cross-namespace-refs"
		}
		c.problems = append(c.problems, Problem{Reason: v1alpha1.AccessDeniedReason, Field: field, Detail: detail})
		return nowhere, false
	}
	selector, err := metav1.LabelSelectorAsSelector(from)
	if err != nil {
		c.invalid(field, "", err.Error())
		return nowhere, false
	}
	if reach.Unlabelled && !selector.Empty() {
		const detail = "labels of namespaces are not known, as the controller does not watch all of them: {} selects those that it watches"
		c.problems = append(c.problems, Problem{Reason: v1alpha1.AccessDeniedReason, Field: field, Detail: detail})
		return nowhere, false
	}
	return func(_ string, of labels.Set) bool { return selector.Matches(of) }, !selector.Empty()
}
