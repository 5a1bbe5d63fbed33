package integration

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// Whoever writes a template back is not fought, be it once by hand or again and again by an operator: one write a change,
// a report of each that is taken back, and never a claim that the pods are fresh while an old one runs. The workload is a
// StatefulSet whose rollouts never get to its first pod.
func TestAnOperatorThatWritesItsTemplateBackIsNotFought(t *testing.T) {
	s := &subject{world: newWorld(t), kind: statefulSets()}
	c := s.begin(reader(replicas(2), slow), unordered)
	g := NewWithT(t)
	decided := func(verdict string) int { return c.decided(s.kind.name+"/"+s.namespace+"/"+web, verdict) }
	rolledBack := func() int { return decided("RolledBack") }
	first := func() types.UID {
		pod := &corev1.Pod{}
		s.get(pod, web+"-0")
		return pod.UID
	}
	old := first()
	fresh := decided("InSync") + decided("AlreadyFresh")
	s.later()

	t.Log("undone in mid-rollout")
	s.setSecret("password", "password", "B")
	g.Eventually(s.values).Should(ConsistOf(BeEmpty(), Not(BeEmpty())), "the rollout is half way")
	s.edit(func(o client.Object) { o.(*appsv1.StatefulSet).Spec.Template.Annotations = nil }) // a restart's are all there are
	g.Eventually(rolledBack).Should(Equal(1))

	t.Log("written back by an operator")
	s.writeBack()
	contents := []string{"C", "D", "E"}
	for i, content := range contents {
		s.later()
		s.setSecret("password", "password", content)
		g.Eventually(rolledBack).Should(Equal(2+i), "report of the change to "+content)
		g.Expect(s.record()).NotTo(harness.Proven(""))
	}
	s.mark(1)
	g.Expect(s.acceptedOf(s.kind.resource, web)).To(Equal(1+len(contents)), "one write a change")
	set := &appsv1.StatefulSet{}
	s.get(set, web)
	g.Expect(set.Generation).To(BeEquivalentTo(1+2*(1+len(contents))), "each was taken back")
	c.stop()
	g.Expect(s.record()).NotTo(harness.Proven(""))
	g.Expect(decided("InSync")+decided("AlreadyFresh")).To(Equal(fresh), "an old pod runs")

	t.Log("the next controller")
	c = s.startController(quick)
	g.Eventually(rolledBack).Should(Equal(1))
	s.mark(2)
	g.Expect(s.acceptedOf(s.kind.resource, web)).To(Equal(1 + len(contents)))
	g.Expect(decided("InSync") + decided("AlreadyFresh")).To(BeZero())
	g.Expect(s.record()).NotTo(harness.Proven(""))
	g.Expect(first()).To(Equal(old), "the old pod is there all the time")
	g.Expect(s.eventsAbout(s.kind.name, web, "RolledBack")).NotTo(BeEmpty())
}

// writeBack is an operator that writes the template without a restart's annotations whenever it sees any, until the test
// ends.
func (s *subject) writeBack() {
	s.t.Helper()
	set := &appsv1.StatefulSet{}
	s.get(set, web)
	changes, err := clients.AppsV1().StatefulSets(s.namespace).Watch(s.t.Context(), metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", web).String(), ResourceVersion: set.ResourceVersion,
	})
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
	const patch = `{"spec":{"template":{"metadata":{"annotations":null}}}}`
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for event := range changes.ResultChan() {
			if set, ok := event.Object.(*appsv1.StatefulSet); ok && len(set.Spec.Template.Annotations) > 0 {
				_ = s.admin.Patch(s.t.Context(), set, client.RawPatch(types.MergePatchType, []byte(patch)))
			}
		}
	}()
	s.t.Cleanup(func() { changes.Stop(); <-ended })
}
