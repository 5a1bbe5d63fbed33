package integration

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// setKind is a kind of workload that owns its pods itself: the API server keeps ControllerRevisions of it.
type setKind struct {
	name, resource string
	// revisions is the resource that keeps its former templates.
	revisions string
	empty     func() client.Object
	// like makes a workload of the kind from what a Deployment says.
	like func(*appsv1.Deployment) client.Object
	// onDelete lets the pods be until somebody deletes them.
	onDelete func(client.Object)
	see      func(client.Object) set
	// run gives a workload that asks for the nodes of its namespace pods, or takes them all away.
	run func(s *subject, pods bool)
}

// set is what tests look at of a workload of such a kind.
type set struct {
	uid      types.UID
	template *corev1.PodTemplateSpec
	// complete is whether all pods are of the present revision and run.
	complete  bool
	available int32
}

func statefulSets() setKind {
	return setKind{
		name: "StatefulSet", resource: "statefulsets", revisions: "controllerrevisions",
		empty: func() client.Object { return &appsv1.StatefulSet{} },
		like: func(d *appsv1.Deployment) client.Object {
			return &appsv1.StatefulSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.StatefulSetSpec{
				Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template, MinReadySeconds: d.Spec.MinReadySeconds,
			}}
		},
		onDelete: func(o client.Object) {
			o.(*appsv1.StatefulSet).Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
		},
		see: func(o client.Object) set {
			s := o.(*appsv1.StatefulSet)
			return set{
				uid: s.UID, template: &s.Spec.Template, available: s.Status.AvailableReplicas,
				complete: s.Status.ObservedGeneration == s.Generation && s.Status.UpdatedReplicas == *s.Spec.Replicas &&
					s.Status.Replicas == s.Status.UpdatedReplicas && s.Status.ReadyReplicas == s.Status.Replicas,
			}
		},
		run: func(s *subject, pods bool) {
			n := map[bool]int32{true: 1, false: 0}[pods]
			s.edit(func(o client.Object) { o.(*appsv1.StatefulSet).Spec.Replicas = &n })
		},
	}
}

func daemonSets() setKind {
	return setKind{
		name: "DaemonSet", resource: "daemonsets", revisions: "controllerrevisions",
		empty: func() client.Object { return &appsv1.DaemonSet{} },
		like: func(d *appsv1.Deployment) client.Object {
			return &appsv1.DaemonSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.DaemonSetSpec{
				Selector: d.Spec.Selector, Template: d.Spec.Template, MinReadySeconds: d.Spec.MinReadySeconds,
			}}
		},
		onDelete: func(o client.Object) {
			o.(*appsv1.DaemonSet).Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
		},
		see: func(o client.Object) set {
			s := o.(*appsv1.DaemonSet)
			return set{
				uid: s.UID, template: &s.Spec.Template, available: s.Status.NumberAvailable,
				complete: s.Status.ObservedGeneration == s.Generation &&
					s.Status.UpdatedNumberScheduled == s.Status.DesiredNumberScheduled &&
					s.Status.NumberReady == s.Status.DesiredNumberScheduled && s.Status.NumberMisscheduled == 0,
			}
		},
		run: func(s *subject, pods bool) {
			s.labelNodes(map[bool]string{true: `"true"`, false: "null"}[pods])
		},
	}
}

// subject is the workload "web" of one kind in a world of its own. It reads the Secret "password".
type subject struct {
	*world
	kind setKind
}

const web = "web"

// eachSetKind runs a test once for each kind.
func eachSetKind(t *testing.T, test func(s *subject)) {
	t.Helper()
	t.Parallel()
	for _, kind := range []setKind{statefulSets(), daemonSets()} {
		t.Run(kind.name, func(t *testing.T) { test(&subject{world: newWorld(t), kind: kind}) })
	}
}

// reader is what the workload is made from: it reads the Secret.
func reader(options ...option) *appsv1.Deployment {
	return deployment(web, append(options, auto, envFromSecret("password"))...)
}

// begin makes the workload and the marker, and starts a controller that has entered them.
func (s *subject) begin(from *appsv1.Deployment, shapes ...func(client.Object)) *controller {
	s.t.Helper()
	return s.beginWith([]string{quick}, from, shapes...)
}

// beginWith begins with a controller that has these flags.
func (s *subject) beginWith(flags []string, from *appsv1.Deployment, shapes ...func(client.Object)) *controller {
	s.t.Helper()
	object := s.kind.like(from)
	for _, shape := range shapes {
		shape(object)
	}
	s.create(secret("password", "password", "A"), object)
	s.createMarker()
	s.awaitComplete()
	c := s.startController(flags...)
	s.awaitProven()
	s.awaitRecord(marker)
	return c
}

// set is the workload as it is now.
func (s *subject) set() set {
	s.t.Helper()
	object := s.kind.empty()
	s.get(object, web)
	return s.kind.see(object)
}

// edit changes the workload as its user.
func (s *subject) edit(how func(client.Object)) {
	s.t.Helper()
	change(s.world, s.kind.empty(), web, how)
}

// written is the value in the template; empty before the first restart.
func (s *subject) written() string {
	s.t.Helper()
	return s.set().template.Annotations[v1alpha1.ConfigDigestAnnotation]
}

// setPassword changes the Secret, clearly after all that was done before, and waits until the template is written.
func (s *subject) setPassword(to string) (written string) {
	s.t.Helper()
	before := s.written()
	s.later()
	s.setSecret("password", "password", to)
	NewWithT(s.t).Eventually(s.written).ShouldNot(Equal(before), "the template's value")
	return s.written()
}

// awaitComplete waits until the pods are all of the present revision.
func (s *subject) awaitComplete() {
	s.t.Helper()
	NewWithT(s.t).Eventually(func() bool { return s.set().complete }).Should(BeTrue(), "rollout of the "+s.kind.name)
}

func (s *subject) record() string {
	s.t.Helper()
	return s.recordOf(s.set().uid)
}

// awaitProven waits until the stored record says that the pods run with the present content.
func (s *subject) awaitProven() {
	s.t.Helper()
	NewWithT(s.t).Eventually(s.record).Should(harness.Proven(s.written()), "record of the "+s.kind.name)
}

// awaitPending waits until the controller has found that the template is written and pods are to follow.
func (s *subject) awaitPending(c *controller) {
	s.t.Helper()
	g := NewWithT(s.t)
	g.Eventually(func() int { return c.decided(s.kind.name+"/"+s.namespace+"/"+web, "Paused") }).Should(BeNumerically(">", 0))
	g.Eventually(s.record).Should(And(ContainSubstring(`"pend":`), ContainSubstring(s.written())))
}

// expectWrites checks how many times the template was written in the workload's life: requests, and what came of them.
func (s *subject) expectWrites(times int) {
	s.t.Helper()
	g := NewWithT(s.t)
	writes := s.acceptedOf(s.kind.resource, web)
	if times == 0 {
		writes = s.patchesOf(s.kind.resource, web) // not even tried
	}
	g.Expect(writes).To(Equal(times), "writes of the "+s.kind.name)
	g.Expect(s.revisions()).To(HaveLen(times+1), "revisions of the "+s.kind.name)
}

func (s *subject) revisions() []appsv1.ControllerRevision {
	s.t.Helper()
	list := &appsv1.ControllerRevisionList{}
	NewWithT(s.t).Expect(s.admin.List(s.t.Context(), list, client.InNamespace(s.namespace),
		client.MatchingLabels{"app": web})).To(Succeed())
	return list.Items
}

// values are what the pods carry.
func (s *subject) values() []string {
	s.t.Helper()
	var values []string
	for _, pod := range s.pods(web) {
		values = append(values, pod.Annotations[v1alpha1.ConfigDigestAnnotation])
	}
	return values
}

// deletePods deletes the pods by hand and waits until there are new ones.
func (s *subject) deletePods() {
	s.t.Helper()
	NewWithT(s.t).Expect(s.admin.DeleteAllOf(s.t.Context(), &corev1.Pod{}, client.InNamespace(s.namespace),
		client.MatchingLabels{"app": web})).To(Succeed())
	s.awaitComplete()
}
