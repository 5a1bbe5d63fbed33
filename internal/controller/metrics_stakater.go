package controller

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flux-reloader/reloader/internal/ledger"
)

// stakaterMetrics are those of Stakater Reloader's metrics that mean the same here, under its names, so that existing
// dashboards and alerts go on working.
type stakaterMetrics struct {
	executed *prometheus.CounterVec
	// executedIn is nil unless namespaces are counted.
	executedIn *prometheus.CounterVec
	actions    *prometheus.CounterVec
	latency    *prometheus.HistogramVec
	reconciles *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	errors     *prometheus.CounterVec
	retries    prometheus.Counter
}

func newStakaterMetrics(registry prometheus.Registerer, byNamespace bool) (*stakaterMetrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help}, labels)
	}
	m := &stakaterMetrics{
		executed:   counter("reloader_reload_executed_total", "Restarts of workloads, by whether they succeeded.", "success"),
		actions:    counter("reloader_action_total", "Restarts of workloads, by kind and result.", "workload_kind", "result"),
		latency:    histogram("reloader_action_latency_seconds", "Time that it took to write a restart.", "workload_kind"),
		reconciles: counter("reloader_reconcile_total", "Looks at a workload, by result: success or error.", "result"),
		duration:   histogram("reloader_reconcile_duration_seconds", "Time that a look at a workload took, by result.", "result"),
		errors:     counter("reloader_errors_total", "Looks at a workload that failed, by the API server's reason, or Unknown.", "type"),
		retries:    prometheus.NewCounter(prometheus.CounterOpts{Name: "reloader_retries_total", Help: "Looks at a workload that are repeated because they failed."}),
	}
	all := []prometheus.Collector{m.executed, m.actions, m.latency, m.reconciles, m.duration, m.errors, m.retries}
	if byNamespace {
		m.executedIn = counter("reloader_reload_executed_total_by_namespace",
			"Restarts of workloads, by namespace and whether they succeeded.", "success", "namespace")
		all = append(all, m.executedIn)
	}
	var err error
	for _, c := range all {
		err = errors.Join(err, registry.Register(c))
	}
	for _, success := range []bool{true, false} { // a rate needs a zero to begin with
		m.executed.WithLabelValues(strconv.FormatBool(success))
	}
	return m, err
}

// executedOf counts a restart that was tried.
func (m *stakaterMetrics) executedOf(name ledger.Workload, result string) {
	success := strconv.FormatBool(result == resultSuccess)
	m.executed.WithLabelValues(success).Inc()
	m.actions.WithLabelValues(name.Kind, result).Inc()
	if m.executedIn != nil {
		m.executedIn.WithLabelValues(success, name.Namespace).Inc()
	}
}

// measured is a reconciler whose reconciles are counted, and whose errors say what may be told to everybody: they are logged.
type measured struct {
	reconcile.TypedReconciler[ledger.Workload]
	metrics *stakaterMetrics
	now     func() time.Time
}

// Reconcile implements reconcile.TypedReconciler.
func (m measured) Reconcile(ctx context.Context, name ledger.Workload) (ctrl.Result, error) {
	start := m.now()
	result, err := m.TypedReconciler.Reconcile(ctx, name)
	label := resultSuccess
	if err != nil {
		label = "error"
		m.metrics.errors.WithLabelValues(reasonOf(err)).Inc()
		m.metrics.retries.Inc()
		err = errors.New(explain(err))
	}
	m.metrics.reconciles.WithLabelValues(label).Inc()
	m.metrics.duration.WithLabelValues(label).Observe(m.now().Sub(start).Seconds())
	return result, err
}

// reasonOf is the API's reason for an error. Webhooks that refuse a request may give any text for one, another each time:
// that is no reason of the API.
func reasonOf(err error) string {
	switch reason := apierrors.ReasonForError(err); reason {
	case metav1.StatusReasonUnauthorized, metav1.StatusReasonForbidden, metav1.StatusReasonNotFound, metav1.StatusReasonAlreadyExists,
		metav1.StatusReasonConflict, metav1.StatusReasonGone, metav1.StatusReasonInvalid, metav1.StatusReasonServerTimeout,
		metav1.StatusReasonTimeout, metav1.StatusReasonTooManyRequests, metav1.StatusReasonBadRequest,
		metav1.StatusReasonMethodNotAllowed, metav1.StatusReasonNotAcceptable, metav1.StatusReasonRequestEntityTooLarge,
		metav1.StatusReasonUnsupportedMediaType, metav1.StatusReasonInternalError, metav1.StatusReasonExpired,
		metav1.StatusReasonServiceUnavailable:
		return string(reason)
	default:
		return "Unknown"
	}
}
