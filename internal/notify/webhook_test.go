package notify

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

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
			err := NewWebhook(mustParse(t, to.URL+secretPath)).Call(t.Context())
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

func TestWebhookThatIsSlow(t *testing.T) {
	to := newReceiver(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- NewWebhook(mustParse(t, to.URL+secretPath)).Call(ctx) }()
	next(t, to.requests)
	cancel()
	if err := next(t, failed); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error %v", err)
	}
}
