package integration

import (
	"net/http"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A change restarts StatefulSets and DaemonSets in one write: one new revision, whose value all pods carry. What no pod
// can see restarts nothing.
func TestAChangeRestartsSetsOnce(t *testing.T) {
	eachSetKind(t, func(s *subject) {
		s.begin(reader(replicas(3)))
		value := s.setPassword("B")
		s.awaitComplete()
		s.awaitProven()
		g := NewWithT(s.t)
		g.Expect(s.values()).To(And(Not(BeEmpty()), HaveEach(value)))
		g.Eventually(func() []string { return s.eventsAbout(s.kind.name, web, "Reloaded") }).Should(ConsistOf(
			"Normal restarted " + s.kind.name + "/web: Secret/password changed (password)"))

		change(s.world, &corev1.Secret{}, "password", func(o *corev1.Secret) { o.Labels = with(o.Labels, "a", "b") })
		s.mark(1)
		s.expectWrites(1)
		g.Expect(s.eventsAbout(s.kind.name, web, "Reloaded")).To(HaveLen(1))
	})
}

// A key that no pod can see may come, change and go: nothing restarts for it, neither now nor by the next controller.
func TestAKeyThatNoPodUsesRestartsNoSet(t *testing.T) {
	eachSetKind(t, func(s *subject) {
		c := s.begin(deployment(web, auto, envKey("PASSWORD", "password", "password")))
		s.later()
		s.setSecret("password", "note", "1")
		s.mark(1)
		s.setSecret("password", "note", "2")
		s.mark(2)
		c.stop()
		change(s.world, &corev1.Secret{}, "password", func(o *corev1.Secret) { delete(o.Data, "note") })
		s.startController(quick)
		s.mark(3)
		s.expectWrites(0)

		s.t.Log("the key that they use")
		value := s.setPassword("B")
		s.awaitComplete()
		s.awaitProven()
		s.expectWrites(1)
		NewWithT(s.t).Expect(s.values()).To(And(Not(BeEmpty()), HaveEach(value)))
	})
}

// The next controller finds a change that came while none ran, and the one after finds nothing to do.
func TestAChangeWhileTheControllerIsDownRestartsSetsOnce(t *testing.T) {
	eachSetKind(t, func(s *subject) {
		s.begin(reader()).stop()
		s.later()
		s.setSecret("password", "password", "B")
		c := s.startController(quick)
		NewWithT(s.t).Eventually(s.written).ShouldNot(BeEmpty())
		s.awaitComplete()
		s.awaitProven()
		c.stop()

		s.startController(quick)
		s.mark(1)
		s.expectWrites(1)
		NewWithT(s.t).Expect(s.values()).To(HaveEach(s.written()))
	})
}

// With OnDelete the template is written once a change. The restart is pending, whatever else happens, until the pods are
// deleted by hand; then it is proven, and stays so.
func TestOnDeleteIsPendingUntilThePodsAreNew(t *testing.T) {
	eachSetKind(t, func(s *subject) {
		c := s.begin(reader(), s.kind.onDelete)
		value := s.setPassword("B")
		s.awaitPending(c)
		g := NewWithT(s.t)

		s.t.Log("looked at again, and by the next controller")
		s.edit(func(o client.Object) { o.SetAnnotations(with(o.GetAnnotations(), "a", "b")) })
		s.mark(1)
		s.expectWrites(1)
		c.stop()
		c = s.startController(quick)
		s.awaitPending(c)
		s.mark(2)
		s.expectWrites(1)
		g.Expect(s.values()).To(And(Not(BeEmpty()), HaveEach("")), "the old pods are still there")

		s.t.Log("the pods are deleted")
		s.deletePods()
		g.Expect(s.values()).To(And(Not(BeEmpty()), HaveEach(value)))
		s.awaitProven()
		c.stop()
		s.startController(quick)
		s.mark(3)
		s.expectWrites(1)
	})
}

// With OnDelete, a change that comes while an earlier one is pending is written as well: pods that are deleted now are to
// carry the value of what they read.
func TestEachChangeIsWrittenOnceOnDelete(t *testing.T) {
	eachSetKind(t, func(s *subject) {
		c := s.begin(reader(), s.kind.onDelete)
		first := s.setPassword("B")
		s.awaitPending(c)
		s.expectWrites(1)
		second := s.setPassword("C")
		g := NewWithT(s.t)
		g.Expect(second).NotTo(BeElementOf(first, ""))
		s.awaitPending(c)
		s.mark(1)
		s.expectWrites(2)

		s.deletePods()
		g.Expect(s.values()).To(And(Not(BeEmpty()), HaveEach(second)))
		s.awaitProven()
		s.mark(2)
		s.expectWrites(2)
	})
}

// A partition is pending until it is gone and the pods that it held back are new.
func TestAPartitionIsPendingUntilItIsGone(t *testing.T) {
	s := &subject{world: newWorld(t), kind: statefulSets()}
	c := s.begin(reader(replicas(2)), partition(1))
	value := s.setPassword("B")
	g := NewWithT(t)
	g.Eventually(s.values).Should(ConsistOf("", value), "the partition holds back one pod")
	s.awaitPending(c)
	s.mark(1)
	s.expectWrites(1)
	g.Expect(s.values()).To(ConsistOf("", value))

	s.edit(partition(0))
	s.awaitComplete()
	s.awaitProven()
	g.Expect(s.values()).To(Equal([]string{value, value}))
	s.mark(2)
	s.expectWrites(1)
}

// partition holds back the pods of a StatefulSet with lesser ordinals.
func partition(n int32) func(client.Object) {
	return func(o client.Object) {
		o.(*appsv1.StatefulSet).Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To(n)}
	}
}

// Nothing is written to a Deployment while it is paused. It is restarted once when it no longer is, for all changes of
// that time.
func TestAPausedDeploymentIsRestartedOnceItIsUnpaused(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment(web, auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout(web)
	c := w.startController(quick)
	w.awaitRecord(web, marker)
	w.pause(web, true)
	g := NewWithT(t)
	for times, content := range []string{"B", "C"} {
		w.later()
		w.setSecret("password", "password", content)
		g.Eventually(func() int { return c.decided("Deployment/"+w.namespace+"/web", "Paused") }).Should(BeNumerically(">", 0))
		w.mark(times + 1)
		w.expectRestarts(web, 0)
	}
	g.Expect(w.patches(web)).To(BeZero())
	g.Expect(w.recorded(web)).To(ContainSubstring(`"pend":`))
	g.Expect(w.deployment(web).Spec.Paused).To(BeTrue())

	w.pause(web, false)
	w.awaitRestart(web, 1)
	w.awaitRecord(web)
	w.mark(3)
	w.expectRestarts(web, 1)
	g.Expect(w.accepted(web)).To(Equal(1), "one may be refused before: unpausing moves the status at the same time")
}

// accepted counts the controller's patches of Deployments that the API server did not refuse: one that meets a write of
// somebody else is tried again.
func (w *world) accepted(names ...string) int {
	w.t.Helper()
	return w.acceptedOf("deployments", names...)
}

func (w *world) acceptedOf(resource string, names ...string) int {
	w.t.Helper()
	n := 0
	for _, e := range w.requests() {
		if e.Verb == "patch" && e.Resource == resource && slices.Contains(names, e.Name) && e.Code == http.StatusOK {
			n++
		}
	}
	return n
}

func (w *world) pause(name string, paused bool) {
	w.t.Helper()
	change(w, &appsv1.Deployment{}, name, func(d *appsv1.Deployment) { d.Spec.Paused = paused })
	w.edits[name]++
}

// A set without pods is not restarted for a change, nor when it has pods again: a StatefulSet that is scaled to zero, a
// DaemonSet without nodes.
func TestSetsWithoutPodsAreNotRestarted(t *testing.T) {
	eachSetKind(t, func(s *subject) {
		s.startPods()
		c := s.begin(reader(onNodesOf(s.namespace)))
		g := NewWithT(s.t)
		g.Expect(s.values()).NotTo(BeEmpty())
		s.kind.run(s, false)
		g.Eventually(s.values).Should(BeEmpty())
		s.later()
		s.setSecret("password", "password", "B")
		s.mark(1)
		s.awaitProven()

		s.kind.run(s, true)
		g.Eventually(s.values).ShouldNot(BeEmpty())
		s.awaitComplete()
		s.mark(2)
		s.awaitProven()
		c.stop()
		s.startController(quick)
		s.mark(3)
		s.expectWrites(0)
		g.Expect(s.values()).To(HaveEach(""))

		s.t.Log("a change with pods")
		s.setPassword("C")
		s.awaitComplete()
		s.expectWrites(1)
	})
}

// A restart is through when all pods are of its revision. They may never become available: a pod that fails because its
// configuration is stale must not hold back the restart that heals it, nor be restarted again and again.
func TestPodsThatAreNeverAvailableAreRestartedOnce(t *testing.T) {
	eachSetKind(t, func(s *subject) {
		c := s.begin(reader(slow), unordered)
		g := NewWithT(s.t)
		for times, content := range []string{"B", "C"} {
			value := s.setPassword(content)
			s.awaitComplete()
			s.awaitProven()
			g.Expect(s.values()).To(And(Not(BeEmpty()), HaveEach(value)))
			g.Expect(s.set().available).To(BeZero())
			s.mark(times + 1)
			s.expectWrites(times + 1)
		}
		c.stop()
		s.startController(quick)
		s.mark(3)
		s.expectWrites(2)
	})
}

// With surge, old and new pods are there side by side: the restart is through when the old ones are gone, and is one.
func TestASurgeIsProvenByTheNewPodsAlone(t *testing.T) {
	s := &subject{world: newWorld(t), kind: daemonSets()}
	c := s.begin(reader(), func(o client.Object) {
		o.(*appsv1.DaemonSet).Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{
			Type: appsv1.RollingUpdateDaemonSetStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDaemonSet{
				MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0)),
			},
		}
	})
	for times, content := range []string{"B", "C"} {
		value := s.setPassword(content)
		s.awaitComplete()
		s.awaitProven()
		NewWithT(t).Expect(s.values()).To(And(Not(BeEmpty()), HaveEach(value)))
		s.mark(times + 1)
		s.expectWrites(times + 1)
	}
	c.stop()
	s.startController(quick)
	s.mark(3)
	s.expectWrites(2)
}

// unordered lets a StatefulSet replace a pod that is not available. An ordered one waits for it.
func unordered(o client.Object) {
	if s, ok := o.(*appsv1.StatefulSet); ok {
		s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	}
}
