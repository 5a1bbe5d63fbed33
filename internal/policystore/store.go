// Package policystore watches ReloadPolicies and keeps each as it is and compiled: which of them governs a workload is
// answered from memory. They are optional: their API need not be installed, and may come and go while the controller runs.
package policystore

import (
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/watch"
)

const (
	resource = "reloadpolicies"
	// whileRefused tells the log what follows where policies may not be watched. It holds up nothing: there need be none.
	whileRefused = "ReloadPolicies that were not seen before govern nothing: annotations and flags alone say what is restarted, " +
		"also of what a suspended policy is to hold; allow to list and watch them"
	// patience is how long a first list that fails holds up the controller: policies that cannot be read must not for ever.
	patience = time.Minute
)

// Options are what a Store needs.
type Options struct {
	Log logr.Logger
	// Scope is where workloads are watched.
	Scope watch.Scope
	// Namespace is the controller's own. Its policies are watched whatever the scope, since they may select other namespaces.
	Namespace string
	// NoCrossNamespaceRefs refuses policies that select other namespaces, also there.
	NoCrossNamespaceRefs bool
	// Client makes a client for watches of a kind that the scheme knows.
	Client func(schema.GroupVersionKind, *runtime.Scheme) (rest.Interface, error)
	// Now is the controller's clock.
	Now func() time.Time
	// Changed is told of every policy that is there from now on (before is nil), that is another (its spec changed, or it
	// was marked to be deleted), or that is gone (after is nil), also where their API comes or goes. If only annotations
	// changed, before and after are the same pointer. It is not told of a change of nothing but the status, and must not
	// block.
	Changed func(before, after *policy.Policy, name policy.Name)
}

// reach is which namespaces policies may select. Labels of namespaces are known where all of them are watched.
func (o Options) reach() policy.Reach {
	if o.NoCrossNamespaceRefs {
		return policy.Reach{}
	}
	return policy.Reach{Trusted: o.Namespace, Unlabelled: !o.Scope.Includes(metav1.NamespaceAll)}
}

// Store holds the policies of a scope.
type Store struct {
	watch.Group
	options Options

	mu sync.RWMutex
	// asked is whether the API server has said if it serves policies.
	asked bool
	// served is whether the API server serves policies, as far as it has said. While it does not, those that are held count
	// for nothing.
	served bool
	// held are the policies, by namespace and name.
	held map[string]map[string]*object
	// byLabels counts those that select sources by labels.
	byLabels int
}

// New prepares a store. It fills with Run, as far as the API is served; if it is not, it is looked for about every 20
// seconds.
func New(options Options) (*Store, error) {
	s := &Store{options: options, held: map[string]map[string]*object{}}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("preparing policies: %w", err)
	}
	client, err := options.Client(v1alpha1.GroupVersion.WithKind(v1alpha1.ReloadPolicyKind), scheme)
	if err != nil {
		return nil, fmt.Errorf("preparing policies: %w", err)
	}
	informers, err := watch.New(options.Log, options.Scope.With(options.Namespace), watch.Resource{
		Name: resource, Client: client, Codec: runtime.NewParameterCodec(scheme), Object: &v1alpha1.ReloadPolicy{},
		Keep: keep(options.reach()), Served: s.setServed, WhileRefused: whileRefused,
		Patience: patience, Now: options.Now,
	}, s)
	if err != nil {
		return nil, fmt.Errorf("preparing policies: %w", err)
	}
	s.Group = watch.Group{resource: informers}
	return s, nil
}

// Installed reports whether the API server serves policies. It is false until it has said.
func (s *Store) Installed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.served
}

// Get returns a copy of a policy, without its managed fields.
func (s *Store) Get(name policy.Name) (p *v1alpha1.ReloadPolicy, exists bool) {
	if o := s.get(name); o != nil {
		return o.policy.DeepCopy(), true
	}
	return nil, false
}

// Compiled returns what a policy says, and what of it makes no sense; nil if there is no such policy.
func (s *Store) Compiled(name policy.Name) (*policy.Policy, []policy.Problem) {
	if o := s.get(name); o != nil {
		return o.compiled, o.problems
	}
	return nil, nil
}

func (s *Store) get(name policy.Name) *object {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.served {
		return nil
	}
	return s.held[name.Namespace][name.Name]
}

// All returns every policy, in no order.
func (s *Store) All() []*policy.Policy {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.served {
		return nil
	}
	return s.compiled()
}

func (s *Store) compiled() []*policy.Policy {
	var all []*policy.Policy
	for _, policies := range s.held {
		for _, o := range policies {
			all = append(all, o.compiled)
		}
	}
	return all
}

// SelectsNamespaces reports whether any policy selects namespaces by their labels.
func (s *Store) SelectsNamespaces() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, o := range s.held[s.options.Namespace] {
		if s.served && o.compiled.SelectsNamespaces() {
			return true
		}
	}
	return false
}

// SelectsByLabels reports whether any policy selects sources by their labels.
func (s *Store) SelectsByLabels() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.served && s.byLabels > 0
}

// Governing returns the policy that governs a workload, nil if none does, and names the others that select it, those that
// would take over first in front. Only policies of the workload's namespace and of the controller's can.
func (s *Store) Governing(w policy.Workload) (governing *policy.Policy, shadowed []policy.Name) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.served {
		return nil, nil
	}
	var others []policy.Policy
	among := func(policies map[string]*object) {
		for _, o := range policies {
			switch {
			case !o.compiled.Selects(w):
			case governing == nil:
				governing = o.compiled
			default:
				others = append(others, *o.compiled)
			}
		}
	}
	among(s.held[w.Namespace])
	if w.Namespace != s.options.Namespace {
		among(s.held[s.options.Namespace])
	}
	if len(others) == 0 {
		return governing, nil
	}
	first, rest := policy.Governing(append(others, *governing), w)
	for i := range rest {
		shadowed = append(shadowed, rest[i].Name)
	}
	return s.held[first.Namespace][first.Name.Name].compiled, shadowed
}
