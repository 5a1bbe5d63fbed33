// Package notify tells others what Reloader did, or calls who is to restart in its place.
//
//   - Recorder writes Kubernetes Events on the workload and on what it belongs to: the Flux object that applies it, or else
//     the policy that governs it. The latter Event is also posted to Flux's notification-controller, if there is one. Flux's
//     Alerts select only Flux's own kinds; this way, an Alert that a team has on a Kustomization reports restarts too.
//   - Alerter posts alerts to a chat or another receiver.
//   - Webhook calls a URL instead of restarting.
//
// Nothing here ever holds up a restart.
package notify

import (
	"context"
	"fmt"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
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
	// ReasonWebhookCalled says that the webhook was called instead of restarting a workload, and why.
	ReasonWebhookCalled = "WebhookCalled"
	// ReasonInvalidAnnotation names an annotation whose value makes no sense.
	ReasonInvalidAnnotation = "InvalidAnnotation"
	// ReasonImmutableReplaced names an immutable source that was made again with other content, which a kubelet may not
	// notice.
	ReasonImmutableReplaced = "ImmutableReplaced"
	// ReasonLeftPaused says that Stakater Reloader paused a workload and is not there to resume it.
	ReasonLeftPaused = "LeftPaused"
	// ReasonNotRestarted says what keeps a workload from being restarted that needs it, where only somebody can change that.
	ReasonNotRestarted = "NotRestarted"
	// ReasonRolledBack says that somebody took a restart back.
	ReasonRolledBack = "RolledBack"
)

// queueSize is how many events may wait for notification-controller. More are dropped: they are on the objects, too.
const queueSize = 1024

// Event is one thing to tell.
type Event struct {
	// Object is the workload; the zero value if the event is about the related object alone.
	Object corev1.ObjectReference
	// Warning events say that something needs attention.
	Warning bool
	Reason  string
	Message string
	// Related is the object that the workload belongs to, to be told as well; nil for none.
	Related *Related
}

// Related is an object that a workload belongs to, and what it is told beside the message.
type Related struct {
	Object corev1.ObjectReference
	// Own is whether the object is one of Reloader's own kinds. A warning becomes an error there. On another's object it
	// does not: an error on a Kustomization could overwrite the status of its commit.
	Own bool
	// Metadata is shown with the message in alerts.
	Metadata map[string]string
	// Token tells apart two events that have the same message. If they have the same token as well, Flux's
	// notification-controller takes the second for a repetition.
	Token string
}

func eventType(warning bool) string {
	if warning {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

// relatedEvent is what the related object is told, by a Kubernetes Event and by notification-controller.
type relatedEvent struct {
	object    corev1.ObjectReference
	metadata  map[string]string
	eventType string
	reason    string
	message   string
}

// onRelated is the event on the related object. Of the metadata, notification-controller passes on only what is prefixed
// with the API group of that object, without the prefix.
func (e Event) onRelated() relatedEvent {
	p := relatedEvent{
		object: e.Related.Object, metadata: map[string]string{}, eventType: eventType(e.Warning && e.Related.Own),
		reason: e.Reason, message: e.Message,
	}
	prefix := e.Related.Object.GroupVersionKind().Group + "/"
	for key, value := range e.Related.Metadata {
		p.metadata[prefix+key] = value
	}
	if e.Related.Token != "" {
		p.metadata[prefix+eventv1.MetaTokenKey] = e.Related.Token
	}
	return p
}

// Recorder sends events. It implements manager.Runnable.
type Recorder struct {
	log   logr.Logger
	kube  record.EventRecorder
	flux  *events.Recorder
	queue chan relatedEvent
}

// New makes a recorder. Address is notification-controller's, empty for none.
func New(log logr.Logger, scheme *runtime.Scheme, kube record.EventRecorder, address string) (*Recorder, error) {
	r := &Recorder{log: log, kube: kube, queue: make(chan relatedEvent, queueSize)}
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
	if e.Object.Name != "" {
		r.kube.Event(&e.Object, eventType(e.Warning), e.Reason, e.Message)
	}
	if e.Related == nil {
		return
	}
	p := e.onRelated()
	r.kube.Event(&p.object, p.eventType, p.reason, p.message)
	if r.flux == nil {
		return
	}
	select {
	case r.queue <- p:
	default:
		r.log.Info("event not sent to notification-controller: too many are waiting", "reason", e.Reason)
	}
}

// Start posts events to notification-controller, one after another, until the context ends. It does not wait for the
// last one: a request that is retried may take longer than a shutdown.
func (r *Recorder) Start(ctx context.Context) error {
	if r.flux != nil {
		go r.run(ctx)
	}
	<-ctx.Done()
	return nil
}

func (r *Recorder) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-r.queue:
			r.flux.AnnotatedEventf(&p.object, p.metadata, p.eventType, p.reason, "%s", p.message)
		}
	}
}
