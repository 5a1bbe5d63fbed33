package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
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
		AddFunc:    handler.Added,
		UpdateFunc: handler.Updated,
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

func (i *informer) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if i.resource.Select != nil {
		i.resource.Select(&options)
	}
	list, err := i.resource.Client.Get().NamespaceIfScoped(i.namespace, i.namespace != "").
		Resource(i.resource.Name).VersionedParams(&options, i.resource.Codec).Do(ctx).Get()
	i.answered(err)
	return list, err
}

func (i *informer) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if i.resource.Select != nil {
		i.resource.Select(&options)
	}
	options.Watch = true
	events, err := i.resource.Client.Get().NamespaceIfScoped(i.namespace, i.namespace != "").
		Resource(i.resource.Name).VersionedParams(&options, i.resource.Codec).Watch(ctx)
	i.answered(err)
	return events, err
}

// answered notes whether the API server lets us see the resource. Errors of another kind change nothing: they pass, and
// what is kept stays the best there is.
func (i *informer) answered(err error) {
	refuses := apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err)
	if err != nil && !refuses {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if refuses && i.refused == nil {
		i.log.Error(err, "the API server refuses the watch; trying again until it does not")
	}
	if !refuses && i.refused != nil {
		i.log.Info("the API server allows the watch again")
	}
	i.refused = err
}

func (i *informer) refusal() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.refused
}

// current reports whether what is kept is what the API server held, give or take the time a watch event takes.
func (i *informer) current() bool { return i.handled.HasSynced() && i.refusal() == nil }

// failed logs what the reflector is about to try again. Watches end normally, and refusals are logged by answered.
func (i *informer) failed(_ context.Context, _ *cache.Reflector, err error) {
	if !errors.Is(err, context.Canceled) && i.refusal() == nil {
		i.log.V(1).Info("watch ended; starting it again", "reason", err.Error())
	}
}
