package e2e

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// Configuration that changes while its workload's Kustomization is suspended waits for the end of that, and is one
// rollout then; none if another rollout has brought it meanwhile.
func TestASuspendedKustomizationHolds(t *testing.T) {
	w := newWorld(t)
	repository, revision := w.repository(map[string]string{"deploy/web.yaml": web("1")})
	w.apply(settings("1"))
	w.apply(credentials("1"))
	w.apply(w.gitSource(repository))
	w.awaitApplied(kustomization, "app", revision)
	c := w.startController()
	w.awaitRevisions("web", 1)

	owner := "Kustomization/" + w.namespace + "/app"
	harness.Later(t)
	w.suspend(c, "kustomization", owner)
	w.apply(settings("2"))
	w.awaitHeld(c, owner, "ConfigMap/settings changed (value)")
	w.apply(credentials("2"))
	w.awaitHeld(c, owner, "ConfigMap/settings changed (value), Secret/credentials changed (value)")
	w.expectRevisions("web", 1)
	w.flux("resume", "kustomization", "app")
	w.awaitRevisions("web", 2)
	value := w.value("web")

	t.Log("somebody mends the Deployment by hand meanwhile, and commits it")
	harness.Later(t)
	w.suspend(c, "kustomization", owner)
	w.apply(settings("3"))
	w.awaitHeld(c, owner, "ConfigMap/settings changed (value)")
	harness.Later(t)
	w.setVersion("web", "2")
	w.awaitRollout("web")
	w.commit(repository, map[string]string{"deploy/web.yaml": web("2")})
	w.flux("reconcile", "source", "git", "app")
	w.flux("resume", "kustomization", "app")
	w.awaitRevisions("web", 3)
	NewWithT(t).Expect(w.value("web")).To(Equal(value), "nothing was left to restart for")

	t.Log("the next change shows that the controller has looked at everything before")
	harness.Later(t)
	w.apply(credentials("3"))
	w.awaitRevisions("web", 4)
}

// What was changed by hand in the cluster, and not in Git, is no change when the Kustomization goes on: Flux takes it back
// before anything is restarted for it.
func TestWhatFluxTakesBackRestartsNothing(t *testing.T) {
	w := newWorld(t)
	repository, revision := w.repository(map[string]string{"deploy/settings.yaml": settings("1"), "deploy/web.yaml": web("1")})
	w.apply(w.gitSource(repository))
	w.awaitApplied(kustomization, "app", revision)
	c := w.startController()
	w.awaitRevisions("web", 1)

	owner := "Kustomization/" + w.namespace + "/app"
	harness.Later(t)
	w.suspend(c, "kustomization", owner)
	w.apply(settings("by hand"))
	w.awaitHeld(c, owner, "ConfigMap/settings changed (value)")
	w.flux("resume", "kustomization", "app")
	w.awaitRevisions("web", 1)

	harness.Later(t)
	w.commit(repository, map[string]string{"deploy/settings.yaml": settings("2")})
	w.flux("reconcile", "kustomization", "app", "--with-source")
	w.awaitRevisions("web", 2)
}

// A Deployment of a release is held by the HelmRelease, and by the Kustomization that applies that.
func TestEveryOwnerHolds(t *testing.T) {
	w := newWorld(t)
	w.publish(map[string]string{"web.yaml": web("{{ .Values.version }}")})
	repository, revision := w.repository(map[string]string{"deploy/release.yaml": release("1", "")})
	w.apply(settings("0"))
	w.apply(w.gitSource(repository))
	w.awaitApplied(kustomization, "app", revision)
	c := w.startController()
	w.awaitRevisions("web", 1)

	owners := map[string]string{
		"kustomization": "Kustomization/" + w.namespace + "/app", "helmrelease": "HelmRelease/" + w.namespace + "/app",
	}
	for before, resource := range []string{"kustomization", "helmrelease"} {
		harness.Later(t)
		w.suspend(c, resource, owners[resource])
		w.apply(settings("for " + resource))
		w.awaitHeld(c, owners[resource], "ConfigMap/settings changed (value)")
		w.expectRevisions("web", before+1)
		w.flux("resume", resource, "app")
		w.awaitRevisions("web", before+2)
	}

	t.Log("helm-controller corrects what somebody did to the Deployment meanwhile, which is a rollout that brings the change")
	value := w.value("web")
	harness.Later(t)
	w.suspend(c, "helmrelease", owners["helmrelease"])
	w.apply(settings("for nobody"))
	w.awaitHeld(c, owners["helmrelease"], "ConfigMap/settings changed (value)")
	harness.Later(t)
	w.setVersion("web", "2")
	w.awaitRollout("web")
	w.flux("resume", "helmrelease", "app")
	w.awaitWrites("web", 4, 5)
	NewWithT(t).Expect(w.value("web")).To(Equal(value), "nothing was left to restart for")
	harness.Later(t)
	w.apply(settings("the last"))
	w.awaitWrites("web", 5, 6)
}

// Labels are copied from cluster to cluster: what they name and is not here holds nothing, nor does any other owner.
func TestOwnersThatAreNotHereHoldNothing(t *testing.T) {
	w := newWorld(t)
	repository, revision := w.repository(map[string]string{"deploy/other.yaml": credentials("1")})
	w.apply(w.gitSource(repository))
	w.awaitApplied(kustomization, "app", revision)
	w.flux("suspend", "kustomization", "app")
	w.apply(settings("1"))
	w.apply(web("1"))
	w.label("web", map[string]string{
		"kustomize.toolkit.fluxcd.io/name": "absent", "kustomize.toolkit.fluxcd.io/namespace": w.namespace,
		"helm.toolkit.fluxcd.io/name": "app", "helm.toolkit.fluxcd.io/namespace": "elsewhere",
	})
	w.startController()
	w.awaitRevisions("web", 1)
	harness.Later(t)
	w.apply(settings("2"))
	w.awaitRevisions("web", 2)
}
