package integration

import (
	"slices"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// reloadPolicy is a policy of the world, and what it says.
type reloadPolicy struct {
	w    *world
	name string
}

// policy makes a ReloadPolicy of this spec.
func (w *world) policy(name, spec string) *reloadPolicy {
	w.t.Helper()
	object := policyOf(w.t, w.namespace, spec)
	object.SetName(name)
	w.create(object)
	return &reloadPolicy{w, name}
}

func (p *reloadPolicy) object() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.ReloadPolicyKind))
	object.SetNamespace(p.w.namespace)
	object.SetName(p.name)
	return object
}

// read is the policy as it is stored.
func (p *reloadPolicy) read() *v1alpha1.ReloadPolicy {
	p.w.t.Helper()
	g := NewWithT(p.w.t)
	object, typed := p.object(), &v1alpha1.ReloadPolicy{}
	g.Expect(p.w.admin.Get(p.w.t.Context(), client.ObjectKeyFromObject(object), object)).To(Succeed())
	g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed)).To(Succeed())
	return typed
}

// patch merges a change into the policy.
func (p *reloadPolicy) patch(change string) {
	p.w.t.Helper()
	patch := client.RawPatch("application/merge-patch+json", []byte(change))
	NewWithT(p.w.t).Expect(p.w.admin.Patch(p.w.t.Context(), p.object(), patch)).To(Succeed())
}

// awaitReady waits until the controller has acted on the policy as it is.
func (p *reloadPolicy) awaitReady() *v1alpha1.ReloadPolicy {
	p.w.t.Helper()
	var policy *v1alpha1.ReloadPolicy
	NewWithT(p.w.t).Eventually(func() bool {
		policy = p.read()
		ready := slices.ContainsFunc(policy.Status.Conditions, func(c metav1.Condition) bool {
			return c.Type == meta.ReadyCondition && c.Status == "True" && c.ObservedGeneration == policy.Generation
		})
		return ready && policy.Status.ObservedGeneration == policy.Generation
	}).Should(BeTrue(), "Ready")
	return policy
}

// awaitPending waits until the policy says that these workloads wait, and why.
func (p *reloadPolicy) awaitPending(reason string, names ...string) []v1alpha1.PendingWorkload {
	p.w.t.Helper()
	var pending []v1alpha1.PendingWorkload
	NewWithT(p.w.t).Eventually(func() []string {
		var waiting []string
		pending = p.read().Status.Pending
		for _, w := range pending {
			waiting = append(waiting, w.Workload.Name+": "+w.Reason)
		}
		return waiting
	}).Should(ConsistOf(prefixed(names, reason)))
	return pending
}

func prefixed(names []string, reason string) []string {
	all := []string{}
	for _, name := range names {
		all = append(all, name+": "+reason)
	}
	return all
}

// A suspended policy holds what it governs and shows it; on resume each restarts once, or not at all if its pods are new.
func TestASuspendedPolicyHolds(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	w.create(configMap("settings", "key", "0"),
		deployment("web", auto, envFromConfigMap("settings")), deployment("rolled", auto, envFromConfigMap("settings")))
	w.createMarker()
	w.awaitRollout("web", "rolled")
	policy := w.policy("apps", `{workloads: [{kind: Deployment, name: web}, {kind: Deployment, name: rolled}]}`)
	c := w.startController(quick)
	w.awaitRecord("web", "rolled", marker)
	g.Expect(policy.awaitReady().Status.Workloads).To(Equal(&v1alpha1.WorkloadCounts{Selected: 2, InSync: 2}))
	w.later()

	policy.patch(`{"spec":{"suspend":true}}`)
	c.awaitVerdict(w, "web", "Suspended", 0)
	c.awaitVerdict(w, "rolled", "Suspended", 0)
	w.setConfigMap("settings", "key", "1")
	w.mark(1)
	pending := policy.awaitPending("Suspended", "web", "rolled")
	g.Expect(pending[0].Changes).To(ConsistOf("ConfigMap/settings changed (key)"))
	g.Expect(pending[0].Since.IsZero()).To(BeFalse())
	w.expectRestarts("web", 0)
	w.later() // than the change, by the API server's clock
	w.roll("rolled", 1)
	w.awaitRollout("rolled")

	policy.patch(`{"spec":{"suspend":false}}`)
	w.awaitRestart("web", 1)
	w.awaitRecord("web", "rolled")
	w.mark(2)
	w.expectRestarts("web", 1)
	g.Expect(w.restarts("rolled")).To(BeZero(), "its pods are new")
	g.Eventually(func() *v1alpha1.WorkloadCounts { return policy.read().Status.Workloads }).Should(
		Equal(&v1alpha1.WorkloadCounts{Selected: 2, InSync: 2}))
	g.Expect(policy.read().Status.History).To(HaveLen(1))
}
