// Package source watches Secrets, ConfigMaps and what pods hold of SecretProviderClasses, and holds them as digests: which
// content a source has now, since when, and how good the evidence for that time is. No data is kept.
package source

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
)

const (
	// helmReleases are Secrets in which Helm keeps its releases: large, many, and never used by pods.
	helmReleases = "type!=helm.sh/release.v1"

	// liveness is how far a change's time may be from the controller's clock for it to count as seen when it happened.
	liveness = 10 * time.Second

	// keepGone is how long it is known when a source went away: longer than any change settles.
	keepGone = 5 * time.Minute
)

// ErrKind is returned for a kind of source that is not supported.
var ErrKind = errors.New("unsupported kind of source")

// Options are what a Store needs.
type Options struct {
	Log   logr.Logger
	Scope watch.Scope
	// Client talks to the core API group.
	Client rest.Interface
	Codec  runtime.ParameterCodec
	// ClientFor makes a client for watches of a kind that the scheme knows, and that need not be installed. It is asked for
	// kinds of Selection only.
	ClientFor func(schema.GroupVersionKind, *runtime.Scheme) (rest.Interface, error)
	Key       digest.Key
	// Selection says which kinds are watched, and by which annotations sources are marked.
	Selection selection.Settings
	// Labels select the sources that count. The others are watched all the same: to a narrower watch, a source that is not
	// selected any more would look deleted.
	Labels labels.Selector
	// Exclude is a label selector of ConfigMaps that are left out by the API server: the controller's own.
	Exclude string
	// LabelsMatter reports whether anything depends on the labels of sources now; nil if nothing ever does.
	LabelsMatter func() bool
	// Now is the controller's clock.
	Now func() time.Time
	// Changed is told of every source that appeared or went away, or whose content or marks changed, or whose labels if they
	// matter. Initial is true while the first list is read. It must not block.
	Changed func(source reference.Source, initial bool)
}

// Store holds the sources of a scope, by kind.
type Store struct {
	watch.Group
	options Options
	// copies are nil unless SecretProviderClasses are watched.
	copies *copies

	mu     sync.RWMutex
	states map[reference.Source]plan.Source
	// gone are sources that went away lately.
	gone map[reference.Source]gone
}

// New prepares a store. It fills with Run.
func New(options Options) (*Store, error) {
	s := &Store{Group: watch.Group{}, options: options, states: map[reference.Source]plan.Source{}, gone: map[reference.Source]gone{}}
	resources := map[reference.Kind]watch.Resource{
		reference.Secret: {Name: "secrets", Object: &corev1.Secret{}, Select: func(o *metav1.ListOptions) {
			o.FieldSelector = helmReleases
		}},
		reference.ConfigMap: {Name: "configmaps", Object: &corev1.ConfigMap{}, Select: func(o *metav1.ListOptions) {
			o.LabelSelector = options.Exclude
		}},
	}
	for _, kind := range options.Selection.Kinds {
		if kind == reference.SecretProviderClass {
			if err := s.watchClasses(); err != nil {
				return nil, err
			}
			continue
		}
		resource, watched := resources[kind]
		if !watched {
			return nil, fmt.Errorf("preparing sources: %w: %s", ErrKind, kind)
		}
		resource.Client, resource.Codec = options.Client, options.Codec
		resource.Keep = keep(options.Key, options.Selection.Annotations, options.Labels)
		resource.Indexers = byNamespace()
		informers, err := watch.New(options.Log, options.Scope, resource, s)
		if err != nil {
			return nil, fmt.Errorf("preparing sources: %w", err)
		}
		s.Group[string(kind)] = informers
	}
	return s, nil
}

func byNamespace() cache.Indexers {
	return cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
}

// Get returns what is observed of a source now.
func (s *Store) Get(source reference.Source) plan.Source {
	if source.Kind.Copied() {
		return s.observe(source)
	}
	s.mu.RLock()
	observed, found := s.states[source]
	was := s.gone[source]
	s.mu.RUnlock()
	_, exists, known := s.get(source)
	switch {
	case !known:
		return plan.Source{State: plan.Unknown}
	case found:
		return observed
	case exists: // in the informer's store, its event still under way
		return plan.Source{State: plan.Unknown}
	default:
		return plan.Source{State: plan.Absent, SeenAt: was.at}
	}
}

// get returns what the informers keep. Of a kind that is not watched there is nothing.
func (s *Store) get(source reference.Source) (kept any, exists, known bool) {
	informers, watched := s.Group[string(source.Kind)]
	if !watched {
		return nil, false, true
	}
	return informers.Get(source.Namespace, source.Name)
}

// Marks returns what a source's annotations say; nothing for one that is not there. Known is false if that cannot be told.
func (s *Store) Marks(source reference.Source) (marks selection.Marks, known bool) {
	kept, _, known := s.get(source)
	if o, ok := kept.(*object); ok {
		return o.marks, known
	}
	return selection.Marks{}, known
}

// Labels returns a source's labels; nil for one that has none, or is not there. Known is false if that cannot be told.
func (s *Store) Labels(source reference.Source) (set labels.Set, known bool) {
	kept, _, known := s.get(source)
	if o, ok := kept.(*object); ok {
		return o.labels.Set(), known
	}
	return nil, known
}

// Names lists the names of the sources of a kind in a namespace.
func (s *Store) Names(kind reference.Kind, namespace string) []string {
	informers, watched := s.Group[string(kind)]
	if !watched {
		return nil
	}
	var names []string
	for _, kept := range informers.ByIndex(cache.NamespaceIndex, namespace) {
		if o, ok := kept.(*object); ok {
			names = append(names, o.source.Name)
		}
	}
	if kind.Copied() && s.copies != nil {
		names = append(names, s.copies.names(namespace)...)
		slices.Sort(names)
		names = slices.Compact(names)
	}
	return names
}

// Added implements watch.Handler.
func (s *Store) Added(kept any, origin watch.Origin) {
	o, ok := kept.(*object)
	if !ok {
		return
	}
	observed := o.observed
	observed.SeenAt = s.options.Now()
	if observed.Live = origin == watch.Watched && s.live(observed); origin != watch.Watched {
		observed.Listed = observed.Changed
	}
	s.mu.RLock()
	was, known := s.gone[o.source]
	s.mu.RUnlock()
	if known {
		observed.Turns = was.turned(observed)
	}
	s.set(o.source, observed)
	s.options.Changed(o.source, origin == watch.Initial)
}

// Updated implements watch.Handler. A write that leaves the content as it is concerns nobody, and moves no time.
func (s *Store) Updated(before, after any, origin watch.Origin) {
	older, ok := before.(*object)
	newer, isObject := after.(*object)
	if !ok || !isObject {
		return
	}
	s.mu.RLock()
	known := s.states[newer.source]
	s.mu.RUnlock()
	observed := newer.observed
	observed.Listed = known.Listed
	if origin != watch.Watched && observed.ResourceVersion != known.ResourceVersion && observed.Changed.After(known.Listed) {
		observed.Listed = observed.Changed
	}
	if known.State == plan.Present && maps.Equal(known.Content, observed.Content) {
		observed.Changed, observed.Manager, observed.Timing = known.Changed, known.Manager, known.Timing
		observed.SeenAt, observed.Live, observed.Turns = known.SeenAt, known.Live, known.Turns
		s.set(newer.source, observed)
		if known.Immutable != observed.Immutable || older.marks != newer.marks || s.relabelled(older, newer) { // all are to be known at once
			s.options.Changed(newer.source, false)
		}
		return
	}
	observed.SeenAt = s.options.Now()
	switch moved := observed.Changed.After(older.observed.Changed); {
	case origin != watch.Watched:
		observed.Timing = plan.Listed
	case moved:
		observed.Timing, observed.Live = plan.Exact, s.live(observed)
	default:
		observed.Timing = plan.Inexact
	}
	observed.Turns = observed.Turned(known)
	s.set(newer.source, observed)
	s.options.Changed(newer.source, false)
}

// gone is what was known of a source when it went away, and when that was: whether a change has settled depends on it.
type gone struct {
	at    time.Time
	known plan.Source
}

// turned are the turns of a source that was made again: what it was before is not forgotten with the object.
func (g gone) turned(observed plan.Source) []plan.Turn {
	if maps.Equal(g.known.Content, observed.Content) {
		return g.known.Turns
	}
	return observed.Turned(g.known)
}

// relabelled reports whether labels changed that something depends on.
func (s *Store) relabelled(older, newer *object) bool {
	return older.labels != newer.labels && s.options.LabelsMatter != nil && s.options.LabelsMatter()
}

// Deleted implements watch.Handler.
func (s *Store) Deleted(kept any) {
	o, ok := kept.(*object)
	if !ok {
		return
	}
	now := s.options.Now()
	s.mu.Lock()
	maps.DeleteFunc(s.gone, func(_ reference.Source, g gone) bool { return now.Sub(g.at) > keepGone })
	s.gone[o.source] = gone{now, s.states[o.source]}
	delete(s.states, o.source)
	s.mu.Unlock()
	s.options.Changed(o.source, false)
}

func (s *Store) set(source reference.Source, observed plan.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[source] = observed
	delete(s.gone, source)
}

// live reports whether the change is so recent that it was seen as it happened, and not by a watch that lagged behind.
func (s *Store) live(observed plan.Source) bool {
	age := s.options.Now().Sub(observed.Changed)
	return !observed.Changed.IsZero() && age.Abs() <= liveness
}
