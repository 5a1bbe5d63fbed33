package watch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Resource describes what is watched and what is kept of it.
type Resource struct {
	// Name is the resource as in URLs, "secrets".
	Name string
	// Client talks to the API group version of the resource.
	Client rest.Interface
	// Codec encodes list options for it.
	Codec runtime.ParameterCodec
	// Object is an empty object of the type that lists and watches decode into.
	Object runtime.Object
	// Select narrows what the API server sends; nil for everything.
	Select func(*metav1.ListOptions)
	// Keep replaces every object by what is kept of it, before anything holds it. What it returns must satisfy
	// meta.Accessor. client-go applies it twice to objects of a streamed initial list: it must return what it made
	// before as it is.
	Keep func(object any) any
	// Served is told whether the API server serves the resource whenever it says, before anything that it sends is handled;
	// nil if nobody asks. It is called by several watches at once, and must not block.
	Served func(served bool)
	// WhileRefused tells the log what follows while the API server refuses the watch; empty if there is nothing to tell.
	WhileRefused string
	// Optional resources hold up nothing. Where their API is not served, they do not exist, also if the API server forbids
	// to watch them before it says so. While the server that serves them is away, or whatever is in the way of their first
	// list, they are not known.
	Optional bool
	// Patience is how long the first list may fail until nobody waits for it any more: until it succeeds the resource is not
	// known then, as if it were refused. While the API server cannot be reached that does not count. Zero is to wait for ever.
	Patience time.Duration
	// Now is the controller's clock; nil for the system's.
	Now func() time.Time
	// Indexers find kept objects.
	Indexers cache.Indexers
}

// whileRefused is WhileRefused as a key and a value for the log; nil if it is empty.
func (r Resource) whileRefused() []any {
	if r.WhileRefused == "" {
		return nil
	}
	return []any{"until then", r.WhileRefused}
}

func (r Resource) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

// Origin says how an event was learned.
type Origin int

const (
	// Initial events are the first list's.
	Initial Origin = iota
	// Relisted events were found in a later list, after the watch was lost: they happened at any time since, and there
	// may have been others in between.
	Relisted
	// Watched events came one by one, as they happened.
	Watched
)

// Handler is told of every event, one at a time for each namespace that is watched.
type Handler interface {
	// Added is called for an object that was not known.
	Added(object any, origin Origin)
	// Updated is called for an object that was.
	Updated(before, after any, origin Origin)
	// Deleted is called with the last known state.
	Deleted(object any)
}

// Informers watch one resource over a scope.
type Informers struct {
	scope       Scope
	resource    string
	byNamespace map[string]*informer
}

// New prepares informers of the resource. They start with Run.
func New(log logr.Logger, scope Scope, resource Resource, handler Handler) (*Informers, error) {
	i := &Informers{scope: scope, resource: resource.Name, byNamespace: map[string]*informer{}}
	narrow := resource.Select
	resource.Select = func(o *metav1.ListOptions) {
		if narrow != nil {
			narrow(o)
		}
		scope.narrow(o)
	}
	for _, namespace := range scope.namespaces {
		informer, err := newInformer(log, namespace, resource, handler)
		if err != nil {
			return nil, fmt.Errorf("preparing the watch of %s: %w", resource.Name, err)
		}
		i.byNamespace[namespace] = informer
	}
	return i, nil
}

// Run watches until the context ends.
func (i *Informers) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, informer := range i.byNamespace {
		running.Go(func() { informer.shared.RunWithContext(ctx) })
	}
	running.Wait()
}

// Get returns what is kept of an object. Known is false if the API server has not said yet, or has stopped saying,
// whether it exists. Outside the scope there is nothing.
func (i *Informers) Get(namespace, name string) (object any, exists, known bool) {
	informer, watched := i.byNamespace[i.scope.watchOf(namespace)]
	if !watched || !i.scope.Includes(namespace) {
		return nil, false, true
	}
	if !informer.current() {
		return nil, false, informer.absent()
	}
	key := cache.NewObjectName(namespace, name).String()
	object, exists, err := informer.shared.GetIndexer().GetByKey(key)
	return object, exists, err == nil
}

// Kept returns what is kept of an object, also while the API server does not let us see it: what was seen last. Outside the
// scope there is nothing.
func (i *Informers) Kept(namespace, name string) (object any, exists bool) {
	informer, watched := i.byNamespace[i.scope.watchOf(namespace)]
	if !watched || !i.scope.Includes(namespace) {
		return nil, false
	}
	object, exists, err := informer.shared.GetIndexer().GetByKey(cache.NewObjectName(namespace, name).String())
	return object, exists && err == nil
}

// Absent reports whether nothing of an optional resource exists in a namespace, since its API is not served now.
func (i *Informers) Absent(namespace string) bool {
	informer, watched := i.byNamespace[i.scope.watchOf(namespace)]
	return watched && informer.absent()
}

// Served reports whether the API server serves the resource in any namespace, as far as it has said.
func (i *Informers) Served() bool {
	for _, informer := range i.byNamespace {
		if !apierrors.IsNotFound(informer.refusal()) && informer.handled.HasSynced() {
			return true
		}
	}
	return false
}

// ByIndex returns what is kept under a value of an index.
func (i *Informers) ByIndex(index, value string) []any {
	var objects []any
	for _, informer := range i.byNamespace {
		found, err := informer.shared.GetIndexer().ByIndex(index, value)
		if err == nil { // the only error is an unknown index
			objects = append(objects, found...)
		}
	}
	return objects
}

// All returns everything that is kept.
func (i *Informers) All() []any {
	var objects []any
	for _, informer := range i.byNamespace {
		objects = append(objects, informer.shared.GetIndexer().List()...)
	}
	return objects
}

// Len is the number of objects that are kept.
func (i *Informers) Len() int {
	n := 0
	for _, informer := range i.byNamespace {
		n += len(informer.shared.GetIndexer().ListKeys())
	}
	return n
}

// Settled reports whether the API server has answered for every namespace, be it that it refuses, or has failed for longer
// than the patience with the resource: then everything that can be known is known, and handlers were told of it.
func (i *Informers) Settled() bool {
	for _, informer := range i.byNamespace {
		if !informer.settled() {
			return false
		}
	}
	return true
}

// Refusals are the errors by which the API server refuses the watch, or has failed for long (the patience with the
// resource, or else a minute), by namespace; of the whole cluster under "".
func (i *Informers) Refusals() map[string]error {
	refusals := map[string]error{}
	for namespace, informer := range i.byNamespace {
		if err := informer.complaint(); err != nil {
			refusals[namespace] = err
		}
	}
	return refusals
}
