package integration

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// refusalTimeout is for what is tried again with a backoff that grows to half a minute.
const refusalTimeout = 90 * time.Second

// recorder notes what a watch tells.
type recorder struct {
	mu    sync.Mutex
	added map[string]watch.Origin // by name
}

func newRecorder() *recorder { return &recorder{added: map[string]watch.Origin{}} }

func (r *recorder) Added(object any, origin watch.Origin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added[object.(client.Object).GetName()] = origin
}

func (r *recorder) Updated(any, any, watch.Origin) {}

func (r *recorder) Deleted(any) {}

// copy is what was told so far.
func (r *recorder) copy() map[string]watch.Origin {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.added)
}

// start runs informers of a resource until the test ends.
func start(t *testing.T, scope watch.Scope, resource watch.Resource, handler watch.Handler) *watch.Informers {
	t.Helper()
	informers, err := watch.New(testr.New(t), scope, resource, handler)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { informers.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return informers
}

func restClient(t *testing.T, config *rest.Config, scheme *runtime.Scheme, gvk schema.GroupVersionKind, untyped bool) rest.Interface {
	t.Helper()
	g := NewWithT(t)
	httpClient, err := rest.HTTPClientFor(config)
	g.Expect(err).NotTo(HaveOccurred())
	c, err := apiutil.RESTClientForGVK(gvk, false, untyped, config, serializer.NewCodecFactory(scheme), httpClient)
	g.Expect(err).NotTo(HaveOccurred())
	return c
}

func TestAForbiddenNamespaceStopsNoneOfTheOthers(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	forbidden := w.newNamespace("forbidden")
	w.create(configMap("here", "key", "1"))
	there := configMap("there", "key", "1")
	there.Namespace = forbidden
	w.create(there)
	kubeconfig, err := w.cluster.KubeconfigFor(harness.Identity(w.state), harness.Groups(w.state)...)
	g.Expect(err).NotTo(HaveOccurred())
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	g.Expect(err).NotTo(HaveOccurred())
	seen := newRecorder()
	informers := start(t, watch.Namespaces(w.namespace, forbidden), watch.Resource{
		Name: "configmaps", Object: &corev1.ConfigMap{}, Codec: clientgoscheme.ParameterCodec,
		Client: restClient(t, config, clientgoscheme.Scheme, corev1.SchemeGroupVersion.WithKind(""), false),
		Keep:   func(o any) any { return o },
	}, seen)

	g.Eventually(informers.Settled).Should(BeTrue())
	g.Eventually(func() []bool { // rights that were just given may not be in force yet
		_, exists, known := informers.Get(w.namespace, "here")
		return []bool{exists, known}
	}).WithTimeout(refusalTimeout).Should(Equal([]bool{true, true}))
	_, exists, known := informers.Get(w.namespace, "absent")
	g.Expect([]bool{exists, known}).To(Equal([]bool{false, true}))
	_, _, known = informers.Get(forbidden, "there")
	g.Expect(known).To(BeFalse())
	_, exists, known = informers.Get("elsewhere", "any")
	g.Expect([]bool{exists, known}).To(Equal([]bool{false, true}), "outside the scope there is nothing")
	g.Expect(informers.Refusals()).To(And(HaveLen(1), HaveKey(forbidden)))
	w.create(configMap("later", "key", "1"))
	g.Eventually(seen.copy).Should(And(HaveKeyWithValue("here", watch.Initial), HaveKeyWithValue("later", watch.Watched)))

	t.Log("the right is given")
	w.bindHere(forbidden)
	g.Eventually(func() bool { _, exists, known := informers.Get(forbidden, "there"); return exists && known }).
		WithTimeout(refusalTimeout).Should(BeTrue())
	g.Expect(informers.Refusals()).To(BeEmpty())
	g.Expect(seen.copy()).To(HaveKeyWithValue("there", watch.Initial))
}

func TestAResourceThatAppearsIsWatchedAndOneThatGoesIsUnknown(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	gvk := schema.GroupVersionKind{Group: w.namespace + ".example.test", Version: "v1", Kind: "Widget"}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, gvk.GroupVersion())
	empty := &unstructured.Unstructured{}
	empty.SetGroupVersionKind(gvk)
	seen := newRecorder()
	informers := start(t, watch.Namespaces(w.namespace), watch.Resource{
		Name: "widgets", Object: empty, Codec: runtime.NewParameterCodec(scheme),
		Client: restClient(t, w.cluster.Config(), scheme, gvk, true),
		Keep:   func(o any) any { return o },
	}, seen)
	g.Eventually(informers.Settled).Should(BeTrue(), "an absent resource holds nothing up")
	_, _, known := informers.Get(w.namespace, "first")
	g.Expect(known).To(BeFalse())

	t.Log("the resource appears")
	definition := widgets(gvk)
	g.Expect(w.admin.Create(t.Context(), definition)).To(Succeed())
	first := empty.DeepCopy()
	first.SetNamespace(w.namespace)
	first.SetName("first")
	g.Eventually(func() error { return w.admin.Create(t.Context(), first.DeepCopy()) }).Should(Succeed())
	g.Eventually(func() bool { _, exists, known := informers.Get(w.namespace, "first"); return exists && known }).
		WithTimeout(refusalTimeout).Should(BeTrue())

	t.Log("the resource goes")
	g.Expect(w.admin.Delete(t.Context(), definition)).To(Succeed())
	g.Eventually(func() bool { _, _, known := informers.Get(w.namespace, "first"); return known }).
		WithTimeout(refusalTimeout).Should(BeFalse())
	g.Expect(informers.Settled()).To(BeTrue())
}

// widgets is the definition of a custom resource.
func widgets(gvk schema.GroupVersionKind) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "widgets." + gvk.Group},
		"spec": map[string]any{
			"group": gvk.Group, "scope": "Namespaced",
			"names": map[string]any{"plural": "widgets", "singular": "widget", "kind": gvk.Kind, "listKind": gvk.Kind + "List"},
			"versions": []any{map[string]any{
				"name": gvk.Version, "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{
					"type": "object", "x-kubernetes-preserve-unknown-fields": true,
				}},
			}},
		},
	}}
}
