package main

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"time"

	"github.com/fluxcd/pkg/runtime/acl"
	fluxcontroller "github.com/fluxcd/pkg/runtime/controller"
	"github.com/fluxcd/pkg/runtime/features"
	"github.com/fluxcd/pkg/runtime/jitter"
	"github.com/fluxcd/pkg/runtime/leaderelection"
	"github.com/fluxcd/pkg/runtime/logger"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/flux-reloader/reloader/internal/controller"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/watch"
)

// options are the flags: Flux's standard ones, spelt as in Flux's controllers, and our own.
type options struct {
	client       clientOptions
	log          logger.Options
	election     leaderelection.Options
	acl          acl.Options
	rateLimiter  fluxcontroller.RateLimiterOptions
	watchAll     bool
	watchLabels  string
	jitter       jitter.IntervalOptions
	gates        features.FeatureGates
	metricsAddr  string
	healthAddr   string
	eventsAddr   string
	concurrent   int
	requeueAfter time.Duration

	settleQuiet time.Duration
	settleMax   time.Duration
	settleOwner time.Duration
	onAdoption  string
	account     string
	version     bool
	stakater    stakater

	// namespace is the controller's own, from the environment.
	namespace string
}

func (o *options) bind(flags *pflag.FlagSet) {
	flags.DurationVar(&o.settleQuiet, "settle-quiet", 2*time.Second,
		"How long no source of a workload must have changed before the workload is restarted.")
	flags.DurationVar(&o.settleMax, "settle-max", 30*time.Second,
		"How long changes that keep coming may hold a restart back.")
	flags.DurationVar(&o.settleOwner, "owner-settle-timeout", 5*time.Minute,
		"How long a Kustomization, HelmRelease or ResourceSet that is reconciling may hold restarts of what it applies back.")
	flags.StringVar(&o.onAdoption, "on-adoption", string(plan.RestartStale),
		"What to do when a workload that is met for the first time is certainly stale: RestartStale or Baseline.")
	flags.StringVar(&o.account, "default-service-account", "",
		"The ServiceAccount that is impersonated to restart workloads for ReloadPolicies that name none.")
	flags.BoolVar(&o.watchAll, "watch-all-namespaces", true,
		"Watch all namespaces; otherwise only the one that the controller runs in.")
	flags.StringVar(&o.watchLabels, "watch-label-selector", "",
		"Watch only workloads with matching labels, e.g. 'sharding.fluxcd.io/shard=shard1'.")
	flags.StringVar(&o.metricsAddr, "metrics-addr", ":8080", "The address the metric endpoint binds to.")
	flags.StringVar(&o.healthAddr, "health-addr", ":9440", "The address the health endpoint binds to.")
	flags.StringVar(&o.eventsAddr, "events-addr", "", "The address of the events receiver, Flux's notification-controller.")
	flags.IntVar(&o.concurrent, "concurrent", 4, "The number of workloads that are reconciled at once.")
	flags.DurationVar(&o.requeueAfter, "requeue-dependency", 30*time.Second,
		"The interval at which workloads that wait for an absent source are looked at.")
	flags.BoolVar(&o.version, "version", false, "Print the version and exit.")
	o.stakater.bind(flags)
	o.client.bind(flags)
	o.log.BindFlags(flags)
	o.election.BindFlags(flags)
	o.acl.BindFlags(flags)
	o.rateLimiter.BindFlags(flags)
	o.jitter.BindFlags(flags)
	o.gates.BindFlags(flags)
}

// complete checks the flags and turns them into the controller's options. Its errors name flag and value.
func (o *options) complete() (controller.Options, error) {
	if o.namespace = ownNamespace(); o.namespace == "" {
		return controller.Options{}, fmt.Errorf("the environment variable %s must name the controller's namespace",
			fluxcontroller.EnvRuntimeNamespace)
	}
	selector, err := fluxcontroller.GetWatchSelector(fluxcontroller.WatchOptions{LabelSelector: o.watchLabels})
	if err != nil {
		return controller.Options{}, fmt.Errorf("--watch-label-selector=%q: %w", o.watchLabels, err)
	}
	if err := errors.Join(o.check(), o.stakater.check(), checkAccount(o.account), checkEventsAddress(o.eventsAddr), o.jitter.SetGlobalJitter(rand.New(source{})),
		o.gates.WithLogger(ctrl.Log.WithName("setup")).SupportedFeatures(nil)); err != nil {
		return controller.Options{}, err
	}
	settings, err := o.stakater.settings()
	if err != nil {
		return controller.Options{}, err
	}
	scope, namespaceLabels, err := o.scope()
	if err != nil {
		return controller.Options{}, err
	}
	sourceLabels, err := o.stakater.sourceLabels()
	if err != nil {
		return controller.Options{}, err
	}
	alerts, err := alerts()
	if err != nil {
		return controller.Options{}, err
	}
	info, err := o.metaInfo()
	if err != nil {
		return controller.Options{}, err
	}
	ignoredKinds, err := o.stakater.ignoredKinds()
	if err != nil {
		return controller.Options{}, err
	}
	return controller.Options{
		Namespace: o.namespace, Shard: o.shard(), Scope: scope, NamespaceLabels: namespaceLabels, IgnoredKinds: ignoredKinds,
		WorkloadSelector: selector.String(), Selection: settings, SourceLabels: sourceLabels,
		Policy: plan.Policy{
			SettleQuiet: o.settleQuiet, SettleMax: o.settleMax, OnAdoption: plan.Adoption(o.onAdoption),
			Strategy: o.stakater.strategyOf(), OnCreate: bool(o.stakater.reloadOnCreate), OnDelete: bool(o.stakater.reloadOnDelete),
			Tell: !o.stakater.webhook.address.IsZero(),
		},
		Concurrent: o.concurrent, MinRetryDelay: o.rateLimiter.MinRetryDelay, MaxRetryDelay: o.rateLimiter.MaxRetryDelay,
		RequeueDependency: o.requeueAfter, OwnerTimeout: o.settleOwner, DefaultServiceAccount: o.account,
		NoCrossNamespaceRefs: o.acl.NoCrossNamespaceRefs, EventsAddress: o.eventsAddr, Webhook: o.stakater.webhook.address, Alerts: alerts,
		CountByNamespace: os.Getenv(countByNamespace) == "enabled", MetaInfo: info, Now: time.Now, Registry: metrics.Registry,
	}, nil
}

// source makes the random numbers for the jitter of intervals. Many workers ask for them at the same time; the source that
// the jitter package makes by itself is not safe for that.
type source struct{}

// Int63 implements rand.Source.
func (source) Int63() int64 { return rand.Int63() }

// Seed implements rand.Source. There is no need to.
func (source) Seed(int64) {}

// countByNamespace is the variable by which Stakater Reloader is told to count restarts by namespace.
const countByNamespace = "METRICS_COUNT_BY_NAMESPACE"

// ownNamespace is where the controller runs: from the variable that Flux's manifests set, or one of Stakater Reloader's.
func ownNamespace() string {
	return cmp.Or(os.Getenv(fluxcontroller.EnvRuntimeNamespace), os.Getenv("POD_NAMESPACE"), os.Getenv("RELOADER_NAMESPACE"))
}

// scope is the namespaces that are watched: a list, or the one of the environment variable, or all or its own by the flag.
func (o *options) scope() (watch.Scope, labels.Selector, error) {
	s := &o.stakater
	named, err := o.named()
	if err != nil {
		return watch.Scope{}, nil, err
	}
	ignored, err := namespaceNames("--namespaces-to-ignore", s.namespacesToIgnore)
	if err != nil {
		return watch.Scope{}, nil, err
	}
	scope := watch.AllNamespaces()
	if len(named) > 0 {
		scope = watch.Namespaces(named...)
	}
	if len(s.namespaceSelector) == 0 {
		return scope.Except(ignored...), nil, nil
	}
	selector, err := parseSelector("namespace-selector", s.namespaceSelector)
	if err == nil && len(named) > 0 {
		err = fmt.Errorf("--namespace-selector=%q: selects among all namespaces, and only some are watched", selector)
	}
	return scope.Except(ignored...), selector, err
}

// named are the namespaces that are watched; none for all of them.
func (o *options) named() ([]string, error) {
	const variable = "KUBERNETES_NAMESPACE"
	switch namespace := os.Getenv(variable); {
	case len(o.stakater.namespaces) > 0:
		return namespaceNames("--namespaces", o.stakater.namespaces)
	case namespace != "":
		return namespaceNames("the environment variable "+variable, []string{namespace})
	case !o.watchAll:
		return []string{o.namespace}, nil
	default:
		return nil, nil
	}
}

func (o *options) check() error {
	switch {
	case o.settleQuiet < 0:
		return fmt.Errorf("--settle-quiet=%s: must not be negative", o.settleQuiet)
	case o.settleMax < o.settleQuiet:
		return fmt.Errorf("--settle-max=%s: must not be less than --settle-quiet=%s", o.settleMax, o.settleQuiet)
	case o.settleOwner < 0:
		return fmt.Errorf("--owner-settle-timeout=%s: must not be negative", o.settleOwner)
	case o.concurrent < 1:
		return fmt.Errorf("--concurrent=%d: must be at least 1", o.concurrent)
	case o.requeueAfter <= 0:
		return fmt.Errorf("--requeue-dependency=%s: must be positive", o.requeueAfter)
	}
	switch plan.Adoption(o.onAdoption) {
	case plan.RestartStale, plan.BaselineOnly:
		return nil
	default:
		return fmt.Errorf("--on-adoption=%q: want %s or %s", o.onAdoption, plan.RestartStale, plan.BaselineOnly)
	}
}

const leaseName = "reloader-leader-election"

// electionID is the name of the lease: another one for every shard of workloads.
func (o *options) electionID() string {
	if o.watchLabels == "" {
		return leaseName
	}
	return leaderelection.GenerateID(leaseName, o.watchLabels)
}

// shard tells the controllers apart that share a namespace and watch other workloads each; empty for the only one.
func (o *options) shard() string {
	return strings.TrimPrefix(strings.TrimPrefix(o.electionID(), leaseName), "-")
}
