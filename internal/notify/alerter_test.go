package notify

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
)

const secretPath = "/services/s3cret"

// receiver is who alerts go to. Answers are given in turn, the last one from then on.
type receiver struct {
	*httptest.Server
	requests chan string
}

func newReceiver(t *testing.T, answers ...http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{requests: make(chan string, 100)}
	var mu sync.Mutex
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		mu.Lock()
		answer := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		mu.Unlock()
		r.requests <- request.Method + " " + request.URL.Path + " " + string(body)
		answer(w, request)
	}))
	t.Cleanup(r.Close)
	return r
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = connection.Close()
	}
}

// redirect sends on to where it accepts.
func redirect(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/elsewhere" {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// running is an alerter that is patient for milliseconds.
type running struct {
	*Alerter
	outcomes chan string

	mu  sync.Mutex
	log strings.Builder
}

func runAlerter(t *testing.T, options AlertOptions) *running {
	t.Helper()
	r := &running{outcomes: make(chan string, 2*alertQueue)}
	log := funcr.New(func(prefix, args string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.log.WriteString(prefix + args + "\n")
	}, funcr.Options{Verbosity: 10})
	r.Alerter = NewAlerter(log, options, func(outcome string) { r.outcomes <- outcome })
	r.client.RetryWaitMin, r.client.RetryWaitMax, r.client.RetryMax = time.Millisecond, 2*time.Millisecond, 2
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() { _ = r.Start(ctx) }()
	return r
}

func (r *running) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

func next[T any](t *testing.T, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
	}
	return value
}

// What is refused for a while is tried again; what is refused for good, or redirected, is not.
func TestAlertsAreDelivered(t *testing.T) {
	ok := status(http.StatusOK)
	for name, test := range map[string]struct {
		answers  []http.HandlerFunc
		requests int
		outcome  string
		logged   string
	}{
		"accepted":      {[]http.HandlerFunc{ok}, 1, AlertSent, ""},
		"another 2xx":   {[]http.HandlerFunc{status(http.StatusAccepted)}, 1, AlertSent, ""},
		"busy, then ok": {[]http.HandlerFunc{status(http.StatusTooManyRequests), status(http.StatusServiceUnavailable), ok}, 3, AlertSent, ""},
		"dies, then ok": {[]http.HandlerFunc{hangUp, ok}, 2, AlertSent, ""},
		"always busy":   {[]http.HandlerFunc{status(http.StatusBadGateway)}, 3, AlertFailed, "HTTP 502 Bad Gateway"},
		"always dies":   {[]http.HandlerFunc{hangUp}, 3, AlertFailed, "the connection was closed"},
		"refused":       {[]http.HandlerFunc{status(http.StatusForbidden)}, 1, AlertFailed, "HTTP 403 Forbidden"},
		"redirected":    {[]http.HandlerFunc{redirect}, 1, AlertFailed, "HTTP 307 Temporary Redirect: redirects are not followed"},
	} {
		t.Run(name, func(t *testing.T) {
			to := newReceiver(t, test.answers...)
			a := runAlerter(t, AlertOptions{Sink: Teams, URL: mustParse(t, to.URL+secretPath), Info: "prod"})
			a.Send(Alert{Text: "restarted"})
			if got := next(t, a.outcomes); got != test.outcome {
				t.Errorf("outcome %s, want %s", got, test.outcome)
			}
			for range test.requests {
				if diff := cmp.Diff("POST "+secretPath+` {"text":"prod : restarted"}`, next(t, to.requests)); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			}
			if len(to.requests) > 0 {
				t.Errorf("one more request: %s", <-to.requests)
			}
			logged := a.logged()
			if !strings.Contains(logged, test.logged) || strings.Contains(logged, "s3cret") || strings.Contains(logged, to.URL) {
				t.Errorf("logged %q, want %q and no URL", logged, test.logged)
			}
		})
	}
}

func TestAlertsForNobody(t *testing.T) {
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	a := runAlerter(t, AlertOptions{URL: mustParse(t, "http://"+listener.Addr().String()+secretPath)})
	a.Send(Alert{Text: "restarted"})
	if got := next(t, a.outcomes); got != AlertFailed {
		t.Errorf("outcome %s", got)
	}
	if logged := a.logged(); !strings.Contains(logged, "connection refused") || strings.Contains(logged, "s3cret") {
		t.Errorf("logged %q", logged)
	}
}

func TestAlertsThroughAProxy(t *testing.T) {
	proxy := newReceiver(t, status(http.StatusOK))
	a := runAlerter(t, AlertOptions{
		URL: mustParse(t, "http://nowhere.invalid"+secretPath), Proxy: mustParse(t, strings.Replace(proxy.URL, "http://", "http://user:s3cret@", 1)),
	})
	a.Send(Alert{Text: "restarted"})
	if got := next(t, a.outcomes); got != AlertSent {
		t.Errorf("outcome %s: %s", got, a.logged())
	}
	if got := next(t, proxy.requests); got != "POST "+secretPath+" restarted" {
		t.Errorf("the proxy got %q", got)
	}
}

// A receiver that does not answer must hold up neither who sends nor the end of the process.
func TestSlowReceiverHoldsUpNothing(t *testing.T) {
	release := make(chan struct{})
	to := newReceiver(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	var dropped int
	a := NewAlerter(logr.Discard(), AlertOptions{URL: mustParse(t, to.URL)}, func(string) { dropped++ })
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- a.Start(ctx) }()
	a.Send(Alert{Text: "first"})
	next(t, to.requests)
	sent := make(chan error, 1)
	go func() {
		for range alertQueue + 3 {
			a.Send(Alert{Text: "more"})
		}
		sent <- nil
	}()
	if err := next(t, sent); err != nil {
		t.Fatal(err)
	}
	if dropped != 3 {
		t.Errorf("%d dropped, want 3", dropped)
	}
	stop()
	if err := next(t, stopped); err != nil {
		t.Error(err)
	}
}

func TestAnswersThatTakeTooLong(t *testing.T) {
	release := make(chan struct{})
	to := newReceiver(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	a := runAlerter(t, AlertOptions{URL: mustParse(t, to.URL+secretPath)})
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := a.post(ctx, Alert{Text: "x"}); err == nil || err.Error() != "no answer in time" {
		t.Errorf("error %v", err)
	}
}

func TestWithoutAURLThereAreNoAlerts(t *testing.T) {
	a := NewAlerter(logr.Discard(), AlertOptions{Sink: Slack}, nil)
	if a != nil {
		t.Fatal("there is an alerter")
	}
	a.Send(Alert{Text: "nobody hears it"})
}
