package controller

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledgerstore"
	"github.com/flux-reloader/reloader/internal/namespace"
	"github.com/flux-reloader/reloader/internal/owner"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/policystore"
	"github.com/flux-reloader/reloader/internal/source"
	"github.com/flux-reloader/reloader/internal/workload"
)

const (
	// tryAgain is the wait after a failed attempt at what must succeed before anything else.
	tryAgain = 2 * time.Second
	// settleCheck is how often the watches are asked whether their first lists are read.
	settleCheck = 50 * time.Millisecond
)

// watches holds what is watched. It runs on every replica, so that a new leader has everything at hand.
type watches struct {
	reloader *Reloader
	// keyed is closed when the key is known; that is set before.
	keyed chan struct{}
	key   digest.Key
	// ready is closed when all first lists are read as well; what follows is set before.
	ready     chan struct{}
	sources   *source.Store
	workloads *workload.Store
	owners    *owner.Store
	holds     *holds
	policies  *policystore.Store
	// namespaces is nil unless all of them are watched, or a label selector says which of them count.
	namespaces *namespace.Store
}

func newWatches(r *Reloader) *watches {
	return &watches{reloader: r, keyed: make(chan struct{}), ready: make(chan struct{})}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (w *watches) NeedLeaderElection() bool { return false }

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch

// Start makes sure of the digest key, then watches until the context ends.
func (w *watches) Start(ctx context.Context) error {
	if err := w.ensureKey(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	close(w.keyed)
	if err := w.build(); err != nil {
		return err
	}
	var running sync.WaitGroup
	running.Go(func() { w.sources.Run(ctx) })
	running.Go(func() { w.workloads.Run(ctx) })
	running.Go(func() { w.owners.Run(ctx) })
	running.Go(func() { w.policies.Run(ctx) })
	if w.namespaces != nil {
		running.Go(func() { w.namespaces.Run(ctx) })
	}
	err := wait.PollUntilContextCancel(ctx, settleCheck, true, func(context.Context) (bool, error) {
		return w.sources.Settled() && w.workloads.Settled() && w.owners.Settled() && w.policies.Settled() &&
			(w.namespaces == nil || w.namespaces.Settled()), nil
	})
	if err == nil {
		close(w.ready)
	}
	running.Wait()
	return nil
}

// ensureKey tries until the key is known. A key that cannot be read needs somebody to act, and is logged each time.
func (w *watches) ensureKey(ctx context.Context) error {
	r := w.reloader
	err := wait.PollUntilContextCancel(ctx, tryAgain, true, func(ctx context.Context) (bool, error) {
		var err error
		if w.key, err = ledgerstore.EnsureKey(ctx, r.client, r.options.Namespace); err != nil {
			r.log.Error(err, "the digest key is not known; not ready")
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the digest key: %w", err)
	}
	return nil
}

func (w *watches) build() error {
	r := w.reloader
	core, err := r.restClient(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err != nil {
		return err
	}
	w.sources, err = source.New(source.Options{
		Log: r.log.WithName("sources"), Scope: r.options.Scope, Client: core, Codec: clientgoscheme.ParameterCodec,
		ClientFor: r.restClientIn, Key: w.key, Selection: r.options.Selection, Labels: r.options.SourceLabels,
		Exclude: "!" + ledgerstore.ShardLabel, Now: r.options.Now, Changed: w.sourceChanged,
		LabelsMatter: func() bool { return w.policies.SelectsByLabels() },
	})
	if err != nil {
		return err
	}
	w.workloads, err = workload.New(workload.Options{
		Log: r.log.WithName("workloads"), Scope: r.options.Scope, Kinds: workload.Kinds(r.options.IgnoredKinds...), Client: r.restClient,
		Codec: clientgoscheme.ParameterCodec, Reader: r.client, Writer: r.client, Key: w.key,
		State:     workload.State{Client: r.client, Namespace: r.options.Namespace, Instance: r.options.Shard},
		Selection: r.options.Selection, Owners: owner.Of, Selector: r.options.WorkloadSelector, Changed: r.feed.send,
	})
	if err != nil {
		return err
	}
	// Owners are often in namespaces whose workloads nobody wants restarted, flux-system first of all.
	w.owners, err = owner.New(owner.Options{
		Log: r.log.WithName("owners"), Scope: r.options.Scope.WithExcepted(), Client: r.restClientIn,
		Timeout: r.options.OwnerTimeout, Now: r.options.Now, Changed: w.ownerChanged,
	})
	if err != nil {
		return err
	}
	w.holds = newHolds(w.owners.Hold)
	w.policies, err = policystore.New(policystore.Options{
		Log: r.log.WithName("policies"), Scope: r.options.Scope, Namespace: r.options.Namespace, Client: r.restClientIn,
		NoCrossNamespaceRefs: r.options.NoCrossNamespaceRefs, Now: r.options.Now, Changed: w.policyChanged,
	})
	if err != nil || r.options.NamespaceLabels == nil && !r.options.Scope.Includes(metav1.NamespaceAll) {
		return err
	}
	w.namespaces, err = namespace.New(namespace.Options{
		Log: r.log.WithName("namespaces"), Client: core, Codec: clientgoscheme.ParameterCodec,
		Labels: r.options.NamespaceLabels, Changed: w.namespaceChanged,
	})
	return err
}

// checkKey is ready when the digest key is known.
func (w *watches) checkKey(*http.Request) error {
	return closed(w.keyed, errors.New("the digest key is not known"))
}

// namespaceChanged enqueues the workloads of a namespace that is selected from now on, or no longer.
func (w *watches) namespaceChanged(name string) {
	for _, workload := range w.workloads.In(name) {
		w.reloader.feed.send(workload.Workload, false)
	}
}

// ownerChanged enqueues the workloads that a Flux object applies and to which its change matters.
func (w *watches) ownerChanged(owner plan.Owner) {
	now := w.reloader.options.Now()
	for _, name := range w.workloads.OwnedBy(owner) {
		if w.holds.wakes(name, owner, now) {
			w.reloader.feed.send(name, false)
		}
	}
}

// policyChanged enqueues a policy. Its reconciler has the workloads looked at that it governs, or governed.
func (w *watches) policyChanged(_, _ *policy.Policy, name policy.Name) {
	w.reloader.policyFeed.send(name, false)
}

// inScope reports whether a namespace counts; known is false if that cannot be told yet.
func (w *watches) inScope(name string) (in, known bool) {
	if w.namespaces == nil || w.reloader.options.NamespaceLabels == nil {
		return true, true
	}
	return w.namespaces.Selected(name)
}

// check is ready when everything that decisions depend on is known.
func (w *watches) check(*http.Request) error {
	return closed(w.ready, errors.New("first lists are not read"))
}

// closed is the error until the channel is closed.
func closed(c <-chan struct{}, otherwise error) error {
	select {
	case <-c:
		return nil
	default:
		return otherwise
	}
}

// unlessEnded is the error, unless the context has ended: then that is why, and no error.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
