package integration

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// fluxKind is a kind of Flux objects that apply others. Their controllers do not run here: tests say what these would.
type fluxKind struct {
	schema.GroupVersionKind
	// labels are the prefix of those that it puts on what it applies.
	labels string
}

func kustomizationKind() fluxKind {
	return fluxKind{schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}, "kustomize.toolkit.fluxcd.io/"}
}

func helmReleaseKind() fluxKind {
	return fluxKind{schema.GroupVersionKind{Group: "helm.toolkit.fluxcd.io", Version: "v2", Kind: "HelmRelease"}, "helm.toolkit.fluxcd.io/"}
}

func resourceSetKind() fluxKind {
	return fluxKind{schema.GroupVersionKind{Group: "fluxcd.controlplane.io", Version: "v1", Kind: "ResourceSet"}, "resourceset.fluxcd.controlplane.io/"}
}

// sharedFlux is installed once in the cluster that tests share.
var sharedFlux sync.Once

// newFluxWorld is newWorld in a cluster that knows Flux's owners.
func newFluxWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	sharedFlux.Do(func() { w.installFlux() })
	return w
}

// definitions reads a file of testdata.
func (w *world) definitions(file string) []*unstructured.Unstructured {
	w.t.Helper()
	definitions, err := harness.Objects(filepath.Join("testdata", file))
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	return definitions
}

// undefine takes kinds away, with all objects.
func (w *world) undefine(file string) {
	w.t.Helper()
	g := NewWithT(w.t)
	for _, definition := range w.definitions(file) {
		g.Expect(w.admin.Delete(w.t.Context(), definition)).To(Succeed())
		g.Eventually(func() bool {
			return apierrors.IsNotFound(w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(definition), definition))
		}).Should(BeTrue())
	}
}

const fluxCRDs = "flux-crds.yaml"

// installFlux makes the kinds known, and waits until objects of each can be listed.
func (w *world) installFlux() {
	w.t.Helper()
	g := NewWithT(w.t)
	for _, definition := range w.definitions(fluxCRDs) {
		g.Expect(w.admin.Create(context.Background(), definition)).To(Succeed())
	}
	for _, kind := range []fluxKind{kustomizationKind(), helmReleaseKind(), resourceSetKind()} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersionKind)
		g.Eventually(func() error { return w.admin.List(context.Background(), list) }).Should(Succeed())
	}
}

// uninstallFlux takes the kinds away, with all objects.
func (w *world) uninstallFlux() {
	w.t.Helper()
	w.undefine(fluxCRDs)
}

// fluxObject is a Flux object of the test's namespace that its controller is through with.
type fluxObject struct {
	*world
	kind fluxKind
	name string
}

// owner makes a Flux object, itself applied by another one if that is not nil.
func (w *world) owner(kind fluxKind, name string, by *fluxObject) *fluxObject {
	w.t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind.GroupVersionKind)
	o.SetName(name)
	if by != nil {
		o.SetLabels(by.labels())
	}
	w.create(o)
	made := &fluxObject{w, kind, name}
	made.reconciled()
	return made
}

// labels are those that it puts on what it applies.
func (o *fluxObject) labels() map[string]string {
	return map[string]string{o.kind.labels + "name": o.name, o.kind.labels + "namespace": o.namespace}
}

// appliedBy puts an owner's labels on a Deployment.
func appliedBy(o *fluxObject) option {
	return func(d *appsv1.Deployment) {
		for key, value := range o.labels() {
			d.Labels = with(d.Labels, key, value)
		}
	}
}

func (o *fluxObject) String() string { return o.kind.Kind + "/" + o.namespace + "/" + o.name }

func (o *fluxObject) suspend(yes bool) {
	o.t.Helper()
	o.change(func(object *unstructured.Unstructured) {
		if o.kind == resourceSetKind() {
			value := map[bool]string{true: "disabled", false: "enabled"}[yes]
			object.SetAnnotations(with(object.GetAnnotations(), "fluxcd.controlplane.io/reconcile", value))
			return
		}
		NewWithT(o.t).Expect(unstructured.SetNestedField(object.Object, yes, "spec", "suspend")).To(Succeed())
	})
}

// reconciling says what the controller says while it applies.
func (o *fluxObject) reconciling() {
	o.t.Helper()
	o.report(map[string]any{"type": "Reconciling", "status": "True", "reason": "Progressing"},
		map[string]any{"type": "Ready", "status": "Unknown", "reason": "Progressing"})
}

// reconciled says what the controller says when it is through.
func (o *fluxObject) reconciled() {
	o.t.Helper()
	o.report(map[string]any{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded"})
}

func (o *fluxObject) report(conditions ...map[string]any) {
	o.t.Helper()
	NewWithT(o.t).Eventually(func() error {
		object := o.get()
		var all []any
		for _, c := range conditions {
			c["observedGeneration"] = object.GetGeneration()
			all = append(all, c)
		}
		object.Object["status"] = map[string]any{"observedGeneration": object.GetGeneration(), "conditions": all}
		return o.admin.Status().Update(o.t.Context(), object)
	}).Should(Succeed())
}

func (o *fluxObject) get() *unstructured.Unstructured {
	o.t.Helper()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(o.kind.GroupVersionKind)
	o.world.get(object, o.name)
	return object
}

func (o *fluxObject) change(how func(*unstructured.Unstructured)) {
	o.t.Helper()
	NewWithT(o.t).Eventually(func() error {
		object := o.get()
		how(object)
		return o.admin.Update(o.t.Context(), object)
	}).Should(Succeed())
}

// awaitVerdict waits until a Deployment got a verdict once more than before.
func (c *controller) awaitVerdict(w *world, name, verdict string, before int) {
	c.t.Helper()
	NewWithT(c.t).Eventually(func() int { return c.decided(fmt.Sprintf("Deployment/%s/%s", w.namespace, name), verdict) }).
		Should(BeNumerically(">", before), verdict)
}
