package integration

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

const (
	csiCRDs   = "csi-crds.yaml"
	csiFlag   = "--enable-csi-integration"
	csiObject = "db/password"

	csiServed    = "SecretProviderClassPodStatuses are served: what the CSI driver changes in pods restarts their workloads"
	csiNotServed = "SecretProviderClassPodStatuses are not served: nothing restarts for SecretProviderClasses until they are"
)

var sharedCSI sync.Once

// newCSIWorld is newWorld in a cluster that knows what the CSI driver tells.
func newCSIWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	sharedCSI.Do(func() { w.installCSI() })
	return w
}

func (w *world) installCSI() {
	w.t.Helper()
	g := NewWithT(w.t)
	for _, definition := range w.definitions(csiCRDs) {
		g.Expect(w.admin.Create(context.Background(), definition)).To(Succeed())
	}
	for _, kind := range []string{"SecretProviderClass", "SecretProviderClassPodStatus"} {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion("secrets-store.csi.x-k8s.io/v1")
		list.SetKind(kind)
		g.Eventually(func() error { return w.admin.List(context.Background(), list) }).Should(Succeed())
	}
}

func csiThing(kind, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("secrets-store.csi.x-k8s.io/v1")
	o.SetKind(kind)
	o.SetName(name)
	return o
}

// mountClass lets the driver mount what a class says.
func mountClass(name string) option {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Volumes = append(d.Spec.Template.Spec.Volumes, corev1.Volume{
			Name: "store", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
				Driver: "secrets-store.csi.k8s.io", ReadOnly: ptr.To(true), VolumeAttributes: map[string]string{"secretProviderClass": name},
			}},
		})
		app(d).VolumeMounts = append(app(d).VolumeMounts, corev1.VolumeMount{Name: "store", MountPath: "/store"})
	}
}

// mounted does what the driver does when pods of a Deployment start: it tells what it has mounted, for those for which it has
// not.
func (w *world) mounted(name, class, version string) {
	w.t.Helper()
	for _, pod := range w.pods(name) {
		status := csiThing("SecretProviderClassPodStatus", pod.Name+"-"+w.namespace+"-"+class)
		status.SetNamespace(w.namespace)
		status.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}})
		status.Object["status"] = map[string]any{
			"podName": pod.Name, "secretProviderClassName": class, "mounted": true, "objects": csiObjects(version),
		}
		NewWithT(w.t).Expect(client.IgnoreAlreadyExists(w.admin.Create(w.t.Context(), status))).To(Succeed())
	}
}

func csiObjects(version string) []any {
	return []any{map[string]any{"id": csiObject, "version": version}}
}

// rotate does what the driver does when the store has another version: it changes what a pod has mounted, and tells.
func (w *world) rotate(pod corev1.Pod, class, version string) {
	w.t.Helper()
	change(w, csiThing("SecretProviderClassPodStatus", ""), pod.Name+"-"+w.namespace+"-"+class, func(o *unstructured.Unstructured) {
		NewWithT(w.t).Expect(unstructured.SetNestedSlice(o.Object, csiObjects(version), "status", "objects")).To(Succeed())
	})
}

// beginMounted makes a Deployment that mounts a class, and the marker, and starts a controller that has them on record.
func (w *world) beginMounted(options ...option) *controller {
	w.t.Helper()
	w.create(csiThing("SecretProviderClass", "vault"), deployment("web", append(options, auto, mountClass("vault"))...))
	w.createMarker()
	w.awaitRollout("web")
	w.mounted("web", "vault", "1")
	c := w.startController(csiFlag, quick)
	w.awaitRecord("web", marker)
	w.later()
	return c
}

// The driver comes to one pod after another. That is one restart; and new pods, whatever they mount, are no reason for one.
func TestARotationInPlaceRestartsOnce(t *testing.T) {
	w := newCSIWorld(t)
	w.beginMounted(replicas(3), slow)
	old := w.pods("web")
	w.rotate(old[0], "vault", "2")
	NewWithT(t).Eventually(func() int { return w.restarts("web") }).Should(Equal(1))
	w.rotate(old[1], "vault", "2")
	w.mounted("web", "vault", "2")
	w.mark(1)
	w.later()
	w.rotate(old[2], "vault", "2")
	w.mark(2)
	w.expectRestarts("web", 1)

	t.Log("the rollout gets on")
	change(w, &appsv1.Deployment{}, "web", func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 0 })
	w.edits["web"]++
	w.awaitRollout("web")
	w.mounted("web", "vault", "2")
	w.awaitRecord("web")

	t.Log("a pod that mounts something newer")
	change(w, &appsv1.Deployment{}, "web", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To(int32(4)) })
	w.edits["web"]++
	w.awaitRollout("web")
	w.mounted("web", "vault", "3")
	w.mark(3)
	w.expectRestarts("web", 1)

	g := NewWithT(t)
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(ConsistOf(
		"Normal restarted Deployment/web: SecretProviderClass/vault changed (" + csiObject + ")"))
	var from struct{ Type, Name string }
	text := w.deployment("web").Spec.Template.Annotations[v1alpha1.LastReloadedFromAnnotation]
	g.Expect(json.Unmarshal([]byte(text), &from)).To(Succeed())
	g.Expect(from.Type + "/" + from.Name).To(Equal("SECRETPROVIDERCLASS/vault"))
}

// What the driver changed while no controller ran is found by the next, and nothing is done twice.
func TestARotationWhileTheControllerIsDownRestartsOnce(t *testing.T) {
	w := newCSIWorld(t)
	c := w.beginMounted(replicas(2))
	c.stop()
	for _, pod := range w.pods("web") {
		w.rotate(pod, "vault", "2")
	}
	c = w.startController(csiFlag, quick)
	w.awaitRestart("web", 1)
	w.mounted("web", "vault", "2")
	w.awaitRecord("web")
	c.stop()
	w.startController(csiFlag, quick)
	w.mark(1)
	w.expectRestarts("web", 1)
}

// Two workloads share a class. Each is restarted when the driver comes to its own pods, and by the marks of the class.
func TestEachWorkloadOfAClassIsRestartedForItsOwnPods(t *testing.T) {
	w := newCSIWorld(t)
	w.create(deployment("other", auto, mountClass("vault")))
	w.beginMounted()
	w.awaitRollout("other")
	w.mounted("other", "vault", "1")
	w.awaitRecord("other")
	w.later()
	w.rotate(w.pods("web")[0], "vault", "2")
	w.awaitRestart("web", 1)
	w.mounted("web", "vault", "2")
	w.mark(1)
	w.expectRestarts("other", 0)
	w.rotate(w.pods("other")[0], "vault", "2")
	w.awaitRestart("other", 1)
	w.mounted("other", "vault", "2")

	t.Log("a class that is ignored")
	change(w, csiThing("SecretProviderClass", ""), "vault", func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{v1alpha1.IgnoreAnnotation: "true"})
	})
	w.later()
	w.mark(2)
	w.rotate(w.pods("web")[0], "vault", "3")
	w.mark(3)
	w.expectRestarts("web", 1)
}

// The driver may be installed and removed while the controller runs. Without it, other sources restart as ever.
func TestSecretProviderClassesComeAndGo(t *testing.T) {
	g := NewWithT(t)
	w := newOwnWorld(t)
	w.create(configMap("settings", "key", "0"), deployment("web", auto, envFromConfigMap("settings"), mountClass("vault")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(csiFlag, quick)
	w.awaitRecord("web", marker)
	g.Expect(c.lines(csiNotServed)).To(ConsistOf(HaveKeyWithValue("level", "info")))
	w.later()
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")

	w.installCSI()
	w.mounted("web", "vault", "1")
	g.Eventually(func() []map[string]any { return c.lines(csiServed) }).WithTimeout(refusalTimeout).Should(HaveLen(1))
	w.later()
	w.mark(1)
	w.rotate(w.pods("web")[0], "vault", "2")
	w.awaitRestart("web", 2)
	w.awaitRecord("web")

	w.undefine(csiCRDs)
	g.Eventually(func() []map[string]any { return c.lines(csiNotServed) }).WithTimeout(refusalTimeout).Should(HaveLen(2))
	w.later()
	w.setConfigMap("settings", "key", "2")
	w.awaitRestart("web", 3)
}
