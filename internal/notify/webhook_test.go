package notify

import (
	"context"
	"net/http"
	"testing"
)

// runWebhook makes calls until the test ends, or until it is stopped.
func runWebhook(t *testing.T, w *Webhook) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func TestWebhookCalls(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"accepted":    {status(http.StatusOK), ""},
		"another 2xx": {status(http.StatusNoContent), ""},
		"refused":     {status(http.StatusForbidden), "HTTP 403 Forbidden"},
		"fails":       {status(http.StatusInternalServerError), "HTTP 500 Internal Server Error"},
		"dies":        {hangUp, "the connection was closed"},
		"redirects":   {redirect, "HTTP 307 Temporary Redirect: redirects are not followed"},
	} {
		t.Run(name, func(t *testing.T) {
			to := newReceiver(t, test.answer)
			w := NewWebhook(mustParse(t, to.URL+secretPath))
			runWebhook(t, w)
			ended := make(chan error, 2)
			if !w.Ask(func(err error) { ended <- err }) {
				t.Fatal("not taken")
			}
			err := next(t, ended)
			if test.want == "" && err != nil || test.want != "" && (err == nil || err.Error() != test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if got, want := next(t, to.requests), "POST "+secretPath+` {"webhook":"update successful"}`; got != want {
				t.Errorf("posted %q, want %q", got, want)
			}
			if len(to.requests) > 0 {
				t.Errorf("one more request: %s", <-to.requests)
			}
		})
	}
}

// A receiver that does not answer holds up nobody who asks: calls wait, up to a number, and end with the process.
func TestWebhookThatIsSlow(t *testing.T) {
	to := newReceiver(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w := NewWebhook(mustParse(t, to.URL+secretPath))
	stop := runWebhook(t, w)
	told := make(chan error, webhookQueue)
	ask := func() bool { return w.Ask(func(err error) { told <- err }) }
	for range webhookCallers {
		if !ask() {
			t.Fatal("not taken")
		}
		next(t, to.requests)
	}
	for i := range webhookQueue {
		if !ask() {
			t.Fatalf("%d are waiting, and no more is taken", i)
		}
	}
	if ask() {
		t.Error("one more is taken than may wait")
	}
	stop()
	if len(told) > 0 {
		t.Errorf("told of a call that was cut off: %v", <-told)
	}
}

func TestNoWebhook(t *testing.T) {
	if err := NewWebhook(Address{}).Run(t.Context()); err != nil {
		t.Error(err)
	}
}
