package owner

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/watch"
)

const (
	// byOwner indexes Flux objects by the ones that apply them.
	byOwner = "owner"
	// mostOwners bounds how far owners of owners are followed: real chains have three or four.
	mostOwners = 16
	// whileRefused tells the log what follows where Flux objects of a kind cannot be watched.
	whileRefused = "Flux objects of this kind that were not seen before hold no restarts, suspended or not"
	// patience is how long a kind whose first list fails holds up the controller: one API of Flux that is broken must not for
	// ever, and nothing is to restart just because a list is slow.
	patience = time.Minute
)

// Options are what a Store needs.
type Options struct {
	Log   logr.Logger
	Scope watch.Scope
	// Client makes a client for watches of a kind that the scheme knows.
	Client func(schema.GroupVersionKind, *runtime.Scheme) (rest.Interface, error)
	// Timeout is how long an owner may be reconciling before that holds nothing any more.
	Timeout time.Duration
	// Now is the controller's clock.
	Now func() time.Time
	// Changed is told of every owner whose workloads may be free to restart from now on, or are suspended from now on: of
	// the one that changed, and of those that it applies. It must not block.
	Changed func(plan.Owner)
}

// Store holds the Flux objects of a scope, by kind.
type Store struct {
	watch.Group
	options Options

	mu sync.Mutex
	// since is when the owners that are reconciling were first seen to be.
	since map[plan.Owner]time.Time
	// absent are the kinds that the API server does not serve, as far as it has said. What is kept of them counts for nothing.
	absent map[string]bool
}

// New prepares a store. It fills with Run, as far as the APIs are served; one that is not is looked for about every 20
// seconds, one that goes takes what was known with it.
func New(options Options) (*Store, error) {
	s := &Store{Group: watch.Group{}, options: options, since: map[plan.Owner]time.Time{}, absent: map[string]bool{}}
	scheme := newScheme()
	codec := runtime.NewParameterCodec(scheme)
	for _, k := range kinds() {
		client, err := options.Client(k.version.WithKind(k.name), scheme)
		if err != nil {
			return nil, fmt.Errorf("preparing owners of kind %s: %w", k.name, err)
		}
		informers, err := watch.New(options.Log, options.Scope, watch.Resource{
			Name: k.resource, Client: client, Codec: codec, Object: &fluxObject{}, Keep: keep(k.name),
			Indexers: cache.Indexers{byOwner: indexByOwner}, Patience: patience, Now: options.Now, WhileRefused: whileRefused,
			Served: func(served bool) { s.setServed(k.name, served) },
		}, s)
		if err != nil {
			return nil, fmt.Errorf("preparing owners of kind %s: %w", k.name, err)
		}
		s.Group[k.name] = informers
	}
	return s, nil
}

func indexByOwner(kept any) ([]string, error) {
	o, ok := kept.(*object)
	if !ok {
		return nil, nil
	}
	var keys []string
	for _, owner := range o.owners {
		keys = append(keys, owner.String())
	}
	return keys, nil
}

// Hold returns what holds a workload that these objects apply, nil if nothing does: one of them, or of those that apply
// them, is suspended, or has been reconciling for less than the timeout. An owner that does not exist holds nothing:
// labels are copied, and other clusters are applied to from afar. Nor does one that was never seen, for want of
// permissions or because its namespace is not watched, nor one whose kind is not served. While it is only forbidden to watch
// them, or that fails, those that were seen last hold as they did: what was suspended must not restart for that.
func (s *Store) Hold(owners []plan.Owner, now time.Time) *plan.Hold {
	var hold *plan.Hold
	for _, o := range s.chain(owners) {
		switch o.state {
		case suspended:
			return &plan.Hold{Verdict: plan.OwnerSuspended, Message: o.name.String() + " is suspended"}
		case reconciling:
			left := s.options.Timeout - now.Sub(s.began(o, now))
			if hold == nil && left > 0 {
				hold = &plan.Hold{Verdict: plan.OwnerReconciling, Message: o.name.String() + " is reconciling", For: left}
			}
		}
	}
	return hold
}

// Ref is the nearest owner that exists, for events; false if there is none. Its resource version is left out.
func (s *Store) Ref(owners []plan.Owner) (corev1.ObjectReference, bool) {
	chain := s.chain(owners)
	if len(chain) == 0 {
		return corev1.ObjectReference{}, false
	}
	o := chain[0]
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.name == o.name.Kind })
	return corev1.ObjectReference{
		APIVersion: kinds()[i].version.String(), Kind: o.name.Kind, Namespace: o.name.Namespace, Name: o.name.Name, UID: o.uid,
	}, true
}

// Apply is who applies the nearest owner that exists, for the order in which things were applied; zero if nobody is known
// to, or there is no owner.
func (s *Store) Apply(owners []plan.Owner) plan.Apply {
	chain := s.chain(owners)
	if len(chain) == 0 {
		return plan.Apply{}
	}
	return chain[0].by
}

// chain is those of the owners that exist, then their owners, and so on, each once: a Kustomization may apply itself.
func (s *Store) chain(owners []plan.Owner) []*object {
	if len(owners) == 0 {
		return nil
	}
	var chain []*object
	met := slices.Clone(owners)
	for i := 0; i < len(met) && i < mostOwners; i++ {
		o := s.get(met[i])
		if o == nil {
			continue
		}
		chain = append(chain, o)
		for _, owner := range o.owners {
			if !slices.Contains(met, owner) {
				met = append(met, owner)
			}
		}
	}
	return chain
}

// get returns what was seen last of an owner; nil if there is none, none was seen, or its kind is not served.
func (s *Store) get(name plan.Owner) *object {
	informers, watched := s.Group[name.Kind]
	if !watched || !s.served(name.Kind) {
		return nil
	}
	kept, _ := informers.Kept(name.Namespace, name.Name)
	o, _ := kept.(*object)
	return o
}

func (s *Store) served(kind string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.absent[kind]
}

// setServed notes whether the API server serves a kind. If that is another answer than before, all that is kept of the kind
// holds nothing from now on, or does again until it is listed: that is told.
func (s *Store) setServed(kind string, served bool) {
	s.mu.Lock()
	changes := s.absent[kind] == served
	s.absent[kind] = !served
	s.mu.Unlock()
	switch {
	case !changes:
		return
	case served:
		s.options.Log.Info("the API server serves the kind: its objects hold restarts while they are suspended or reconciling", "kind", kind)
	default:
		s.options.Log.Info("the API server does not serve the kind: none of its objects holds restarts until it does", "kind", kind)
	}
	var names []plan.Owner
	for _, kept := range s.Group[kind].All() {
		if o, ok := kept.(*object); ok {
			names = append(names, o.name)
		}
	}
	s.tell(names...)
}

// began is when an object that is reconciling was first seen to be.
func (s *Store) began(o *object, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if since, noted := s.since[o.name]; noted {
		return since
	}
	return now // it is in the cache already, and about to be noted
}

// note keeps the time from which an object is reconciling. Before is what was known of it; nil if nothing was.
func (s *Store) note(before, o *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case o.state != reconciling:
		delete(s.since, o.name)
	case before == nil || before.state != reconciling || before.uid != o.uid:
		s.since[o.name] = s.options.Now()
	}
}

// Added implements watch.Handler. What holds from now on is seen by whoever asks, after a first list; only a suspension is
// to be shown at once.
func (s *Store) Added(kept any, _ watch.Origin) {
	if o, ok := kept.(*object); ok {
		s.note(nil, o)
		if o.state == suspended {
			s.tell(o.name)
		}
	}
}

// Updated implements watch.Handler.
func (s *Store) Updated(before, after any, _ watch.Origin) {
	older, ok := before.(*object)
	newer, isObject := after.(*object)
	if !ok || !isObject {
		return
	}
	s.note(older, newer)
	begins := older.state == settled && newer.state == reconciling
	if older.state != newer.state && !begins || !slices.Equal(older.owners, newer.owners) {
		s.tell(newer.name)
	}
}

// Deleted implements watch.Handler.
func (s *Store) Deleted(kept any) {
	o, ok := kept.(*object)
	if !ok {
		return
	}
	s.mu.Lock()
	delete(s.since, o.name)
	s.mu.Unlock()
	s.tell(o.name)
}

// tell tells of owners and of all that they apply, and that these apply, of each once.
func (s *Store) tell(names ...plan.Owner) {
	met := map[plan.Owner]bool{}
	for _, name := range names {
		met[name] = true
	}
	for next := names; len(next) > 0; next = next[1:] {
		s.options.Changed(next[0])
		for _, informers := range s.Group {
			for _, kept := range informers.ByIndex(byOwner, next[0].String()) {
				if o, ok := kept.(*object); ok && !met[o.name] {
					met[o.name] = true
					next = append(next, o.name)
				}
			}
		}
	}
}
