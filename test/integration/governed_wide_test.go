package integration

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// labelNamespace sets a label of a namespace.
func (w *world) labelNamespace(name, key, value string) {
	w.t.Helper()
	namespace := &corev1.Namespace{}
	g := NewWithT(w.t)
	g.Expect(w.admin.Get(w.t.Context(), client.ObjectKey{Name: name}, namespace)).To(Succeed())
	namespace.Labels = with(namespace.Labels, key, value)
	g.Expect(w.admin.Update(w.t.Context(), namespace)).To(Succeed())
}

// Policies of the controller's namespace select others by their labels, which come and go. One of the workload's own
// namespace counts more, however young, and one elsewhere selects nothing that way.
func TestPoliciesOfTheControllersNamespace(t *testing.T) {
	w := newWideWorld(t)
	g := NewWithT(t)
	central := *w
	central.namespace = w.state
	w.create(configMap("settings", "key", "0"), deployment("web", auto, envFromConfigMap("settings")))
	w.createMarker()
	w.awaitRollout("web")
	const team = "example.test/team"
	platform := central.policy("platform", `{suspend: true, namespaceSelector: {matchLabels: {`+team+`: `+w.namespace+`}}, workloads: [{kind: Deployment, name: web}]}`)
	denied := w.policy("denied", `{suspend: false, namespaceSelector: {}}`)
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	g.Expect(denied.awaitStalled(v1alpha1.AccessDeniedReason)).To(HavePrefix("spec.namespaceSelector: "))
	g.Eventually(func() []string { return denied.events(v1alpha1.AccessDeniedReason) }).Should(ConsistOf(HavePrefix("Warning spec.namespaceSelector: ")))
	w.later()
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")

	t.Log("the namespace gets the label")
	w.labelNamespace(w.namespace, team, w.namespace)
	c.awaitVerdict(w, "web", "Suspended", 0)
	w.later()
	w.setConfigMap("settings", "key", "2")
	w.mark(1)
	w.expectRestarts("web", 1)
	platform.awaitPending("Suspended", "web")
	w.labelNamespace(w.namespace, team, "another")
	w.awaitRestart("web", 2)
	w.awaitRecord("web")
	platform.awaitPending("Suspended")
	w.labelNamespace(w.namespace, team, w.namespace)
	c.awaitVerdict(w, "web", "Suspended", 1)

	t.Log("a policy of its own namespace")
	platform.patch(`{"spec":{"suspend":false,"mode":"Observe"}}`)
	platform.awaitMessage("governs 1 workload")
	own := w.policy("own", `{workloads: [{kind: Deployment, name: web}]}`)
	own.awaitMessage("governs 1 workload")
	platform.awaitMessage("governs 0 workloads; shadowed by ReloadPolicy/" + w.namespace + "/own for 1")
	w.later()
	w.setConfigMap("settings", "key", "3")
	w.awaitRestart("web", 3)
	w.awaitRecord("web")
	g.Expect(w.admin.Delete(t.Context(), own.object())).To(Succeed())
	platform.awaitMessage("governs 1 workload")
	w.mark(2)
	w.expectRestarts("web", 3)

	t.Log("the denied one is put right")
	denied.patch(`{"spec":{"namespaceSelector":null,"workloads":[{"kind":"StatefulSet"}]}}`)
	denied.awaitMessage("governs 0 workloads")
	c.stop()

	t.Log("nobody may select other namespaces")
	w.startController(quick, "--no-cross-namespace-refs")
	g.Expect(platform.awaitStalled(v1alpha1.AccessDeniedReason)).To(ContainSubstring("--no-cross-namespace-refs"))
	w.later()
	w.setConfigMap("settings", "key", "4")
	w.awaitRestart("web", 4)
}
