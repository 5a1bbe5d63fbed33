package delivery

import (
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// keySecret is the Secret with the key of the digests.
const keySecret = "reloader-digest-key"

// uninstall takes Reloader out of the cluster's repository. Flux removes it, but for what it remembers, and workloads stay
// as they are. Put back, it restarts what has changed meanwhile, once, and nothing else.
func (d *delivery) uninstall() {
	g := NewWithT(d.t)
	workloads := d.all()
	d.commit("Remove Reloader", map[string]string{overlayFile: d.yaml(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": []string{"apps.yaml"},
	})})
	d.reconcile("flux-system")
	d.awaitGone(kustomization, cluster.FluxNamespace, "reloader")
	d.awaitGone(kustomization, cluster.FluxNamespace, "reloader-policies")
	d.awaitGone(helmRelease, namespace, "reloader")
	d.awaitGone(reloadPolicy, namespace, "default")
	d.awaitGone(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, namespace, "reloader")
	d.awaitGone(schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}, "", "reloader")

	shards, err := harness.Ledger(d.t.Context(), d.admin, namespace)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(shards).NotTo(BeEmpty(), "what the controller remembers stays")
	key := &corev1.Secret{}
	g.Expect(d.admin.Get(d.t.Context(), client.ObjectKey{Namespace: namespace, Name: keySecret}, key)).To(Succeed())
	d.reconcile(near, far, registrySpace)
	d.judge.awaitScanned()
	g.Expect(d.all()).To(Equal(workloads))
	d.reinstall(workloads)
}

// reinstall puts Reloader back.
func (d *delivery) reinstall(workloads map[string]string) {
	g := NewWithT(d.t)
	const changed = "web-4"
	before := d.revisions(near, changed)
	d.setSecret(near, changed, "while there is no Reloader")
	revision := d.commit("Deliver Reloader again", map[string]string{overlayFile: d.overlay()})
	d.reconcile("flux-system")
	d.awaitReady(kustomization, cluster.FluxNamespace, "reloader-policies", revision)
	d.awaitRevisions(near, changed, before+1)
	d.restartOf(far, "web")
	after := d.all()
	for _, name := range []string{near + "/" + changed, far + "/web"} {
		delete(after, name)
		delete(workloads, name)
	}
	g.Expect(after).To(Equal(workloads), "nothing else has changed")
}

func (d *delivery) awaitGone(kind schema.GroupVersionKind, namespace, name string) {
	d.t.Helper()
	NewWithT(d.t).Eventually(func() error {
		_, err := d.get(kind, namespace, name)
		return err
	}).WithTimeout(slowly).Should(Satisfy(apierrors.IsNotFound), "%s %s", kind.Kind, name)
}
