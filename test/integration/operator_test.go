package integration

import (
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Whoever writes a template back is not fought, be it once by hand or again and again by an operator: one write a change,
// a report of each that is taken back, and never a claim that the pods are fresh while old ones run.
func TestAnOperatorThatWritesItsTemplateBackIsNotFought(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), deployment("web", auto, slow, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	g := NewWithT(t)
	decided := func(verdict string) int { return c.decided("Deployment/"+w.namespace+"/web", verdict) }
	rolledBack := func() int { return decided("RolledBack") }
	old := w.pods("web")
	g.Expect(old).To(HaveLen(1))
	fresh := decided("InSync") + decided("AlreadyFresh")
	w.later()

	t.Log("undone in mid-rollout")
	w.setSecret("password", "password", "B")
	g.Eventually(func() []corev1.Pod { return w.pods("web") }).Should(HaveLen(2), "the rollout is half way")
	change(w, &appsv1.Deployment{}, "web", func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = nil // a restart's are all there are
	})
	g.Eventually(rolledBack).Should(Equal(1))

	t.Log("written back by an operator")
	w.writeBack("web")
	contents := []string{"C", "D", "E"}
	for i, content := range contents {
		w.later()
		w.setSecret("password", "password", content)
		g.Eventually(rolledBack).Should(Equal(2+i), "report of the change to "+content)
		g.Expect(w.recorded("web")).NotTo(proven(""))
	}
	w.mark(1)
	g.Expect(w.accepted("web")).To(Equal(1+len(contents)), "one write a change")
	g.Expect(w.deployment("web").Generation).To(BeEquivalentTo(1+2*(1+len(contents))), "each was taken back")
	c.stop()
	g.Expect(w.recorded("web")).NotTo(proven(""))
	g.Expect(decided("InSync")+decided("AlreadyFresh")).To(Equal(fresh), "old pods run")

	t.Log("the next controller")
	c = w.startController(quick)
	g.Eventually(rolledBack).Should(Equal(1))
	w.mark(2)
	g.Expect(w.accepted("web")).To(Equal(1 + len(contents)))
	g.Expect(decided("InSync") + decided("AlreadyFresh")).To(BeZero())
	g.Expect(w.recorded("web")).NotTo(proven(""))
	sameAsOld := func(p corev1.Pod) bool { return p.UID == old[0].UID }
	g.Expect(slices.ContainsFunc(w.pods("web"), sameAsOld)).To(BeTrue(), "the old pod is there all the time")
	g.Expect(w.events("web", "RolledBack")).NotTo(BeEmpty())
}

// writeBack is an operator that writes a Deployment's template without a restart's annotations whenever it sees one, until
// the test ends.
func (w *world) writeBack(name string) {
	w.t.Helper()
	changes, err := clients.AppsV1().Deployments(w.namespace).Watch(w.t.Context(), metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", name).String(),
		ResourceVersion: w.deployment(name).ResourceVersion,
	})
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	const patch = `{"spec":{"template":{"metadata":{"annotations":null}}}}`
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for event := range changes.ResultChan() {
			if d, ok := event.Object.(*appsv1.Deployment); ok && value(d) != "" {
				_ = w.admin.Patch(w.t.Context(), d, client.RawPatch(types.MergePatchType, []byte(patch)))
			}
		}
	}()
	w.t.Cleanup(func() { changes.Stop(); <-ended })
}
