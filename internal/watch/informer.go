package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	// absentFirst and absentMost are the waits between tries of a resource that is not served: a first, and what they
	// double to. Up to absentJitter of each comes on top.
	absentFirst  = time.Second
	absentMost   = 15 * time.Second
	absentJitter = 0.5
	absentSteps  = 10
)

// informer watches one resource in one namespace, or in all.
type informer struct {
	log       logr.Logger
	namespace string
	resource  Resource
	shared    cache.SharedIndexInformer
	handled   cache.ResourceEventHandlerRegistration

	mu      sync.Mutex
	refused error
	// failure is nil unless the API server has failed since it last answered.
	failure *failure
	// listed is the resource version of the last list.
	listed string
}

func newInformer(log logr.Logger, namespace string, resource Resource, handler Handler) (*informer, error) {
	i := &informer{
		log: log.WithValues("resource", resource.Name, "namespace", namespace), namespace: namespace, resource: resource,
	}
	lw := &cache.ListWatch{ListWithContextFunc: i.list, WatchFuncWithContext: i.watch}
	i.shared = cache.NewSharedIndexInformerWithOptions(lw, resource.Object, cache.SharedIndexInformerOptions{
		Indexers: resource.Indexers, ObjectDescription: resource.Name,
	})
	keep := func(object any) (any, error) { return resource.Keep(object), nil }
	if err := i.shared.SetTransform(keep); err != nil {
		return nil, fmt.Errorf("setting the transform: %w", err)
	}
	if err := i.shared.SetWatchErrorHandlerWithContext(i.failed); err != nil {
		return nil, fmt.Errorf("setting the error handler: %w", err)
	}
	var err error
	i.handled, err = i.shared.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, initial bool) {
			origin := Initial
			if !initial {
				origin = i.origin(object)
			}
			handler.Added(object, origin)
		},
		UpdateFunc: func(before, after any) { handler.Updated(before, after, i.origin(after)) },
		DeleteFunc: func(object any) {
			if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = gone.Obj
			}
			handler.Deleted(object)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("adding the handler: %w", err)
	}
	return i, nil
}

// list waits for a resource that is not served: reflectors back off to a minute, which is long for an API that has just
// been installed.
func (i *informer) list(ctx context.Context, options metav1.ListOptions) (list runtime.Object, err error) {
	i.resource.Select(&options)
	again := wait.Backoff{Duration: absentFirst, Cap: absentMost, Factor: 2, Jitter: absentJitter, Steps: absentSteps}
	ended := again.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		list, err = i.ask(ctx, options)
		return !apierrors.IsNotFound(err) && !i.away(err), nil
	})
	if ended != nil {
		return nil, fmt.Errorf("waiting for %s to be served: %w", i.resource.Name, ended)
	}
	return list, err
}

func (i *informer) ask(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if err := i.askForAPI(ctx); err != nil {
		return nil, err
	}
	list, err := i.resource.Client.Get().NamespaceIfScoped(i.namespace, i.namespace != "").
		Resource(i.resource.Name).VersionedParams(&options, i.resource.Codec).Do(ctx).Get()
	i.answered(listing, err)
	if err == nil {
		if accessor, err := meta.ListAccessor(list); err == nil {
			i.setListed(accessor.GetResourceVersion())
		}
	}
	return list, err
}

func (i *informer) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if err := i.askForAPI(ctx); err != nil {
		return nil, err
	}
	i.resource.Select(&options)
	options.Watch = true
	events, err := i.resource.Client.Get().NamespaceIfScoped(i.namespace, i.namespace != "").
		Resource(i.resource.Name).VersionedParams(&options, i.resource.Codec).Watch(ctx)
	by := watching
	if options.SendInitialEvents != nil && *options.SendInitialEvents {
		by = streaming
	}
	i.answered(by, err)
	if err != nil || by == watching {
		return events, err
	}
	return i.streamed(events), nil
}

// streamed passes on a watch that begins with a list, and notes where the list ends.
func (i *informer) streamed(events watch.Interface) watch.Interface {
	passed := make(chan watch.Event)
	proxy := watch.NewProxyWatcher(passed)
	go func() {
		defer close(passed)
		defer events.Stop()
		for {
			select {
			case event, open := <-events.ResultChan():
				if !open {
					return
				}
				i.note(event)
				select {
				case passed <- event:
				case <-proxy.StopChan():
					return
				}
			case <-proxy.StopChan():
				return
			}
		}
	}()
	return proxy
}

// note notes the end of a list in a stream, and what comes instead.
func (i *informer) note(event watch.Event) {
	switch event.Type {
	case watch.Error:
		i.fails(streaming, apierrors.FromObject(event.Object))
	case watch.Bookmark:
		accessor, err := meta.Accessor(event.Object)
		if err == nil && accessor.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
			i.setListed(accessor.GetResourceVersion())
			i.mu.Lock()
			i.succeeds(watching)
			i.mu.Unlock()
		}
	}
}

func (i *informer) setListed(version string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.listed = version
}

// origin tells events of a list from those of the watch that follows it. Resource versions of one resource are ordered;
// an event that was still on its way when a list came counts as the list's.
func (i *informer) origin(kept any) Origin {
	accessor, err := meta.Accessor(kept)
	if err != nil {
		return Relisted
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if order, err := resourceversion.CompareResourceVersion(accessor.GetResourceVersion(), i.listed); err != nil || order <= 0 {
		return Relisted
	}
	return Watched
}

// askForAPI returns NotFound if the API of an optional resource is not served, unless it is known to be. Everybody may ask
// which APIs are served. A controller without rights on a resource would otherwise be refused again and again what is not
// even there.
func (i *informer) askForAPI(ctx context.Context) error {
	if !i.resource.Optional || i.current() {
		return nil
	}
	err := i.resource.Client.Get().AbsPath("/apis", i.resource.Client.APIVersion().String()).Do(ctx).Error()
	if !apierrors.IsNotFound(err) {
		return nil // it is served, or that cannot be told in this way
	}
	i.answered(listing, err)
	return err
}

// away reports whether an optional resource cannot be known for now: the server which serves it is away, or whatever else
// is in the way of its first list.
func (i *informer) away(err error) bool {
	if err == nil || !i.resource.Optional || errors.Is(err, context.Canceled) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return false // to be asked in another way, if at all
	}
	return apierrors.IsServiceUnavailable(err) || !i.handled.HasSynced()
}

// absent reports whether nothing of an optional resource exists, since its API is not served.
func (i *informer) absent() bool { return i.resource.Optional && apierrors.IsNotFound(i.refusal()) }

// answered notes whether the API server lets us see the resource. Errors of another kind are no answer: what is kept stays
// the best there is.
func (i *informer) answered(by request, err error) {
	refuses := forbids(err) || apierrors.IsNotFound(err) || i.away(err)
	if err != nil && !refuses {
		i.fails(by, err)
		return
	}
	if i.resource.Served != nil && (err == nil || apierrors.IsNotFound(err)) {
		i.resource.Served(err == nil)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.say(err)
	i.refused = err
	switch {
	case err == nil:
		i.succeeds(by)
	case apierrors.IsNotFound(err):
		i.failure = nil
	}
}

// say logs an answer of another kind than the one before, unless somebody is told, who says what it means.
func (i *informer) say(err error) {
	absent, wasAbsent := apierrors.IsNotFound(err), apierrors.IsNotFound(i.refused)
	switch {
	case err != nil && i.refused != nil && absent == wasAbsent && forbids(err) == forbids(i.refused): // said before
	case i.resource.Served != nil && (absent || err == nil && wasAbsent): // somebody is told
	case absent:
		i.log.Info("the API server does not serve the resource; trying again until it does")
	case err != nil && i.away(err) && !forbids(err):
		i.log.Info("the resource cannot be listed for now; trying again until it can", "reason", err.Error())
	case err != nil:
		i.log.Error(err, "the API server refuses the watch; trying again until it does not", i.resource.whileRefused()...)
	case i.refused != nil:
		i.log.Info("the API server allows the watch again")
	}
}

// forbids reports whether the API server does not let us see what there may be.
func forbids(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

func (i *informer) refusal() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.refused
}

// current reports whether what is kept is what the API server held, give or take the time a watch event takes.
func (i *informer) current() bool { return i.handled.HasSynced() && i.refusal() == nil }

// failed logs what the reflector is about to try again. Watches end normally, and what does not is logged by answered.
func (i *informer) failed(_ context.Context, _ *cache.Reflector, err error) {
	if !errors.Is(err, context.Canceled) && i.refusal() == nil {
		i.log.V(1).Info("watch ended; starting it again", "reason", err.Error())
	}
}
