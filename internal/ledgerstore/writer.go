package ledgerstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// flushAgain is the wait after a write that failed at the end.
const flushAgain = 250 * time.Millisecond

func (s *Store) wake() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// sorted are the shards by number.
func (s *Store) sorted() []*shard {
	return slices.SortedFunc(maps.Values(s.shards), func(a, b *shard) int { return cmp.Compare(a.number, b.number) })
}

// Run writes what changes until the context ends, or another replica takes over: then it returns ErrSuperseded, and the
// process must end without another write. What is not written when the context ends is left to Flush.
func (s *Store) Run(ctx context.Context) error {
	refresh := time.NewTicker(refreshEvery)
	defer refresh.Stop()
	for {
		lazy := false
		select {
		case <-ctx.Done():
			return nil
		case <-s.dirty:
		case <-refresh.C:
			lazy = true
		}
		if err := s.write(ctx, lazy); err != nil {
			if errors.Is(err, ErrSuperseded) {
				return err
			}
			if ctx.Err() != nil {
				return nil
			}
			s.options.Log.Error(err, "storing the ledger failed; trying again")
			s.retry(ctx)
		}
	}
}

// retry wakes the writer after a while.
func (s *Store) retry(ctx context.Context) {
	timer := time.NewTimer(time.Second)
	go func() {
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
			s.wake()
		}
	}()
}

// Flush writes everything that is not written yet, and tries again until the context ends, unless it is forbidden. It is called
// after the last restart and before the lease is given up.
func (s *Store) Flush(ctx context.Context) error {
	again := time.NewTicker(flushAgain)
	defer again.Stop()
	lazy := false // what is urgent first
	for {
		err := s.write(ctx, lazy)
		switch {
		case errors.Is(err, ErrSuperseded), apierrors.IsForbidden(err):
			return err
		case err == nil && lazy && len(s.pending(true)) == 0:
			return nil
		case err == nil: // an entry that moves between shards takes two passes, a conflict one more
			lazy = true
			continue
		}
		select {
		case <-ctx.Done():
			return err
		case <-again.C:
		}
	}
}

// write stores the shards that have something urgent, or with lazy anything at all, one request each.
func (s *Store) write(ctx context.Context, lazy bool) error {
	var failed error
	for _, shard := range s.pending(lazy) {
		if err := s.writes.Wait(ctx); err != nil {
			return fmt.Errorf("waiting to store the ledger: %w", err)
		}
		err := s.store(ctx, shard)
		if errors.Is(err, ErrSuperseded) {
			return err
		}
		failed = errors.Join(failed, err)
	}
	if failed == nil && len(s.pending(false)) > 0 {
		s.wake()
	}
	return failed
}

func (s *Store) pending(lazy bool) []*shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pending []*shard
	for _, shard := range s.sorted() {
		if s.urgent(shard) || lazy && shard.dirty() {
			pending = append(pending, shard)
		}
	}
	return pending
}

func (s *Store) urgent(shard *shard) bool {
	if shard.annotations || len(shard.removed) > 0 {
		return true
	}
	for uid := range shard.changed {
		if h, ok := s.entries[uid]; ok && h.urgent {
			return true
		}
	}
	return false
}
