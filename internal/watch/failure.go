package watch

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// failsLong is how long a watch may fail until it counts as refused, unless its resource says otherwise.
const failsLong = time.Minute

// request is what the API server was asked for.
type request int

const (
	// listing is a list.
	listing request = iota
	// watching is a watch of what follows a list.
	watching
	// streaming is a watch that begins with a list. That it begins says nothing: it succeeds where that list ends. Where it
	// fails, a list is asked for, which tells.
	streaming
)

// failure is what the API server answers instead of what it was asked for, other than that it refuses, since it last did
// not.
type failure struct {
	err error
	// since is when that began.
	since time.Time
	// reached is since when the API server has been there to answer, zero while it is not.
	reached time.Time
	// last is when it was asked last.
	last time.Time
	// watch is whether watches fail: that a list succeeds does not end it then.
	watch bool
}

// fails notes an error that is no answer.
func (i *informer) fails(by request, err error) {
	if passes(err) || by == streaming && !triedAsItWas(err) {
		return
	}
	now := i.resource.now()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.failure == nil {
		i.failure = &failure{since: now}
		i.log.Info("the watch fails; trying again until it does not", append([]any{"reason", err.Error()}, i.resource.whileRefused()...)...)
	}
	i.failure.err, i.failure.last = err, now
	i.failure.watch = i.failure.watch || by != listing
	switch {
	case unreachable(err):
		i.failure.reached = time.Time{}
	case i.failure.reached.IsZero():
		i.failure.reached = now
	}
}

// succeeds notes that the API server has answered a request. The lock is held.
func (i *informer) succeeds(by request) {
	if i.failure == nil || by == streaming || by == listing && i.failure.watch {
		return
	}
	i.failure = nil
	i.log.Info("the watch does not fail any more")
}

// passes reports whether an error is part of how watches normally are: the end of the process, or too old or too new a
// beginning, which is asked for in another way.
func passes(err error) bool {
	return errors.Is(err, context.Canceled) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) ||
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// triedAsItWas reports whether a reflector tries a watch again after an error, and does not list instead.
func triedAsItWas(err error) bool {
	return utilnet.IsConnectionRefused(err) || apierrors.IsTooManyRequests(err)
}

// unreachable reports whether it was not the API server that has answered, or one that is about to start or end: that says
// nothing of the resource.
func unreachable(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && (status.ErrStatus.Code == http.StatusBadGateway || apierrors.IsServiceUnavailable(err))
}

// complaint is why the resource cannot be seen as it is: the API server refuses that, or has failed for long. It is nil if
// it can be, or may be in a moment.
func (i *informer) complaint() error {
	bound := failsLong
	if i.resource.Patience > 0 {
		bound = i.resource.Patience
	}
	now := i.resource.now()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.failure != nil && now.Sub(i.failure.since) >= bound && (i.refused == nil || apierrors.IsNotFound(i.refused)) {
		return i.failure.err
	}
	return i.refused
}

// settled reports whether there is nothing to wait for: the first list has come, is refused, or has failed for longer than
// the patience with the resource. Time alone does not end that, but a try that fails: reflectors wait for a minute between
// tries, and by the next one all may be well.
func (i *informer) settled() bool {
	if i.handled.HasSynced() || i.refusal() != nil {
		return true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.resource.Patience > 0 && i.failure != nil && !i.failure.reached.IsZero() &&
		i.failure.last.Sub(i.failure.reached) >= i.resource.Patience
}
