package integration

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// optionally lets pods start without what is asked for with envFromSecret.
func optionally(d *appsv1.Deployment) {
	for i := range app(d).EnvFrom {
		app(d).EnvFrom[i].SecretRef.Optional = ptr.To(true)
	}
}

// With the flags, a Secret that appears or goes away restarts once: also while no controller runs, and no next controller
// restarts again.
func TestWhatComesAndGoesRestartsOnceIfAskedTo(t *testing.T) {
	w := newWorld(t)
	w.create(deployment("web", auto, envFromSecret("late"), optionally))
	w.createMarker()
	w.awaitRollout("web")
	flags := []string{quick, "--reload-on-create", "true", "--reload-on-delete=true"}
	c := w.startController(flags...)
	w.awaitRecord(marker)
	g := NewWithT(t)
	g.Eventually(func() string { return w.recorded("web") }).Should(ContainSubstring(`"tpl":`))

	w.later()
	w.create(secret("late", "password", "1"))
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(ContainElement(ContainSubstring("Secret/late created")))
	w.later()
	w.remove(secret("late"))
	w.awaitRestart("web", 2)
	w.awaitRecord("web")
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(ContainElement(ContainSubstring("Secret/late deleted")))

	t.Log("while no controller runs")
	c.stop()
	w.later()
	w.create(secret("late", "password", "1"))
	c = w.startController(flags...)
	w.awaitRestart("web", 3)
	w.awaitRecord("web")
	c.stop()
	w.later()
	w.remove(secret("late"))
	c = w.startController(flags...)
	w.awaitRestart("web", 4)
	w.awaitRecord("web")
	c.stop()
	w.startController(flags...)
	w.mark(1)
	w.expectRestarts("web", 4)
	g.Expect(w.accepted("web")).To(Equal(4))
}

// With the flags, a Secret that is deleted and made again at once is judged by its content.
func TestASecretThatIsMadeAgainAtOnceIsNoDeletion(t *testing.T) {
	w := newWorld(t)
	w.create(secret("late", "password", "1"), deployment("web", auto, envFromSecret("late"), optionally))
	w.createMarker()
	w.awaitRollout("web")
	w.startController("--settle-quiet=10s", "--reload-on-create=true", "--reload-on-delete=true")
	w.awaitRecord("web", marker)
	w.later()
	w.remove(secret("late"))
	w.create(secret("late", "password", "1"))
	w.mark(1)
	w.expectRestarts("web", 0)
	w.remove(&corev1.Secret{ObjectMeta: secret("late").ObjectMeta})
	w.awaitRestart("web", 1)
}
