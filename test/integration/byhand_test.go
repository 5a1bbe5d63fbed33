package integration

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// A pod that is deleted behind a partition comes back without the template's value, but reads what is there now. With
// that the restart is through; the end of the partition is no reason for another.
func TestAPodThatIsDeletedBehindAPartitionProvesTheRestart(t *testing.T) {
	s := &subject{world: newWorld(t), kind: statefulSets()}
	c := s.begin(reader(replicas(2)), partition(1))
	value := s.setPassword("B")
	g := NewWithT(t)
	g.Eventually(s.values).Should(ConsistOf("", value), "the partition holds back one pod")
	s.awaitPending(c)
	s.later()
	s.deletePod("")
	g.Eventually(s.values).Should(ConsistOf("", value), "it is held back still")
	s.awaitProven()
	s.mark(1)
	s.expectWrites(1)
	c.stop()
	s.startController(quick)
	s.mark(2)
	s.expectWrites(1)

	s.edit(partition(0))
	s.awaitComplete()
	g.Expect(s.values()).To(Equal([]string{value, value}))
	s.awaitProven()
	s.mark(3)
	s.expectWrites(1)
}

// deletePod deletes a pod that carries the value, by hand, and waits until it is gone.
func (s *subject) deletePod(value string) {
	s.t.Helper()
	g := NewWithT(s.t)
	for _, pod := range s.pods(web) {
		if pod.Annotations[v1alpha1.ConfigDigestAnnotation] != value {
			continue
		}
		g.Expect(s.admin.Delete(s.t.Context(), &pod)).To(Succeed())
		g.Eventually(s.pods).WithArguments(web).ShouldNot(ContainElement(HaveField("UID", pod.UID)))
		return
	}
	g.Expect(s.values()).To(ContainElement(value))
}

// With OnDelete, content that returns before a pod was deleted leaves the pods with what they run with. The template
// carries the value of other content then, and so do pods that are made from it: it proves nothing any more.
func TestContentThatReturnsOnDeleteRestartsNothing(t *testing.T) {
	eachSetKind(t, func(s *subject) {
		c := s.begin(reader(replicas(2)), s.kind.onDelete)
		first := s.setPassword("B")
		s.awaitPending(c)
		s.later()
		s.setSecret("password", "password", "A")
		s.awaitProven()
		s.mark(1)
		s.expectWrites(1)

		s.t.Log("pods that read A, with the value of B")
		s.deletePods()
		g := NewWithT(s.t)
		g.Expect(s.values()).To(Equal([]string{first, first}))
		s.mark(2)
		s.expectWrites(1)
		second := s.setPassword("B")
		s.awaitPending(c)
		s.expectWrites(2)
		s.deletePods()
		g.Expect(s.values()).To(Equal([]string{second, second}))
		s.awaitProven()
		s.mark(3)
		s.expectWrites(2)
	})
}

// A pod that was deleted, and made again, while the content was another makes its return a change.
func TestContentThatReturnsOnDeleteRestartsAPodOfMeanwhile(t *testing.T) {
	eachSetKind(t, func(s *subject) {
		c := s.begin(reader(replicas(2)), s.kind.onDelete)
		first := s.setPassword("B")
		s.awaitPending(c)
		s.deletePod("")
		g := NewWithT(s.t)
		g.Eventually(s.values).Should(ConsistOf("", first))
		second := s.setPassword("A")
		g.Expect(second).NotTo(BeElementOf(first, ""))
		s.awaitPending(c)
		s.deletePod(first)
		g.Eventually(s.values).Should(ConsistOf("", second))
		s.awaitProven()
		s.mark(1)
		s.expectWrites(2)
	})
}

// An undo in mid-rollout is held: by the next controller too, and until content changes.
func TestAnUndoOfASetIsHeldUntilContentChanges(t *testing.T) {
	eachSetKind(t, func(s *subject) {
		c := s.begin(reader(replicas(2)), s.kind.onDelete)
		value := s.setPassword("B")
		s.awaitPending(c)
		s.deletePod("")
		s.expectHeldUndo(c, value)
	})
}

// The same, of a rollout that replaces pods by itself and waits for the first of them to be available.
func TestAnUndoOfARollingStatefulSetIsHeldUntilContentChanges(t *testing.T) {
	s := &subject{world: newWorld(t), kind: statefulSets()}
	c := s.begin(reader(replicas(2), slow), unordered)
	s.expectHeldUndo(c, s.setPassword("B"))
}

// expectHeldUndo undoes a rollout to the value that is half way, and then changes the content.
func (s *subject) expectHeldUndo(c *controller, value string) {
	s.t.Helper()
	g := NewWithT(s.t)
	g.Eventually(s.values).Should(ConsistOf("", value), "the rollout is half way")
	s.undo()
	g.Eventually(func() []string { return s.eventsAbout(s.kind.name, web, "RolledBack") }).Should(ConsistOf(
		ContainSubstring("Secret/password")))
	s.mark(1)
	s.expectWrites(1)

	c.stop()
	s.startController(quick)
	s.mark(2)
	s.expectWrites(1)
	g.Expect(s.written()).To(BeEmpty(), "what was taken back stays")

	s.t.Log("new content")
	g.Expect(s.setPassword("C")).NotTo(Equal(value))
	s.deletePods()
	s.awaitProven()
	s.expectWrites(2)
}

// undo writes the first template back, as `kubectl rollout undo` does.
func (s *subject) undo() {
	s.t.Helper()
	g := NewWithT(s.t)
	var first []byte
	for _, revision := range s.revisions() {
		if revision.Revision == 1 {
			first = revision.Data.Raw
		}
	}
	object := s.kind.empty()
	object.SetNamespace(s.namespace)
	object.SetName(web)
	g.Expect(s.admin.Patch(s.t.Context(), object, client.RawPatch(types.StrategicMergePatchType, first))).To(Succeed())
	g.Expect(s.written()).To(BeEmpty())
}
