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

// Webhook is who restarts workloads in Reloader's place. It is called apart from who asks for it.
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

// Ask asks for one call and does not block. It is false if too many are waiting: then nothing will be called. Ended is told
// by which error the call ended, nil if the receiver has accepted it with a 2xx, within seconds from when it is its turn.
// Nothing is told once Run's context has ended. The error does not show the URL.
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
