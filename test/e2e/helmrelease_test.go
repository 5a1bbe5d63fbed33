package e2e

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/test/internal/chartserver"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// New values that change only a ConfigMap of a release restart its Deployment once, and helm-controller, which corrects
// drift, does not take the restart for it.
func TestAnUpgradeOfAReleaseRestartsOnce(t *testing.T) {
	w := newWorld(t)
	charts := chartserver.Start()
	t.Cleanup(charts.Close)
	g := NewWithT(t)
	g.Expect(charts.Publish("web", "0.1.0", map[string]string{
		"values.yaml": "value: none\n", "templates/settings.yaml": settings("{{ .Values.value }}"), "templates/web.yaml": web,
	})).To(Succeed())
	w.apply(helmSource(charts.URL()))
	w.apply(release("1"))
	w.awaitApplied("helm.toolkit.fluxcd.io/v2", "HelmRelease", "app", "web@0.1.0")
	w.startController()
	w.awaitRevisions("web", 1)

	harness.Later(t)
	w.apply(release("2"))
	w.awaitApplied("helm.toolkit.fluxcd.io/v2", "HelmRelease", "app", "app.v2")
	w.awaitRevisions("web", 2)
	for range rounds {
		w.flux("reconcile", "helmrelease", "app")
	}
	w.expectRevisions("web", 2)

	t.Log("another upgrade shows that the controller has looked at everything before")
	harness.Later(t)
	w.apply(release("3"))
	w.awaitApplied("helm.toolkit.fluxcd.io/v2", "HelmRelease", "app", "app.v3")
	w.awaitRevisions("web", 3)
}

// helmSource lets Flux fetch charts of a repository.
func helmSource(url string) string {
	return fmt.Sprintf(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata:
  name: charts
spec:
  interval: 1h
  url: %s
`, url)
}

// release installs the chart with a value for its ConfigMap, and corrects drift at every reconcile.
func release(value string) string {
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
  values: {value: %q}
`, value)
}
