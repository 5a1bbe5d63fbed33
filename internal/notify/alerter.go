package notify

import (
	"bytes"
	"context"
	"time"

	"github.com/go-logr/logr"
	"github.com/hashicorp/go-retryablehttp"
)

const (
	// alertQueue is how many alerts may wait. More are dropped: the events on the workloads tell of the same.
	alertQueue = 256
	// alertDeadline bounds the delivery of one alert with all its attempts: a receiver may ask to be left alone for hours.
	alertDeadline = 2 * time.Minute

	alertRetries = 5
	alertWaitMin = time.Second
	alertWaitMax = 30 * time.Second
)

// What becomes of an alert.
const (
	AlertSent    = "sent"
	AlertFailed  = "failed"
	AlertDropped = "dropped"
)

// AlertOptions say where alerts go. There are none without a URL.
type AlertOptions struct {
	Sink Sink
	URL  Address
	// Proxy is what requests go through; that of the environment if it is zero.
	Proxy Address
	// Info is put before every text.
	Info string
}

// Alerter posts alerts one after another, apart from what they tell of. It implements manager.Runnable. A nil Alerter
// takes alerts and does nothing.
type Alerter struct {
	log     logr.Logger
	options AlertOptions
	client  *retryablehttp.Client
	queue   chan Alert
	done    func(outcome string)
}

// NewAlerter makes an alerter; nil without a URL. Done is told what became of each alert.
func NewAlerter(log logr.Logger, options AlertOptions, done func(outcome string)) *Alerter {
	if options.URL.IsZero() {
		return nil
	}
	return &Alerter{
		log: log, options: options, queue: make(chan Alert, alertQueue), done: done,
		client: &retryablehttp.Client{
			HTTPClient: newHTTPClient(options.Proxy),
			// No logger: it would be told the URL.
			RetryWaitMin: alertWaitMin, RetryWaitMax: alertWaitMax, RetryMax: alertRetries,
			CheckRetry: retryablehttp.DefaultRetryPolicy, Backoff: retryablehttp.DefaultBackoff,
			ErrorHandler: retryablehttp.PassthroughErrorHandler,
		},
	}
}

// Send takes an alert. It does not block.
func (a *Alerter) Send(alert Alert) {
	if a == nil {
		return
	}
	select {
	case a.queue <- alert:
	default:
		a.log.Info("alert not sent: too many are waiting", "alert", alert.Text)
		a.done(AlertDropped)
	}
}

// Start posts alerts until the context ends. It does not wait for the last one.
func (a *Alerter) Start(ctx context.Context) error {
	if a != nil {
		go a.run(ctx)
	}
	<-ctx.Done()
	return nil
}

func (a *Alerter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case alert := <-a.queue:
			a.deliver(ctx, alert)
		}
	}
}

func (a *Alerter) deliver(ctx context.Context, alert Alert) {
	err := a.post(ctx, alert)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		a.log.Error(err, "alert not sent", "alert", alert.Text)
		a.done(AlertFailed)
	default:
		a.done(AlertSent)
	}
}

// post tries until the alert is accepted or refused, a few times at most.
func (a *Alerter) post(ctx context.Context, alert Alert) error {
	ctx, cancel := context.WithTimeout(ctx, alertDeadline)
	defer cancel()
	m := a.options.Sink.format(alert, a.options.Info)
	plain, err := newRequest(ctx, a.options.URL, bytes.NewReader(m.body), m.contentType)
	if err != nil {
		return err
	}
	request, err := retryablehttp.FromRequest(plain)
	if err != nil {
		return redacted(err)
	}
	return accepted(a.client.Do(request))
}
