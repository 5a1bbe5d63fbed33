package integration

import (
	"net/http"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// With a webhook nothing is restarted: the webhook is called for each change, until it has accepted that, and not again;
// also for changes that were made while no controller ran.
func TestTheWebhookIsCalledInsteadOfRestarting(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	s := newSink(t, code(http.StatusInternalServerError))
	w.create(secret("password", "key", "1"), deployment("web", auto, envFromSecret("password")))
	w.awaitRollout("web")
	address := harness.FreeAddress(t)
	flags := []string{quick, "--webhook-url=" + s.url(), "--max-retry-delay=1s", "--log-level=trace", "--metrics-addr=" + address}
	c := w.startController(flags...)
	w.awaitRecord("web")

	t.Log("refused, then redirected, then accepted")
	w.setSecret("password", "key", "2")
	g.Eventually(func() int { return len(s.posts()) }).Should(BeNumerically(">=", 3), "it is tried again")
	s.answers(redirect)
	g.Eventually(func() []string { return w.events("web", "ReloadFail") }).Should(ConsistOf(
		"Warning Deployment/web not restarted: Secret/password changed (key), but: calling the webhook: HTTP 500 Internal Server Error",
		"Warning Deployment/web not restarted: Secret/password changed (key), but: calling the webhook: HTTP 307 Temporary Redirect: redirects are not followed"))
	s.answers(code(http.StatusNoContent))
	const told = "Normal webhook called instead of restarting Deployment/web: Secret/password changed (key)"
	g.Eventually(func() []string { return w.events("web", "WebhookCalled") }).Should(ConsistOf(told))
	g.Expect(s.posts()).To(HaveEach("POST " + sinkPath + ` {"webhook":"update successful"}`))
	w.awaitRecord("web")
	calls := func() (int, error) { return gauge(address, `reloader_webhook_calls_total{result="success"}`) }
	g.Eventually(calls).Should(Equal(1))
	metrics, err := scrape(address)
	g.Expect(err).NotTo(HaveOccurred())
	c.stop()
	w.expectHidden(c, metrics)

	t.Log("what was accepted is not told again; what changed meanwhile is")
	n := len(s.posts())
	c = w.startController(flags...)
	g.Eventually(func() int { return c.decided("Deployment/"+w.namespace+"/web", "InSync") }).Should(Equal(1))
	c.stop()
	g.Expect(s.posts()).To(HaveLen(n))
	w.setSecret("password", "key", "3")
	c = w.startController(flags...)
	g.Eventually(calls).Should(Equal(1))
	w.awaitRecord("web")
	g.Expect(s.posts()).To(HaveLen(n + 1))
	g.Expect(w.patches()).To(BeZero())
	w.expectRestarts("web", 0)
	c.stop()
	w.expectHidden(c, "")
}

// A webhook that does not answer holds up nobody: a single worker has it called for all, and looks after the others meanwhile.
func TestASlowWebhookHoldsUpNothing(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	var open atomic.Int64
	release := make(chan struct{})
	s := newSink(t, func(_ http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer s.server.CloseClientConnections()
	defer close(release)
	w.create(secret("password", "key", "1"))
	names := []string{"one", "two", "three"}
	for _, name := range names {
		w.create(deployment(name, auto, envFromSecret("password")))
	}
	w.awaitRollout(names...)
	c := w.startController(quick, "--webhook-url="+s.url(), "--concurrent=1")
	w.awaitRecord(names...)
	w.later()
	w.setSecret("password", "key", "2")
	g.Eventually(open.Load).Should(BeNumerically(">=", len(names)), "all are called for at the same time")
	w.create(deployment("other", auto, envFromSecret("password")))
	c.awaitVerdict(w, "other", "Baseline", 0)
	w.awaitRecord("other")
	for _, name := range names {
		g.Expect(w.events(name, "WebhookCalled")).To(BeEmpty())
	}
}
