package controller

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/ledgerstore"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/source"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/workload"
)

// remembering is a reconciler with a ledger that has this record.
func remembering(t *testing.T, now time.Time, record *ledger.Entry) *Reconciler {
	t.Helper()
	metrics, err := newMetrics(prometheus.NewRegistry(), &watches{}, false)
	if err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{
		log: logr.Discard(), options: Options{Now: func() time.Time { return now }, Selection: selection.Defaults()},
		sources: &source.Store{}, holds: newHolds(nil), policies: newBook(t).policies, ledger: ledgerstore.New(ledgerstore.Options{}),
		metrics: metrics, adoption: newAdoptionLimiter(),
	}
	if err := r.ledger.Put(record); err != nil {
		t.Fatal(err)
	}
	return r
}

// The record of an object ends with it, also if nobody saw it go and the one in its place asks for nothing.
func TestARecordEndsWithItsObject(t *testing.T) {
	now := time.Unix(1000, 0).UTC()
	r := remembering(t, now, &ledger.Entry{Workload: named("web"), UID: "former"})
	w := plan.Workload{Workload: named("web"), UID: "another"}
	if _, err := r.reconcile(t.Context(), w, &track{uid: w.UID}, true, now); err != nil {
		t.Fatal(err)
	}
	if former := r.ledger.Get("former"); !former.AbsentSince.Equal(now) {
		t.Errorf("gone since %s, want %s", former.AbsentSince, now)
	}
}

// A workload may come back while the API server is asked whether it is gone: its record is newer than that question.
func TestAWorkloadThatComesBackKeepsItsRecord(t *testing.T) {
	now := time.Unix(1e6, 0).UTC()
	absent := &ledger.Entry{Workload: named("web"), UID: "uid", AbsentSince: now.Add(-keepGone)}
	r := remembering(t, now, absent)
	back := absent.Clone()
	back.AbsentSince, back.Value = time.Time{}, "restarted"
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "web", UID: "uid"}}
	asked := 0
	c := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(web).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if asked++; asked > 1 { // the first time, nobody has come back
				if err := r.ledger.Put(back); err != nil {
					return err
				}
			}
			return c.Get(ctx, key, o, options...)
		},
	}).Build()
	var err error
	r.workloads, err = workload.New(workload.Options{
		Log: logr.Discard(), Scope: watch.AllNamespaces(), Kinds: workload.Kinds(), Codec: clientgoscheme.ParameterCodec, Reader: c,
		Client:    func(schema.GroupVersionKind) (rest.Interface, error) { return nil, nil },
		Selection: selection.Defaults(), Changed: func(ledger.Workload, bool) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.forgetGone(t.Context())
	if got := r.ledger.Get("uid"); !got.AbsentSince.Equal(now) {
		t.Errorf("one that is there, and not watched: gone since %s, want %s", got.AbsentSince, now)
	}
	if err := r.ledger.Put(absent); err != nil {
		t.Fatal(err)
	}
	r.forgetGone(t.Context())
	if diff := cmp.Diff(back, r.ledger.Get("uid")); diff != "" {
		t.Errorf("record of one that is back (-want +got):\n%s", diff)
	}
}
