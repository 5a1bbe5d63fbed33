package integration

import (
	"testing"

	. "github.com/onsi/gomega"
)

// A policy may have restarts happen while an owner reconciles. A suspended owner holds them all the same. Who is told of a
// restart is the owner, and not the policy as well.
func TestAPolicyThatIgnoresWhatItsOwnersDo(t *testing.T) {
	w := newFluxWorld(t)
	g := NewWithT(t)
	owner := w.owner(kustomizationKind(), "apps", nil)
	w.create(configMap("settings", "key", "0"),
		deployment("web", auto, envFromConfigMap("settings"), appliedBy(owner)), deployment("waits", auto, envFromConfigMap("settings"), appliedBy(owner)))
	w.awaitRollout("web", "waits")
	policy := w.policy("apps", `{workloads: [{kind: Deployment, name: web}], settle: {quiet: 500ms, owner: Ignore}}`)
	c := w.startController(quick)
	w.awaitRecord("web", "waits")
	policy.awaitReady()
	w.later()

	owner.reconciling()
	w.later()
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("web", 1)
	c.awaitVerdict(w, "waits", "OwnerReconciling", 0)
	w.expectRestarts("waits", 0)
	owner.reconciled()
	w.awaitRestart("waits", 1)
	w.awaitRecord("web", "waits")
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(HaveLen(1))
	g.Eventually(func() []string { return w.eventsAbout("Kustomization", "apps", "Reloaded") }).Should(ConsistOf(
		"Normal restarted Deployment/web: ConfigMap/settings changed (key)", "Normal restarted Deployment/waits: ConfigMap/settings changed (key)"))
	g.Expect(policy.events("Reloaded")).To(BeEmpty())

	owner.suspend(true)
	c.awaitVerdict(w, "web", "OwnerSuspended", 0)
	w.later()
	w.setConfigMap("settings", "key", "2")
	policy.awaitPending("OwnerSuspended", "web")
	w.expectRestarts("web", 1)
	owner.suspend(false)
	w.awaitRestart("web", 2)
}
