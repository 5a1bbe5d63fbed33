package notify

import (
	"context"
	"net/http"
	"strings"
	"sync"
)

const (
	// webhookBody is what the webhook is told, whatever has changed: Stakater Reloader's receivers know nothing else.
	webhookBody = `{"webhook":"update successful"}`

	// webhookQueue is how many calls may wait, webhookCallers how many are made at a time.
	webhookQueue   = 256
	webhookCallers = 4
)

// Webhook is a receiver that restarts workloads in Reloader's place. Calls are made by Run, not by those who ask for them.
type Webhook struct {
	url    Address
	client *http.Client
	queue  chan func(error)
}

// NewWebhook makes a webhook; nil without a URL.
func NewWebhook(url Address) *Webhook {
	if url.IsZero() {
		return nil
	}
	return &Webhook{url: url, client: newHTTPClient(Address{}), queue: make(chan func(error), webhookQueue)}
}

// Ask queues one call and does not block. It returns false if too many are waiting: then there will be no call. Ended gets
// the error of the call, nil if the receiver answered with a 2xx, a few seconds after its turn has come at most. It is not
// called any more once Run's context has ended. The error does not show the URL. The Webhook must not be nil.
func (w *Webhook) Ask(ended func(error)) bool {
	select {
	case w.queue <- ended:
		return true
	default:
		return false
	}
}

// Run makes the calls until the context ends. A nil Webhook makes none.
func (w *Webhook) Run(ctx context.Context) error {
	if w == nil {
		return nil
	}
	var callers sync.WaitGroup
	for range webhookCallers {
		callers.Go(func() { w.makeCalls(ctx) })
	}
	callers.Wait()
	return nil
}

func (w *Webhook) makeCalls(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case ended := <-w.queue:
			err := w.call(ctx)
			if ctx.Err() != nil {
				return // cut off: nobody knows whether it was heard
			}
			ended(err)
		}
	}
}

// call posts once.
func (w *Webhook) call(ctx context.Context) error {
	request, err := newRequest(ctx, w.url, strings.NewReader(webhookBody), "application/json")
	if err != nil {
		return err
	}
	return accepted(w.client.Do(request))
}
