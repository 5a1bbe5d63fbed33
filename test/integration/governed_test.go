package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/conditions/check"
	. "github.com/onsi/gomega"
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

// policy makes a ReloadPolicy of this spec, whose conditions have to keep to Flux's conventions at any time.
func (w *world) policy(name, spec string) *reloadPolicy {
	w.t.Helper()
	object := policyOf(w.t, w.namespace, spec)
	object.SetName(name)
	w.create(object)
	made := &reloadPolicy{w, name}
	made.watchConventions()
	return made
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

// await waits until the policy is as it should be, and checks that its conditions keep to Flux's conventions.
func (p *reloadPolicy) await(what string, reached func(*v1alpha1.ReloadPolicy) bool) *v1alpha1.ReloadPolicy {
	p.w.t.Helper()
	g := NewWithT(p.w.t)
	var policy *v1alpha1.ReloadPolicy
	g.Eventually(func() bool {
		policy = p.read()
		return reached(policy)
	}).Should(BeTrue(), func() string { return fmt.Sprintf("%s: %+v", what, policy.Status) })
	g.Expect(keepsToConventions(p.w.t.Context(), policy, true)).To(Succeed())
	return policy
}

// keepsToConventions checks the conditions of a policy by what Flux's controllers are tested with. While nobody has acted on the
// policy as it is, its conditions are of another one.
func keepsToConventions(ctx context.Context, policy *v1alpha1.ReloadPolicy, acted bool) error {
	if len(policy.Status.Conditions) == 0 && (policy.Spec.Suspend || policy.Status.ObservedGeneration < 0) {
		return nil // nobody looked at it
	}
	checker := check.NewChecker(nil, &check.Conditions{NegativePolarity: []string{meta.StalledCondition, meta.ReconcilingCondition}})
	if policy.Spec.Suspend || !acted || conditions.IsUnknown(policy, meta.ReadyCondition) {
		checker = check.NewInProgressChecker(nil)
	}
	checker.DisableFetch = true
	fail, _ := checker.Check(ctx, policy)
	return fail
}

// watchConventions checks every state that the policy is ever in, until the test ends.
func (p *reloadPolicy) watchConventions() {
	p.w.t.Helper()
	g := NewWithT(p.w.t)
	watcher, err := client.NewWithWatch(p.w.cluster.Config(), client.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.ReloadPolicyKind + "List"))
	events, err := watcher.Watch(p.w.t.Context(), list, client.InNamespace(p.w.namespace), client.MatchingFields{"metadata.name": p.name})
	g.Expect(err).NotTo(HaveOccurred())
	ended := make(chan error, 1)
	go func() {
		var faults []error
		for event := range events.ResultChan() {
			object, isObject := event.Object.(*unstructured.Unstructured)
			policy := &v1alpha1.ReloadPolicy{}
			if !isObject || runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, policy) != nil {
				continue // the end of the watch
			}
			observed := max(policy.Status.ObservedGeneration, conditions.GetObservedGeneration(policy, meta.ReadyCondition))
			if err := keepsToConventions(context.Background(), policy, observed == policy.Generation); err != nil {
				faults = append(faults, fmt.Errorf("%w: generation %d: %+v", err, policy.Generation, policy.Status))
			}
		}
		ended <- errors.Join(faults...)
	}()
	p.w.t.Cleanup(func() {
		events.Stop()
		g.Expect(<-ended).NotTo(HaveOccurred(), "ReloadPolicy "+p.name)
	})
}

// awaitReady waits until the controller has acted on the policy as it is.
func (p *reloadPolicy) awaitReady() *v1alpha1.ReloadPolicy {
	p.w.t.Helper()
	return p.await("Ready", func(policy *v1alpha1.ReloadPolicy) bool {
		return conditions.IsReady(policy) && policy.Status.ObservedGeneration == policy.Generation &&
			conditions.GetObservedGeneration(policy, meta.ReadyCondition) == policy.Generation
	})
}

// awaitMessage waits until the policy is ready and says so.
func (p *reloadPolicy) awaitMessage(message string) {
	p.w.t.Helper()
	p.await(message, func(policy *v1alpha1.ReloadPolicy) bool {
		return conditions.IsReady(policy) && conditions.GetMessage(policy, meta.ReadyCondition) == message
	})
}

// awaitStalled waits until the policy is stalled for this reason, and returns what it says.
func (p *reloadPolicy) awaitStalled(reason string) (message string) {
	p.w.t.Helper()
	policy := p.await("Stalled", func(policy *v1alpha1.ReloadPolicy) bool {
		return conditions.IsStalled(policy) && policy.Status.ObservedGeneration == policy.Generation
	})
	NewWithT(p.w.t).Expect(conditions.GetReason(policy, meta.ReadyCondition)).To(Equal(reason))
	return conditions.GetMessage(policy, meta.ReadyCondition)
}

// request asks for a comparison of everything and waits until the policy says that it was made.
func (p *reloadPolicy) request(token string) *v1alpha1.ReloadPolicy {
	p.w.t.Helper()
	p.patch(fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, token))
	return p.await("handled", func(policy *v1alpha1.ReloadPolicy) bool { return policy.Status.LastHandledReconcileAt == token })
}

// events are what was told of the policy, as type and message.
func (p *reloadPolicy) events(reason string) []string {
	p.w.t.Helper()
	return p.w.eventsAbout(v1alpha1.ReloadPolicyKind, p.name, reason)
}

// patch merges a change into the policy.
func (p *reloadPolicy) patch(change string) {
	p.w.t.Helper()
	patch := client.RawPatch("application/merge-patch+json", []byte(change))
	NewWithT(p.w.t).Expect(p.w.admin.Patch(p.w.t.Context(), p.object(), patch)).To(Succeed())
}

// awaitPending waits until the policy says that these workloads wait, and why.
func (p *reloadPolicy) awaitPending(reason string, names ...string) []v1alpha1.PendingWorkload {
	p.w.t.Helper()
	want := prefixed(names, reason)
	return p.await("pending "+strings.Join(want, ", "), func(policy *v1alpha1.ReloadPolicy) bool {
		var waiting []string
		for _, w := range policy.Status.Pending {
			waiting = append(waiting, w.Workload.Name+": "+w.Reason)
		}
		slices.Sort(waiting)
		return slices.Equal(waiting, want)
	}).Status.Pending
}

func prefixed(names []string, reason string) []string {
	var all []string
	for _, name := range names {
		all = append(all, name+": "+reason)
	}
	slices.Sort(all)
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

// What a suspended policy holds is held by the next controller as well, with what changed while none ran.
func TestASuspensionOutlivesTheController(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	w.create(configMap("settings", "key", "0"), configMap("others", "key", "0"),
		deployment("web", auto, envFromConfigMap("settings")), deployment("down", auto, envFromConfigMap("others")))
	w.createMarker()
	w.awaitRollout("web", "down")
	policy := w.policy("apps", `{workloads: [{kind: Deployment, name: web}, {kind: Deployment, name: down}]}`)
	c := w.startController(quick)
	w.awaitRecord("web", "down", marker)
	policy.awaitReady()
	w.later()
	policy.patch(`{"spec":{"suspend":true}}`)
	c.awaitVerdict(w, "web", "Suspended", 0)
	w.setConfigMap("settings", "key", "1")
	since := policy.awaitPending("Suspended", "web")[0].Since

	c.stop()
	w.setConfigMap("settings", "key", "2")
	w.setConfigMap("others", "key", "1")
	w.startController(quick)
	w.mark(1)
	pending := policy.awaitPending("Suspended", "web", "down")
	g.Expect(pending[0].Workload.Name).To(Equal("web"), "it waits longest")
	g.Expect(pending[0].Since.Time).To(BeTemporally("==", since.Time))
	w.expectRestarts("web", 0)
	w.expectRestarts("down", 0)

	policy.patch(`{"spec":{"suspend":false}}`)
	w.awaitRestart("web", 1)
	w.awaitRestart("down", 1)
	w.awaitRecord("web", "down")
	w.mark(2)
	w.expectRestarts("web", 1)
	w.expectRestarts("down", 1)
	policy.await("both", func(p *v1alpha1.ReloadPolicy) bool { return conditions.IsReady(p) && len(p.Status.History) == 2 })
}
