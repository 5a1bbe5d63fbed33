package controller

import (
	"sync"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
)

// feed carries what changed to the queue. Before this replica leads there is none, and what changes is dropped: the
// leader begins with every workload there is.
type feed struct {
	mu    sync.RWMutex
	queue workqueue.TypedRateLimitingInterface[ledger.Workload]
}

func (f *feed) open(queue workqueue.TypedRateLimitingInterface[ledger.Workload]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = queue
}

// send enqueues a workload. What is met in a first list waits behind what changes now: a real restart must not queue
// behind thousands of first sights.
func (f *feed) send(name ledger.Workload, initial bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.queue == nil {
		return
	}
	queue, ok := f.queue.(priorityqueue.PriorityQueue[ledger.Workload])
	if !ok {
		f.queue.Add(name)
		return
	}
	priority := 0
	if initial {
		priority = handler.LowPriority
	}
	queue.AddWithOpts(priorityqueue.AddOpts{Priority: ptr.To(priority)}, name)
}

// sourceChanged enqueues the workloads that use a source.
func (w *watches) sourceChanged(changed reference.Source, initial bool) {
	for _, name := range w.workloads.UsedBy(changed) {
		w.reloader.feed.send(name, initial)
	}
}
