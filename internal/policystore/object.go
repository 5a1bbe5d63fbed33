package policystore

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/watch"
)

// object is what is kept of a policy. It never changes once made.
type object struct {
	policy   *v1alpha1.ReloadPolicy
	compiled *policy.Policy
	problems []policy.Problem
}

// GetObjectMeta lets client-go's stores key and compare objects.
func (o *object) GetObjectMeta() metav1.Object { return o.policy }

func (o *object) selectsByLabels() bool { return o.compiled.SelectsSourcesByLabels() }

// says reports whether the policy says the same as another version of it, and is no closer to its end.
func (o *object) says(other *object) bool {
	return o.policy.UID == other.policy.UID && o.policy.Generation == other.policy.Generation &&
		o.policy.DeletionTimestamp.Equal(other.policy.DeletionTimestamp)
}

// keep compiles a policy and lets go of its managed fields; what it made before it returns as it is.
func keep(reach policy.Reach) func(any) any {
	return func(from any) any {
		p, ok := from.(*v1alpha1.ReloadPolicy)
		if !ok {
			return from
		}
		p.ManagedFields = nil
		p.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.ReloadPolicyKind))
		compiled, problems := policy.Compile(p, reach)
		return &object{policy: p, compiled: &compiled, problems: problems}
	}
}

// Added implements watch.Handler.
func (s *Store) Added(kept any, _ watch.Origin) { s.put(kept) }

// Updated implements watch.Handler.
func (s *Store) Updated(_, kept any, _ watch.Origin) { s.put(kept) }

// Deleted implements watch.Handler.
func (s *Store) Deleted(kept any) {
	o, ok := kept.(*object)
	if !ok {
		return
	}
	name := o.compiled.Name
	s.mu.Lock()
	before := s.held[name.Namespace][name.Name]
	delete(s.held[name.Namespace], name.Name)
	if len(s.held[name.Namespace]) == 0 {
		delete(s.held, name.Namespace)
	}
	if before != nil && before.selectsByLabels() {
		s.byLabels--
	}
	served := s.served
	s.mu.Unlock()
	if before != nil && served {
		s.options.Changed(before.compiled, nil, name)
	}
}

func (s *Store) put(kept any) {
	o, ok := kept.(*object)
	if !ok {
		return
	}
	before, after, served := s.hold(o)
	switch {
	case !served: // told when it is
	case before == nil:
		s.options.Changed(nil, after.compiled, after.compiled.Name)
	case before.compiled != after.compiled, !maps.Equal(before.policy.Annotations, after.policy.Annotations):
		s.options.Changed(before.compiled, after.compiled, after.compiled.Name)
	}
}

// hold replaces what is held of a policy. One that says the same as before stays compiled as it was.
func (s *Store) hold(o *object) (before, after *object, served bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := o.compiled.Name
	policies := s.held[name.Namespace]
	if policies == nil {
		policies = map[string]*object{}
		s.held[name.Namespace] = policies
	}
	if before = policies[name.Name]; before != nil && o.says(before) {
		o = &object{policy: o.policy, compiled: before.compiled, problems: before.problems}
	}
	if before != nil && before.selectsByLabels() {
		s.byLabels--
	}
	if o.selectsByLabels() {
		s.byLabels++
	}
	policies[name.Name] = o
	return before, o, s.served
}

// setServed notes whether the API server serves policies, and says so. If it does not any more, what was known of them
// counts for nothing; once it does again, that is the best there is until it lists them.
func (s *Store) setServed(served bool) {
	s.mu.Lock()
	known, changes := s.asked, s.served != served
	s.asked, s.served = true, served
	all := s.compiled()
	s.mu.Unlock()
	switch {
	case known && !changes:
		return
	case served:
		s.options.Log.Info("ReloadPolicies are installed: they say how the workloads that they select are restarted")
	default:
		s.options.Log.Info("ReloadPolicies are not installed: annotations and flags alone say what is restarted")
	}
	for _, p := range all {
		if served {
			s.options.Changed(nil, p, p.Name)
		} else {
			s.options.Changed(p, nil, p.Name)
		}
	}
}
