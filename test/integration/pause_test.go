package integration

import (
	"regexp"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// pauses gives a Deployment a pause period.
func pauses(period string) option { return annotated(v1alpha1.PausePeriodAnnotation, period) }

// awaitPutOff waits until a restart of a Deployment is put off and its record says so, which it returns.
func (w *world) awaitPutOff(c *controller, name string) string {
	w.t.Helper()
	g := NewWithT(w.t)
	g.Eventually(c.decided).WithArguments("Deployment/"+w.namespace+"/"+name, "Throttled").Should(BeNumerically(">", 0))
	g.Eventually(func() string { return w.recorded(name) }).Should(ContainSubstring(`"pau":`))
	return w.recorded(name)
}

// awaitMark waits until a Deployment says since when its restart is put off, which moves its generation.
func (w *world) awaitMark(name string) {
	w.t.Helper()
	NewWithT(w.t).Eventually(func() string { return w.deployment(name).Annotations[v1alpha1.PausedAtAnnotation] }).
		Should(MatchRegexp(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`))
	w.edits[name]++
}

// What changes within the pause period is one restart at its end. No rollout is paused for that. In this and the next test
// the period ends when its annotation is shortened, so that nothing hangs on how fast the test is.
func TestChangesWithinAPausePeriodRestartOnceAtItsEnd(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), configMap("settings", "key", "0"),
		deployment("web", auto, pauses("1h"), envFromSecret("password"), envFromConfigMap("settings")),
		deployment("soon", auto, pauses("3s"), envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web", "soon")
	c := w.startController(quick)
	w.awaitRecord("web", "soon", marker)
	w.later()
	w.setSecret("password", "password", "B")
	w.awaitPutOff(c, "web")
	w.awaitMark("web")
	for i, content := range []string{"C", "D"} {
		w.setSecret("password", "password", content)
		w.setConfigMap("settings", "key", content)
		w.mark(i + 1)
		w.expectRestarts("web", 0)
	}
	g := NewWithT(t)
	g.Expect(w.accepted("web")).To(Equal(1), "the annotation")
	g.Expect(w.deployment("web").Spec.Paused).To(BeFalse())
	g.Eventually(func() string { return w.value("soon") }).ShouldNot(BeEmpty(), "nothing but its time wakes it")

	w.annotate("web", v1alpha1.PausePeriodAnnotation, "1s")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(ConsistOf(
		"Normal restarted Deployment/web: ConfigMap/settings changed (key), Secret/password changed (password)"))
	w.mark(3)
	w.expectRestarts("web", 1)
	g.Expect(w.accepted("web")).To(Equal(2), "the annotation goes with the restart")
	g.Expect(w.deployment("web").Annotations).NotTo(HaveKey(v1alpha1.PausedAtAnnotation))
	g.Expect(w.recorded("web")).NotTo(ContainSubstring(`"pau":`))

	t.Log("the next change begins another, that a request does not wait for")
	w.annotate("web", v1alpha1.PausePeriodAnnotation, "1h")
	w.later()
	w.setSecret("password", "password", "F")
	g.Eventually(func() string { return w.recorded("web") }).Should(ContainSubstring(`"pau":`))
	w.awaitMark("web")
	w.mark(4)
	w.expectRestarts("web", 1)
	w.request("web", "now")
	w.awaitRestart("web", 2)
	w.awaitRecord("web")
	w.mark(5)
	w.expectRestarts("web", 2)
}

func TestAPausePeriodOutlivesTheController(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, pauses("1h"), envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	w.later()
	w.setSecret("password", "password", "B")
	before := w.awaitPutOff(c, "web")
	w.awaitMark("web")
	c.kill()
	w.setSecret("password", "password", "C")
	c = w.startController(quick)
	w.mark(1)
	g := NewWithT(t)
	g.Expect(w.awaitPutOff(c, "web")).To(ContainSubstring(since(before)), "the period goes on")
	w.expectRestarts("web", 0)
	g.Expect(w.deployment("web").Spec.Paused).To(BeFalse())

	w.annotate("web", v1alpha1.PausePeriodAnnotation, "1s")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	w.mark(2)
	w.expectRestarts("web", 1)
	g.Expect(w.accepted("web")).To(Equal(2))
	g.Expect(w.deployment("web").Annotations).NotTo(HaveKey(v1alpha1.PausedAtAnnotation))
}

// A Deployment that its user paused stays so, whatever its pause period says.
func TestAPausePeriodUnpausesNothing(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, pauses("1ms"), envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	w.pause("web", true)
	w.later()
	w.setSecret("password", "password", "B")
	g := NewWithT(t)
	g.Eventually(c.decided).WithArguments("Deployment/"+w.namespace+"/web", "Paused").Should(BeNumerically(">", 0))
	w.mark(1)
	w.expectRestarts("web", 0)
	g.Expect(w.patches("web")).To(BeZero())
	g.Expect(w.deployment("web").Spec.Paused).To(BeTrue())

	w.pause("web", false)
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	w.mark(2)
	w.expectRestarts("web", 1)
}

// What Stakater Reloader paused, and is not there to resume, is reported: spec.paused is not ours to change.
func TestADeploymentThatStakaterLeftPausedIsReported(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, pauses("5m"), envFromSecret("password")),
		deployment("user", auto, pauses("5m"), envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web", "user")
	w.annotate("web", v1alpha1.PausedAtAnnotation, "2026-01-01T00:00:00Z")
	w.pause("web", true)
	w.pause("user", true)
	w.startController(quick)
	g := NewWithT(t)
	g.Eventually(func() []string { return w.events("web", "LeftPaused") }).Should(ConsistOf(And(
		HavePrefix("Warning Deployment/web was paused by Stakater Reloader"), ContainSubstring("2026-01-01T00:00:00Z"))))
	w.awaitRecord("web", "user", marker)
	w.mark(1)
	g.Expect(w.events("user", "LeftPaused")).To(BeEmpty())
	g.Expect(w.deployment("web").Spec.Paused).To(BeTrue())
	g.Expect(w.patches("web", "user")).To(BeZero())
}

func TestAnInvalidPausePeriodIsReportedAndPutsNothingOff(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, pauses("soon"), envFromSecret("password")),
		deployment("other", auto, annotated("example.com/pause", "1h"), envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web", "other")
	c := w.startController(quick, "--pause-deployment-annotation=example.com/pause")
	w.awaitRecord("web", "other", marker)
	w.later()
	w.setSecret("password", "password", "B")
	w.awaitRestart("web", 1)
	w.awaitPutOff(c, "other")
	w.awaitMark("other")
	g := NewWithT(t)
	g.Expect(w.events("web", "InvalidAnnotation")).To(BeEmpty(), "the annotation has another name")

	w.annotate("other", "example.com/pause", "soon")
	w.awaitRestart("other", 1)
	g.Eventually(func() []string { return w.events("other", "InvalidAnnotation") }).Should(ConsistOf(And(
		HavePrefix("Warning "), ContainSubstring("example.com/pause"), ContainSubstring(`"soon"`))))
}

// since is the time in a record at which the pause period began.
func since(record string) string { return regexp.MustCompile(`"pau":\d+`).FindString(record) }
