package controller

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gotkmetrics "github.com/fluxcd/pkg/runtime/metrics"
	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/flux-reloader/reloader/internal/namespace"
	"github.com/flux-reloader/reloader/internal/notify"
	"github.com/flux-reloader/reloader/internal/owner"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/policystore"
	"github.com/flux-reloader/reloader/internal/source"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/watch/watchtest"
	"github.com/flux-reloader/reloader/internal/workload"
)

// What alerts and dashboard of the chart ask for is there: the metrics, with the labels that they are selected and summed by.
// The labels namespace, pod and container come with the scrape.
func TestAlertsAndDashboardAskForWhatThereIs(t *testing.T) {
	labels := registered(t)
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		expressions := expressionsOf(t, filepath.Join("..", "..", "charts", "reloader", "files", file))
		if len(expressions) < 4 {
			t.Errorf("%s: %d expressions", file, len(expressions))
		}
		for _, expression := range expressions {
			for _, problem := range unknown(expression, labels) {
				t.Errorf("%s: %s: %s", file, problem, expression)
			}
		}
	}
}

// The guide has a row for each metric, with its labels, and for each reason of an event; those of Stakater Reloader are on the
// page about that.
func TestTheGuideNamesMetricsAndEvents(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", "monitoring.md"))
	if err != nil {
		t.Fatal(err)
	}
	stakater := prometheus.NewRegistry()
	if _, err := newStakaterMetrics(stakater, true); err != nil {
		t.Fatal(err)
	}
	others := labelsOf(t, stakater)
	rows := []string{
		notify.ReasonReloaded, notify.ReasonReloadFail, notify.ReasonWebhookCalled, notify.ReasonInvalidAnnotation,
		notify.ReasonNotRestarted, notify.ReasonRolledBack, notify.ReasonImmutableReplaced, notify.ReasonLeftPaused,
	}
	for name, labels := range registered(t) {
		if _, other := others[name]; strings.HasPrefix(name, "reloader_") && !other {
			rows = append(rows, name+"` | `"+strings.Join(labels, "`, `"))
		}
	}
	if len(rows) < 8+8 {
		t.Errorf("%d rows", len(rows))
	}
	for _, row := range rows {
		if !strings.Contains(string(text), "\n| `"+row+"` |") {
			t.Errorf("no row for `%s`", row)
		}
	}
}

func TestUnknown(t *testing.T) {
	labels := map[string][]string{"reloader_restarts_total": {"kind"}, "reloader_seconds": {}}
	for expression, want := range map[string]int{
		`sum by (kind) (increase(reloader_restarts_total{kind="a"}[5m]))`:          0,
		`histogram_quantile(0.9, sum by (le) (rate(reloader_seconds_bucket[1h])))`: 0,
		`absent(reloader_restarts)`:                1,
		`reloader_restarts_total{result="a"} > 0`:  1,
		`max by (of) (reloader_restarts_total)`:    1,
		`reloader_restarts_total{namespace="a"}`:   0,
		`go_goroutines{pod="a"}`:                   1,
		`reloader_restarts_total_bucket{le="0.5"}`: 0,
	} {
		if got := unknown(expression, labels); len(got) != want {
			t.Errorf("%s: %q, want %d problems", expression, got, want)
		}
	}
}

// A source that went away while no controller ran, or long ago, was not seen to do so: that is no change of the year 1.
func TestAChangeOfUnknownTimeTookNoTime(t *testing.T) {
	registry, now := prometheus.NewRegistry(), time.Unix(1000, 0)
	m, err := newMetrics(registry, &watches{ready: make(chan struct{})}, false)
	if err != nil {
		t.Fatal(err)
	}
	gone := plan.Change{Event: plan.Deleted}
	m.restarted(named("web"), []plan.Change{gone}, now)
	m.restarted(named("web"), []plan.Change{gone, {SeenAt: now.Add(-2 * time.Second)}}, now)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "reloader_change_to_restart_seconds" {
			continue
		}
		if h := family.GetMetric()[0].GetHistogram(); h.GetSampleCount() != 2 || h.GetSampleSum() != 2 {
			t.Errorf("%d restarts took %g seconds, want 2 in 2", h.GetSampleCount(), h.GetSampleSum())
		}
		return
	}
	t.Error("nothing is measured")
}

// While namespaces may not be watched that a selector is to select among, nothing is restarted: that is to be alerted of, too.
func TestRefusedNamespacesAreCounted(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	defer server.Close()
	clients, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	w := &watches{
		reloader: &Reloader{}, ready: make(chan struct{}), sources: &source.Store{}, workloads: &workload.Store{}, owners: &owner.Store{},
		policies: &policystore.Store{Group: watch.Group{"reloadpolicies": {}}},
	}
	close(w.ready)
	w.namespaces, err = namespace.New(namespace.Options{
		Log: logr.Discard(), Client: clients.CoreV1().RESTClient(), Codec: clientgoscheme.ParameterCodec, Changed: func(string) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { w.namespaces.Run(ctx) })
	watchtest.Eventually(t, "the watch is refused", w.namespaces.Settled)

	registry := prometheus.NewRegistry()
	registry.MustRegister(tracked{w})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "reloader_refused_watches" {
				refused[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	want := map[string]float64{"sources": 0, "workloads": 0, "owners": 0, "policies": 0, "namespaces": 1}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

// registered are the labels of all metrics, by their names.
func registered(t *testing.T) map[string][]string {
	t.Helper()
	registry := prometheus.NewRegistry()
	if _, err := newMetrics(registry, &watches{}, true); err != nil {
		t.Fatal(err)
	}
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(gotkmetrics.NewRecorder().Collectors()...)
	return labelsOf(t, registry)
}

// labelsOf are the labels of the metrics of a registry, by their names.
func labelsOf(t *testing.T, registry *prometheus.Registry) map[string][]string {
	t.Helper()
	descriptions := make(chan *prometheus.Desc)
	go func() { registry.Describe(descriptions); close(descriptions) }()
	// A description does not tell its parts in another way.
	form := regexp.MustCompile(`^Desc\{fqName: "([^"]+)".*variableLabels: \{([^}]*)\}\}$`)
	labels := map[string][]string{}
	for description := range descriptions {
		parts := form.FindStringSubmatch(description.String())
		if parts == nil {
			t.Fatalf("not understood: %s", description)
		}
		labels[parts[1]] = strings.Split(parts[2], ",")
	}
	return labels
}

// expressionsOf are the values of all fields called expr of a file, which is YAML or JSON.
func expressionsOf(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = yaml.YAMLToJSON(text); err != nil {
		t.Fatal(err)
	}
	var content any
	if err := json.Unmarshal(text, &content); err != nil {
		t.Fatal(err)
	}
	return fields(content, "expr")
}

func fields(value any, name string) []string {
	var found []string
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			if text, ok := inner.(string); ok && key == name {
				found = append(found, text)
			}
			found = append(found, fields(inner, name)...)
		}
	case []any:
		for _, inner := range v {
			found = append(found, fields(inner, name)...)
		}
	}
	return found
}

// unknown says what an expression of Prometheus names that is not among the metrics and their labels.
func unknown(expression string, labels map[string][]string) []string {
	var problems []string
	known := []string{"le", "namespace", "pod", "container"}
	for _, name := range regexp.MustCompile(`\b(?:reloader|gotk|process|go|workqueue|controller_runtime|rest_client)_[a-z_]+`).FindAllString(expression, -1) {
		of, found := labels[name]
		if !found {
			of, found = labels[regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")]
		}
		if !found {
			problems = append(problems, "there is no "+name)
		}
		known = append(known, of...)
	}
	for _, selected := range regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`).FindAllStringSubmatch(expression, -1) {
		if !slices.Contains(known, selected[1]) {
			problems = append(problems, "there is no label "+selected[1])
		}
	}
	for _, summed := range regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`).FindAllStringSubmatch(expression, -1) {
		for label := range strings.SplitSeq(summed[1], ", ") {
			if !slices.Contains(known, label) {
				problems = append(problems, "there is no label "+label)
			}
		}
	}
	return problems
}
