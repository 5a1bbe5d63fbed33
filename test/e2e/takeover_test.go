package e2e

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// A restart that the leader died of, so to speak, is told by the next one: whoever gets the messages gets one, be it that the
// leader had not told it, or that it had, and nothing was on record of the restart.
func TestAnAlertTellsOfARestartOnceThoughTheLeaderDies(t *testing.T) {
	for name, told := range map[string]bool{"before it tells": false, "after it told": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := NewWithT(t)
			inbox := newInbox(t)
			w.apply(settings("1"))
			w.begin("kustomization")
			w.apply(restartAlert(inbox.server.URL, "Kustomization"))
			ledger := w.putLedgerAtRisk()
			events := newRelay(t, shared.Flux().EventsAddress)
			first := w.launch("a", events.server.URL)
			first.AwaitLeading()
			second := w.launch("b", events.server.URL)
			second.AwaitReady()
			w.awaitRevisions("web", 1)

			harness.Later(t)
			ledger.lost.Store(true)
			die := func(forward func()) {
				if told {
					forward()
				}
				_ = first.Process.Signal(syscall.SIGKILL)
			}
			events.arrives.Store(&die)
			w.apply(settings("2"))
			g.Eventually(first.Process.Exited()).Should(BeClosed(), "it dies of the event")
			ledger.lost.Store(false)
			const message = "restarted Deployment/web: ConfigMap/settings changed (value) of Deployment/"
			one := "Kustomization/" + w.namespace + "/app: " + message + w.namespace + "/web"
			if told {
				g.Eventually(inbox.received).Should(Equal([]string{one}))
			} else {
				g.Expect(inbox.received()).To(BeEmpty())
			}
			second.AwaitLeading()
			w.awaitRevisions("web", 2)
			g.Eventually(inbox.received).Should(Equal([]string{one}))

			t.Log("events are sent one after another: what comes next shows that nothing is on its way")
			harness.Later(t)
			w.apply(settings("3"))
			w.awaitRevisions("web", 3)
			g.Eventually(inbox.received).Should(Equal([]string{one, one}))
		})
	}
}

// atRisk refuses to store the ledger while it is to be lost.
type atRisk struct{ lost atomic.Bool }

// putLedgerAtRisk lets the controllers that are started from now on lose what they record, when told so.
func (w *world) putLedgerAtRisk() *atRisk {
	w.t.Helper()
	risk := &atRisk{}
	w.kubeconfig = harness.Proxy{Cluster: shared, Namespace: w.namespace, Handle: func(forward http.Handler, response http.ResponseWriter, request *http.Request) {
		if risk.lost.Load() && request.Method != http.MethodGet && strings.Contains(request.URL.Path, "/configmaps") {
			http.Error(response, "not now", http.StatusServiceUnavailable)
			return
		}
		forward.ServeHTTP(response, request)
	}}.Start(w.t)
	return risk
}

// relay stands between controllers and notification-controller.
type relay struct {
	server *httptest.Server
	// arrives is called, once, instead of forwarding the next event about a restart; nil to forward it.
	arrives atomic.Pointer[func(forward func())]
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{}
	forward := func(response http.ResponseWriter, request *http.Request, body []byte) {
		sent, err := http.NewRequestWithContext(request.Context(), request.Method, to, bytes.NewReader(body))
		if err != nil {
			http.Error(response, err.Error(), http.StatusInternalServerError)
			return
		}
		sent.Header = request.Header.Clone()
		answer, err := http.DefaultClient.Do(sent)
		if err != nil {
			http.Error(response, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = answer.Body.Close() }()
		response.WriteHeader(answer.StatusCode)
	}
	r.server = httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		if bytes.Contains(body, []byte(`"restarted `)) {
			if arrives := r.arrives.Swap(nil); arrives != nil {
				(*arrives)(func() { forward(response, request, body) })
				return
			}
		}
		forward(response, request, body)
	}))
	t.Cleanup(r.server.Close)
	return r
}
