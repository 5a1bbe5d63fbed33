package delivery

import (
	"maps"
	"slices"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// slowly is for what a kubelet tries again with a growing backoff, and what Flux waits for.
const slowly = 2 * time.Minute

// install commits a copy of infrastructure/ and flux-system/, and what the cluster has of its own. That is all: Flux does
// the rest, until the controller and its policy are ready.
func (d *delivery) install() {
	g := NewWithT(d.t)
	files := d.copied()
	maps.Copy(files, d.apps())
	files[overlayFile] = d.overlay()
	revision := d.commit("Deliver Reloader", files)
	d.apply(cluster.FluxNamespace, d.bootstrap())
	for _, name := range []string{"flux-system", "reloader", "reloader-policies"} {
		d.awaitReady(kustomization, cluster.FluxNamespace, name, revision)
	}
	d.awaitReady(helmRelease, namespace, "reloader", "reloader@"+firstVersion)
	d.awaitReady(reloadPolicy, namespace, "default", "")

	pod := d.controllerPod()
	g.Expect(pod.Spec.NodeName).To(Equal(cluster.RealNodeName))
	g.Expect(pod.Spec.ServiceAccountName).To(Equal("reloader"))
	g.Expect(pod.Spec.HostNetwork).To(BeFalse())
	g.Expect(pod.Spec.Containers[0].Image).To(Equal(image + ":v" + firstVersion))
}

// controller is the Deployment that the chart installs.
func (d *delivery) controller() *appsv1.Deployment {
	d.t.Helper()
	deployment := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: namespace, Name: "reloader"}
	NewWithT(d.t).Expect(d.admin.Get(d.t.Context(), key, deployment)).To(Succeed())
	return deployment
}

// controllerPod is the controller's only pod, which is ready, once its rollout is through.
func (d *delivery) controllerPod() *corev1.Pod {
	d.t.Helper()
	var pod *corev1.Pod
	NewWithT(d.t).Eventually(func(g Gomega) {
		g.Expect(harness.Complete(d.controller())).To(BeTrue())
		pods := &corev1.PodList{}
		g.Expect(d.admin.List(d.t.Context(), pods, client.InNamespace(namespace))).To(Succeed())
		g.Expect(pods.Items).To(HaveLen(1))
		pod = &pods.Items[0]
		g.Expect(isReady(pod)).To(BeTrue())
	}).WithTimeout(slowly).Should(Succeed())
	return pod
}

func isReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// expectNothingRefused checks that the API server has refused no request of the controller's since a time: the rights that
// the chart gives are enough. That none is left over, test/integration and test/chart check.
func (d *delivery) expectNothingRefused(since time.Time) {
	d.t.Helper()
	g := NewWithT(d.t)
	requests := d.requests(since)
	g.Expect(requests).NotTo(BeEmpty())
	for _, e := range requests {
		g.Expect(e.Code).NotTo(Or(Equal(401), Equal(403)), "%s %s", e.Verb, e.RequestURI)
	}
}

// requests are those of the controller since a time.
func (d *delivery) requests(since time.Time) []cluster.AuditEvent {
	d.t.Helper()
	events, err := d.cluster.Audit()
	NewWithT(d.t).Expect(err).NotTo(HaveOccurred())
	return slices.DeleteFunc(events, func(e cluster.AuditEvent) bool {
		return e.User != harness.Identity(namespace) || e.Received.Before(since)
	})
}
