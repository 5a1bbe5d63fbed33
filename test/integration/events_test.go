package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

// listener stands for notification-controller.
type listener struct {
	server *httptest.Server
	// ended is closed with the test: what takes its time to answer does until then.
	ended chan struct{}

	mu       sync.Mutex
	received []string
}

func newListener(t *testing.T, answer func(http.ResponseWriter, <-chan struct{})) *listener {
	t.Helper()
	l := &listener{ended: make(chan struct{})}
	l.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var event struct {
			InvolvedObject corev1.ObjectReference `json:"involvedObject"`
			Severity       string                 `json:"severity"`
			Message        string                 `json:"message"`
		}
		_ = json.NewDecoder(r.Body).Decode(&event)
		l.mu.Lock()
		l.received = append(l.received, fmt.Sprintf("%s %s/%s: %s", event.Severity, event.InvolvedObject.Kind, event.InvolvedObject.Name, event.Message))
		l.mu.Unlock()
		answer(w, l.ended)
	}))
	t.Cleanup(func() { close(l.ended); l.server.Close() })
	return l
}

func (l *listener) messages() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.received...)
}

// A notification-controller that is slow, that has heard it before or that is not there holds up nothing.
func TestWhoIsToldHoldsUpNothing(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, <-chan struct{}){
		"slow":              func(_ http.ResponseWriter, ended <-chan struct{}) { <-ended },
		"heard it before":   func(w http.ResponseWriter, _ <-chan struct{}) { w.WriteHeader(http.StatusTooManyRequests) },
		"not there":         nil,
		"not in good order": func(w http.ResponseWriter, _ <-chan struct{}) { w.WriteHeader(http.StatusInternalServerError) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := NewWithT(t)
			l := newListener(t, answer)
			if answer == nil {
				l.server.Close()
			}
			w.create(configMap("settings", "key", "0"), deployment("web", auto, envFromConfigMap("settings")))
			w.createMarker()
			w.awaitRollout("web")
			policy := w.policy("apps", `{workloads: [{kind: Deployment, name: web}]}`)
			w.startController(quick, "--events-addr="+l.server.URL)
			w.awaitRecord("web", marker)
			policy.awaitReady()
			for i := range 3 {
				w.later()
				w.setConfigMap("settings", "key", fmt.Sprint(i+1))
				w.awaitRestart("web", i+1)
				w.awaitRecord("web")
			}
			w.mark(1)
			w.expectRestarts("web", 3)
			if name == "heard it before" {
				const told = "info ReloadPolicy/apps: restarted Deployment/web: ConfigMap/settings changed (key)"
				g.Eventually(l.messages).Should(ContainElements(told, told, told))
				g.Expect(l.messages()).To(HaveLen(4), "with the one about the policy itself, and nothing is repeated")
			}
		})
	}
}
