package controller

import (
	"context"
	"fmt"
	"net/http"
	"time"

	gotkmetrics "github.com/fluxcd/pkg/runtime/metrics"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/notify"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/workload"
)

// Options are what the controller is set up with.
type Options struct {
	// Namespace is the controller's own, where the ledger and the digest key are.
	Namespace string
	// Shard tells controllers apart that share the namespace; empty for the only one.
	Shard string
	// Scope is the namespaces whose workloads are restarted.
	Scope watch.Scope
	// IgnoredKinds are kinds of workloads that are not even watched. Optional kinds that are not among them are watched where
	// their API is served.
	IgnoredKinds []string
	// WorkloadSelector is a label selector of the workloads that are watched; empty for all.
	WorkloadSelector string
	Selection        selection.Settings
	// NamespaceLabels select the namespaces within the scope whose workloads count; nil for all.
	NamespaceLabels labels.Selector
	// SourceLabels select the sources that count; nil for all.
	SourceLabels labels.Selector
	Policy       plan.Policy

	// Concurrent is how many workloads are reconciled at once.
	Concurrent int
	// MinRetryDelay and MaxRetryDelay bound the backoff after errors.
	MinRetryDelay time.Duration
	MaxRetryDelay time.Duration
	// RequeueDependency is when to look again at a workload whose required source is absent.
	RequeueDependency time.Duration
	// OwnerTimeout is how long a Flux object that is reconciling holds the workloads that it applies.
	OwnerTimeout time.Duration
	// DefaultServiceAccount is impersonated for policies that name no account; empty for none.
	DefaultServiceAccount string
	// NoCrossNamespaceRefs refuses policies that select other namespaces.
	NoCrossNamespaceRefs bool
	// Webhook is called instead of restarting; nothing if it is zero.
	Webhook notify.Address
	// Alerts say where alerts about restarts go; none are sent without a URL.
	Alerts notify.AlertOptions
	// CountByNamespace keeps the metric reloader_reload_executed_total_by_namespace, with a series for each namespace.
	CountByNamespace bool
	// MetaInfo is what the ConfigMap reloader-meta-info says; nil for none. It is for everybody to read.
	MetaInfo map[string]string
	// EventsAddress is where Flux's notification-controller listens; empty for none.
	EventsAddress string

	// Now is the controller's clock.
	Now func() time.Time
	// Registry takes the metrics.
	Registry prometheus.Registerer
}

// Reloader is the controller and its parts.
type Reloader struct {
	options Options
	log     logr.Logger
	config  *rest.Config
	http    *http.Client
	scheme  *runtime.Scheme
	// client talks to the API server directly. Nothing reads through the manager's cache.
	client  client.Client
	events  *notify.Recorder
	alerts  *notify.Alerter
	webhook *notify.Webhook
	metrics *metrics
	feed    *feed[ledger.Workload]
	// policyFeed carries ReloadPolicies.
	policyFeed *feed[policy.Name]
	// duration measures reconciles of policies, as Flux's controllers do.
	duration *gotkmetrics.Recorder
	watches  *watches
}

// SetupWithManager adds the controller to the manager.
func SetupWithManager(mgr ctrl.Manager, options Options) error {
	r := &Reloader{
		options: options, log: mgr.GetLogger().WithName("reloader"), config: mgr.GetConfig(), http: mgr.GetHTTPClient(),
		scheme: mgr.GetScheme(), feed: &feed[ledger.Workload]{}, policyFeed: &feed[policy.Name]{}, duration: gotkmetrics.MustMakeRecorder(),
	}
	workload.AddToScheme(r.scheme)
	var err error
	r.client, err = client.New(r.config, client.Options{HTTPClient: r.http, Scheme: r.scheme, Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return fmt.Errorf("making the client: %w", err)
	}
	// The recorder for the newer events API drops notes of more than 1,024 bytes; Flux records in the older one too.
	//nolint:staticcheck // SA1019: deprecated for the newer API, see above
	kube := mgr.GetEventRecorderFor("reloader")
	if r.events, err = notify.New(r.log.WithName("events"), r.scheme, kube, options.EventsAddress); err != nil {
		return fmt.Errorf("making the event recorder: %w", err)
	}
	r.watches = newWatches(r)
	if r.metrics, err = newMetrics(options.Registry, r.watches, options.CountByNamespace); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	r.webhook = notify.NewWebhook(options.Webhook)
	r.alerts = notify.NewAlerter(r.log.WithName("alerts"), options.Alerts, r.metrics.alerted)
	apiServer, err := r.checkAPIServer()
	if err != nil {
		return err
	}
	// The answer of a failing probe names the check; only the log has the reason.
	checks := map[string]healthz.Checker{"digest-key": r.watches.checkKey, "watches": r.watches.check, "api-server": apiServer}
	for name, check := range checks {
		if err := mgr.AddReadyzCheck(name, check); err != nil {
			return fmt.Errorf("adding the readiness check %s: %w", name, err)
		}
	}
	parts := []manager.Runnable{r.events, r.alerts, r.watches, &leader{reloader: r}}
	if options.MetaInfo != nil {
		parts = append(parts, metaInfo{r})
	}
	for _, part := range parts {
		if err := mgr.Add(part); err != nil {
			return fmt.Errorf("adding to the manager: %w", err)
		}
	}
	return nil
}

// restClient makes a client for watches of a kind. It speaks protobuf where the kind does.
func (r *Reloader) restClient(kind schema.GroupVersionKind) (rest.Interface, error) {
	return r.restClientIn(kind, r.scheme)
}

// restClientIn makes a client for watches of a kind that the scheme knows.
func (r *Reloader) restClientIn(kind schema.GroupVersionKind, scheme *runtime.Scheme) (rest.Interface, error) {
	c, err := apiutil.RESTClientForGVK(kind, false, false, r.config, serializer.NewCodecFactory(scheme), r.http)
	if err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", kind, err)
	}
	return c, nil
}

// checkAPIServer is ready while the API server answers.
func (r *Reloader) checkAPIServer() (healthz.Checker, error) {
	core, err := r.restClient(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err != nil {
		return nil, err
	}
	return func(request *http.Request) error {
		ctx, cancel := context.WithTimeout(request.Context(), 2*time.Second)
		defer cancel()
		if err := core.Get().AbsPath("/version").Do(ctx).Error(); err != nil {
			return fmt.Errorf("the API server does not answer: %w", err)
		}
		return nil
	}, nil
}
