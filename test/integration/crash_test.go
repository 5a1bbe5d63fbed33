package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// killOnRestart makes the controller crash as soon as the API server shows another value in the Deployment's template.
// What it returns waits for that.
func (w *world) killOnRestart(c *controller, name string) (wait func()) {
	w.t.Helper()
	g := NewWithT(w.t)
	before := w.deployment(name)
	changes, err := clients.AppsV1().Deployments(w.namespace).Watch(w.t.Context(), metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", name).String(),
		ResourceVersion: before.ResourceVersion,
	})
	g.Expect(err).NotTo(HaveOccurred())
	killed := make(chan error, 1)
	go func() {
		defer changes.Stop()
		killed <- killOn(changes, value(before), func() error { return c.process.Signal(syscall.SIGKILL) })
	}()
	return func() {
		w.t.Helper()
		g.Eventually(killed).Should(Receive(BeNil()))
		_ = c.process.Wait() // it was killed
	}
}

func value(d *appsv1.Deployment) string {
	return d.Spec.Template.Annotations[v1alpha1.ConfigDigestAnnotation]
}

func killOn(changes watch.Interface, before string, kill func() error) error {
	for event := range changes.ResultChan() {
		if d, ok := event.Object.(*appsv1.Deployment); ok && value(d) != before {
			return kill()
		}
	}
	return fmt.Errorf("the watch ended before the restart")
}

func TestACrashRightAfterTheRestartRestartsNothingAgain(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "0"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	for round := 1; round <= 3; round++ {
		c := w.startController(quick)
		w.awaitRecord("web", marker)
		w.later()
		killed := w.killOnRestart(c, "web")
		w.setSecret("password", "password", fmt.Sprint(round))
		killed()
		t.Logf("the record was stored before the crash: %t", strings.Contains(w.recorded("web"), w.value("web")))
		c = w.startController(quick)
		w.mark(round)
		w.expectRestarts("web", round)
		w.awaitRecord("web")
		c.stop()
	}
	NewWithT(t).Expect(w.accepted("web")).To(Equal(3))
}

// A crash after a change was seen and before the workload is written loses nothing: be it while the change settles, or
// while the restart is on its way into the API server.
func TestACrashBetweenTheChangeAndTheRestartRestartsOnce(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "0"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController("--settle-quiet=1m", "--settle-max=1m")
	w.awaitRecord("web", marker)
	w.later()

	w.setSecret("password", "password", "1")
	g := NewWithT(t)
	g.Eventually(func() int { return c.decided("Deployment/"+w.namespace+"/web", "Settling") }).Should(BeNumerically(">", 0))
	g.Eventually(func() string { return w.recorded("web") }).Should(ContainSubstring(`"pend":`))
	c.kill()
	w.expectRestarts("web", 0)
	c = w.startController(quick)
	w.awaitRestart("web", 1)
	w.awaitRecord("web")

	t.Log("while the restart is on its way")
	w.later()
	gate := w.hold(admissionregistrationv1.Update, "apps", "deployments", func() error {
		return w.admin.Update(t.Context(), w.deployment("web"), client.DryRunAll)
	})
	w.setSecret("password", "password", "2")
	g.Eventually(gate.waiting.Load).Should(BeEquivalentTo(1))
	w.setConfigMap(marker, "key", "1")
	g.Eventually(func() string { return w.recorded(marker) }).Should(ContainSubstring(`"pend":`), "the ledger is stored")
	c.kill()
	g.Eventually(gate.waiting.Load).Should(BeZero(), "the requests died with the controller")
	w.expectRestarts("web", 1)
	gate.open()
	w.startController(quick)
	w.awaitRestart("web", 2)
	w.awaitRestart(marker, 1)
	w.mark(2)
	w.expectRestarts("web", 2)
	g.Expect(w.accepted("web")).To(Equal(2))
}

func TestARestartWhoseRecordIsLostInACrashIsRecognised(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, envFromSecret("password")),
		deployment("slow", auto, slow, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web", "slow")
	c := w.startController(quick)
	w.awaitRecord("web", "slow", marker)
	w.later()

	restore := w.forbidLedger()
	w.setSecret("password", "password", "B")
	g := NewWithT(t)
	g.Eventually(func() []string { return []string{w.value("web"), w.value("slow")} }).ShouldNot(ContainElement(BeEmpty()))
	c.kill()
	value, slowly := w.value("web"), w.value("slow")
	g.Expect(w.recorded("web")).NotTo(ContainSubstring(value), "the record was to be lost")
	restore()

	w.startController(quick)
	w.mark(1)
	g.Expect(w.accepted("web", "slow")).To(Equal(2))
	g.Expect(w.value("web")).To(Equal(value))
	g.Expect(w.value("slow")).To(Equal(slowly), "old pods are still there, and the restart is recognised by its value alone")
	w.expectRestarts("web", 1)
	w.expectRestarts("slow", 1)
	w.awaitRecord("web")
	g.Eventually(func() string { return w.recorded("slow") }).Should(ContainSubstring(slowly))
	g.Expect(w.accepted("web", "slow")).To(Equal(2))
}

// While the ledger cannot be written, a workload is restarted once: again only when that is on record.
func TestNoRestartBeforeTheLastOneIsOnRecord(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	w.later()

	restore := w.forbidLedger()
	w.setSecret("password", "password", "B")
	w.awaitRestart("web", 1)
	once := w.value("web")
	w.later()
	w.setSecret("password", "password", "C")
	g := NewWithT(t)
	g.Eventually(func() bool {
		return c.decided("Deployment/"+w.namespace+"/web", "Throttled") > 0 || w.value("web") != once
	}).Should(BeTrue(), "the change was seen")
	w.mark(1)
	w.expectRestarts("web", 1)
	g.Expect(w.accepted("web")).To(Equal(1))

	restore()
	w.awaitRestart("web", 2)
	w.expectRestarts("web", 2)
}
