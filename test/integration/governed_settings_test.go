package integration

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// Of two policies the older one governs. The other takes over when that goes, and nothing restarts for it.
func TestTheOlderPolicyGoverns(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	w.create(configMap("settings", "key", "0"), secret("password", "key", "0"),
		deployment("web", auto, envFromConfigMap("settings"), envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	older := w.policy("z-older", `{workloads: [{kind: Deployment}], sources: [{kind: Secret}], onAdoption: Baseline}`)
	w.later() // times of creation have a grain of one second
	younger := w.policy("a-younger", `{workloads: [{kind: Deployment, name: web}], onAdoption: Baseline}`)
	w.startController(quick)
	w.awaitRecord("web")
	older.awaitMessage("governs 2 workloads")
	younger.awaitMessage("governs 0 workloads; shadowed by ReloadPolicy/" + w.namespace + "/z-older for 1")
	w.later()
	w.setConfigMap("settings", "key", "1")
	w.setSecret("password", "key", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	g.Eventually(func() []v1alpha1.Restart { return older.read().Status.History }).Should(
		ConsistOf(HaveField("Cause", "Secret/password changed (key)")))

	t.Log("handed over")
	g.Expect(w.admin.Delete(t.Context(), older.object())).To(Succeed())
	younger.awaitMessage("governs 1 workload")
	w.awaitRecord("web")
	w.mark(1)
	w.expectRestarts("web", 1)
	w.later()
	w.setConfigMap("settings", "key", "2")
	w.awaitRestart("web", 2)
	g.Eventually(func() []v1alpha1.Restart { return younger.read().Status.History }).Should(
		ConsistOf(HaveField("Cause", "ConfigMap/settings changed (key)")))
	g.Eventually(func() []string { return younger.events("Reloaded") }).Should(HaveLen(1))
}

// With optIn: All who says nothing is in, and is not restarted for what its pods have run with all the time.
func TestAPolicyForAllWorkloads(t *testing.T) {
	w := newWorld(t)
	w.createMarker()
	w.startController(quick)
	w.awaitRecord(marker)
	w.create(configMap("settings", "key", "0"))
	w.later() // so that the pods are known to have started after that
	names := []string{"web", "stale", "out"}
	out := func(d *appsv1.Deployment) { d.Annotations = with(d.Annotations, v1alpha1.AutoAnnotation, "false") }
	w.create(deployment("web", envFromConfigMap("settings")), deployment("stale", envFromConfigMap("settings")),
		deployment("out", out, envFromConfigMap("settings")))
	w.awaitRollout(names...)
	w.later()
	w.setConfigMap("settings", "key", "1")
	w.mark(1)
	for _, name := range names {
		w.expectRestarts(name, 0)
	}

	restarts := w.policy("stale", `{optIn: All, onAdoption: RestartStale, workloads: [{kind: Deployment, name: stale}]}`)
	w.awaitRestart("stale", 1)
	restarts.awaitMessage("governs 1 workload")
	all := w.policy("web", `{optIn: All, workloads: [{kind: Deployment, name: web}, {kind: Deployment, name: out}]}`)
	all.awaitMessage("governs 1 workload")
	w.awaitRecord("web")
	w.later()
	w.mark(2)
	w.expectRestarts("web", 0)

	w.setConfigMap("settings", "key", "2")
	w.awaitRestart("web", 1)
	w.awaitRestart("stale", 2)
	w.mark(3)
	w.expectRestarts("out", 0)
}

// Of what pods see, only what the policy counts restarts them.
func TestTheSourcesOfAPolicy(t *testing.T) {
	w := newWorld(t)
	w.create(secret("tls", "tls.crt", "0", "note", "0"), configMap("settings", "key", "0"),
		deployment("web", auto, mountSecret("tls", "/tls"), envFromConfigMap("settings")))
	w.createMarker()
	w.awaitRollout("web")
	policy := w.policy("apps", `{onAdoption: Baseline, workloads: [{kind: Deployment, name: web}], sources: [{kind: Secret, keys: ["tls.*"]},
		{kind: ConfigMap, selector: {matchLabels: {reload: "yes"}}}]}`)
	w.startController(quick)
	policy.awaitReady()
	w.awaitRecord("web", marker)
	w.later()
	w.setSecret("tls", "note", "1")
	w.setConfigMap("settings", "key", "1")
	w.mark(1)
	w.expectRestarts("web", 0)
	w.setSecret("tls", "tls.crt", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")

	t.Log("a label lets a source count")
	change(w, &corev1.ConfigMap{}, "settings", func(c *corev1.ConfigMap) { c.Labels = with(c.Labels, "reload", "yes") })
	NewWithT(t).Eventually(func() string { return w.recorded("web") }).Should(ContainSubstring("settings"))
	w.mark(2)
	w.expectRestarts("web", 1)
	w.later()
	w.setConfigMap("settings", "key", "2")
	w.awaitRestart("web", 2)
	w.awaitRecord("web")
	change(w, &corev1.ConfigMap{}, "settings", func(c *corev1.ConfigMap) { delete(c.Labels, "reload") })
	w.later()
	w.setConfigMap("settings", "key", "3")
	w.mark(3)
	w.expectRestarts("web", 2)
}

// A policy's settings count for its workloads, and the flags for all others.
func TestTheSettingsOfAPolicy(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	names := []string{"settles", "observed", "variables", "flags"}
	w.create(configMap("settings", "key", "0"))
	for _, name := range names {
		w.create(deployment(name, auto, envFromConfigMap("settings")))
	}
	w.createMarker()
	w.awaitRollout(names...)
	settles := w.policy("settles", `{workloads: [{kind: Deployment, name: settles}], settle: {quiet: 1h, max: 2h}}`)
	observed := w.policy("observed", `{workloads: [{kind: Deployment, name: observed}], mode: Observe}`)
	variables := w.policy("variables", `{workloads: [{kind: Deployment, name: variables}], strategy: EnvVars, settle: {quiet: 0s}}`)
	w.startController(quick)
	w.awaitRecord("settles", "variables", "flags", marker)
	for _, policy := range []*reloadPolicy{settles, observed, variables} {
		policy.awaitMessage("governs 1 workload")
	}
	g.Expect(w.recorded("observed")).NotTo(BeEmpty(), "its sources are known")
	w.later()
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("flags", 1)
	w.awaitRestart("variables", 1)
	w.mark(1)
	g.Expect(w.variables("flags")).To(BeEmpty())
	g.Expect(w.variables("variables")).To(HaveKey("STAKATER_SETTINGS_CONFIGMAP"))
	settles.awaitPending("Settling", "settles")
	observed.awaitPending("Observed", "observed")
	settles.awaitReady()
	w.expectRestarts("settles", 0)
	w.expectRestarts("observed", 0)

	settles.patch(`{"spec":{"settle":{"quiet":"1s","max":"1s"}}}`)
	observed.patch(`{"spec":{"mode":"Auto"}}`)
	w.awaitRestart("settles", 1)
	w.awaitRestart("observed", 1)
	w.awaitRecord(names...)
	w.mark(2)
	for _, name := range names {
		w.expectRestarts(name, 1)
	}
	for _, policy := range []*reloadPolicy{settles, observed, variables} {
		policy.await("through", func(p *v1alpha1.ReloadPolicy) bool {
			return p.Status.Workloads.InSync == 1 && len(p.Status.Pending) == 0 && len(p.Status.History) == 1
		})
	}
}

// What a policy does not say is as the flags say.
func TestTheSettingsThatAPolicyLeavesToFlags(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	w.createMarker()
	w.startController(quick, "--auto-reload-all", "--reload-strategy=env-vars")
	w.awaitRecord(marker)
	w.create(configMap("settings", "key", "0"))
	w.later() // so that the pods are known to have started after that
	names := []string{"silent", "asks", "says"}
	for _, name := range names {
		w.create(deployment(name, envFromConfigMap("settings")))
	}
	w.awaitRollout(names...)
	silent := w.policy("silent", `{workloads: [{kind: Deployment, name: silent}]}`)
	asks := w.policy("asks", `{workloads: [{kind: Deployment, name: asks}], optIn: Annotation}`)
	says := w.policy("says", `{workloads: [{kind: Deployment, name: says}], strategy: Annotations}`)
	silent.awaitMessage("governs 1 workload")
	asks.awaitMessage("governs 0 workloads")
	says.awaitMessage("governs 1 workload")
	w.awaitRecord("silent", "says")
	w.later()
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("silent", 1)
	w.awaitRestart("says", 1)
	w.mark(1)
	w.expectRestarts("asks", 0)
	g.Expect(w.variables("silent")).To(HaveKey("STAKATER_SETTINGS_CONFIGMAP"))
	g.Expect(w.variables("says")).To(BeEmpty())
}
