package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// What a commit changes is told to whom an Alert names, once, however often Flux reconciles.
func TestAnAlertTellsOfACommitOnce(t *testing.T) {
	w := newWorld(t)
	inbox := newInbox(t)
	w.apply(alert(inbox.server.URL))
	repository, revision := w.repository(map[string]string{"deploy/settings.yaml": settings("1")})
	w.apply(w.gitSource(repository))
	w.awaitApplied(kustomization, "app", revision)
	var want []string
	for _, value := range []string{"2", "3"} {
		revision = w.commit(repository, map[string]string{"deploy/settings.yaml": settings(value)})
		w.flux("reconcile", "kustomization", "app", "--with-source")
		w.flux("reconcile", "kustomization", "app")
		want = append(want, fmt.Sprintf("Kustomization/%s/app: ConfigMap/%s/settings configured in %s", w.namespace, w.namespace, revision))
		NewWithT(t).Eventually(inbox.received).Should(Equal(want))
	}
}

// A restart is told to whom an Alert on the Kustomization or the HelmRelease names, once, with what was restarted and why.
func TestAnAlertTellsOfARestartOnce(t *testing.T) {
	for name, kind := range map[string]string{"kustomization": "Kustomization", "helmrelease": "HelmRelease"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			inbox := newInbox(t)
			w.apply(settings("1"))
			w.begin(name)
			w.apply(restartAlert(inbox.server.URL, kind))
			w.startController()
			w.awaitRevisions("web", 1)

			var want []string
			for i, value := range []string{"2", "3"} {
				harness.Later(t)
				w.apply(settings(value))
				w.awaitRevisions("web", i+2)
				want = append(want, fmt.Sprintf("%s/%s/app: restarted Deployment/web: ConfigMap/settings changed (value) of Deployment/%s/web",
					kind, w.namespace, w.namespace))
				NewWithT(t).Eventually(inbox.received).Should(Equal(want))
			}
			w.flux("reconcile", name, "app")
			w.expectRevisions("web", 3)
			NewWithT(t).Expect(inbox.received()).To(Equal(want))
		})
	}
}

// begin has the Deployment web applied by an owner of the kind.
func (w *world) begin(resource string) {
	w.t.Helper()
	if resource == "helmrelease" {
		w.publish(map[string]string{"web.yaml": web("{{ .Values.version }}")})
		w.apply(release("1", ""))
		w.awaitApplied(helmRelease, "app", "")
		return
	}
	repository, revision := w.repository(map[string]string{"deploy/web.yaml": web("1")})
	w.apply(w.gitSource(repository))
	w.awaitApplied(kustomization, "app", revision)
}

// message is what notification-controller sends to a generic provider, as far as it matters here.
type message struct {
	InvolvedObject corev1.ObjectReference `json:"involvedObject"`
	Message        string                 `json:"message"`
	Metadata       map[string]string      `json:"metadata"`
}

func (m message) String() string {
	o := m.InvolvedObject
	told := fmt.Sprintf("%s/%s/%s: %s", o.Kind, o.Namespace, o.Name, m.Message)
	if revision := m.Metadata["revision"]; revision != "" {
		told += " in " + revision
	}
	if workload := m.Metadata["workload"]; workload != "" {
		told += " of " + workload
	}
	return told
}

// inbox takes messages of notification-controller.
type inbox struct {
	server *httptest.Server

	mu       sync.Mutex
	messages []string
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	i := &inbox{}
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m message
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		i.messages = append(i.messages, m.String())
	}))
	t.Cleanup(i.server.Close)
	return i
}

func (i *inbox) received() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.messages)
}

// alert sends to an address what Flux tells of changes that it made for the Kustomization.
func alert(address string) string {
	return fmt.Sprintf(`
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata:
  name: inbox
spec:
  type: generic
  address: %s
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata:
  name: app
spec:
  providerRef: {name: inbox}
  eventSources:
    - {kind: Kustomization, name: app}
  inclusionList: [".* configured"]
`, address)
}

// restartAlert sends to an address what Reloader tells of objects of the kind.
func restartAlert(address, kind string) string {
	return fmt.Sprintf(`
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata:
  name: inbox
spec:
  type: generic
  address: %s
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata:
  name: restarts
spec:
  providerRef: {name: inbox}
  eventSources:
    - {kind: %s, name: "*"}
  inclusionList: ["^restarted "]
`, address, kind)
}
