package integration

import (
	"bytes"
	"net/http"
	"testing"

	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	keySecret = "reloader-digest-key"
	// keyLost is what the controller says of a ledger that was made with another key than there is now.
	keyLost = "the ledger was made with another digest key and is lost: every workload is met for the first time, " +
		"changes made since are missed"
)

// Without its key the ledger says nothing. Every workload is met for the first time then, also one whose sources have
// changed meanwhile, and nothing restarts.
func TestALostKeyRestartsNothing(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(w *world, c *controller){
		"deleted before a crash": func(w *world, c *controller) {
			w.remove(secret(keySecret))
			c.kill()
		},
		"replaced while no controller runs": func(w *world, c *controller) {
			c.stop()
			w.replaceKey()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.createStale()
			c := w.startController(quick)
			w.awaitRecord("web", marker)
			w.later()
			lose(w, c)
			w.setSecret("password", "password", "2")
			c = w.startController(quick)
			w.expectFirstSight(c, 2)
		})
	}
}

// createStale makes a workload and, well before, the Secret that it reads: once that changes, nobody who meets the
// workload could doubt that its pod is stale.
func (w *world) createStale() {
	w.t.Helper()
	w.create(secret("password", "password", "1"))
	w.later()
	w.create(deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
}

// expectFirstSight checks that the controller has lost so many records and says so, that this restarted nothing, and that
// it works from then on, as do those after it.
func (w *world) expectFirstSight(c *controller, records int) {
	w.t.Helper()
	g := NewWithT(w.t)
	g.Expect(c.lines("leading")).To(ConsistOf(And(
		HaveKeyWithValue("ledgerEntries", BeZero()), HaveKeyWithValue("newLedger", true))))
	if records > 0 {
		g.Expect(c.lines(keyLost)).To(ConsistOf(HaveKeyWithValue("records", BeEquivalentTo(records))))
	}
	w.mark(1)
	w.expectRestarts("web", 0)
	g.Expect(w.patches("web")).To(BeZero())
	w.awaitRecord("web", marker)

	w.later()
	w.setSecret("password", "password", "3")
	w.awaitRestart("web", 1)
	w.awaitRecord("web", marker)
	c.stop()
	c = w.startController(quick)
	g.Expect(c.lines("leading")).To(ConsistOf(And(
		HaveKeyWithValue("ledgerEntries", BeEquivalentTo(2)), HaveKeyWithValue("newLedger", false))))
	w.mark(2)
	w.expectRestarts("web", 1)
	g.Expect(w.accepted("web")).To(Equal(1))
}

// replaceKey puts another digest key in the place of the one there is.
func (w *world) replaceKey() {
	w.t.Helper()
	g := NewWithT(w.t)
	key := &corev1.Secret{}
	g.Expect(w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: w.state, Name: keySecret}, key)).To(Succeed())
	other := secret(keySecret)
	other.Namespace, other.Labels, other.Immutable = w.state, key.Labels, key.Immutable
	for field, material := range key.Data {
		other.Data[field] = bytes.Repeat([]byte{'k'}, len(material))
	}
	g.Expect(w.admin.Delete(w.t.Context(), key)).To(Succeed())
	g.Expect(w.admin.Create(w.t.Context(), other)).To(Succeed())
}

// A controller whose digests are of another key than everybody's ends rather than to compare them: the one that leads as
// soon as it finds out, the one that waits when it is to lead.
func TestAKeyThatIsReplacedEndsThoseWhoHaveTheFormerOne(t *testing.T) {
	w := newWorld(t)
	w.createStale()
	leader := w.launch(w.state+"-a", election()...)
	leader.awaitLeading()
	other := w.launch(w.state+"-b", election()...)
	other.awaitReady()
	w.awaitRecord("web", marker)
	w.replaceKey()

	g := NewWithT(t)
	for _, c := range []*controller{leader, other} {
		g.Eventually(c.process.Exited()).WithTimeout(upkeepTimeout).Should(BeClosed())
		g.Expect(c.process.Wait()).NotTo(Succeed())
		g.Expect(c.log()).To(ContainSubstring("the digest key was replaced"))
	}
	g.Expect(other.leading()).To(BeFalse())
	w.setSecret("password", "password", "2")
	w.expectFirstSight(w.startController(quick), 2)
}

// Two replicas that both find no key, and both make one, use the same one afterwards: what the one recorded the other
// compares to.
func TestTwoReplicasAtOnceAgreeOnOneKey(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "1"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	gate := w.hold(admissionregistrationv1.Create, "", "secrets", func() error {
		probe := secret(keySecret)
		probe.Namespace = w.state
		return w.admin.Create(t.Context(), probe, client.DryRunAll)
	})
	leader, other := w.launch(w.state+"-a", election()...), w.launch(w.state+"-b", election()...)
	g := NewWithT(t)
	g.Eventually(gate.waiting.Load).Should(BeEquivalentTo(2), "both found no key")
	gate.open()
	leader.awaitReady()
	other.awaitReady()
	g.Eventually(w.answers).WithArguments("create", "secrets").Should(ConsistOf(http.StatusCreated, http.StatusConflict))

	g.Eventually(func() bool { return leader.leading() || other.leading() }).Should(BeTrue())
	if other.leading() {
		leader, other = other, leader
	}
	w.awaitRecord("web", marker)
	w.later()
	w.setSecret("password", "password", "2")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	leader.kill()
	other.awaitLeading()
	g.Expect(other.lines("leading")).To(ConsistOf(And(
		HaveKeyWithValue("ledgerEntries", BeEquivalentTo(2)), HaveKeyWithValue("newLedger", false))))
	w.mark(1)
	w.expectRestarts("web", 1)
	g.Expect(w.accepted("web")).To(Equal(1))
}

// answers are the codes of the API server's answers to the controller's requests of this kind.
func (w *world) answers(verb, resource string) []int {
	w.t.Helper()
	var codes []int
	for _, e := range w.requests() {
		if e.Verb == verb && e.Resource == resource {
			codes = append(codes, e.Code)
		}
	}
	return codes
}
