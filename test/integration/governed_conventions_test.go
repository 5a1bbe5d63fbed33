package integration

import (
	"fmt"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// statusWrites counts the writes to the policy.
func (p *reloadPolicy) statusWrites() int {
	p.w.t.Helper()
	n := 0
	for _, e := range p.w.requests() {
		if e.Resource == "reloadpolicies" && e.Name == p.name && e.Namespace == p.w.namespace && e.Verb != "list" && e.Verb != "watch" {
			NewWithT(p.w.t).Expect([]string{e.Verb, e.Subresource}).To(Equal([]string{"patch", "status"}))
			n++
		}
	}
	return n
}

// A policy is to kstatus, to `flux reconcile` and to `flux suspend` what Flux's own objects are. Its events are
// transitions, which a restart of the controller repeats none of.
func TestAPolicyKeepsToFluxsConventions(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	w.create(configMap("settings", "key", "0"), deployment("web", auto, envFromConfigMap("settings")))
	w.createMarker()
	w.awaitRollout("web")
	policy := w.policy("apps", `{workloads: [{kind: Deployment, name: web}]}`)
	g.Expect(policy.read().Status).To(Equal(v1alpha1.ReloadPolicyStatus{ObservedGeneration: -1}))
	metrics := harness.FreeAddress(t)
	flags := []string{quick, "--metrics-addr=" + metrics}
	c := w.startController(flags...)
	policy.awaitMessage("governs 1 workload")
	w.awaitRecord("web", marker)
	g.Eventually(func() []string { return policy.events("Succeeded") }).Should(ConsistOf("Normal governs 1 workload"))

	t.Log("the status has one field manager")
	managers := map[string]bool{}
	for _, entry := range policy.read().ManagedFields {
		if entry.Subresource == "status" {
			managers[entry.Manager] = true
		}
	}
	g.Expect(managers).To(Equal(map[string]bool{"gotk-reloader": true}))

	t.Log("somebody asks for everything to be compared")
	before, err := decisions(metrics, "InSync")
	g.Expect(err).NotTo(HaveOccurred())
	policy.request("once")
	g.Eventually(func() (int, error) { return decisions(metrics, "InSync") }).Should(BeNumerically(">", before))
	policy.awaitReady()

	g.Expect(scrape(metrics)).To(ContainSubstring(
		fmt.Sprintf("gotk_reconcile_duration_seconds_count{kind=%q,name=%q,namespace=%q}", "ReloadPolicy", "apps", w.namespace)))

	t.Log("suspended")
	policy.patch(`{"spec":{"suspend":true}}`)
	was := policy.read().Status.Conditions
	g.Expect(policy.request("twice").Status.Conditions).To(Equal(was))
	w.later()
	w.setConfigMap("settings", "key", "1")
	policy.awaitPending("Suspended", "web")
	g.Expect(policy.read().Status.Conditions).To(Equal(was))
	policy.patch(`{"spec":{"suspend":false}}`)
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	policy.await("through", func(p *v1alpha1.ReloadPolicy) bool {
		return conditions.IsReady(p) && p.Status.Workloads.InSync == 1 && len(p.Status.History) == 1 && p.Status.History[0].RolloutDuration != nil
	})

	t.Log("the next controller has nothing to add")
	c.stop()
	writes := policy.statusWrites()
	w.startController(flags...)
	w.mark(1)
	g.Eventually(func() (int, error) { return decisions(metrics, "InSync") }).Should(BeNumerically(">", 0))
	g.Expect(policy.statusWrites()).To(Equal(writes))
	g.Expect(policy.events("Succeeded")).To(HaveLen(1))

	t.Log("its interval")
	policy.patch(`{"spec":{"interval":"1s"}}`)
	policy.awaitReady()
	before, err = decisions(metrics, "InSync")
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() (int, error) { return decisions(metrics, "InSync") }).Should(BeNumerically(">", before+3))
}

// A part of a policy that makes no sense is named, disables only itself, and is no reason to try again.
func TestAPolicyThatMakesNoSense(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	w.create(configMap("settings", "key", "0"), secret("password", "key", "0"),
		deployment("web", auto, envFromConfigMap("settings"), envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	policy := w.policy("apps", `{workloads: [{kind: Deployment, name: web}], sources: [{kind: ConfigMap}, {kind: Secret, keys: ["[a-"]}]}`)
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	g.Expect(policy.awaitStalled(v1alpha1.InvalidSpecReason)).To(And(ContainSubstring("spec.sources[1].keys[0]"), ContainSubstring(`"[a-"`)))
	g.Eventually(func() []string { return policy.events(v1alpha1.InvalidSpecReason) }).Should(ConsistOf(
		HavePrefix(`Warning spec.sources[1].keys[0]: invalid value "[a-": `)))
	w.later()
	w.setSecret("password", "key", "1")
	w.mark(1)
	w.expectRestarts("web", 0)
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")

	c.stop()
	w.startController(quick)
	w.mark(2)
	policy.awaitStalled(v1alpha1.InvalidSpecReason)
	g.Expect(policy.events(v1alpha1.InvalidSpecReason)).To(HaveLen(1))
	policy.patch(`{"spec":{"sources":[{"kind":"Secret","keys":["[a-"]},{"kind":"ConfigMap","keys":["[b-"]}]}}`)
	g.Eventually(func() []string { return policy.events(v1alpha1.InvalidSpecReason) }).Should(HaveLen(2), "something else is wrong")
	policy.patch(`{"spec":{"sources":[{"kind":"Secret"}],"onAdoption":"Baseline"}}`)
	policy.awaitMessage("governs 1 workload")
	g.Eventually(func() []string { return policy.events("Succeeded") }).Should(HaveLen(1))
	w.later()
	w.setSecret("password", "key", "2")
	w.awaitRestart("web", 2)
}
