package integration

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// quick settles soon, for tests in which settling is not the point.
const quick = "--settle-quiet=500ms"

func TestAChangeRestartsOnce(t *testing.T) {
	w := newWorld(t)
	w.create(secret("tls", "tls.crt", "1", "tls.key", "1", "note", "1"),
		deployment("web", auto, replicas(3), envKey("CERTIFICATE", "tls", "tls.crt"), envKey("KEY", "tls", "tls.key")))
	w.createMarker()
	w.awaitRollout("web")
	w.startController(quick)
	w.awaitRecord("web", marker)
	w.later()

	t.Log("a change of a key that pods use")
	w.setSecret("tls", "tls.crt", "2")
	w.awaitRestart("web", 1)
	g := NewWithT(t)
	value := w.value("web")
	g.Expect(value).NotTo(BeEmpty())
	pods := w.pods("web")
	g.Expect(pods).To(HaveLen(3))
	for _, pod := range pods {
		g.Expect(pod.Annotations).To(HaveKeyWithValue(v1alpha1.ConfigDigestAnnotation, value))
	}
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(ConsistOf(
		"Normal restarted Deployment/web: Secret/tls changed (tls.crt)"))

	t.Log("changes of what no pod can see")
	w.setSecret("tls", "note", "2")
	change(w, &corev1.Secret{}, "tls", func(s *corev1.Secret) {
		s.Labels, s.Annotations = with(s.Labels, "a", "b"), with(s.Annotations, "c", "d")
	})
	w.mark(1)
	w.expectRestarts("web", 1)
	g.Expect(w.accepted("web")).To(Equal(1))
	g.Expect(w.events("web", "Reloaded")).To(HaveLen(1))
}

func TestAChangeWhileTheControllerIsDownRestartsOnce(t *testing.T) {
	w := newWorld(t)
	w.create(secret("tls", "tls.crt", "1"), deployment("web", auto, mountSecret("tls", "/tls")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	c.stop()

	w.later()
	w.setSecret("tls", "tls.crt", "2")
	c = w.startController(quick)
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	c.stop()

	w.startController(quick)
	w.mark(1)
	w.expectRestarts("web", 1)
	NewWithT(t).Expect(w.accepted("web")).To(Equal(1))
}

func TestContentThatReturnsWhileSettlingRestartsNothing(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController("--settle-quiet=10s")
	w.awaitRecord("web", marker)
	w.later()

	w.setSecret("password", "password", "B")
	NewWithT(t).Eventually(func() bool {
		return c.decided("Deployment/"+w.namespace+"/web", "Settling") > 0 || w.value("web") != ""
	}).WithPolling(10*time.Millisecond).Should(BeTrue(), "the change was seen")
	w.setSecret("password", "password", "A")
	w.mark(1)
	w.expectRestarts("web", 0)
	NewWithT(t).Expect(w.patches("web")).To(BeZero())
}

func TestContentThatReturnsLaterRestartsAgainUnderANewValue(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, envFromSecret("password")))
	w.awaitRollout("web")
	w.startController(quick)
	w.awaitRecord("web")
	seen := map[string]bool{"": true}
	for round, content := range []string{"B", "A", "B"} {
		w.later()
		w.setSecret("password", "password", content)
		w.awaitRestart("web", round+1)
		value := w.value("web")
		NewWithT(t).Expect(seen).NotTo(HaveKey(value), "a value that returns brings an old revision back")
		seen[value] = true
		w.awaitRecord("web")
	}
	running := 0
	for _, set := range w.replicaSets("web") {
		if *set.Spec.Replicas > 0 {
			running++
			NewWithT(t).Expect(set.Annotations).To(HaveKeyWithValue("deployment.kubernetes.io/revision", "4"))
		}
	}
	NewWithT(t).Expect(running).To(Equal(1))
	NewWithT(t).Expect(w.accepted("web")).To(Equal(3))
}

func TestChangesThatComeTogetherRestartOnce(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "0"), configMap("settings", "mode", "0"),
		deployment("web", auto, envFromSecret("password"), envFromConfigMap("settings")))
	w.createMarker()
	w.awaitRollout("web")
	w.startController("--settle-quiet=5s")
	w.awaitRecord("web", marker)
	for round, content := range []string{"1", "2", "3"} {
		w.later()
		w.setSecret("password", "password", content)
		w.setConfigMap("settings", "mode", content)
		w.awaitRestart("web", round+1)
		w.awaitRecord("web")
	}
	w.mark(1)
	w.expectRestarts("web", 3)
	g := NewWithT(t)
	g.Expect(w.accepted("web")).To(Equal(3))
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(ContainElement(
		"Normal restarted Deployment/web: ConfigMap/settings changed (mode), Secret/password changed (password)"))
}

func TestAnUndoInMidRolloutIsHeldUntilContentChanges(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, slow, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	w.later()

	w.setSecret("password", "password", "B")
	g := NewWithT(t)
	g.Eventually(func() []corev1.Pod { return w.pods("web") }).Should(HaveLen(2), "the rollout is half way")
	change(w, &appsv1.Deployment{}, "web", func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = nil // a restart's are all there are
	})
	g.Eventually(func() []string { return w.events("web", "RolledBack") }).Should(HaveLen(1))
	g.Expect(w.events("web", "RolledBack")[0]).To(ContainSubstring("Secret/password"))
	w.mark(1)
	g.Expect(w.accepted("web")).To(Equal(1), "what was taken back stays")

	t.Log("held across a restart of the controller")
	c.stop()
	w.startController(quick)
	w.mark(2)
	g.Expect(w.accepted("web")).To(Equal(1), "what was taken back stays")
	g.Expect(w.value("web")).To(BeEmpty())

	t.Log("new content")
	w.later()
	w.setSecret("password", "password", "C")
	g.Eventually(func() string { return w.value("web") }).ShouldNot(BeEmpty())
	g.Expect(w.accepted("web")).To(Equal(2))
}

// An autoscaler that changes the number of pods in the middle of a rollout moves the generation, and nothing else: the new
// pods are made from the template of the restart.
func TestScalingInMidRestartRestartsNothingMore(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "1"), deployment("web", auto, slow, replicas(2), envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	w.later()
	scale := func(to int32) {
		change(w, &appsv1.Deployment{}, "web", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To(to) })
		w.edits["web"]++
	}
	w.setSecret("password", "password", "2")
	g := NewWithT(t)
	g.Eventually(func() int { return w.restarts("web") }).Should(Equal(1))
	for i, to := range []int32{5, 1, 3} {
		scale(to)
		w.mark(i + 1)
		w.expectRestarts("web", 1)
		g.Expect(w.recorded("web")).To(ContainSubstring(`"pend":`), "old pods are still there")
	}
	c.stop()
	w.startController(quick)
	change(w, &appsv1.Deployment{}, "web", func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 0 })
	w.edits["web"]++
	w.awaitRollout("web")
	w.awaitRecord("web")
	w.mark(4)
	w.expectRestarts("web", 1)
	g.Expect(w.accepted("web")).To(Equal(1))
}
