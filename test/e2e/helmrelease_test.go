package e2e

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/test/internal/chartserver"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// An upgrade is one rollout, whether its values change a ConfigMap of the release, or the Deployment's image as well. Nor
// does helm-controller, which corrects drift, take a restart for it.
func TestAnUpgradeOfAReleaseRestartsOnce(t *testing.T) { newWorld(t).expectOneRolloutAnUpgrade() }

// That does not depend on being told in time what helm-controller is doing.
func TestAnUpgradeOfAReleaseRestartsOnceThoughItsOwnerIsSeenLate(t *testing.T) {
	w := newWorld(t)
	w.seeOwnersLate()
	w.expectOneRolloutAnUpgrade()
}

func (w *world) expectOneRolloutAnUpgrade() {
	w.t.Helper()
	g := NewWithT(w.t)
	w.publish(map[string]string{"settings.yaml": settings("{{ .Values.value }}"), "web.yaml": web("{{ .Values.version }}")})
	w.apply(release("1", "1"))
	w.awaitApplied(helmRelease, "app", "web@0.1.0")
	w.startController()
	w.awaitRevisions("web", 1)

	harness.Later(w.t)
	w.apply(release("1", "2"))
	w.awaitApplied(helmRelease, "app", "app.v2")
	w.awaitRevisions("web", 2)
	value := w.value("web")
	g.Expect(value).NotTo(BeEmpty())

	harness.Later(w.t)
	w.apply(release("2", "3"))
	w.awaitApplied(helmRelease, "app", "app.v3")
	w.awaitRevisions("web", 3)
	for range rounds {
		w.flux("reconcile", "helmrelease", "app")
		w.expectRevisions("web", 3)
	}
	g.Expect(w.value("web")).To(Equal(value), "the new image's pods have the new configuration")

	w.t.Log("another upgrade shows that the controller has looked at everything before")
	harness.Later(w.t)
	w.apply(release("2", "4"))
	w.awaitApplied(helmRelease, "app", "app.v4")
	w.awaitRevisions("web", 4)
}

// One commit may change what a Kustomization applies itself and what a HelmRelease of it does. That is one rollout too,
// although nobody but both applied it, within a second or two.
func TestACommitForTwoOwnersRestartsOnce(t *testing.T) {
	w := newWorld(t)
	w.publish(map[string]string{"web.yaml": web("{{ .Values.version }}")})
	repository, revision := w.repository(map[string]string{"deploy/settings.yaml": settings("1"), "deploy/release.yaml": release("1", "")})
	w.apply(w.gitSource(repository))
	w.awaitApplied(kustomization, "app", revision)
	w.startController()
	w.awaitRevisions("web", 1)

	harness.Later(t)
	w.commit(repository, map[string]string{"deploy/settings.yaml": settings("2"), "deploy/release.yaml": release("2", "")})
	w.flux("reconcile", "kustomization", "app", "--with-source")
	w.awaitRevisions("web", 2)
	NewWithT(t).Expect(w.value("web")).To(BeEmpty(), "the new image's pods have the new configuration")

	harness.Later(t)
	w.commit(repository, map[string]string{"deploy/settings.yaml": settings("3")})
	w.flux("reconcile", "kustomization", "app", "--with-source")
	w.awaitRevisions("web", 3)
}

// publish makes a chart of these templates, for releases of the test's namespace.
func (w *world) publish(templates map[string]string) {
	w.t.Helper()
	charts := chartserver.Start()
	w.t.Cleanup(charts.Close)
	files := map[string]string{"values.yaml": "value: none\nversion: none\n"}
	for name, content := range templates {
		files["templates/"+name] = content
	}
	NewWithT(w.t).Expect(charts.Publish("web", "0.1.0", files)).To(Succeed())
	w.apply(fmt.Sprintf(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata:
  name: charts
spec:
  interval: 1h
  url: %s
`, charts.URL()))
}

// release installs the chart with a version for its Deployment and a value for its ConfigMap, and corrects drift at every
// reconcile.
func release(version, value string) string {
	return fmt.Sprintf(`
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: app
spec:
  interval: 1h
  timeout: 1m
  chart:
    spec:
      chart: web
      version: 0.1.0
      sourceRef: {kind: HelmRepository, name: charts}
  driftDetection: {mode: enabled}
  values: {version: %q, value: %q}
`, version, value)
}
