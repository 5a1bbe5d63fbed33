package e2e

import (
	"fmt"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// Flux's owners.
var (
	kustomization = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}
	helmRelease   = schema.GroupVersionKind{Group: "helm.toolkit.fluxcd.io", Version: "v2", Kind: "HelmRelease"}
)

// seeOwnersLate lets the controller that is started from now on see what Flux does five seconds later than what comes of
// it: longer than changes settle.
func (w *world) seeOwnersLate() {
	w.t.Helper()
	late := harness.Delay{By: 5 * time.Second, Resources: []string{"kustomizations", "helmreleases"}}
	w.kubeconfig = harness.Proxy{Cluster: shared, Namespace: w.namespace, Answered: late.Answered}.Start(w.t)
}

// suspend suspends the owner app of a kind, and waits until the controller has seen it.
func (w *world) suspend(c *harness.Controller, resource, owner string) {
	w.t.Helper()
	before := len(w.held(c, owner))
	w.flux("suspend", resource, "app")
	NewWithT(w.t).Eventually(func() []string { return w.held(c, owner)[before:] }).ShouldNot(BeEmpty(), owner+" holds")
}

// awaitHeld waits until the controller says that the Deployment web is not restarted for these changes while the owner is
// suspended, and has them on record.
func (w *world) awaitHeld(c *harness.Controller, owner, changes string) {
	w.t.Helper()
	g := NewWithT(w.t)
	g.Eventually(func() string {
		held := w.held(c, owner)
		return held[len(held)-1]
	}).Should(Equal(changes), "what %s holds", owner)
	g.Eventually(func() (string, error) {
		return harness.Record(w.t.Context(), admin, w.namespace, w.deployment("web").UID)
	}).Should(ContainSubstring(`"pend":`), "record of web")
}

// held is what the controller has said that a suspended owner holds of the Deployment web, empty where that is nothing.
func (w *world) held(c *harness.Controller, owner string) []string {
	var changes []string
	for _, entry := range c.Lines(owner + " is suspended") {
		if entry["workload"] == "Deployment/"+w.namespace+"/web" && entry["verdict"] == "OwnerSuspended" {
			changes = append(changes, fmt.Sprint(entry["changes"]))
		}
	}
	return changes
}
