package notify

import (
	"context"
	"net/http"
	"strings"
)

// webhookBody is what the webhook is told, whatever has changed: Stakater Reloader's receivers know nothing else.
const webhookBody = `{"webhook":"update successful"}`

// Webhook is who restarts workloads in Reloader's place.
type Webhook struct {
	url    Address
	client *http.Client
}

// NewWebhook makes a webhook; nil without a URL.
func NewWebhook(url Address) *Webhook {
	if url.IsZero() {
		return nil
	}
	return &Webhook{url: url, client: newHTTPClient(Address{})}
}

// Call posts once, and returns when the receiver has accepted it with a 2xx, or why not, within seconds. Its error does
// not show the URL.
func (w *Webhook) Call(ctx context.Context) error {
	request, err := newRequest(ctx, w.url, strings.NewReader(webhookBody), "application/json")
	if err != nil {
		return err
	}
	return accepted(w.client.Do(request))
}
