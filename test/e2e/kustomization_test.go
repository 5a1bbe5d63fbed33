package e2e

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/test/internal/gitserver"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// rounds is how often Flux is asked to reconcile where that must not change anything.
const rounds = 3

// A commit that changes only a ConfigMap restarts its Deployment once, and kustomize-controller, which applies the
// Deployment without the restart's annotation over and over, neither takes the restart back nor causes another one.
func TestACommitRestartsOnce(t *testing.T) {
	w := newWorld(t)
	repository, revision := w.repository(map[string]string{"deploy/settings.yaml": settings("1"), "deploy/web.yaml": web})
	w.apply(w.gitSource(repository))
	w.awaitApplied("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "app", revision)
	w.startController()
	w.awaitRevisions("web", 1)

	harness.Later(t)
	w.commit(repository, map[string]string{"deploy/settings.yaml": settings("2")})
	w.flux("reconcile", "kustomization", "app", "--with-source")
	w.awaitRevisions("web", 2)
	for range rounds {
		w.flux("reconcile", "kustomization", "app")
	}
	w.expectRevisions("web", 2)

	t.Log("another commit shows that the controller has looked at everything before")
	harness.Later(t)
	w.commit(repository, map[string]string{"deploy/settings.yaml": settings("3")})
	w.flux("reconcile", "kustomization", "app", "--with-source")
	w.awaitRevisions("web", 3)
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

// web is a Deployment that reads that ConfigMap and has opted in.
const web = `
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
          image: reloader.test/none:1
          envFrom:
            - configMapRef: {name: settings}
`
