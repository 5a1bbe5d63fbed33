package plan

import (
	"slices"
	"time"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
)

const (
	// throttleInterval is what a restart costs, throttleBurst how many may follow one another at once: each workload
	// may be restarted five times in a row, then once in two minutes.
	throttleInterval = 2 * time.Minute
	throttleBurst    = 5

	chainLength = 8
)

// Value is the template value that stands for content after the previous value and with the handled token. It is a
// function of the three, so that writing it again changes nothing, and never returns to an earlier one.
func Value(key digest.Key, previous string, content digest.Digest, token string) string {
	chain := key.Bytes("chain", []byte(previous), content[:], []byte(token)).String()
	return content.String() + "-" + chain[:chainLength]
}

// stands returns the content that a value stands for. It is false for a value that Reloader did not make.
func stands(value string) (digest.Digest, bool) {
	var d digest.Digest
	size := len(d.String())
	if len(value) != size+1+chainLength || value[size] != '-' {
		return d, false
	}
	return d, d.UnmarshalText([]byte(value[:size])) == nil
}

// successors are the values that stand for content after the previous one, in the order of their use. A restart writes the
// first, unless pods carry that: those of a restart whose record was lost, and which somebody took back.
func successors(key digest.Key, previous string, content digest.Digest, token string) []string {
	values := make([]string, 0, maxSuccessors)
	for range maxSuccessors {
		previous = Value(key, previous, content, token)
		values = append(values, previous)
	}
	return values
}

// maxSuccessors is how many restarts for one content may be lost and taken back while pods of all of them are there.
const maxSuccessors = 3

// follows reports whether live is the value that Reloader would have written after previous: the mark of a restart
// whose record was lost in a crash.
func follows(key digest.Key, live, previous, token string) bool {
	content, ok := stands(live)
	return ok && slices.Contains(successors(key, previous, content, token), live)
}

// Restarted is the record after the restart that was decided on was written at this time.
func Restarted(d Decision, now time.Time) *ledger.Entry {
	e := d.Entry.Clone()
	e.Value, e.PausedSince = d.Value, time.Time{}
	if d.Requested != "" {
		e.Token = d.Requested
	}
	if d.Handled != nil {
		e.Sources, e.PendingSince, e.ProvenAt = d.Handled, time.Time{}, now
		pay(e, now)
		return e
	}
	if e.PendingSince.IsZero() { // nothing differs, but its rollout is to come
		e.PendingSince = now
	}
	for source, record := range e.Sources { // one that is absent counts as what it held last
		record.Written, record.Turned = !record.Pending.IsZero(), false
		e.Sources[source] = record
	}
	for _, change := range d.Changes {
		if record := e.Sources[change.Source]; change.Event == Deleted && record.Diverged.IsZero() {
			record.Diverged = longAgo() // pods are made without it from now on
			e.Sources[change.Source] = record
		}
	}
	pay(e, now)
	return e
}

// pay takes down what a restart costs.
func pay(e *ledger.Entry, now time.Time) {
	if e.Throttle.Before(now) {
		e.Throttle = now
	}
	e.Throttle = e.Throttle.Add(throttleInterval)
}

// longAgo is a time before everything that may have happened, and none that is unknown.
func longAgo() time.Time { return time.Unix(1, 0).UTC() }

// throttled returns how long the next restart has to wait.
func throttled(e *ledger.Entry, now time.Time) time.Duration {
	free := now.Add((throttleBurst - 1) * throttleInterval)
	return max(0, e.Throttle.Sub(free))
}

// unthrottle takes back what a record is paid for beyond what restarts can cost: another replica made it, whose clock is
// ahead. What is left runs down on this clock.
func unthrottle(e *ledger.Entry, now time.Time) {
	if most := now.Add(throttleBurst * throttleInterval); e.Throttle.After(most) {
		e.Throttle = most
	}
}
