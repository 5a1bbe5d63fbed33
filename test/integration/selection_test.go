package integration

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// annotated sets an annotation of a Deployment.
func annotated(key, value string) option {
	return func(d *appsv1.Deployment) { d.Annotations = with(d.Annotations, key, value) }
}

// mark sets an annotation of a ConfigMap.
func (w *world) markConfigMap(name, key, value string) {
	w.t.Helper()
	change(w, &corev1.ConfigMap{}, name, func(c *corev1.ConfigMap) { c.Annotations = with(c.Annotations, key, value) })
}

func TestListsNameWhatPodsDoNotUse(t *testing.T) {
	w := newWorld(t)
	w.create(configMap("one", "key", "0"), configMap("team-a", "key", "0"), configMap("team-b", "key", "0"),
		deployment("named", annotated(v1alpha1.ConfigMapReloadAnnotation, "one, missing")),
		deployment("pattern", annotated(v1alpha1.ConfigMapReloadAnnotation, "team-[ac]|x(")),
		deployment("both", annotated(v1alpha1.ConfigMapReloadAnnotation, "x(, team-[ac]"), annotated(v1alpha1.ConfigMapExcludeAnnotation, "team-c")))
	w.createMarker()
	w.awaitRollout("named", "pattern", "both")
	w.startController(quick)
	w.awaitRecord("named", "both", marker)
	w.later()

	w.setConfigMap("one", "key", "1")
	w.awaitRestart("named", 1)
	w.setConfigMap("team-a", "key", "1")
	w.awaitRestart("both", 1)
	w.setConfigMap("team-b", "key", "1")
	w.create(configMap("team-c", "key", "0"))
	w.setConfigMap("team-c", "key", "1")
	w.mark(1)
	w.expectRestarts("both", 1)
	w.expectRestarts("named", 1)
	w.expectRestarts("pattern", 0)
	g := NewWithT(t)
	g.Eventually(func() []string { return w.events("pattern", "InvalidAnnotation") }).
		Should(ConsistOf(And(HavePrefix("Warning "), ContainSubstring(v1alpha1.ConfigMapReloadAnnotation), ContainSubstring("team-[ac]|x("))))
	g.Expect(w.patches("pattern")).To(BeZero())
}

func TestMarksOfSourcesCountAtOnce(t *testing.T) {
	w := newWorld(t)
	w.create(configMap("settings", "key", "0"), configMap("noise", "key", "0"),
		deployment("search", annotated(v1alpha1.SearchAnnotation, "true"), envFromConfigMap("settings"), envFromConfigMap("noise")),
		deployment("auto", auto, envFromConfigMap("settings")))
	w.createMarker()
	w.awaitRollout("search", "auto")
	w.startController(quick)
	w.awaitRecord("auto", marker)
	w.later()

	t.Log("nothing is marked")
	w.setConfigMap("noise", "key", "1")
	w.mark(1)
	w.expectRestarts("search", 0)

	t.Log("one is marked to match: what it holds now is what the pods have, and its next change restarts")
	w.markConfigMap("settings", v1alpha1.MatchAnnotation, "true")
	w.awaitRecord("search")
	w.later()
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("search", 1)
	w.awaitRestart("auto", 1)
	w.awaitRecord("search", "auto")

	t.Log("it is marked to be ignored: nothing restarts")
	w.markConfigMap("settings", v1alpha1.IgnoreAnnotation, "true")
	w.later()
	w.setConfigMap("settings", "key", "2")
	w.mark(2)
	w.expectRestarts("search", 1)
	w.expectRestarts("auto", 1)

	t.Log("it is not any more: the pods have what it held before")
	w.markConfigMap("settings", v1alpha1.IgnoreAnnotation, "false")
	w.awaitRestart("search", 2)
	w.awaitRestart("auto", 2)
}

func TestNamespacesAreSelectedByTheirLabels(t *testing.T) {
	w := newWideWorld(t)
	g := NewWithT(t)
	ignored := w.newNamespace("ignored")
	w.create(configMap("settings", "key", "0"), deployment("web", auto, envFromConfigMap("settings")))
	there, far := configMap("settings", "key", "0"), deployment("web", auto, envFromConfigMap("settings"))
	there.Namespace, far.Namespace = ignored, ignored
	w.create(there, far)
	label := func(name, value string) {
		namespace := &corev1.Namespace{}
		g.Expect(w.admin.Get(t.Context(), client.ObjectKey{Name: name}, namespace)).To(Succeed())
		namespace.Labels = with(namespace.Labels, "team", value)
		g.Expect(w.admin.Update(t.Context(), namespace)).To(Succeed())
	}
	label(w.namespace, "a")
	label(ignored, "a")
	w.awaitRollout("web")
	c := w.startController(quick, `--namespace-selector="team in (a,b)"`, "--namespaces-to-ignore="+ignored)
	w.awaitRecord("web")
	w.later()

	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")

	t.Log("the namespace leaves the selector")
	label(w.namespace, "c")
	g.Eventually(func() int { return c.decided("Deployment/"+w.namespace+"/web", "NotSelected") }).Should(Equal(1))
	w.later()
	w.setConfigMap("settings", "key", "2")
	w.later()
	w.expectRestarts("web", 1)

	t.Log("it comes back: its pods are stale")
	label(w.namespace, "b")
	w.awaitRestart("web", 2)
	g.Expect(c.log()).NotTo(ContainSubstring(ignored+"/web"), "what is ignored is not even watched")
}

// A source that leaves the selector is out of scope, and not deleted: nobody waits for it.
func TestASourceThatLeavesTheSelectorIsOutOfScope(t *testing.T) {
	w := newWorld(t)
	labelled := configMap("settings", "key", "0")
	labelled.Labels = map[string]string{"reload": "yes"}
	w.create(labelled, configMap("other", "key", "0"),
		deployment("web", auto, envFromConfigMap("settings"), envFromConfigMap("other")))
	marked := configMap(marker, "key", "0")
	marked.Labels = labelled.Labels
	w.create(marked, deployment(marker, auto, envFromConfigMap(marker)))
	w.awaitRollout("web", marker)
	c := w.startController(quick, "--resource-label-selector=reload:*")
	w.awaitRecord("web", marker)
	w.later()

	w.setConfigMap("other", "key", "1")
	w.mark(1)
	w.expectRestarts("web", 0)
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")

	change(w, &corev1.ConfigMap{}, "settings", func(c *corev1.ConfigMap) { c.Labels = nil })
	w.setConfigMap("settings", "key", "2")
	w.mark(2)
	w.expectRestarts("web", 1)
	NewWithT(t).Expect(c.decided("Deployment/"+w.namespace+"/web", "Waiting")).To(BeZero())
}

// Roles suffice for a list of namespaces. One that is missing or forbidden is reported and stops none of the others.
func TestAListOfNamespacesNeedsRolesOnly(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	forbidden := w.newNamespace("forbidden")
	w.create(configMap("settings", "key", "0"), deployment("web", auto, envFromConfigMap("settings")))
	w.awaitRollout("web")
	c := w.startController(quick, "--namespaces="+w.namespace+","+forbidden+",missing")
	w.awaitRecord("web")
	w.later()
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("web", 1)
	refused, unread := map[any]bool{}, 0
	for _, line := range c.lines("the API server refuses the watch; trying again until it does not") {
		refused[line["namespace"]] = true
		if line["resource"] == "reloadpolicies" {
			g.Expect(line).To(HaveKeyWithValue("until then", ContainSubstring("govern nothing")))
			unread++
		}
	}
	g.Expect(unread).To(Equal(2))
	g.Expect(refused).To(Equal(map[any]bool{forbidden: true, "missing": true}))
	for _, e := range w.requests() {
		if e.Verb == "watch" || e.Verb == "list" {
			g.Expect(e.RequestURI).To(ContainSubstring("/namespaces/"), "nothing is asked of the whole cluster")
		}
	}
}

func TestAutoReloadAllTakesWhatDoesNotOptOut(t *testing.T) {
	w := newWorld(t)
	w.create(configMap("settings", "key", "0"), deployment("silent", envFromConfigMap("settings")),
		deployment("out", annotated(v1alpha1.AutoAnnotation, "false"), envFromConfigMap("settings")))
	w.awaitRollout("silent", "out")
	w.startController(quick, "--auto-reload-all")
	w.awaitRecord("silent")
	w.later()
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("silent", 1)
	w.expectRestarts("out", 0)
}
