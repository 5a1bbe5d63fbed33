package integration

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// election are flags of a leader election that a slow machine does not lose.
func election(flags ...string) []string {
	return append(flags, quick, "--enable-leader-election", "--leader-election-lease-duration=15s",
		"--leader-election-renew-deadline=10s", "--leader-election-retry-period=500ms")
}

func TestOnlyTheLeaderRestartsAndAnotherTakesOver(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "0"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	leader := w.launch(w.state+"-a", election()...)
	leader.awaitLeading()
	other := w.launch(w.state+"-b", election()...)
	other.awaitReady()
	w.awaitRecord("web", marker)
	w.later()

	w.setSecret("password", "password", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	g := NewWithT(t)
	g.Expect(other.leading()).To(BeFalse())
	g.Expect(w.accepted("web")).To(Equal(1))

	t.Log("the leader dies, and there is a change before another leads")
	w.later()
	leader.kill()
	w.setSecret("password", "password", "2")
	g.Expect(other.leading()).To(BeFalse())
	other.awaitLeading()
	w.awaitRestart("web", 2)
	w.mark(1)
	w.expectRestarts("web", 2)
	g.Expect(w.accepted("web")).To(Equal(2))
	g.Expect(other.lines("leading")[0]).To(HaveKeyWithValue("ledgerEntries", BeEquivalentTo(2)))

	t.Log("the second ends as it should, and a third takes over at once")
	third := w.launch(w.state+"-c", election()...)
	third.awaitReady()
	other.stop()
	third.awaitLeading()
	w.mark(2)
	w.expectRestarts("web", 2)
	g.Expect(w.accepted("web")).To(Equal(2))
}

// The leader dies in the middle of many changes: some are restarted and on record, some are restarted and not on record,
// some were only seen, some come while nobody leads. Each workload is restarted once all the same.
func TestEveryChangeOfABurstRestartsOnceThoughTheLeaderDies(t *testing.T) {
	const count = 40
	w := newWorld(t)
	var names []string
	for i := range count {
		name := fmt.Sprintf("web-%d", i)
		names = append(names, name)
		w.create(configMap(name, "key", "0"), deployment(name, auto, envFromConfigMap(name)))
	}
	w.createMarker()
	w.awaitRollout(names...)
	leader := w.launch(w.state+"-a", election()...)
	leader.awaitLeading()
	other := w.launch(w.state+"-b", election()...)
	other.awaitReady()
	w.awaitRecord(append(names, marker)...)
	w.later()

	g := NewWithT(t)
	restarted := func() int { return len(leader.lines("restarted")) }
	for i, name := range names {
		if i == count/2 {
			g.Eventually(restarted).WithPolling(5 * time.Millisecond).Should(BeNumerically(">", 0))
			leader.kill()
			t.Logf("killed after %d restarts and %d changes", restarted(), i)
			g.Expect(other.leading()).To(BeFalse())
		}
		w.setConfigMap(name, "key", "1")
	}
	other.awaitLeading()
	for _, name := range names {
		w.awaitRestart(name, 1)
	}
	w.awaitRecord(names...)
	w.mark(1)
	for _, name := range names {
		w.expectRestarts(name, 1)
	}
}

func TestAGracefulEndWritesTheLedgerAndReleasesTheLease(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "0"), deployment("web", auto, envFromSecret("password")))
	w.awaitRollout("web")
	metrics := harness.FreeAddress(t)
	c := w.launch(w.state, election("--metrics-addr="+metrics)...)
	c.awaitLeading()
	w.awaitRecord("web")
	g := NewWithT(t)
	g.Eventually(func() []corev1.ConfigMap { return w.ledger(t.Context()) }).ShouldNot(ContainElement(
		HaveField("Annotations", HaveKey("reloader.contrib.fluxcd.io/ledger-bootstrap"))), "the end of the bootstrap is a write of its own")

	t.Log("a label moves the resourceVersion, which is not worth a write of its own")
	labelled := &corev1.Secret{}
	change(w, labelled, "password", func(s *corev1.Secret) { s.Labels = with(s.Labels, "a", "b") })
	g.Eventually(func() (int, error) {
		w.annotate("web", "example.test/seen", fmt.Sprint(w.edits["web"]))
		return decisions(metrics, "InSync")
	}).WithPolling(time.Second).Should(BeNumerically(">", 1))
	version := fmt.Sprintf("%q:%q", "rv", labelled.ResourceVersion)
	g.Expect(w.recorded("web")).NotTo(ContainSubstring(version))
	c.stop()
	g.Expect(w.recorded("web")).To(ContainSubstring(version), "all that was known is written at the end")
	lease := &coordinationv1.Lease{}
	g.Expect(w.admin.Get(t.Context(), client.ObjectKey{Namespace: w.state, Name: "reloader-leader-election"}, lease)).To(Succeed())
	g.Expect(lease.Spec.HolderIdentity).To(Or(BeNil(), HaveValue(BeEmpty())))

	c = w.launch(w.state, election()...)
	c.awaitLeading()
	g.Expect(c.lines("leading")[0]).To(And(
		HaveKeyWithValue("ledgerEntries", BeEquivalentTo(1)), HaveKeyWithValue("newLedger", false)))
	w.expectRestarts("web", 0)
}
