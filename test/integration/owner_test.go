package integration

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
)

// beginOwned makes a Deployment that an owner applies, and the marker, and starts a controller that has them on record.
func (w *world) beginOwned(by *fluxObject, flags ...string) *controller {
	w.t.Helper()
	w.create(configMap("settings", "key", "0"), deployment("web", auto, envFromConfigMap("settings"), appliedBy(by)))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(append(flags, quick)...)
	w.awaitRecord("web", marker)
	w.later()
	return c
}

func TestASuspendedOwnerHolds(t *testing.T) {
	for name, kind := range map[string]fluxKind{
		"Kustomization": kustomizationKind(), "HelmRelease": helmReleaseKind(), "ResourceSet": resourceSetKind(),
	} {
		t.Run(name, func(t *testing.T) {
			w := newFluxWorld(t)
			owner := w.owner(kind, "apps", nil)
			c := w.beginOwned(owner)
			owner.suspend(true)
			c.awaitVerdict(w, "web", "OwnerSuspended", 0)

			w.setConfigMap("settings", "key", "1")
			w.mark(1)
			w.setConfigMap("settings", "key", "2")
			w.mark(2)
			w.expectRestarts("web", 0)
			NewWithT(t).Expect(c.log()).To(ContainSubstring(owner.String() + " is suspended"))

			t.Log("it is resumed: its controller applies first")
			owner.suspend(false)
			owner.reconciled()
			w.awaitRestart("web", 1)
			w.awaitRecord("web")
			w.mark(3)
			w.expectRestarts("web", 1)
		})
	}
}

// What pods have got meanwhile by another rollout is no reason for one more.
func TestWhatRolledOutWhileItWasHeldIsNotRestarted(t *testing.T) {
	w := newFluxWorld(t)
	owner := w.owner(kustomizationKind(), "apps", nil)
	c := w.beginOwned(owner)
	owner.suspend(true)
	c.awaitVerdict(w, "web", "OwnerSuspended", 0)
	w.setConfigMap("settings", "key", "1")
	w.mark(1)
	w.later()
	w.roll("web", 1)
	w.awaitRollout("web")
	w.later()
	owner.suspend(false)
	owner.reconciled()
	w.awaitRecord("web")
	w.mark(2)
	NewWithT(t).Expect(w.accepted("web")).To(BeZero())
	w.expectRevisions("web", 2)
}

func TestTheOwnerOfAnOwnerHolds(t *testing.T) {
	w := newFluxWorld(t)
	set := w.owner(resourceSetKind(), "tenants", nil)
	apps := w.owner(kustomizationKind(), "apps", set)
	release := w.owner(helmReleaseKind(), "web", apps)
	c := w.beginOwned(release)
	for times, o := range []*fluxObject{apps, set} {
		before := c.decided("Deployment/"+w.namespace+"/web", "OwnerSuspended")
		o.suspend(true)
		c.awaitVerdict(w, "web", "OwnerSuspended", before)
		w.setConfigMap("settings", "key", o.name)
		w.mark(times + 1)
		w.expectRestarts("web", times)
		o.suspend(false)
		o.reconciled()
		w.awaitRestart("web", times+1)
		w.awaitRecord("web")
		w.later()
	}
}

// Flux's own namespace is one whose workloads nobody wants restarted. Its objects hold all the same.
func TestAnOwnerInAnIgnoredNamespaceHolds(t *testing.T) {
	w := newWideWorld(t)
	sharedFlux.Do(func() { w.installFlux() })
	flux := *w
	flux.namespace = w.newNamespace("flux")
	owner := flux.owner(kustomizationKind(), "apps", nil)
	c := w.beginOwned(owner, "--namespaces-to-ignore="+flux.namespace)
	owner.suspend(true)
	c.awaitVerdict(w, "web", "OwnerSuspended", 0)
	w.setConfigMap("settings", "key", "1")
	w.mark(1)
	w.expectRestarts("web", 0)
	owner.suspend(false)
	owner.reconciled()
	w.awaitRestart("web", 1)
}

// Labels are copied, and clusters applied to from afar: an owner that is not here holds nothing.
func TestAnOwnerThatDoesNotExistHoldsNothing(t *testing.T) {
	w := newFluxWorld(t)
	absent := &fluxObject{w, kustomizationKind(), "absent"}
	w.beginOwned(absent)
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")

	owner := w.owner(kustomizationKind(), "absent", nil)
	owner.suspend(true)
	w.later()
	w.setConfigMap("settings", "key", "2")
	w.mark(1)
	w.expectRestarts("web", 1)
	NewWithT(t).Expect(w.admin.Delete(t.Context(), owner.get())).To(Succeed())
	w.awaitRestart("web", 2)
}

// What an owner applies in one go is one revision, though it may take longer than changes settle.
func TestWhatAnOwnerAppliesRollsOutOnce(t *testing.T) {
	w := newFluxWorld(t)
	owner := w.owner(kustomizationKind(), "apps", nil)
	c := w.beginOwned(owner)
	owner.reconciling()
	w.later()
	w.setConfigMap("settings", "key", "1")
	c.awaitVerdict(w, "web", "OwnerReconciling", 0)
	w.mark(1)
	w.later()
	change(w, &appsv1.Deployment{}, "web", func(d *appsv1.Deployment) { app(d).Image = "reloader.test/none:2" })
	owner.reconciled()
	w.awaitRollout("web")
	w.awaitRecord("web")
	w.mark(2)
	w.expectRevisions("web", 2)
	NewWithT(t).Expect(w.accepted("web")).To(BeZero())

	t.Log("configuration alone")
	owner.reconciling()
	w.later()
	w.setConfigMap("settings", "key", "2")
	c.awaitVerdict(w, "web", "OwnerReconciling", 1)
	NewWithT(t).Expect(w.accepted("web")).To(BeZero())
	owner.reconciled()
	NewWithT(t).Eventually(func() int { return w.accepted("web") }).Should(Equal(1))
}

// An owner that never becomes ready does not hold for ever: a restart may be what it waits for.
func TestAnOwnerThatIsNeverThroughHoldsForAWhile(t *testing.T) {
	w := newFluxWorld(t)
	owner := w.owner(helmReleaseKind(), "web", nil)
	c := w.beginOwned(owner, "--owner-settle-timeout=15s")
	owner.reconciling()
	w.setConfigMap("settings", "key", "1")
	c.awaitVerdict(w, "web", "OwnerReconciling", 0)
	NewWithT(t).Expect(c.log()).To(ContainSubstring(owner.String() + " is reconciling"))
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	w.later()
	w.setConfigMap("settings", "key", "2")
	w.awaitRestart("web", 2)
}

// Flux may be installed and removed while the controller runs. What it held is free when it is gone.
func TestFluxComesAndGoes(t *testing.T) {
	w := newOwnWorld(t)
	g := NewWithT(t)
	owner := &fluxObject{w, kustomizationKind(), "apps"}
	c := w.beginOwned(owner)
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web", marker)
	g.Expect(c.lines("the API server refuses the watch; trying again until it does not")).To(BeEmpty(), "nobody need run Flux")
	w.later()

	w.installFlux()
	w.owner(kustomizationKind(), "apps", nil)
	const served = "the API server serves the kind: its objects hold restarts while they are suspended or reconciling"
	g.Eventually(func() []map[string]any { return c.lines(served) }).
		WithTimeout(refusalTimeout).Should(ContainElement(HaveKeyWithValue("kind", "Kustomization")))
	owner.suspend(true)
	c.awaitVerdict(w, "web", "OwnerSuspended", 0)
	w.setConfigMap("settings", "key", "2")
	w.mark(1)
	w.expectRestarts("web", 1)

	w.uninstallFlux()
	g.Eventually(func() int { return w.restarts("web") }).WithTimeout(refusalTimeout).Should(Equal(2))
	w.awaitRestart("web", 2)
}
