// Package watchtest is for tests of what is built from watches: an API server that tells what a test wants to be told,
// and a search for what is kept of it.
package watchtest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Stream returns clients of an API server that knows one object of each resource, and its versions: watches tell the
// first as there already, and the others as they come. It ends with the test.
func Stream(t testing.TB, versions map[string][]runtime.Object) kubernetes.Interface {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", runtime.ContentTypeJSON)
		answer := json.NewEncoder(w)
		done := &unstructured.Unstructured{}
		for i, object := range versions[path.Base(r.URL.Path)] {
			done.SetGroupVersionKind(object.GetObjectKind().GroupVersionKind())
			kind := map[bool]string{true: "ADDED", false: "MODIFIED"}[i == 0]
			_ = answer.Encode(map[string]any{"type": kind, "object": object}) // nobody listens any more
			if i == 0 {
				done.SetResourceVersion(object.(metav1.Object).GetResourceVersion())
				done.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
				_ = answer.Encode(map[string]any{"type": "BOOKMARK", "object": done})
			}
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	clients, err := kubernetes.NewForConfig(&rest.Config{
		Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON},
	})
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

// List returns clients of an API server that lists those of the objects that a field selector names. It ends with the test.
func List(t testing.TB, objects ...runtime.Object) kubernetes.Interface {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resource := path.Base(r.URL.Path)
		items := []runtime.Object{}
		for _, object := range objects {
			known := map[string]bool{"secrets": false, "configmaps": false}
			switch object.(type) {
			case *corev1.Secret:
				known["secrets"] = true
			case *corev1.ConfigMap:
				known["configmaps"] = true
			}
			if known[resource] && r.URL.Query().Get("fieldSelector") == "metadata.name="+object.(metav1.Object).GetName() {
				items = append(items, object)
			}
		}
		kind := map[string]string{"secrets": "SecretList", "configmaps": "ConfigMapList"}[resource]
		w.Header().Set("Content-Type", runtime.ContentTypeJSON)
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "v1", "kind": kind, "items": items}) // nobody listens any more
	}))
	t.Cleanup(server.Close)
	clients, err := kubernetes.NewForConfig(&rest.Config{
		Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON},
	})
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

// Run runs something until it has told so many times and has settled, and waits until it has ended.
func Run(t testing.TB, run func(context.Context), told <-chan struct{}, times int, settled func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	defer running.Wait()
	defer cancel()
	for range times {
		select {
		case <-told:
		case <-ctx.Done():
			t.Fatal("the changes were not told")
		}
	}
	Eventually(t, "settled", settled) // client-go notes it apart from what it tells
}
