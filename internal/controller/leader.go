package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/ledgerstore"
	"github.com/flux-reloader/reloader/internal/policy"
)

const (
	// adoptionRate and adoptionBurst spread the restarts of workloads that are stale when they are first met.
	adoptionRate  = 1 // a second
	adoptionBurst = 10

	// flushTimeout bounds the last write of the ledger. The manager gives everything 30 seconds.
	flushTimeout = 20 * time.Second
	// upkeepEvery is how often the key is verified and entries of workloads that are gone are looked at.
	upkeepEvery = time.Minute
)

// leader runs on the replica that holds the lease: it takes over the ledger, reconciles, and at the end writes what is
// left, all before the manager gives up the lease.
type leader struct{ reloader *Reloader }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (l *leader) NeedLeaderElection() bool { return true }

// Start leads until the context ends. An error ends the process; another replica takes over.
func (l *leader) Start(ctx context.Context) error {
	r, w := l.reloader, l.reloader.watches
	select {
	case <-ctx.Done():
		return nil
	case <-w.ready:
	}
	if err := ledgerstore.VerifyKey(ctx, r.client, r.options.Namespace, w.key); err != nil {
		return unlessEnded(ctx, fmt.Errorf("verifying the digest key: %w", err))
	}
	store := ledgerstore.New(ledgerstore.Options{
		Log: r.log.WithName("ledger"), Client: r.client, Namespace: r.options.Namespace, Instance: r.options.Shard, KeyID: w.key.ID(),
	})
	if err := store.Load(ctx); err != nil {
		return unlessEnded(ctx, fmt.Errorf("taking over the ledger: %w", err))
	}
	if err := w.workloads.LoadReplacements(ctx); err != nil {
		return unlessEnded(ctx, fmt.Errorf("taking over what has begun: %w", err))
	}
	r.log.Info("leading", "ledgerEntries", store.Len(), "newLedger", store.Bootstrapping())

	reconciler := newReconciler(r, store)
	reconciler.beginBootstrap()
	if err := l.run(ctx, reconciler); err != nil {
		return err // without another write: the ledger may be somebody else's
	}
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := store.Flush(flush); err != nil {
		return fmt.Errorf("storing the ledger at the end: %w", err)
	}
	return nil
}

// run reconciles until the context ends and the last reconcile has returned.
func (l *leader) run(ctx context.Context, reconciler *Reconciler) error {
	r := l.reloader
	workloads, err := newController(r, "workload", measured{reconciler, r.metrics.stakater, r.options.Now}, reconciler.begin)
	if err != nil {
		return err
	}
	of := &PolicyReconciler{
		log: r.log, options: r.options, client: r.client, watches: r.watches, policies: reconciler.policies, events: r.events,
		duration: r.duration, feed: r.feed,
	}
	for _, p := range r.watches.policies.All() { // first of all: each restart is to be in the history of its policy
		if object, exists := r.watches.policies.Get(p.Name); exists {
			reconciler.policies.round(object)
		}
	}
	policies, err := newController(r, "reloadpolicy", of, r.beginPolicies)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return workloads.Start(ctx) })
	group.Go(func() error { return policies.Start(ctx) })
	group.Go(func() error { return reconciler.ledger.Run(ctx) })
	group.Go(func() error { return l.upkeep(ctx, reconciler) })
	group.Go(func() error { return r.webhook.Run(ctx) })
	return group.Wait()
}

// name is what is reconciled.
type name interface {
	comparable
	fmt.Stringer
}

// newController takes objects one at a time from a queue that begin fills.
func newController[object name](
	r *Reloader, kind string, by reconcile.TypedReconciler[object],
	begin func(context.Context, workqueue.TypedRateLimitingInterface[object]) error,
) (controller.TypedController[object], error) {
	c, err := controller.NewTypedUnmanaged(kind, controller.TypedOptions[object]{
		Reconciler:              by,
		MaxConcurrentReconciles: r.options.Concurrent,
		RecoverPanic:            ptr.To(true),
		UsePriorityQueue:        ptr.To(true),
		SkipNameValidation:      ptr.To(true),
		LogConstructor: func(of *object) logr.Logger {
			if of == nil {
				return r.log
			}
			return r.log.WithValues(kind, (*of).String())
		},
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[object](r.options.MinRetryDelay, r.options.MaxRetryDelay),
	})
	if err != nil {
		return nil, fmt.Errorf("making the controller of kind %s: %w", kind, err)
	}
	if err := c.Watch(source.TypedFunc[object](begin)); err != nil {
		return nil, fmt.Errorf("feeding the controller of kind %s: %w", kind, err)
	}
	return c, nil
}

// begin feeds the queue with every workload there is, and every one that the ledger knows, before what changes.
func (r *Reconciler) begin(_ context.Context, queue workqueue.TypedRateLimitingInterface[ledger.Workload]) error {
	r.feed.open(queue)
	for _, w := range r.workloads.All() {
		r.feed.send(w.Workload, true)
	}
	for _, name := range r.workloads.Replacements() {
		r.feed.send(name, false)
	}
	for _, entry := range r.ledger.Entries() {
		r.feed.send(entry.Workload, true)
	}
	return nil
}

// beginPolicies feeds the queue with every policy there is.
func (r *Reloader) beginPolicies(_ context.Context, queue workqueue.TypedRateLimitingInterface[policy.Name]) error {
	r.policyFeed.open(queue)
	for _, p := range r.watches.policies.All() {
		r.policyFeed.send(p.Name, true)
	}
	return nil
}

// upkeep checks what no event tells of: whether the digest key was deleted or replaced, and which entries are of workloads
// that are gone for good.
func (l *leader) upkeep(ctx context.Context, reconciler *Reconciler) error {
	r := l.reloader
	ticker := time.NewTicker(upkeepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := ledgerstore.VerifyKey(ctx, r.client, r.options.Namespace, r.watches.key); err != nil {
			if errors.Is(err, ledgerstore.ErrKeyReplaced) {
				return err
			}
			r.log.Error(err, "verifying the digest key failed; trying again")
		}
		reconciler.forgetGone(ctx)
	}
}

func newAdoptionLimiter() *rate.Limiter { return rate.NewLimiter(adoptionRate, adoptionBurst) }
