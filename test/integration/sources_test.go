package integration

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// The removal of a key leaves the time of the data's last write where it was, before the pods were created: only the
// content tells that they are stale.
func TestAKeyThatIsRemovedRestartsOnce(t *testing.T) {
	w := newWorld(t)
	w.create(configMap("settings", "a", "1", "b", "1", "c", "1"))
	w.later()
	w.create(deployment("web", auto, envFromConfigMap("settings")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick)
	w.awaitRecord("web", marker)

	w.replaceConfigMap("settings", "a", "1", "b", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	g := NewWithT(t)
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(ConsistOf(
		"Normal restarted Deployment/web: ConfigMap/settings changed (c)"))

	t.Log("while the controller is down")
	c.stop()
	w.replaceConfigMap("settings", "a", "1")
	w.startController(quick)
	w.awaitRestart("web", 2)
	w.awaitRecord("web")
	w.mark(1)
	w.expectRestarts("web", 2)
	g.Expect(w.accepted("web")).To(Equal(2))
}

// replaceConfigMap gives a ConfigMap less data as `kubectl replace` does: in an Update of the whole object by another
// field manager than its own.
func (w *world) replaceConfigMap(name string, pairs ...string) {
	w.t.Helper()
	before := &corev1.ConfigMap{}
	w.get(before, name)
	after := configMap(name, pairs...)
	after.Namespace, after.ResourceVersion = w.namespace, before.ResourceVersion
	g := NewWithT(w.t)
	g.Expect(w.admin.Update(w.t.Context(), after, client.FieldOwner("kubectl-replace"))).To(Succeed())
	g.Expect(dataTime(after)).To(Equal(dataTime(before)), "the time of the data's last write")
}

// dataTime is when an object's data was last written, as far as the API server tells.
func dataTime(object client.Object) time.Time {
	var last time.Time
	for _, entry := range object.GetManagedFields() {
		if entry.Time != nil && entry.Time.After(last) && strings.Contains(string(entry.FieldsV1.GetRawBytes()), `"f:data"`) {
			last = entry.Time.Time
		}
	}
	return last
}

// A source that is deleted and made again restarts nothing if its content is what it was, and is a change otherwise.
func TestASourceThatIsMadeAgainIsJudgedByItsContent(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "1"), configMap("settings", "mode", "1"),
		deployment("web", auto, mountSecret("password", "/etc/password"), envFromConfigMap("settings")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	w.later()
	g := NewWithT(t)

	t.Log("as it was")
	w.remove(secret("password"), configMap("settings"))
	g.Eventually(func() int { return c.decided("Deployment/"+w.namespace+"/web", "Waiting") }).Should(BeNumerically(">", 0))
	w.create(secret("password", "password", "1"), configMap("settings", "mode", "1"))
	w.mark(1)
	w.expectRestarts("web", 0)

	t.Log("with other content")
	w.remove(secret("password"))
	w.create(secret("password", "password", "2"))
	w.awaitRestart("web", 1)
	w.awaitRecord("web")

	t.Log("as it was, while the controller is down")
	c.stop()
	w.remove(secret("password"), configMap("settings"))
	w.later()
	w.create(secret("password", "password", "2"), configMap("settings", "mode", "1"))
	c = w.startController(quick)
	w.mark(2)
	w.expectRestarts("web", 1)

	t.Log("with other content, while the controller is down")
	c.stop()
	w.remove(configMap("settings"))
	w.create(configMap("settings", "mode", "2"))
	w.startController(quick)
	w.awaitRestart("web", 2)
	w.mark(3)
	w.expectRestarts("web", 2)
	g.Expect(w.accepted("web")).To(Equal(2))
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(ConsistOf(
		"Normal restarted Deployment/web: Secret/password changed (password)",
		"Normal restarted Deployment/web: ConfigMap/settings changed (mode)"))
}

func (w *world) remove(objects ...client.Object) {
	w.t.Helper()
	for _, object := range objects {
		object.SetNamespace(w.namespace)
		NewWithT(w.t).Expect(w.admin.Delete(w.t.Context(), object)).To(Succeed())
	}
}

// An optional source that is absent withholds no restart. Neither its appearance nor its deletion is a change, but other
// content is, also after it was away.
func TestAnOptionalSourceThatIsAbsentWithholdsNothing(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "1"),
		deployment("web", auto, envFromSecret("password"), optionalEnvFromSecret("extra")))
	w.createMarker()
	w.awaitRollout("web")
	w.startController(quick)
	w.awaitRecord("web", marker)
	w.later()
	w.setSecret("password", "password", "2")
	w.awaitRestart("web", 1)

	w.later()
	w.create(secret("extra", "key", "1"))
	w.mark(1)
	w.expectRestarts("web", 1)
	w.later()
	w.setSecret("extra", "key", "2")
	w.awaitRestart("web", 2)

	t.Log("it goes away again")
	w.remove(secret("extra"))
	w.mark(2)
	w.expectRestarts("web", 2)
	w.later()
	w.setSecret("password", "password", "3")
	w.awaitRestart("web", 3)
	w.awaitRecord("web")
	w.later()
	w.create(secret("extra", "key", "3"))
	w.awaitRestart("web", 4)
	w.mark(3)
	w.expectRestarts("web", 4)
	NewWithT(t).Expect(w.accepted("web")).To(Equal(4))
}

func optionalEnvFromSecret(name string) option {
	from := corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: ptr.To(true),
	}}
	return func(d *appsv1.Deployment) { app(d).EnvFrom = append(app(d).EnvFrom, from) }
}

// Pods cannot start without a required source. While it is absent their workload is reported as waiting and is not
// restarted, and nothing of what was known is forgotten.
func TestARequiredSourceThatIsDeletedWithholdsRestarts(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "1"), configMap("settings", "mode", "1"),
		deployment("web", auto, envFromSecret("password"), envFromConfigMap("settings")))
	w.createMarker()
	w.awaitRollout("web")
	metrics := harness.FreeAddress(t)
	c := w.startController(quick, "--metrics-addr="+metrics)
	w.awaitRecord("web", marker)
	w.later()
	g := NewWithT(t)

	record := w.recorded("web")
	w.remove(secret("password"))
	g.Eventually(func() []map[string]any { return c.lines("required but absent: Secret/password") }).Should(ConsistOf(
		And(HaveKeyWithValue("workload", "Deployment/"+w.namespace+"/web"), HaveKeyWithValue("verdict", "Waiting"))))
	g.Expect(decisions(metrics, "Waiting")).To(BeNumerically(">", 0))
	w.mark(1)
	g.Expect(w.recorded("web")).To(Equal(record), "nothing is forgotten")
	w.setConfigMap("settings", "mode", "2")
	w.mark(2)
	w.expectRestarts("web", 0)

	t.Log("across a restart of the controller")
	c.stop()
	w.startController(quick)
	w.mark(3)
	w.expectRestarts("web", 0)

	t.Log("it is there again, as it was")
	w.create(secret("password", "password", "1"))
	w.awaitRestart("web", 1)
	w.mark(4)
	w.expectRestarts("web", 1)
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(ConsistOf(
		"Normal restarted Deployment/web: ConfigMap/settings changed (mode)"))
}
