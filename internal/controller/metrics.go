package controller

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/workload"
)

// Values of the label "result".
const (
	resultSuccess = "success"
	resultFailure = "failure"
)

type metrics struct {
	restarts  *prometheus.CounterVec
	latency   *prometheus.HistogramVec
	decisions *prometheus.CounterVec
	alerts    *prometheus.CounterVec
	calls     *prometheus.CounterVec
	stakater  *stakaterMetrics
}

func newMetrics(registry prometheus.Registerer, w *watches, byNamespace bool) (*metrics, error) {
	stakater, err := newStakaterMetrics(registry, byNamespace)
	m := &metrics{
		stakater: stakater,
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reloader_restarts_total",
			Help: "Restarts of workloads, by result; failed ones are tried again.",
		}, []string{"kind", "namespace", "result"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "reloader_change_to_restart_seconds",
			Help:    "Time from when a change was first seen to when the workload was restarted, settling included.",
			Buckets: []float64{.1, .5, 1, 2, 3, 5, 10, 30, 60, 300, 900, 3600},
		}, []string{"kind"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reloader_decisions_total",
			Help: "Decisions about workloads, by their reason.",
		}, []string{"kind", "reason"}),
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reloader_alerts_total",
			Help: "Alerts, by what became of them: sent, failed, or dropped because too many were waiting.",
		}, []string{"outcome"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reloader_webhook_calls_total",
			Help: "Calls of the webhook, by result; failed ones are tried again.",
		}, []string{"result"}),
	}
	for _, c := range []prometheus.Collector{m.restarts, m.latency, m.decisions, m.alerts, m.calls, tracked{w}} {
		err = errors.Join(err, registry.Register(c))
	}
	return m, err
}

func (m *metrics) decided(name ledger.Workload, verdict plan.Verdict) {
	m.decisions.WithLabelValues(name.Kind, string(verdict)).Inc()
}

func (m *metrics) restarted(name ledger.Workload, changes []plan.Change, now time.Time) {
	m.restarts.WithLabelValues(name.Kind, name.Namespace, resultSuccess).Inc()
	m.stakater.executedOf(name, resultSuccess)
	first := now
	for _, c := range changes {
		if !c.SeenAt.IsZero() && c.SeenAt.Before(first) { // nobody may have seen a source go
			first = c.SeenAt
		}
	}
	m.latency.WithLabelValues(name.Kind).Observe(now.Sub(first).Seconds())
}

func (m *metrics) failed(name ledger.Workload) {
	m.restarts.WithLabelValues(name.Kind, name.Namespace, resultFailure).Inc()
	m.stakater.executedOf(name, resultFailure)
}

func (m *metrics) alerted(outcome string) { m.alerts.WithLabelValues(outcome).Inc() }

func (m *metrics) called(result string) { m.calls.WithLabelValues(result).Inc() }

// tracked collects how much is watched, when it is asked.
type tracked struct{ watches *watches }

func (t tracked) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- sourcesDescription()
	descriptions <- workloadsDescription()
	descriptions <- refusedDescription()
}

func (t tracked) Collect(values chan<- prometheus.Metric) {
	select {
	case <-t.watches.ready:
	default:
		return
	}
	gauge := func(d *prometheus.Desc, n int, kind string) {
		values <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), kind)
	}
	for _, kind := range []reference.Kind{reference.Secret, reference.ConfigMap, reference.SecretProviderClass} {
		gauge(sourcesDescription(), t.watches.sources.Len(string(kind)), string(kind))
	}
	for _, kind := range workload.Kinds(t.watches.reloader.options.IgnoredKinds...) {
		if t.watches.workloads.Served(kind.Name) {
			gauge(workloadsDescription(), t.watches.workloads.Len(kind.Name), kind.Name)
		}
	}
	gauge(refusedDescription(), t.watches.sources.Refused(), "sources")
	gauge(refusedDescription(), t.watches.workloads.Refused(), "workloads")
	gauge(refusedDescription(), t.watches.owners.Refused(), "owners")
	gauge(refusedDescription(), t.watches.policies.Refused(), "policies")
	if t.watches.namespaces != nil {
		gauge(refusedDescription(), t.watches.namespaces.Refused(), "namespaces")
	}
}

func sourcesDescription() *prometheus.Desc {
	return prometheus.NewDesc("reloader_tracked_sources", "Secrets, ConfigMaps and SecretProviderClasses that are watched.", []string{"kind"}, nil)
}

func workloadsDescription() *prometheus.Desc {
	return prometheus.NewDesc("reloader_tracked_workloads", "Workloads that are watched.", []string{"kind"}, nil)
}

func refusedDescription() *prometheus.Desc {
	return prometheus.NewDesc("reloader_refused_watches",
		"Watches that the API server refuses, for want of permissions or of the resource, or that have failed for more than a minute.", []string{"of"}, nil)
}
