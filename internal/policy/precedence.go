package policy

import (
	"cmp"
	"slices"
)

// Governing finds, of all policies, those that select the workload, and says which of them governs it; nil if none does.
// The others are shadowed, those that would take over first in front. The order of the policies does not count.
func Governing(policies []Policy, w Workload) (governing *Policy, shadowed []Policy) {
	var selecting []Policy
	for _, p := range policies {
		if p.Selects(w) {
			selecting = append(selecting, p)
		}
	}
	if len(selecting) == 0 {
		return nil, nil
	}
	slices.SortFunc(selecting, func(a, b Policy) int { return a.compare(b, w.Namespace) })
	return &selecting[0], selecting[1:]
}

// compare orders policies that select a workload of this namespace: one of the namespace itself before one of the
// controller's, then the older, then the lesser name. Nobody who may only write to another namespace, or comes later, can
// take a workload over.
func (p Policy) compare(o Policy, namespace string) int {
	return cmp.Or(
		foreign(p, namespace)-foreign(o, namespace),
		p.Created.Compare(o.Created),
		cmp.Compare(p.Name.Name, o.Name.Name),
		cmp.Compare(p.Namespace, o.Namespace),
	)
}

func foreign(p Policy, namespace string) int {
	if p.Namespace == namespace {
		return 0
	}
	return 1
}
