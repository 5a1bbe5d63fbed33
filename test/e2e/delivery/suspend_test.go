package delivery

import (
	"fmt"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// suspend suspends and resumes whatever delivers Reloader, which goes on with its work, and then what holds that.
func (d *delivery) suspend() {
	began := time.Now()
	d.suspendRelease()
	d.suspendKustomization()
	d.suspendPolicy()
	d.suspendWorkloads()
	d.expectNothingRefused(began)
}

// suspendRelease: changed values wait, restarts do not.
func (d *delivery) suspendRelease() {
	g := NewWithT(d.t)
	d.runFlux("suspend", "helmrelease", "reloader", "--namespace="+namespace)
	d.setValues("{deployment: {resources: {limits: {memory: 210Mi}}}}")
	d.restartOf(near, "web-1")
	g.Expect(d.memoryLimit()).To(Equal("200Mi"))
	d.runFlux("resume", "helmrelease", "reloader", "--namespace="+namespace)
	g.Expect(d.memoryLimit()).To(Equal("210Mi"))
	g.Expect(d.arguments()).NotTo(ContainElement("--auto-reload-all=true"))
	d.controllerPod()
}

// suspendKustomization: a commit waits, restarts do not.
func (d *delivery) suspendKustomization() {
	g := NewWithT(d.t)
	d.runFlux("suspend", "kustomization", "reloader", "--namespace="+cluster.FluxNamespace)
	delete(d.values, "logLevel")
	d.values["concurrent"] = 2
	d.commit("Change a value", map[string]string{overlayFile: d.overlay()})
	d.reconcile("flux-system")
	d.restartOf(near, "web-1")
	g.Expect(d.arguments()).NotTo(ContainElement("--concurrent=2"))
	d.runFlux("resume", "kustomization", "reloader", "--namespace="+cluster.FluxNamespace)
	g.Eventually(d.arguments).WithTimeout(slowly).Should(ContainElement("--concurrent=2"))
	d.controllerPod()
}

// suspendPolicy: the policy shows what waits, and it is one restart when the policy is resumed.
func (d *delivery) suspendPolicy() {
	g := NewWithT(d.t)
	before := d.revisions(near, "web-2")
	d.setSuspended(true)
	for change := range 2 {
		d.setSecret(near, "web-2", fmt.Sprint("while the policy is suspended ", change))
	}
	g.Eventually(func() ([]any, error) {
		policy, err := d.get(reloadPolicy, namespace, "default")
		if err != nil {
			return nil, err
		}
		pending, _, err := unstructured.NestedSlice(policy.Object, "status", "pending")
		return pending, err
	}).Should(ConsistOf(HaveKeyWithValue("workload", HaveKeyWithValue("name", "web-2"))))
	g.Expect(d.revisions(near, "web-2")).To(Equal(before))
	d.setSuspended(false)
	d.awaitRevisions(near, "web-2", before+1)
}

func (d *delivery) setSuspended(suspended bool) {
	d.t.Helper()
	g := NewWithT(d.t)
	policy, err := d.get(reloadPolicy, namespace, "default")
	g.Expect(err).NotTo(HaveOccurred())
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"suspend":%t}}`, suspended))
	g.Expect(d.admin.Patch(d.t.Context(), policy, patch)).To(Succeed())
}

// suspendWorkloads suspends the Kustomization that applies the workloads, which holds their restarts.
func (d *delivery) suspendWorkloads() {
	g := NewWithT(d.t)
	before := d.revisions(near, "web-3")
	d.runFlux("suspend", "kustomization", near, "--namespace="+cluster.FluxNamespace)
	d.setSecret(near, "web-3", "while its owner is suspended")
	g.Eventually(func() (string, error) {
		return harness.Record(d.t.Context(), d.admin, namespace, d.deployment(near, "web-3").UID)
	}).Should(ContainSubstring(`"pend":`))
	d.restartOf(far, "web")
	g.Expect(d.revisions(near, "web-3")).To(Equal(before))
	d.runFlux("resume", "kustomization", near, "--namespace="+cluster.FluxNamespace)
	d.awaitRevisions(near, "web-3", before+1)
}
