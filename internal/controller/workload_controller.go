package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fluxcd/pkg/runtime/jitter"
	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/ledgerstore"
	"github.com/flux-reloader/reloader/internal/notify"
	"github.com/flux-reloader/reloader/internal/owner"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/policystore"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/source"
	"github.com/flux-reloader/reloader/internal/workload"
)

const (
	// interval is how often every workload is compared anew, from memory. Changes do not wait for it.
	interval = 10 * time.Minute
	// unknownAgain is when to look again at a workload that the API server does not let us see.
	unknownAgain = 10 * time.Second
	// staleReads is how many conflicts in a row make a live read worth its request.
	staleReads = 3
)

var errUndecided = errors.New("the decision asks for the pods although it has them")

// Reconciler takes one workload at a time from what is observed to what is done.
type Reconciler struct {
	log       logr.Logger
	options   Options
	key       digest.Key
	sources   *source.Store
	workloads *workload.Store
	holds     *holds
	owners    *owner.Store
	// policyStore holds the policies, policies what becomes of their workloads; governing finds the one that counts.
	policyStore *policystore.Store
	policies    *policies
	governing   func(plan.Workload) (governing *policy.Policy, shadowed []policy.Name, known bool)
	accounts    *accounts
	ledger      *ledgerstore.Store
	events      *notify.Recorder
	alerts      *notify.Alerter
	calls       *calls
	metrics     *metrics
	feed        *feed[ledger.Workload]
	// inScope reports whether a namespace counts; known is false if that cannot be told yet.
	inScope  func(namespace string) (in, known bool)
	adoption *rate.Limiter
	takeover *takeover
	// began is when this process began to lead.
	began time.Time

	mu sync.Mutex
	// tracks holds what this process remembers of workloads beyond the ledger.
	tracks map[ledger.Workload]*track
	// begun are the replacements that this process has begun.
	begun map[ledger.Workload]begun
	// bootstrap are the workloads that were there when the ledger was made and have not been entered.
	bootstrap map[ledger.Workload]bool
}

func newReconciler(r *Reloader, store *ledgerstore.Store) *Reconciler {
	return &Reconciler{
		log: r.log, options: r.options, key: r.watches.key, sources: r.watches.sources, workloads: r.watches.workloads,
		holds: r.watches.holds, owners: r.watches.owners, policyStore: r.watches.policies, governing: r.watches.governing,
		policies: newPolicies(r.policyFeed, r.options.Now), accounts: newAccounts(r.config, r.scheme, r.client.RESTMapper()),
		calls:  newCalls(r.webhook, r.options, func(name ledger.Workload) { r.feed.send(name, false) }),
		ledger: store, events: r.events, alerts: r.alerts, metrics: r.metrics, feed: r.feed, inScope: r.watches.inScope, adoption: newAdoptionLimiter(),
		takeover: &takeover{sources: r.watches.sources, hashes: map[version]string{}},
		began:    r.options.Now(),
		tracks:   map[ledger.Workload]*track{}, begun: map[ledger.Workload]begun{}, bootstrap: map[ledger.Workload]bool{},
	}
}

// +kubebuilder:rbac:groups="",resources=secrets;configmaps,verbs=list;watch
// +kubebuilder:rbac:groups=secrets-store.csi.x-k8s.io,resources=secretproviderclasses;secretproviderclasspodstatuses,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=list
// +kubebuilder:rbac:groups="",resources=replicationcontrollers,verbs=list
// +kubebuilder:rbac:groups=apps,resources=replicasets;controllerrevisions,verbs=list
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets;daemonsets,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=argoproj.io,resources=rollouts,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=apps.openshift.io,resources=deploymentconfigs,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=batch,resources=cronjobs,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;delete
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=kustomize.toolkit.fluxcd.io,resources=kustomizations,verbs=list;watch
// +kubebuilder:rbac:groups=helm.toolkit.fluxcd.io,resources=helmreleases,verbs=list;watch
// +kubebuilder:rbac:groups=fluxcd.controlplane.io,resources=resourcesets,verbs=list;watch

// Reconcile compares one workload to its sources and restarts it if that is due.
func (r *Reconciler) Reconcile(ctx context.Context, name ledger.Workload) (ctrl.Result, error) {
	start := r.options.Now()
	if r.workloads.Replacing(name) {
		return r.resume(ctx, name)
	}
	w, exists, known := r.workloads.Get(name)
	inScope, scopeKnown := r.inScope(name.Namespace)
	switch {
	case !known, !scopeKnown:
		r.policies.unseen(name)
		return ctrl.Result{RequeueAfter: unknownAgain}, nil
	case !exists:
		return ctrl.Result{}, r.gone(name)
	}
	t := r.track(w)
	if t.governing, t.shadowed, known = r.governing(w); !known {
		r.policies.unseen(name)
		return ctrl.Result{RequeueAfter: unknownAgain}, nil
	}
	if t.conflicts >= staleReads {
		live, err := r.workloads.Live(ctx, name)
		switch {
		case apierrors.IsNotFound(err):
			return ctrl.Result{RequeueAfter: unknownAgain}, nil // its deletion is on the way
		case err != nil:
			return ctrl.Result{}, fmt.Errorf("reading past the cache: %w", err)
		case live.UID != w.UID:
			return ctrl.Result{RequeueAfter: conflictMost}, nil // so is the one in its place
		}
		w = live
	}
	return r.reconcile(ctx, w, t, inScope, start)
}

// reconcile decides about a workload as it was observed at the start, acts, and tells of it.
func (r *Reconciler) reconcile(ctx context.Context, w plan.Workload, t *track, inScope bool, start time.Time) (ctrl.Result, error) {
	name := w.Workload
	t.observe(w, start)
	in := r.input(w, t, start, inScope)
	decision, err := r.decide(ctx, in, t)
	if apierrors.IsNotFound(err) || errors.Is(err, workload.ErrGone) {
		return ctrl.Result{RequeueAfter: unknownAgain}, nil // its deletion is on the way
	}
	if err != nil {
		r.policies.note(name, t.governing, t.shadowed, r.outcome(t, true, decision, err, start))
		return ctrl.Result{}, err
	}
	t.settle(decision.Verdict, start)
	t.look(w)
	result, err := r.succeed(ctx, w, t, in.Predecessor, decision)
	if err == nil && (!in.Selection.Selected || w.Unseen != "" || r.ledger.Get(w.UID).Complete(reference.Sources(in.Selection.Uses))) {
		r.endBootstrap(name)
	}
	r.report(w, t, in.Selection.Problems, decision)
	r.policies.note(name, t.governing, t.shadowed, r.outcome(t, in.Selection.Selected, decision, err, r.options.Now()))
	return result, err
}

// input gathers what the decision depends on, all from memory.
func (r *Reconciler) input(w plan.Workload, t *track, now time.Time, inScope bool) plan.Input {
	in := plan.Input{
		Now: now, Key: r.key, Workload: w,
		Sources:       map[reference.Source]plan.Source{},
		Entry:         r.ledger.Get(w.UID),
		Pause:         plan.PauseAnnotations{Period: r.options.Selection.Annotations.PausePeriod, At: r.options.Selection.Annotations.PausedAt},
		Began:         r.began,
		Bootstrap:     r.bootstrapping(w.Workload),
		AdoptionReady: r.adoption.TokensAt(now) >= 1,
		Unpersisted:   !r.ledger.Persisted(w.UID),
		Written:       t.written,
		Progressed:    t.progressed,
		SettlingSince: t.settling,
		Look:          t.asked(w),
	}
	known := known{sources: r.sources, entry: in.Entry, seen: map[reference.Source]plan.Source{}}
	if inScope {
		in.Selection = r.selects(w, known, t.governing)
	}
	in.Policy = r.policyFor(in.Selection.Asked, t.governing)
	if in.Selection.Selected {
		in.Hold = r.heldBy(w, t.governing, now)
		in.OwnerApply = r.owners.Apply(w.Owners)
	} else {
		r.holds.forget(w.Workload)
	}
	for _, use := range in.Selection.Uses {
		in.Sources[use.Source] = known.get(use.Source)
	}
	if in.Entry == nil {
		in.Predecessor = r.ledger.Named(w.Workload)
	}
	return in
}

// sources are those of a source.Store.
type sources interface {
	Get(source reference.Source) plan.Source
	Marks(source reference.Source) (marks selection.Marks, known bool)
	Labels(source reference.Source) (set labels.Set, known bool)
	Names(kind reference.Kind, namespace string) []string
}

// known is what one decision knows of sources: those that are there, and those that are on the workload's record. A source
// that is gone, or cannot be seen, counts as it did when it was recorded, so that it is compared if it comes back. One that
// was never recorded counts while its marks and labels cannot be seen, and as unknown, so that the decision waits for them.
type known struct {
	sources sources
	entry   *ledger.Entry
	// seen is what was observed of sources. Each is looked at once: selection and decision go by the same.
	seen map[reference.Source]plan.Source
}

// get returns what was observed of a source.
func (k known) get(source reference.Source) plan.Source {
	observed, found := k.seen[source]
	if !found {
		observed = k.sources.Get(source)
		k.seen[source] = observed
	}
	return observed
}

// Marks implements selection.Sources.
func (k known) Marks(source reference.Source) selection.Marks {
	observed := k.get(source) // first: the informers' store, which has the marks, is ahead of it
	marks, known := k.sources.Marks(source)
	if k.countsUnseen(source, observed, known) {
		return selection.Marks{Matched: true}
	}
	return marks
}

// countsUnseen reports whether a source counts whatever its marks and labels are. Known is whether those are.
func (k known) countsUnseen(source reference.Source, observed plan.Source, known bool) bool {
	switch {
	case observed.State != plan.Present && k.recorded(source):
		return true
	case known, observed.State == plan.Absent:
		return false
	default:
		k.seen[source] = plan.Source{State: plan.Unknown} // also if it was seen before the watch was refused
		return true
	}
}

// Names implements selection.Sources.
func (k known) Names(kind reference.Kind, namespace string) []string {
	names := k.sources.Names(kind, namespace)
	if k.entry == nil {
		return names
	}
	for source := range k.entry.Sources {
		if source.Kind == kind && source.Namespace == namespace && !slices.Contains(names, source.Name) {
			names = append(names, source.Name)
		}
	}
	return names
}

func (k known) recorded(source reference.Source) bool {
	if k.entry == nil {
		return false
	}
	_, found := k.entry.Sources[source]
	return found
}

// decide makes the decision, with the pods if it needs them. If they cannot be had, what was seen is recorded all the same.
func (r *Reconciler) decide(ctx context.Context, in plan.Input, t *track) (plan.Decision, error) {
	var err error
	if in.Taken, err = r.takeover.taken(ctx, in); err != nil {
		return plan.Decision{}, err
	}
	decision := plan.Decide(in)
	if !decision.NeedsRollout {
		return decision, nil
	}
	rollout, err := r.workloads.Rollout(ctx, in.Workload.Workload)
	if err != nil {
		err = fmt.Errorf("asking for the pods of %s: %w", in.Workload.Workload, err)
		if recordErr := r.record(decision.Entry); recordErr != nil {
			return decision, errors.Join(err, recordErr)
		}
		r.reportRecovered(in.Workload, t, decision.Recovered)
		return decision, err
	}
	in.Rollout = rollout
	if decision = plan.Decide(in); decision.NeedsRollout {
		return decision, fmt.Errorf("%s: %w", in.Workload.Workload, errUndecided)
	}
	return decision, nil
}

// succeed carries out a decision about a workload. If the workload has taken the place of another by its name, it first
// records that one as gone: a name stands for the entry that was recorded last.
func (r *Reconciler) succeed(ctx context.Context, w plan.Workload, t *track, before *ledger.Entry, decision plan.Decision) (ctrl.Result, error) {
	if before != nil {
		if err := r.markGone(before); err != nil {
			return ctrl.Result{}, err
		}
	}
	return r.act(ctx, w, t, decision)
}

// act carries out a decision and records it.
func (r *Reconciler) act(ctx context.Context, w plan.Workload, t *track, decision plan.Decision) (ctrl.Result, error) {
	if decision.Verdict == plan.Restart {
		return r.restart(ctx, w, t, decision)
	}
	if decision.Verdict == plan.Tell {
		return r.callWebhook(w, t, decision)
	}
	t.conflicts = 0
	if err := r.record(decision.Entry); err != nil {
		return ctrl.Result{}, err
	}
	if decision.Mark != nil {
		if again, err := r.mark(ctx, w, t, *decision.Mark); err != nil || again > 0 {
			return ctrl.Result{RequeueAfter: again}, err
		}
	}
	switch {
	case decision.Verdict == plan.NotSelected:
		return ctrl.Result{}, nil
	case decision.After > 0:
		return ctrl.Result{RequeueAfter: decision.After}, nil
	case decision.Verdict == plan.Waiting:
		return ctrl.Result{RequeueAfter: r.options.RequeueDependency}, nil
	default:
		return ctrl.Result{RequeueAfter: jitter.JitteredIntervalDuration(interval)}, nil
	}
}

func (r *Reconciler) record(entry *ledger.Entry) error {
	if entry == nil {
		return nil
	}
	if err := r.ledger.Put(entry); err != nil {
		return fmt.Errorf("recording %s: %w", entry.Workload, err)
	}
	return nil
}
