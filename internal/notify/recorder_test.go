package notify

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
)

func event(message string) Event {
	return Event{
		Object: corev1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "apps", Name: "web"},
		Reason: ReasonReloaded, Message: message, Related: related(),
	}
}

func related() *Related {
	return &Related{
		Object: corev1.ObjectReference{
			APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization", Namespace: "flux-system", Name: "apps",
		},
		Metadata: map[string]string{"workload": "Deployment/apps/web"}, Token: "value",
	}
}

func TestKubernetesEvent(t *testing.T) {
	kube := record.NewFakeRecorder(8)
	r, err := New(logr.Discard(), runtime.NewScheme(), kube, "")
	if err != nil {
		t.Fatal(err)
	}
	r.Send(event("100% restarted"))
	failed := event("no")
	failed.Warning, failed.Reason = true, ReasonReloadFail
	r.Send(failed)
	alone := event("alone")
	alone.Related = nil
	r.Send(alone)
	failed.Related.Own = true
	r.Send(failed)
	failed.Object, failed.Message = corev1.ObjectReference{}, "of the policy"
	r.Send(failed)
	for _, want := range []string{
		"Normal Reloaded 100% restarted", "Normal Reloaded 100% restarted", "Warning ReloadFail no", "Normal ReloadFail no",
		"Normal Reloaded alone", "Warning ReloadFail no", "Warning ReloadFail no", "Warning ReloadFail of the policy",
	} {
		if got := <-kube.Events; got != want {
			t.Errorf("event %q, want %q", got, want)
		}
	}
}

func TestNotificationController(t *testing.T) {
	received := make(chan map[string]any, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(request.Body).Decode(&body); err != nil {
			t.Errorf("decoding: %v", err)
		}
		received <- body
	}))
	defer server.Close()
	// Flux's recorder asks the logger's sink, which the discarding logger lacks.
	log := funcr.New(func(_, _ string) {}, funcr.Options{})
	r, err := New(log, runtime.NewScheme(), &record.FakeRecorder{}, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { _ = r.Start(ctx) }()
	r.Send(event("restarted Deployment/web"))
	select {
	case got := <-received:
		want := map[string]any{
			"message": "restarted Deployment/web", "reason": ReasonReloaded, "severity": "info", "reportingController": "reloader",
			"metadata": map[string]any{
				"kustomize.toolkit.fluxcd.io/workload": "Deployment/apps/web", "kustomize.toolkit.fluxcd.io/token": "value",
			},
			"involvedObject": map[string]any{
				"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "namespace": "flux-system", "name": "apps",
			},
		}
		delete(got, "timestamp")
		delete(got, "reportingInstance")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("posted (-want +got)\n%s", diff)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was posted")
	}
}

// A notification-controller that does not answer must not hold up a restart.
func TestSendNeverBlocks(t *testing.T) {
	r, err := New(logr.Discard(), runtime.NewScheme(), &record.FakeRecorder{}, "http://127.0.0.1:1/")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * queueSize { // nothing takes from the queue
		r.Send(event("restarted"))
	}
}

// A request that hangs must not hold up the end of the process, and with it the release of the lease.
func TestStopDoesNotWait(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	}))
	defer server.Close()
	defer close(release)
	log := funcr.New(func(_, _ string) {}, funcr.Options{})
	r, err := New(log, runtime.NewScheme(), &record.FakeRecorder{}, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- r.Start(ctx) }()
	r.Send(event("restarted"))
	<-arrived
	stop()
	if err := <-stopped; err != nil { // the server answers only after this
		t.Error(err)
	}
}
