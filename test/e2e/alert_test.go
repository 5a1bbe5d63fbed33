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

// message is what notification-controller sends to a generic provider, as far as it matters here.
type message struct {
	InvolvedObject corev1.ObjectReference `json:"involvedObject"`
	Message        string                 `json:"message"`
	Metadata       map[string]string      `json:"metadata"`
}

func (m message) String() string {
	o := m.InvolvedObject
	return fmt.Sprintf("%s/%s/%s: %s in %s", o.Kind, o.Namespace, o.Name, m.Message, m.Metadata["revision"])
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
