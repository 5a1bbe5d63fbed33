package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// kustomize is the field manager of Flux's kustomize-controller.
const kustomize = "kustomize-controller"

// Configuration and workload that come in one apply are one revision, wherever in a second the apply begins and however
// long it takes, up to a second or two. Configuration that comes alone restarts.
func TestWhatIsAppliedTogetherRollsOutOnce(t *testing.T) {
	const (
		workloads, rounds = 15, 2
		step              = 70 * time.Millisecond // from where in its second one apply begins to where the next does
	)
	gaps := []time.Duration{0, 0, 300 * time.Millisecond, 0, 0, 0, 900 * time.Millisecond, 0, 0, 0}
	w := newWorld(t)
	var names []string
	for i := range workloads {
		names = append(names, fmt.Sprintf("web-%d", i))
		w.applyPair(names[i], 0, 0)
	}
	w.awaitRollout(names...)
	w.startController("--settle-quiet=5s") // longer than two applies, on a slow machine
	w.awaitRecord(names...)
	w.later()
	applied := 0
	for round := 1; round <= rounds; round++ {
		versions := map[string]string{}
		for _, name := range names {
			awaitPhase(t, time.Duration(applied)*step%time.Second)
			versions[name] = w.applyPair(name, round, gaps[applied%len(gaps)])
			w.edits[name]++
			applied++
		}
		for _, name := range names {
			NewWithT(t).Eventually(func() string { return w.recorded(name) }).Should(
				And(harness.Proven(""), ContainSubstring(fmt.Sprintf("%q:%q", "rv", versions[name]))), "record of %s in round %d", name, round)
			w.expectRevisions(name, 1+round)
		}
	}
	w.later()
	w.applyConfiguration(names[0], rounds+1)
	NewWithT(t).Eventually(func() int { return w.restarts(names[0]) }).Should(Equal(1), "configuration alone")
	w.awaitRollout(names...)
	for i, name := range names {
		alone := map[bool]int{true: 1}[i == 0]
		w.expectRevisions(name, 1+rounds+alone)
		NewWithT(t).Expect(w.accepted(name)).To(Equal(alone), "restarts of "+name)
	}
}

// Configuration that somebody else writes in the second of an apply, and after it, restarts: nothing tells that the pods have
// read it, unless they come so late that their own times do.
func TestConfigurationOfAnotherInTheSecondOfAnApplyRestarts(t *testing.T) {
	w := newWorld(t)
	names := []string{"web-0", "web-1", "web-2"}
	for _, name := range names {
		w.applyPair(name, 0, 0)
	}
	w.awaitRollout(names...)
	w.startController()
	w.awaitRecord(names...)
	w.later()
	changed := map[string]time.Time{}
	for _, name := range names {
		awaitPhase(t, 0)
		d := deployment(name, auto, envFromConfigMap(name))
		app(d).Image = "reloader.test/none:1"
		w.apply(d)
		w.edits[name]++
		configuration := &corev1.ConfigMap{}
		change(w, configuration, name, func(c *corev1.ConfigMap) { c.Data["round"] = "another's" })
		changed[name] = dataTime(configuration)
	}
	restarts := 0
	for _, name := range names {
		late := func() bool {
			return harness.Complete(w.deployment(name)) && !slices.ContainsFunc(w.pods(name), func(p corev1.Pod) bool {
				return p.CreationTimestamp.Sub(changed[name]) <= time.Second
			})
		}
		NewWithT(t).Eventually(func() bool { return w.restarts(name) == 1 || late() }).Should(BeTrue(), "restart of "+name)
		w.awaitRollout(name)
		restarts += w.restarts(name)
		w.expectRevisions(name, 2+w.restarts(name))
	}
	NewWithT(t).Expect(restarts).NotTo(BeZero())
}

// applyPair applies a ConfigMap and a while later the Deployment that reads it, both changed since the round before, as
// kustomize-controller does. It returns the ConfigMap's resourceVersion.
func (w *world) applyPair(name string, round int, gap time.Duration) (version string) {
	w.t.Helper()
	began := time.Now()
	version = w.applyConfiguration(name, round)
	if gap > 0 {
		NewWithT(w.t).Eventually(func() time.Duration { return time.Since(began) }).
			WithPolling(time.Millisecond).Should(BeNumerically(">=", gap))
	}
	d := deployment(name, auto, envFromConfigMap(name))
	switch round % 2 {
	case 0:
		d.Spec.Template.Annotations = with(nil, "example.test/round", fmt.Sprint(round))
	default:
		app(d).Image = fmt.Sprintf("reloader.test/none:%d", round)
	}
	w.apply(d)
	return version
}

func (w *world) applyConfiguration(name string, round int) (version string) {
	w.t.Helper()
	return w.apply(configMap(name, "round", fmt.Sprint(round)))
}

// apply applies an object server-side as kustomize-controller does, and returns its resourceVersion.
func (w *world) apply(object client.Object) (version string) {
	w.t.Helper()
	g := NewWithT(w.t)
	kind, err := apiutil.GVKForObject(object, w.admin.Scheme())
	g.Expect(err).NotTo(HaveOccurred())
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	g.Expect(err).NotTo(HaveOccurred())
	applied := &unstructured.Unstructured{Object: content}
	applied.SetGroupVersionKind(kind)
	applied.SetNamespace(w.namespace)
	unstructured.RemoveNestedField(applied.Object, "status")
	g.Expect(w.admin.Apply(w.t.Context(), client.ApplyConfigurationFromUnstructured(applied),
		client.FieldOwner(kustomize), client.ForceOwnership)).To(Succeed())
	return applied.GetResourceVersion()
}

// awaitPhase waits until the clock, the API server's too, is about this far into a second.
func awaitPhase(t *testing.T, phase time.Duration) {
	t.Helper()
	const about = 100 * time.Millisecond
	NewWithT(t).Eventually(func() time.Duration {
		now := time.Now()
		return now.Sub(now.Truncate(time.Second))
	}).WithPolling(about / 10).Should(And(BeNumerically(">=", phase), BeNumerically("<", phase+about)))
}

// expectRevisions checks how many revisions a Deployment ever had.
func (w *world) expectRevisions(name string, n int) {
	w.t.Helper()
	g := NewWithT(w.t)
	g.Expect(w.deployment(name).Annotations).To(HaveKeyWithValue("deployment.kubernetes.io/revision", fmt.Sprint(n)), name)
	g.Expect(w.replicaSets(name)).To(HaveLen(n), "revisions of "+name)
}
