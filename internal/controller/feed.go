package controller

import (
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/flux-reloader/reloader/internal/reference"
)

// feed carries what changed to the queue. Before this replica leads there is none, and what changes is dropped: the
// leader begins with everything there is.
type feed[name comparable] struct {
	mu    sync.RWMutex
	queue workqueue.TypedRateLimitingInterface[name]
}

func (f *feed[name]) open(queue workqueue.TypedRateLimitingInterface[name]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = queue
}

// send enqueues an object. What is met in a first list waits behind what changes now: a real restart must not queue
// behind thousands of first sights.
func (f *feed[name]) send(object name, initial bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.queue == nil {
		return
	}
	queue, ok := f.queue.(priorityqueue.PriorityQueue[name])
	if !ok {
		f.queue.Add(object)
		return
	}
	priority := 0
	if initial {
		priority = handler.LowPriority
	}
	queue.AddWithOpts(priorityqueue.AddOpts{Priority: ptr.To(priority)}, object)
}

// later enqueues an object after a while, unless it is looked at before.
func (f *feed[name]) later(object name, after time.Duration) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.queue != nil {
		f.queue.AddAfter(object, after)
	}
}

// sourceChanged enqueues the workloads that use a source.
func (w *watches) sourceChanged(changed reference.Source, initial bool) {
	for _, name := range w.workloads.UsedBy(changed) {
		w.reloader.feed.send(name, initial)
	}
}
