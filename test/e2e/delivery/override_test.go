package delivery

import (
	"fmt"
	"time"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// override changes values, by a ConfigMap beside the release and in the release itself, and sees what the controller makes
// of them.
func (d *delivery) override() {
	d.overrideByConfigMap()
	d.overrideByPatch()
}

// overrideByConfigMap gives the release values that Flux takes up without being asked, as they are labelled. Those of the
// release itself count more. The default policy governs everything and leaves to them what it does not say.
func (d *delivery) overrideByConfigMap() {
	g := NewWithT(d.t)
	plains := []string{near, far}
	d.values["logLevel"] = "debug"
	d.deliverOverlay("Log more")
	for _, namespace := range plains {
		d.setSecret(namespace, plain, "2")
	}
	d.restartOf(near, "web-0")
	for _, namespace := range plains {
		g.Expect(d.revisions(namespace, plain)).To(Equal(1), "it has not opted in")
	}

	d.setValues("{logLevel: error, autoReloadAll: true, deployment: {resources: {limits: {memory: 200Mi}}}}")
	g.Eventually(d.arguments).WithTimeout(slowly).Should(And(ContainElement("--auto-reload-all=true"), ContainElement("--log-level=debug")))
	d.controllerPod()
	g.Expect(d.memoryLimit()).To(Equal("200Mi"))
	for _, namespace := range plains {
		d.awaitProven(namespace, plain)
		d.restartOf(namespace, plain)
	}

	before := d.revisions(near, plain)
	d.policy = []operation{add("/spec/optIn", "Annotation")}
	d.deliverOverlay("Let the policy say who is restarted")
	d.setSecret(near, plain, "while the policy says that it has to opt in")
	d.restartOf(near, "web-0")
	g.Expect(d.revisions(near, plain)).To(Equal(before))
}

// overrideByPatch lets the controller work in some namespaces only, with no rights in others, and then again in all of
// them. It misses nothing of what happens outside meanwhile. The default policy goes along: it is one of all namespaces that
// are watched.
func (d *delivery) overrideByPatch() {
	g := NewWithT(d.t)
	before := d.revisions(far, "web")
	d.policy = nil
	d.values["watchGlobally"], d.values["namespaces"] = false, []any{near}
	d.deliverOverlay("Watch one namespace")
	d.controllerPod()
	began := time.Now()
	wide := &rbacv1.ClusterRole{}
	g.Expect(d.admin.Get(d.t.Context(), client.ObjectKey{Name: "reloader"}, wide)).To(Satisfy(apierrors.IsNotFound))
	d.setSecret(far, "web", "while it is not watched")
	d.restartOf(near, "web-0")
	g.Expect(d.revisions(far, "web")).To(Equal(before))
	d.awaitReady(reloadPolicy, namespace, "default", "")
	d.expectNothingAskedIn(far, began)
	d.expectNothingRefused(began)

	d.values["watchGlobally"], d.values["namespaces"] = true, []any{}
	d.deliverOverlay("Watch all namespaces")
	d.controllerPod()
	d.awaitRevisions(far, "web", before+1)
	d.restartOf(far, "web")
}

// deliverOverlay commits the cluster's kustomization, and has Flux apply it throughout.
func (d *delivery) deliverOverlay(message string) {
	d.t.Helper()
	d.commit(message, map[string]string{overlayFile: d.overlay()})
	d.reconcile("flux-system", "reloader", "reloader-policies")
}

// setValues writes values below `reloader` to the ConfigMap that the release reads.
func (d *delivery) setValues(values string) {
	d.t.Helper()
	d.apply(namespace, fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata:
  name: reloader-values
  labels: {reconcile.fluxcd.io/watch: Enabled}
data:
  values.yaml: |
    reloader: %s
`, values))
}

// restartOf changes the Secret of a workload, and waits for the one restart that comes of it.
func (d *delivery) restartOf(namespace, name string) {
	d.t.Helper()
	before := d.revisions(namespace, name)
	d.setSecret(namespace, name, fmt.Sprint("revision ", before+1))
	d.awaitRevisions(namespace, name, before+1)
}

func (d *delivery) arguments() []string {
	d.t.Helper()
	return d.controller().Spec.Template.Spec.Containers[0].Args
}

func (d *delivery) memoryLimit() string {
	d.t.Helper()
	return d.controller().Spec.Template.Spec.Containers[0].Resources.Limits.Memory().String()
}

// expectNothingAskedIn checks that the controller has asked for nothing in a namespace since a time.
func (d *delivery) expectNothingAskedIn(namespace string, since time.Time) {
	d.t.Helper()
	for _, e := range d.requests(since) {
		NewWithT(d.t).Expect(e.Namespace).NotTo(Equal(namespace), "%s %s", e.Verb, e.RequestURI)
	}
}
