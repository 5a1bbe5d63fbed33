// Package notify tells people what Reloader did: Kubernetes Events on the workloads, and, if asked to, the same events
// to Flux's notification-controller. That knows Alerts on Flux's own kinds only: events about a workload reach its log,
// until they can be told about the Flux object that owns it. Nothing here ever holds up a restart.
package notify

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/runtime/events"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
)

// Reasons of events on workloads. The first two are Stakater Reloader's.
const (
	// ReasonReloaded says that a workload was restarted, and why.
	ReasonReloaded = "Reloaded"
	// ReasonReloadFail says that a restart did not succeed. It is tried again.
	ReasonReloadFail = "ReloadFail"
	// ReasonInvalidAnnotation names an annotation whose value makes no sense.
	ReasonInvalidAnnotation = "InvalidAnnotation"
	// ReasonImmutableReplaced names an immutable source that was made again with other content, which a kubelet may not
	// notice.
	ReasonImmutableReplaced = "ImmutableReplaced"
	// ReasonRolledBack says that somebody took a restart back.
	ReasonRolledBack = "RolledBack"
)

// queueSize is how many events may wait for notification-controller. More are dropped: they are on the workloads too.
const queueSize = 1024

// Event is one thing to tell.
type Event struct {
	// Object is the workload.
	Object corev1.ObjectReference
	// Warning events say that something needs attention.
	Warning bool
	Reason  string
	Message string
}

func (e Event) kind() string {
	if e.Warning {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

// Recorder sends events. It implements manager.Runnable.
type Recorder struct {
	log   logr.Logger
	kube  record.EventRecorder
	flux  *events.Recorder
	queue chan Event
}

// New makes a recorder. Address is notification-controller's, empty for none.
func New(log logr.Logger, scheme *runtime.Scheme, kube record.EventRecorder, address string) (*Recorder, error) {
	r := &Recorder{log: log, kube: kube, queue: make(chan Event, queueSize)}
	if address == "" {
		return r, nil
	}
	// Flux's recorder also writes Kubernetes Events; those are written here, without waiting for its requests.
	flux, err := events.NewRecorderForScheme(scheme, &record.FakeRecorder{}, log, address, "reloader")
	if err != nil {
		return nil, fmt.Errorf("events address %q: %w", address, err)
	}
	r.flux = flux
	return r, nil
}

// Send tells of an event. It does not block.
func (r *Recorder) Send(e Event) {
	r.kube.Event(&e.Object, e.kind(), e.Reason, e.Message)
	if r.flux == nil {
		return
	}
	select {
	case r.queue <- e:
	default:
		r.log.Info("event not sent to notification-controller: too many are waiting", "reason", e.Reason)
	}
}

// Start posts events to notification-controller, one after another, until the context ends. It does not wait for the
// last one: a request that is retried may take longer than a shutdown.
func (r *Recorder) Start(ctx context.Context) error {
	if r.flux != nil {
		go r.post(ctx)
	}
	<-ctx.Done()
	return nil
}

func (r *Recorder) post(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-r.queue:
			r.flux.Event(&e.Object, e.kind(), e.Reason, e.Message)
		}
	}
}
