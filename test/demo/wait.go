package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	pollInterval = 50 * time.Millisecond
	// patience is how long anything may take. On an idle machine all of it takes a few seconds.
	patience = 90 * time.Second
	// lookTimeout is how long looking once may take.
	lookTimeout = 10 * time.Second
)

var errTimeUp = errors.New("time is up")

// condition looks at something and says whether it is as wanted, and what it saw. An error is something seen as well.
type condition func(ctx context.Context) (ok bool, seen string, err error)

// until polls until the condition holds. The error says what was seen instead.
func until(ctx context.Context, what string, within time.Duration, check condition) error {
	var last string
	end := time.Now().Add(within)
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		ok, seen, err := look(ctx, check)
		if err != nil {
			seen = err.Error()
		}
		if ctx.Err() == nil {
			last = seen // What fails because the demo ends says nothing.
		}
		if err == nil && ok {
			return true, nil
		}
		if time.Now().After(end) {
			return false, errTimeUp
		}
		return false, nil
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTimeUp):
		return fmt.Errorf("%s: not within %s; seen instead: %s", what, within, last)
	default:
		return fmt.Errorf("%s: %w; seen last: %s", what, context.Cause(ctx), last)
	}
}

// holds polls for the whole time and fails as soon as the condition does not hold.
func holds(ctx context.Context, what string, whole time.Duration, check condition) error {
	end := time.Now().Add(whole)
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		ok, seen, err := look(ctx, check)
		if err == nil && !ok {
			err = fmt.Errorf("seen instead: %s", seen)
		}
		return time.Now().After(end), err
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// look checks a condition once.
func look(ctx context.Context, check condition) (ok bool, seen string, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return check(ctx)
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
