package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/notify"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/workload"
)

// refusing is an API server that has a Job and takes no other: it quotes what it does not like.
func refusing(t *testing.T, former *batchv1.Job, err error) *workload.Store {
	t.Helper()
	c := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(former).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			_, stored := o.(*corev1.Secret)
			switch {
			case stored:
				return c.Create(ctx, o, options...)
			case (&client.CreateOptions{}).ApplyOptions(options).DryRun != nil:
				return nil
			}
			return err
		},
	}).Build()
	s, newErr := workload.New(workload.Options{
		Log: logr.Discard(), Scope: watch.AllNamespaces(), Kinds: workload.Kinds(), Codec: clientgoscheme.ParameterCodec,
		Client: func(schema.GroupVersionKind) (rest.Interface, error) { return nil, nil },
		Reader: c, Writer: c, State: workload.State{Client: c, Namespace: "reloader"}, Changed: func(ledger.Workload, bool) {},
	})
	if newErr != nil {
		t.Fatal(newErr)
	}
	return s
}

// What a look ends with is logged. A manifest that the API server does not take may have passwords in it, which it quotes.
func TestAFailedLookQuotesNothing(t *testing.T) {
	former := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "migrate", UID: "uid", ResourceVersion: "1"}}
	invalid := apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, "migrate", field.ErrorList{
		field.Invalid(field.NewPath("spec", "template", "spec", "containers").Index(0).Child("env"), "hunter2", "no"),
	})
	store := refusing(t, former, invalid)
	name := ledger.Workload{Kind: "Job", Namespace: "apps", Name: "migrate"}
	of := plan.Workload{Workload: name, UID: "uid", ResourceVersion: "1"}
	if _, err := store.Restart(t.Context(), workload.Actor{}, of, plan.Write{Value: "value"}); !errors.Is(err, workload.ErrUnfinished) {
		t.Fatalf("begun: %v", err)
	}
	registry := prometheus.NewRegistry()
	metrics, err := newMetrics(registry, &watches{ready: make(chan struct{})}, false)
	if err != nil {
		t.Fatal(err)
	}
	events, err := notify.New(logr.Discard(), clientgoscheme.Scheme, &record.FakeRecorder{}, "")
	if err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{
		log: logr.Discard(), options: Options{Now: time.Now}, workloads: store, policies: newBook(t).policies, metrics: metrics, events: events,
		begun: map[ledger.Workload]begun{},
	}
	_, err = measured{r, metrics.stakater, time.Now}.Reconcile(t.Context(), name)
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "spec.template.spec.containers[0].env") {
		t.Errorf("logged %q, want the field and not its value", err)
	}
	if diff := cmp.Diff(map[string]float64{"Invalid": 1}, failedLooks(t, registry)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

// failedLooks are the looks that failed, by their reason.
func failedLooks(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	looks := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "reloader_errors_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			looks[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return looks
}

// Who refuses a request may give any text for a reason, another each time: each would be a series of its own.
func TestReasonsAreOfTheAPI(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := newStakaterMetrics(registry, false)
	if err != nil {
		t.Fatal(err)
	}
	fail := func(err error) {
		by := reconcile.TypedFunc[ledger.Workload](func(context.Context, ledger.Workload) (ctrl.Result, error) { return ctrl.Result{}, err })
		if _, err := (measured{by, m, time.Now}).Reconcile(t.Context(), ledger.Workload{}); err == nil {
			t.Error("the error is lost")
		}
	}
	for i := range 20 {
		denied := &apierrors.StatusError{ErrStatus: metav1.Status{Code: 403, Reason: metav1.StatusReason(fmt.Sprintf("request %d is denied", i))}}
		fail(fmt.Errorf("annotating: %w", denied))
	}
	fail(errors.Join(apierrors.NewConflict(schema.GroupResource{}, "web", errors.New("no")), nil))
	fail(errors.New("no answer"))
	if diff := cmp.Diff(map[string]float64{"Unknown": 21, "Conflict": 1}, failedLooks(t, registry)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}
