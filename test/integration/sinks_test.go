package integration

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// sinkPath is the secret part of a sink's URL.
const sinkPath = "/services/planted-in-a-url"

// sink is a receiver of alerts, or of the webhook.
type sink struct {
	server *httptest.Server

	mu       sync.Mutex
	answer   func(http.ResponseWriter, *http.Request)
	received []string
}

func newSink(t *testing.T, answer func(http.ResponseWriter, *http.Request)) *sink {
	t.Helper()
	s := &sink{answer: answer}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.received = append(s.received, r.Method+" "+r.URL.Path+" "+string(body))
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.server.Close)
	return s
}

func (s *sink) url() string { return s.server.URL + sinkPath }

func (s *sink) posts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.received)
}

func (s *sink) answers(with func(http.ResponseWriter, *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = with
}

func code(status int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

func redirect(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// expectHidden checks that a sink's URL is nowhere in what the controller has told.
func (w *world) expectHidden(c *controller, metrics string) {
	w.t.Helper()
	g := NewWithT(w.t)
	log, err := os.ReadFile(c.process.LogFile())
	g.Expect(err).NotTo(HaveOccurred())
	told := map[string]string{"log": string(log), "metrics": metrics}
	for name, list := range map[string]client.ObjectList{"events": &corev1.EventList{}, "configmaps": &corev1.ConfigMapList{}} {
		g.Expect(w.admin.List(w.t.Context(), list, client.InNamespace(w.namespace))).To(Succeed())
		text, err := json.Marshal(list)
		g.Expect(err).NotTo(HaveOccurred())
		told[name] = string(text)
	}
	for where, text := range told {
		g.Expect(text).NotTo(ContainSubstring("planted-in-a-url"), where)
	}
}

// Alerts tell of restarts and of those that fail, each once.
func TestAlertsTellOfRestartsAndOfFailures(t *testing.T) {
	w := newWorld(t)
	s := newSink(t, code(http.StatusOK))
	w.environment = []string{
		"ALERT_ON_RELOAD=true", "ALERT_SINK=slack", "ALERT_WEBHOOK_URL=" + s.url(), "ALERT_ADDITIONAL_INFO=prod",
	}
	w.create(secret("password", "key", "1"), deployment("web", auto, envFromSecret("password")),
		configMap("settings", "key", "1"), deployment("refused", auto, envFromConfigMap("settings")))
	w.awaitRollout("web", "refused")
	address := harness.FreeAddress(t)
	c := w.startController(quick, "--max-retry-delay=1s", "--log-level=trace", "--metrics-addr="+address)
	w.awaitRecord("web", "refused")
	w.later()
	allow := w.refuseRestarts("refused")
	w.setConfigMap("settings", "key", "2")
	w.setSecret("password", "key", "2")
	w.awaitRestart("web", 1)
	g := NewWithT(t)
	post := func(text, color string) string {
		return "POST " + sinkPath + ` {"attachments":[{"text":"prod : ` + text + `","color":"` + color + `","author_name":"Reloader"}]}`
	}
	restarted := post("restarted Deployment/"+w.namespace+"/web: Secret/password changed (key)", "good")
	refused := HavePrefix("POST " + sinkPath + ` {"attachments":[{"text":"prod : Deployment/` + w.namespace +
		"/refused not restarted: ConfigMap/settings changed (key), but: ")
	g.Eventually(s.posts).Should(ConsistOf(restarted, refused))
	g.Eventually(func() int { return w.patches("refused") }).Should(BeNumerically(">", 2), "it is tried again")
	g.Eventually(func() (int, error) { return gauge(address, `reloader_alerts_total{outcome="sent"}`) }).Should(Equal(2))
	allow()
	w.awaitRestart("refused", 1)
	g.Eventually(s.posts).Should(ConsistOf(restarted, refused,
		post("restarted Deployment/"+w.namespace+"/refused: ConfigMap/settings changed (key)", "good")))
	metrics, err := scrape(address)
	g.Expect(err).NotTo(HaveOccurred())
	w.expectHidden(c, metrics)
}

// A receiver of alerts that does not answer, or that refuses or redirects them, holds up nothing.
func TestAlertsHoldUpNothing(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"slow":      func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"refuses":   code(http.StatusForbidden),
		"redirects": redirect,
		"not there": nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := newSink(t, answer)
			if answer == nil {
				s.server.Close()
			}
			w.environment = []string{"ALERT_ON_RELOAD=true", "ALERT_SINK=gchat", "ALERT_WEBHOOK_URL=" + s.url()}
			w.create(configMap("settings", "key", "0"), deployment("web", auto, envFromConfigMap("settings")))
			w.awaitRollout("web")
			c := w.startController(quick)
			w.awaitRecord("web")
			for i, value := range []string{"1", "2"} {
				w.later()
				w.setConfigMap("settings", "key", value)
				w.awaitRestart("web", i+1)
				w.awaitRecord("web")
			}
			if name == "refuses" || name == "redirects" {
				NewWithT(t).Eventually(func() int { return len(c.lines("alert not sent")) }).Should(Equal(2))
			}
			c.stop()
			w.expectHidden(c, "")
		})
	}
}
