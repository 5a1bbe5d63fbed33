package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/watch/watchtest"
	"github.com/flux-reloader/reloader/internal/workload"
)

// deployments is an API server that has so many, all in one namespace.
func deployments(t *testing.T, n int) rest.Interface {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := json.NewEncoder(w)
		if r.URL.Query().Get("sendInitialEvents") != "true" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		tell := func(kind string, d appsv1.Deployment) {
			d.APIVersion, d.Kind, d.ResourceVersion = "apps/v1", "Deployment", "1"
			_ = answer.Encode(map[string]any{"type": kind, "object": d}) // nobody listens any more
		}
		for i := range n {
			tell("ADDED", appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: fmt.Sprint("web-", i)}})
		}
		tell("BOOKMARK", appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}})
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	clients, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return clients.AppsV1().RESTClient()
}

// A namespace costs what is in it: there may be thousands of either.
func TestANamespaceCostsWhatIsInIt(t *testing.T) {
	const many = 1000
	var others []string
	for _, kind := range workload.Kinds() {
		if kind.Name != "Deployment" {
			others = append(others, kind.Name)
		}
	}
	client := deployments(t, many)
	store, err := workload.New(workload.Options{
		Log: logr.Discard(), Scope: watch.AllNamespaces(), Kinds: workload.Kinds(others...), Codec: clientgoscheme.ParameterCodec,
		Client:    func(schema.GroupVersionKind) (rest.Interface, error) { return client, nil },
		Selection: selection.Defaults(), Changed: func(ledger.Workload, bool) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { store.Run(ctx) })
	watchtest.Eventually(t, "the list is read", store.Settled)

	w := &watches{reloader: &Reloader{feed: &feed[ledger.Workload]{}}, workloads: store}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 100 {
		w.namespaceChanged(fmt.Sprint("empty-", i))
	}
	runtime.ReadMemStats(&after)
	if bytes := (after.TotalAlloc - before.TotalAlloc) / 100; bytes > 10<<10 {
		t.Errorf("an empty namespace costs %d bytes", bytes)
	}
	if n := len(store.In("apps")); n != many {
		t.Errorf("%d workloads, want %d", n, many)
	}
}
