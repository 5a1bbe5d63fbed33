package e2e

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/test/internal/gitserver"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// rounds is how often Flux is asked to reconcile where that must not change anything.
const rounds = 10

// A commit is one rollout, whether it changes a ConfigMap, or the Deployment's image as well. Nor does
// kustomize-controller, which applies the Deployment without the restart's annotation over and over, take a restart back
// or cause another one.
func TestACommitRestartsOnce(t *testing.T) { newWorld(t).expectOneRolloutACommit() }

// That does not depend on being told in time what kustomize-controller is doing.
func TestACommitRestartsOnceThoughItsOwnerIsSeenLate(t *testing.T) {
	w := newWorld(t)
	w.seeOwnersLate()
	w.expectOneRolloutACommit()
}

func (w *world) expectOneRolloutACommit() {
	w.t.Helper()
	g := NewWithT(w.t)
	repository, revision := w.repository(map[string]string{"deploy/settings.yaml": settings("1"), "deploy/web.yaml": web("1")})
	w.apply(w.gitSource(repository))
	w.awaitApplied(kustomization, "app", revision)
	w.startController()
	w.awaitRevisions("web", 1)

	harness.Later(w.t)
	w.commit(repository, map[string]string{"deploy/settings.yaml": settings("2")})
	w.flux("reconcile", "kustomization", "app", "--with-source")
	w.awaitRevisions("web", 2)
	value := w.value("web")
	g.Expect(value).NotTo(BeEmpty())

	harness.Later(w.t)
	w.commit(repository, map[string]string{"deploy/settings.yaml": settings("3"), "deploy/web.yaml": web("2")})
	w.flux("reconcile", "kustomization", "app", "--with-source")
	w.awaitRevisions("web", 3)
	for range rounds {
		w.flux("reconcile", "kustomization", "app")
		w.expectRevisions("web", 3)
	}
	g.Expect(w.value("web")).To(Equal(value), "the new image's pods have the new configuration")

	w.t.Log("another commit shows that the controller has looked at everything before")
	harness.Later(w.t)
	w.commit(repository, map[string]string{"deploy/settings.yaml": settings("4")})
	w.flux("reconcile", "kustomization", "app", "--with-source")
	w.awaitRevisions("web", 4)
}

// repository makes a git repository with a first commit.
func (w *world) repository(files map[string]string) (repository *gitserver.Repository, revision string) {
	w.t.Helper()
	g := NewWithT(w.t)
	server, err := gitserver.Start(w.t.Context(), w.t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	w.t.Cleanup(server.Close)
	repository, err = server.Create(w.t.Context(), "app")
	g.Expect(err).NotTo(HaveOccurred())
	return repository, w.commit(repository, files)
}

func (w *world) commit(repository *gitserver.Repository, files map[string]string) (revision string) {
	w.t.Helper()
	revision, err := repository.Commit(w.t.Context(), "Change the configuration", files)
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	return revision
}

// gitSource lets Flux apply the folder deploy of a repository when it is asked to.
func (w *world) gitSource(repository *gitserver.Repository) string {
	return fmt.Sprintf(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata:
  name: app
spec:
  interval: 1h
  url: %s
  ref: {branch: %s}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: app
spec:
  interval: 1h
  retryInterval: 1s
  path: ./deploy
  prune: true
  wait: true
  timeout: 1m
  targetNamespace: %s
  sourceRef: {kind: GitRepository, name: app}
`, repository.URL(), gitserver.Branch, w.namespace)
}

// settings is a ConfigMap.
func settings(value string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  value: %q
`, value)
}

// credentials is a Secret.
func credentials(value string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata:
  name: credentials
stringData:
  value: %q
`, value)
}

// web is a Deployment of this version that reads that ConfigMap, and that Secret if there is one, and has opted in.
func web(version string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations:
    reloader.stakater.com/auto: "true"
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: app
          image: reloader.test/none:%s
          envFrom:
            - configMapRef: {name: settings}
            - secretRef: {name: credentials, optional: true}
`, version)
}
