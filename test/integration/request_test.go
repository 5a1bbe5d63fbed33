package integration

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// request asks for a restart of a Deployment, by a token.
func (w *world) request(name, token string) {
	w.t.Helper()
	w.annotate(name, v1alpha1.RestartRequestedAtAnnotation, token)
}

// withdraw takes the token away, as an apply of the manifest may.
func (w *world) withdraw(name string) {
	w.t.Helper()
	change(w, &appsv1.Deployment{}, name, func(d *appsv1.Deployment) {
		delete(d.Annotations, v1alpha1.RestartRequestedAtAnnotation)
	})
	w.edits[name]++
}

func TestARequestRestartsOnceAToken(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	w.request("web", "before")
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	w.mark(1)
	w.expectRestarts("web", 0)

	w.request("web", "first")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	first := w.value("web")
	g := NewWithT(t)
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(ConsistOf(
		`Normal restarted Deployment/web: restart requested at "first"`))
	g.Expect(w.deployment("web").Spec.Template.Annotations).To(HaveKeyWithValue(v1alpha1.LastReloadedFromAnnotation,
		ContainSubstring(`"type":"DEPLOYMENT","name":"web"`)))

	t.Log("taken away and put back, by another controller too")
	w.withdraw("web")
	w.mark(2)
	w.request("web", "first")
	w.mark(3)
	c.stop()
	c = w.startController("--settle-quiet=10s")
	w.mark(4)
	w.expectRestarts("web", 1)

	t.Log("another, with a change")
	w.later()
	w.setSecret("password", "password", "B")
	c.awaitVerdict(w, "web", "Settling", 0) // a request waits for no settling
	w.request("web", "second")
	w.awaitRestart("web", 2)
	w.awaitRecord("web")
	w.mark(5)
	w.expectRestarts("web", 2)
	g.Expect(w.value("web")).NotTo(Equal(first))
	g.Expect(w.accepted("web")).To(Equal(2))
}

func TestARequestThatIsTooLongIsReported(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	w.startController(quick)
	w.awaitRecord("web", marker)
	w.request("web", strings.Repeat("x", 254))
	g := NewWithT(t)
	g.Eventually(func() []string { return w.events("web", "InvalidAnnotation") }).Should(ConsistOf(And(
		ContainSubstring(v1alpha1.RestartRequestedAtAnnotation), ContainSubstring(`"xxxx`), Not(ContainSubstring(strings.Repeat("x", 100))))))
	w.mark(1)
	w.expectRestarts("web", 0)
	w.request("web", strings.Repeat("x", 253))
	w.awaitRestart("web", 1)
}

func TestARequestedRestartWhoseRecordIsLostInACrashIsRecognised(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, envFromSecret("password")),
		deployment("slow", auto, slow, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web", "slow")
	c := w.startController(quick)
	w.awaitRecord("web", "slow", marker)

	restore := w.forbidLedger()
	w.request("web", "token")
	w.request("slow", "token")
	g := NewWithT(t)
	g.Eventually(func() []string { return []string{w.value("web"), w.value("slow")} }).ShouldNot(ContainElement(BeEmpty()))
	c.kill()
	value, slowly := w.value("web"), w.value("slow")
	g.Expect(w.recorded("web")).NotTo(ContainSubstring(value), "the record was to be lost")
	restore()

	w.startController(quick)
	w.mark(1)
	w.expectRestarts("web", 1)
	w.expectRestarts("slow", 1)
	g.Expect(w.value("web")).To(Equal(value))
	g.Expect(w.value("slow")).To(Equal(slowly), "old pods are still there, and the restart is recognised by its value alone")
	w.awaitRecord("web")
	for _, name := range []string{"web", "slow"} {
		g.Eventually(func() string { return w.recorded(name) }).Should(And(
			ContainSubstring(`"tok":"token"`), ContainSubstring(w.value(name))))
	}
	g.Expect(w.accepted("web") + w.accepted("slow")).To(Equal(2))
}

func TestACrashRightAfterARequestedRestartRestartsNothingAgain(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	killed := w.killOnRestart(c, "web")
	w.request("web", "token")
	killed()
	w.startController(quick)
	w.mark(1)
	w.expectRestarts("web", 1)
	w.awaitRecord("web")
	NewWithT(t).Expect(w.recorded("web")).To(ContainSubstring(`"tok":"token"`))
}

// spec.paused is the user's: what is asked for meanwhile happens when it ends, unless nobody asks any more.
func TestARequestWaitsWhileTheDeploymentIsPaused(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, envFromSecret("password")),
		deployment("other", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web", "other")
	c := w.startController(quick)
	w.awaitRecord("web", "other", marker)
	w.pause("web", true)
	w.pause("other", true)
	w.request("web", "token")
	w.request("other", "token")
	g := NewWithT(t)
	for _, name := range []string{"web", "other"} {
		g.Eventually(c.decided).WithArguments("Deployment/"+w.namespace+"/"+name, "Paused").Should(BeNumerically(">", 0))
	}
	w.withdraw("other")
	w.mark(1)
	w.expectRestarts("web", 0)

	w.pause("web", false)
	w.pause("other", false)
	w.awaitRestart("web", 1)
	w.mark(2)
	w.expectRestarts("web", 1)
	w.expectRestarts("other", 0)
}

// What was rolled back is held until somebody asks for a restart: not for a look at the pods.
func TestARequestRestartsWhatWasRolledBack(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, slow, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	w.startController(quick)
	w.awaitRecord("web", marker)
	w.later()
	w.setSecret("password", "password", "B")
	g := NewWithT(t)
	g.Eventually(func() []corev1.Pod { return w.pods("web") }).Should(HaveLen(2), "the rollout is half way")
	change(w, &appsv1.Deployment{}, "web", func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = nil // a restart's are all there are
	})
	g.Eventually(func() []string { return w.events("web", "RolledBack") }).Should(HaveLen(1))

	w.annotate("web", v1alpha1.ReconcileRequestAnnotation, "1")
	w.mark(1)
	g.Expect(w.value("web")).To(BeEmpty())
	g.Expect(w.accepted("web")).To(Equal(1))

	w.request("web", "again")
	g.Eventually(func() string { return w.value("web") }).ShouldNot(BeEmpty())
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(ContainElement(
		`Normal restarted Deployment/web: restart requested at "again"; Secret/password changed (password)`))
	w.mark(2)
	g.Expect(w.accepted("web")).To(Equal(2))
}

// A request to look reads the pods of that workload once, and restarts nothing.
func TestARequestToLookRestartsNothing(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	w.annotate("web", v1alpha1.ReconcileRequestAnnotation, "before")
	w.startController(quick)
	w.awaitRecord("web", marker)
	looks := func() int { return count(w.asked())["list pods web"] }
	w.mark(1)
	began := looks()

	g := NewWithT(t)
	for i, value := range []string{"1", "2"} {
		w.annotate("web", v1alpha1.ReconcileRequestAnnotation, value)
		g.Eventually(looks).Should(Equal(began+i+1), "a new value is looked at")
	}
	w.annotate("web", "example.com/other", "1")
	w.mark(2)
	g.Expect(looks()).To(Equal(began+2), "once")
	w.expectRestarts("web", 0)
	g.Expect(w.accepted("web")).To(BeZero())
}
