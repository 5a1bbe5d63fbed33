package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// The controller's view of workloads stands still for ten seconds, while configuration changes three times and somebody
// works on some of the workloads. Nothing is decided on what it no longer is: in the end all pods run with the present
// content, nobody was restarted more often than content settled, and what somebody else made fresh not for that change.
func TestAWatchThatLagsBehindRestartsNothingInVain(t *testing.T) {
	const changes = 3
	w := newWorld(t)
	names := []string{"left", "labelled", "rolled-before", "rolled-between", "rolled-after"}
	for _, name := range names {
		w.create(configMap(name, "key", "0"), deployment(name, auto, replicas(2), envFromConfigMap(name)))
	}
	w.createMarker()
	w.awaitRollout(names...)
	proxy := newLaggingProxy(w)
	w.startController(quick)
	w.awaitRecord(names...)
	w.awaitRecord(marker)
	w.later()

	began := time.Now()
	await := func(at time.Duration) {
		t.Helper()
		NewWithT(t).Eventually(func() time.Duration { return time.Since(began) }).
			WithPolling(5 * time.Millisecond).Should(BeNumerically(">=", at))
	}
	proxy.hold()
	w.roll("rolled-before", 1)
	w.label("labelled", "1")
	w.setConfigMaps(names, "1")
	await(2 * time.Second)
	w.roll("rolled-between", 1)
	await(3 * time.Second)
	w.setConfigMaps(names, "2")
	await(4 * time.Second)
	w.label("labelled", "2")
	await(6 * time.Second)
	last := w.setConfigMaps(names, "3")
	w.later() // than the last of them, however long they took
	await(8 * time.Second)
	restarts := w.accepted("rolled-after")
	w.roll("rolled-after", 1) // this brings the last change
	await(10 * time.Second)
	proxy.release()

	g := NewWithT(t)
	for _, name := range names {
		g.Eventually(func() string { return w.recorded(name) }).
			Should(And(harness.Proven(""), ContainSubstring(fmt.Sprintf("%q:%q", "rv", last[name].ResourceVersion))), "record of "+name)
	}
	w.mark(1)
	w.awaitRollout(names...)
	for _, name := range names {
		g.Expect(w.accepted(name)).To(BeNumerically("<=", changes), "restarts of "+name)
		g.Expect(w.restarts(name)).To(Equal(w.accepted(name)), "nothing else moved "+name)
		changed := last[name].ManagedFields[0].Time.Time
		for _, pod := range w.pods(name) {
			g.Expect(pod.CreationTimestamp.Time).To(BeTemporally(">", changed), "%s reads the last change", pod.Name)
		}
	}
	g.Expect(w.accepted("rolled-after")).To(Equal(restarts), "it is fresh already")
	proxy.expectVersions()
}

// expectVersions checks that every write of a Deployment named the version that it was decided on: the API server refused
// those that were not the present one.
func (p *laggingProxy) expectVersions() {
	p.w.t.Helper()
	g := NewWithT(p.w.t)
	refused := 0
	for _, write := range p.sent() {
		g.Expect(write.version).NotTo(BeEmpty(), "what the restart of %s was decided on", write.name)
		g.Expect(write.code).To(BeElementOf(http.StatusOK, http.StatusConflict))
		if write.code == http.StatusConflict {
			refused++
		}
	}
	g.Expect(refused).To(BeNumerically(">", 0), "some decisions were late")
}

// roll changes a Deployment's template as somebody who rolls it out anew.
func (w *world) roll(name string, times int) {
	w.t.Helper()
	change(w, &appsv1.Deployment{}, name, func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = with(d.Spec.Template.Annotations, "example.test/rolled", fmt.Sprint(times))
	})
	w.edits[name]++
}

// label changes a Deployment without a rollout.
func (w *world) label(name, to string) {
	w.t.Helper()
	change(w, &appsv1.Deployment{}, name, func(d *appsv1.Deployment) { d.Labels = with(d.Labels, "example.test/label", to) })
}

// setConfigMaps changes the ConfigMaps of all these names, and returns them.
func (w *world) setConfigMaps(names []string, content string) map[string]*corev1.ConfigMap {
	w.t.Helper()
	changed := map[string]*corev1.ConfigMap{}
	for _, name := range names {
		changed[name] = &corev1.ConfigMap{}
		change(w, changed[name], name, func(c *corev1.ConfigMap) { c.Data["key"] = content })
	}
	return changed
}
