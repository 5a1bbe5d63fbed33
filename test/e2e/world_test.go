package e2e

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// world is what one test has to itself: a namespace for Flux's objects, what they apply, and the controller.
type world struct {
	t         *testing.T
	namespace string
	// kubeconfig is what the controller reaches the API server by, if not directly.
	kubeconfig string
}

var namespaces atomic.Int64

// newWorld makes a namespace whose controller may work only there. The test runs at the same time as others.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	g := NewWithT(t)
	w := &world{t: t, namespace: fmt.Sprintf("app-%d", namespaces.Add(1))}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	g.Expect(admin.Create(t.Context(), namespace)).To(Succeed())
	rights := harness.Rights{Client: admin, Root: root}
	g.Expect(rights.Permit(t.Context(), w.namespace)).To(Succeed())
	g.Expect(rights.Bind(t.Context(), w.namespace, w.namespace)).To(Succeed())
	return w
}

// startController starts a controller that tells Flux what it does, and waits until it leads.
func (w *world) startController() *harness.Controller {
	w.t.Helper()
	c := w.start(w.namespace, shared.Flux().EventsAddress)
	c.AwaitReady()
	c.AwaitLeading()
	return c
}

// launch starts one of several controllers, of which one leads, and waits for nothing.
func (w *world) launch(replica, events string) *harness.Controller {
	w.t.Helper()
	return w.start(w.namespace+"-"+replica, events, "--enable-leader-election", "--leader-election-lease-duration=15s",
		"--leader-election-renew-deadline=10s", "--leader-election-retry-period=500ms")
}

// start starts a controller that tells what it does at an address.
func (w *world) start(name, events string, flags ...string) *harness.Controller {
	w.t.Helper()
	return harness.Launch{
		Cluster: shared, Binary: reloader, Name: name, Namespace: w.namespace, Kubeconfig: w.kubeconfig,
		Flags: append(flags, "--settle-quiet=500ms", "--events-addr="+events),
	}.Start(w.t)
}

// apply makes or changes objects in the test's namespace, as somebody with kubectl does, whoever else applies them.
func (w *world) apply(manifests string) {
	w.t.Helper()
	NewWithT(w.t).Expect(harness.Apply(w.t.Context(), admin, w.namespace, manifests)).To(Succeed())
}

// flux runs the flux command, which waits for what it asks for.
func (w *world) flux(args ...string) {
	w.t.Helper()
	harness.Flux(w.t, shared, fluxCLI, append(args, "--namespace="+w.namespace)...)
}

// awaitApplied waits until Flux has applied a revision and says that all is well with it.
func (w *world) awaitApplied(kind schema.GroupVersionKind, name, revision string) {
	w.t.Helper()
	NewWithT(w.t).Eventually(func() (string, error) {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(kind)
		if err := admin.Get(w.t.Context(), w.key(name), object); err != nil {
			return "", err
		}
		return harness.Readiness(object)
	}).Should(And(HavePrefix("True"), ContainSubstring(revision)), "%s %s", kind.Kind, name)
}

func (w *world) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: w.namespace, Name: name}
}

func (w *world) deployment(name string) *appsv1.Deployment {
	w.t.Helper()
	d := &appsv1.Deployment{}
	NewWithT(w.t).Expect(admin.Get(w.t.Context(), w.key(name), d)).To(Succeed())
	return d
}

// value is the template's digest annotation; empty before the first restart.
func (w *world) value(name string) string {
	w.t.Helper()
	return w.deployment(name).Spec.Template.Annotations[v1alpha1.ConfigDigestAnnotation]
}

// revisions counts the ReplicaSets that a Deployment has ever had: none is old enough to be cleaned up.
func (w *world) revisions(name string) int {
	w.t.Helper()
	list := &appsv1.ReplicaSetList{}
	NewWithT(w.t).Expect(admin.List(w.t.Context(), list, client.InNamespace(w.namespace))).To(Succeed())
	return len(slices.DeleteFunc(list.Items, func(r appsv1.ReplicaSet) bool {
		return !metav1.IsControlledBy(&r, w.deployment(name))
	}))
}

// setVersion changes the image of a Deployment, as somebody does by hand.
func (w *world) setVersion(name, version string) {
	w.t.Helper()
	NewWithT(w.t).Eventually(func() error {
		d := w.deployment(name)
		d.Spec.Template.Spec.Containers[0].Image = "reloader.test/none:" + version
		return admin.Update(w.t.Context(), d)
	}).Should(Succeed())
}

// label gives a Deployment labels. That is no write that counts as one.
func (w *world) label(name string, labels map[string]string) {
	w.t.Helper()
	d := w.deployment(name)
	before := client.MergeFrom(d.DeepCopy())
	d.Labels = labels
	NewWithT(w.t).Expect(admin.Patch(w.t.Context(), d, before)).To(Succeed())
}

// awaitRollout waits until all pods of a Deployment are of its present template.
func (w *world) awaitRollout(name string) {
	w.t.Helper()
	NewWithT(w.t).Eventually(func() bool { return harness.Complete(w.deployment(name)) }).Should(BeTrue(), "rollout of "+name)
}

// awaitRevisions waits until a Deployment has had so many revisions, its rollout is through, and the controller has on
// record that its pods run with the present content. What returns to an earlier template has no revision of its own, but
// is seen too: see expectRevisions.
func (w *world) awaitRevisions(name string, n int) {
	w.t.Helper()
	w.awaitWrites(name, n, n)
}

// expectRevisions checks how many revisions a Deployment has ever had, and that each was written by one request: nobody
// wrote anything else, nor took anything back.
func (w *world) expectRevisions(name string, n int) {
	w.t.Helper()
	w.expectWrites(name, n, n)
}

// awaitWrites is awaitRevisions for a Deployment with other writes than those that made its revisions.
func (w *world) awaitWrites(name string, revisions, writes int) {
	w.t.Helper()
	g := NewWithT(w.t)
	g.Eventually(func() int { return w.revisions(name) }).Should(BeNumerically(">=", revisions), "revisions of "+name)
	g.Eventually(func() int64 { return w.deployment(name).Generation }).Should(BeNumerically(">=", writes), "writes of "+name)
	w.awaitRollout(name)
	g.Eventually(func() (string, error) {
		return harness.Record(w.t.Context(), admin, w.namespace, w.deployment(name).UID)
	}).Should(harness.Proven(w.value(name)), "record of "+name)
	w.expectWrites(name, revisions, writes)
}

func (w *world) expectWrites(name string, revisions, writes int) {
	w.t.Helper()
	g := NewWithT(w.t)
	g.Expect(w.revisions(name)).To(Equal(revisions), "revisions of "+name)
	g.Expect(w.deployment(name).Generation).To(BeEquivalentTo(writes), "writes of "+name)
}
