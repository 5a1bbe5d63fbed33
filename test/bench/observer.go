package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// bareAnnotation is what the bare client writes where the controller writes its own.
const bareAnnotation = "bench.test/restart"

// sight is what a Deployment's template was last seen with, and since when.
type sight struct {
	values [2]string
	since  time.Time
	ready  bool
}

// observer watches the Deployments, as anybody would who waits for restarts.
type observer struct {
	mu    sync.Mutex
	seen  map[string]sight
	moved chan struct{} // closed and replaced by every event
}

// observe starts an observer, which works until the context ends.
func (b *bench) observe(ctx context.Context) (*observer, error) {
	deployments := b.clients.AppsV1().Deployments(namespace)
	list, err := deployments.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing Deployments: %w", err)
	}
	o := &observer{seen: map[string]sight{}, moved: make(chan struct{})}
	for i := range list.Items {
		o.note(&list.Items[i])
	}
	events, err := deployments.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return nil, fmt.Errorf("watching Deployments: %w", err)
	}
	go func() {
		defer events.Stop()
		for event := range events.ResultChan() {
			if d, ok := event.Object.(*appsv1.Deployment); ok && event.Type == watch.Modified {
				o.note(d)
			}
		}
	}()
	return o, nil
}

func (o *observer) note(d *appsv1.Deployment) {
	now := time.Now()
	annotations := d.Spec.Template.Annotations
	values := [2]string{annotations[v1alpha1.ConfigDigestAnnotation], annotations[bareAnnotation]}
	o.mu.Lock()
	defer o.mu.Unlock()
	before, known := o.seen[d.Name]
	since := before.since
	if !known || before.values != values {
		since = now
	}
	o.seen[d.Name] = sight{values: values, since: since, ready: complete(d)}
	close(o.moved)
	o.moved = make(chan struct{})
}

// get returns what was seen of a Deployment, and a channel that is closed when anything else is seen.
func (o *observer) get(name string) (sight, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen[name], o.moved
}

// await waits until what is seen of a Deployment is as wanted.
func (o *observer) await(ctx context.Context, name string, wanted func(sight) bool) (sight, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("not in time"))
	defer cancel()
	for {
		now, moved := o.get(name)
		if wanted(now) {
			return now, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return now, fmt.Errorf("waiting for Deployment %s: %w", name, context.Cause(ctx))
		}
	}
}
