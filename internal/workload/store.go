package workload

import (
	"errors"
	"fmt"
	"sync"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
)

// ErrKind is returned for a workload of a kind that is not supported.
var ErrKind = errors.New("unsupported kind of workload")

const (
	// bySource indexes workloads by the sources that their pods use.
	bySource = "source"
	// byOwner indexes workloads by the Flux objects that apply them.
	byOwner = "owner"
	// byNamespace indexes workloads by their namespace.
	byNamespace = "namespace"
)

// Options are what a Store needs.
type Options struct {
	Log   logr.Logger
	Scope watch.Scope
	Kinds []Kind
	// Client makes a client for a kind, for watches.
	Client func(schema.GroupVersionKind) (rest.Interface, error)
	Codec  runtime.ParameterCodec
	// Reader and Writer talk to the API server directly, not to a cache.
	Reader client.Reader
	Writer client.Writer
	// State is where replacements are kept that have begun.
	State State
	Key   digest.Key
	// Selection are the settings by which workloads opt in.
	Selection selection.Settings
	// Owners reads a workload's labels for the Flux objects that apply it; nil if nobody asks for workloads by owner.
	Owners func(labels map[string]string) []plan.Owner
	// Selector is a label selector of the workloads that are watched; empty for all.
	Selector string
	// Changed is told of every workload that was added, changed or deleted. Initial is true while the first list is
	// read. It must not block.
	Changed func(name ledger.Workload, initial bool)
}

// Store holds the workloads of a scope, by kind.
type Store struct {
	watch.Group
	options  Options
	observer Observer
	kinds    map[string]Kind

	mu sync.Mutex
	// replacements have begun, and are to be finished.
	replacements map[ledger.Workload]replacement
	// served is whether the API server serves a kind, as far as it has said.
	served map[string]bool
}

// New prepares a store. It fills with Run.
func New(options Options) (*Store, error) {
	s := &Store{
		Group: watch.Group{}, options: options, kinds: map[string]Kind{}, replacements: map[ledger.Workload]replacement{},
		served:   map[string]bool{},
		observer: Observer{Key: options.Key, Annotations: options.Selection.Annotations.OnWorkloads(), Owners: options.Owners},
	}
	for _, kind := range options.Kinds {
		restClient, err := options.Client(kind.Version.WithKind(kind.Name))
		if err != nil {
			return nil, fmt.Errorf("preparing workloads of kind %s: %w", kind.Name, err)
		}
		resource := watch.Resource{
			Name: kind.Resource, Client: restClient, Codec: options.Codec, Object: kind.New(),
			Select:   func(o *metav1.ListOptions) { o.LabelSelector = options.Selector },
			Keep:     keep(kind, options.Selection, s.observer),
			Optional: kind.Optional,
			Indexers: cache.Indexers{
				bySource: indexBySource, byOwner: indexByOwner, byTemplate: indexByTemplate, byNamespace: indexByNamespace,
			},
		}
		if kind.Optional {
			resource.Served = func(served bool) { s.setServed(kind.Name, served) }
		}
		informers, err := watch.New(options.Log, options.Scope, resource, handler{s.tell})
		if err != nil {
			return nil, fmt.Errorf("preparing workloads of kind %s: %w", kind.Name, err)
		}
		s.kinds[kind.Name], s.Group[kind.Name] = kind, informers
	}
	return s, nil
}

// keep observes a workload and lets go of it; what it made before it returns as it is.
func keep(kind Kind, settings selection.Settings, by Observer) func(any) any {
	return func(from any) any {
		o, ok := from.(client.Object)
		if !ok {
			return from
		}
		if kind.Skip != nil && kind.Skip(o) {
			return &skipped{namespace: o.GetNamespace(), name: o.GetName(), uid: o.GetUID(), version: o.GetResourceVersion()}
		}
		observed := kind.Observe(o, by)
		return &object{
			observed: observed, selector: podSelector(kind, o), labels: watch.KeepLabels(o.GetLabels()),
			rules: selection.Read(settings, observed.Annotations, observed.TemplateAnnotations), refers: refers(kind, o),
		}
	}
}

func refers(kind Kind, o client.Object) *templateRef {
	if kind.Refers == nil {
		return nil
	}
	return kind.Refers(o)
}

// podSelector is the label selector of a workload's pods as text.
func podSelector(kind Kind, o client.Object) string {
	if kind.Selector == nil {
		return ""
	}
	selector, err := metav1.LabelSelectorAsSelector(kind.Selector(o))
	if err != nil {
		// The API server accepts no such selector. All pods would be asked for, and sorted out by their owners.
		selector = labels.Everything()
	}
	return selector.String()
}

func indexBySource(kept any) ([]string, error) {
	o, ok := kept.(*object)
	if !ok {
		return nil, nil
	}
	return o.rules.IndexKeys(o.observed.Namespace, o.observed.Uses), nil
}

func indexByOwner(kept any) ([]string, error) {
	o, ok := kept.(*object)
	if !ok {
		return nil, nil
	}
	var keys []string
	for _, owner := range o.observed.Owners {
		keys = append(keys, owner.String())
	}
	return keys, nil
}

func indexByNamespace(kept any) ([]string, error) {
	o, ok := kept.(*object)
	if !ok {
		return nil, nil
	}
	return []string{o.observed.Namespace}, nil
}

// Get returns what is observed of a workload. Exists is false if there is none, or none of a kind and in a namespace
// that are watched; known is false if the API server has not said, or does not say.
func (s *Store) Get(name ledger.Workload) (w plan.Workload, exists, known bool) {
	informers, watched := s.Group[name.Kind]
	if !watched {
		return w, false, true
	}
	kept, exists, known := informers.Get(name.Namespace, name.Name)
	if o, ok := kept.(*object); ok && known {
		w, _, known = s.whole(o)
		return w, exists, known
	}
	return w, false, known
}

// Labels returns a workload's own labels; nil for one that has none, is not there, or not known.
func (s *Store) Labels(name ledger.Workload) labels.Set {
	informers, watched := s.Group[name.Kind]
	if !watched {
		return nil
	}
	kept, _, _ := informers.Get(name.Namespace, name.Name)
	if o, ok := kept.(*object); ok {
		return o.labels.Set()
	}
	return nil
}

// UsedBy names the workloads whose pods use the source, or whose annotations name it.
func (s *Store) UsedBy(source reference.Source) []ledger.Workload {
	names := s.indexed(bySource, source.IndexKey(), func(*object) bool { return true })
	return append(names, s.indexed(bySource, selection.PatternKey(source.Kind, source.Namespace), func(o *object) bool { return o.rules.Lists(source) })...)
}

// OwnedBy names the workloads that the Flux object applies itself.
func (s *Store) OwnedBy(owner plan.Owner) []ledger.Workload {
	return s.indexed(byOwner, owner.String(), func(*object) bool { return true })
}

// indexed names the workloads under a key of an index that pass a test.
func (s *Store) indexed(index, key string, pass func(*object) bool) []ledger.Workload {
	var names []ledger.Workload
	for _, informers := range s.Group {
		for _, kept := range informers.ByIndex(index, key) {
			if o, ok := kept.(*object); ok && pass(o) {
				names = append(append(names, o.observed.Workload), s.referring(o.observed.Workload)...)
			}
		}
	}
	return names
}

// All returns every workload that is held, in no order, without the objects that they refer to.
func (s *Store) All() []plan.Workload {
	var all []plan.Workload
	for _, informers := range s.Group {
		all = appendObserved(all, informers.All())
	}
	return all
}

// In is All for one namespace, and costs no more than what is in it.
func (s *Store) In(namespace string) []plan.Workload {
	var all []plan.Workload
	for _, informers := range s.Group {
		all = appendObserved(all, informers.ByIndex(byNamespace, namespace))
	}
	return all
}

func appendObserved(all []plan.Workload, objects []any) []plan.Workload {
	for _, kept := range objects {
		if o, ok := kept.(*object); ok {
			all = append(all, o.observed)
		}
	}
	return all
}

// Served reports whether the API server serves a kind. It does those that are not optional.
func (s *Store) Served(kind string) bool {
	informers, watched := s.Group[kind]
	return watched && (!s.kinds[kind].Optional || informers.Served())
}

// Refused is the number of watches that the API server refuses. Of kinds that are not optional, it counts those that it does
// not serve as well.
func (s *Store) Refused() int {
	n := 0
	for name, informers := range s.Group {
		for _, err := range informers.Refusals() {
			if !s.kinds[name].Optional || !apierrors.IsNotFound(err) {
				n++
			}
		}
	}
	return n
}

// setServed notes whether the API server serves an optional kind. When that is another, what is held of it is looked at
// again: it is there from now on, or not any more.
func (s *Store) setServed(kind string, served bool) {
	s.mu.Lock()
	before, known := s.served[kind]
	s.served[kind] = served
	s.mu.Unlock()
	switch {
	case known && before == served:
		return
	case served:
		s.options.Log.Info("the API server serves the kind: its workloads are watched", "kind", kind)
	default:
		s.options.Log.Info("the API server does not serve the kind: none is restarted until it does", "kind", kind)
	}
	for _, kept := range s.Group[kind].All() {
		s.tell(kept, false)
	}
}

func (s *Store) kind(name ledger.Workload) (Kind, error) {
	kind, ok := s.kinds[name.Kind]
	if !ok {
		return Kind{}, fmt.Errorf("%w: %s", ErrKind, name.Kind)
	}
	return kind, nil
}

// tell tells of a workload, and of those whose template it has.
func (s *Store) tell(kept any, initial bool) {
	o, ok := kept.(*object)
	if !ok {
		return
	}
	s.options.Changed(o.observed.Workload, initial)
	for _, name := range s.referring(o.observed.Workload) {
		s.options.Changed(name, initial)
	}
}

// handler passes the informers' events on.
type handler struct {
	tell func(kept any, initial bool)
}

func (h handler) Added(kept any, origin watch.Origin) { h.tell(kept, origin == watch.Initial) }
func (h handler) Deleted(kept any)                    { h.tell(kept, false) }

func (h handler) Updated(before, kept any, _ watch.Origin) {
	if _, isSkipped := kept.(*skipped); isSkipped {
		kept = before // somebody's from now on, if it was not before
	}
	h.tell(kept, false)
}
