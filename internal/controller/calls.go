package controller

import (
	"sync"
	"time"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/notify"
)

// callLater is when to ask again for a call of the webhook if too many are waiting.
const callLater = 5 * time.Second

// calls are the calls of the webhook that are under way, or whose outcome tell has not returned yet. Nobody waits for them:
// when a call ends, its workload is reconciled again.
type calls struct {
	webhook *notify.Webhook
	now     func() time.Time
	// least and most bound the wait after a call that failed, which doubles.
	least, most time.Duration
	wake        func(ledger.Workload)

	mu sync.Mutex
	of map[ledger.Workload]*call
}

// call is the one for a workload.
type call struct {
	// value stands for the changes that it tells of.
	value     string
	underWay  bool
	ended     bool
	err       error
	failures  int
	notBefore time.Time
}

func newCalls(webhook *notify.Webhook, options Options, wake func(ledger.Workload)) *calls {
	return &calls{
		webhook: webhook, now: options.Now, least: options.MinRetryDelay, most: options.MaxRetryDelay, wake: wake, of: map[ledger.Workload]*call{},
	}
}

// tell asks for a call about the changes that the value stands for. If that call has ended by now, it returns true and the
// call's error. After is when to ask again; zero if the end of a call wakes the workload.
func (c *calls) tell(name ledger.Workload, value string) (ended bool, after time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.of[name]
	switch {
	case of == nil:
		of = &call{}
		c.of[name] = of
	case of.underWay:
		return false, 0, nil // what it tells may be less than there is now: that comes next
	case of.ended && of.err != nil:
		of.ended = false
		of.notBefore = c.now().Add(min(c.most, c.least<<min(of.failures, maxDoublings)))
		of.failures++
		return true, 0, of.err
	case of.ended && of.value == value:
		delete(c.of, name)
		return true, 0, nil
	}
	of.ended = false
	if wait := of.notBefore.Sub(c.now()); wait > 0 {
		return false, wait, nil
	}
	if !c.webhook.Ask(func(err error) { c.end(name, of, err) }) {
		return false, callLater, nil
	}
	of.value, of.underWay = value, true
	return false, 0, nil
}

// maxDoublings keeps delays from overflowing.
const maxDoublings = 16

func (c *calls) end(name ledger.Workload, of *call, err error) {
	c.mu.Lock()
	of.underWay, of.ended, of.err = false, true, err
	c.mu.Unlock()
	c.wake(name)
}

// forget lets go of a workload that is gone.
func (c *calls) forget(name ledger.Workload) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, name)
}
