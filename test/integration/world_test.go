package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// world is what one test has to itself: a namespace for its objects, and the controller's namespace.
type world struct {
	t       *testing.T
	cluster *cluster.Cluster
	admin   client.Client
	// namespace holds the workloads and their sources; state is the controller's. They are the same unless the
	// controller watches all namespaces.
	namespace  string
	state      string
	everywhere bool
	// kubeconfig is what controllers reach the API server by, if not directly.
	kubeconfig string
	// environment are further variables of controllers, as NAME=value.
	environment []string
	// binary is the controller to start, if not the one that all tests share.
	binary string
	// edits counts, by Deployment, the test's own changes that move the generation.
	edits map[string]int64
}

var namespaces atomic.Int64

// newWorld makes a namespace whose controller may work only there. The test runs at the same time as others.
func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldIn(t, numbered("test"))
}

// newWorldIn is newWorld for a test to which the namespace's name matters.
func newWorldIn(t *testing.T, namespace string) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, cluster: shared, admin: admin, edits: map[string]int64{}}
	w.createNamespace(namespace)
	w.namespace, w.state = namespace, namespace
	w.permit()
	w.bindHere(w.state)
	return w
}

// newWideWorld makes the default installation, whose controller works in all namespaces.
func newWideWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, cluster: shared, admin: admin, everywhere: true, edits: map[string]int64{}}
	w.namespace, w.state = w.newNamespace("test"), w.newNamespace("state")
	w.permit()
	w.bindEverywhere()
	return w
}

// newOwnWorld is newWorld in a cluster of the test's own, in which nobody has installed anything: for what concerns all of
// a cluster.
func newOwnWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	g := NewWithT(t)
	own, err := cluster.Start(t.Context(), cluster.Options{With: []cluster.Component{cluster.KWOK}, AuditLog: true})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = own.Stop() })
	w := &world{t: t, cluster: own, edits: map[string]int64{}}
	w.admin, err = client.New(own.Config(), client.Options{Scheme: clientgoscheme.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(rights(w.admin).CreateClusterRole(t.Context())).To(Succeed())
	w.namespace = w.newNamespace("test")
	w.state = w.namespace
	w.permit()
	w.bindHere(w.state)
	return w
}

// newNamespace makes a namespace. It stays: it is gone with the cluster.
func (w *world) newNamespace(purpose string) string {
	w.t.Helper()
	name := numbered(purpose)
	w.createNamespace(name)
	return name
}

func numbered(purpose string) string { return fmt.Sprintf("%s-%d", purpose, namespaces.Add(1)) }

func (w *world) createNamespace(name string) {
	w.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	NewWithT(w.t).Expect(w.admin.Create(w.t.Context(), namespace)).To(Succeed())
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, object := range objects {
		if object.GetNamespace() == "" {
			object.SetNamespace(w.namespace)
		}
		NewWithT(w.t).Expect(w.admin.Create(w.t.Context(), object)).To(Succeed())
	}
}

func (w *world) get(object client.Object, name string) {
	w.t.Helper()
	NewWithT(w.t).Expect(w.admin.Get(w.t.Context(), w.key(name), object)).To(Succeed())
}

func (w *world) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: w.namespace, Name: name}
}

// change applies a change to an object as an Update by its usual writer, again on conflicts.
func change[T client.Object](w *world, object T, name string, how func(T)) {
	w.t.Helper()
	NewWithT(w.t).Eventually(func() error {
		if err := w.admin.Get(w.t.Context(), w.key(name), object); err != nil {
			return StopTrying("it cannot be read").Wrap(err)
		}
		how(object)
		return w.admin.Update(w.t.Context(), object)
	}).Should(Succeed())
}

// setSecret sets keys of a Secret.
func (w *world) setSecret(name string, pairs ...string) {
	w.t.Helper()
	change(w, &corev1.Secret{}, name, func(s *corev1.Secret) {
		for key, value := range byteData(pairs) {
			s.Data[key] = value
		}
	})
}

// setConfigMap sets keys of a ConfigMap.
func (w *world) setConfigMap(name string, pairs ...string) {
	w.t.Helper()
	change(w, &corev1.ConfigMap{}, name, func(c *corev1.ConfigMap) { maps.Copy(c.Data, textData(pairs)) })
}

func (w *world) annotate(name, key, value string) {
	w.t.Helper()
	change(w, &appsv1.Deployment{}, name, func(d *appsv1.Deployment) {
		d.Annotations = with(d.Annotations, key, value)
	})
	w.edits[name]++ // annotations move a Deployment's generation
}

func with(pairs map[string]string, key, value string) map[string]string {
	pairs = maps.Clone(pairs)
	if pairs == nil {
		pairs = map[string]string{}
	}
	pairs[key] = value
	return pairs
}

func (w *world) deployment(name string) *appsv1.Deployment {
	w.t.Helper()
	d := &appsv1.Deployment{}
	w.get(d, name)
	return d
}

// value is the template's digest annotation; empty before the first restart.
func (w *world) value(name string) string {
	w.t.Helper()
	return w.deployment(name).Spec.Template.Annotations[v1alpha1.ConfigDigestAnnotation]
}

// replicaSets are a Deployment's, old ones included.
func (w *world) replicaSets(name string) []appsv1.ReplicaSet {
	w.t.Helper()
	list := &appsv1.ReplicaSetList{}
	NewWithT(w.t).Expect(w.admin.List(w.t.Context(), list, client.InNamespace(w.namespace),
		client.MatchingLabels{"app": name})).To(Succeed())
	return list.Items
}

// pods are a Deployment's that are not about to end.
func (w *world) pods(name string) []corev1.Pod {
	w.t.Helper()
	list := &corev1.PodList{}
	NewWithT(w.t).Expect(w.admin.List(w.t.Context(), list, client.InNamespace(w.namespace),
		client.MatchingLabels{"app": name})).To(Succeed())
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// awaitRollout waits until a Deployment's pods are all of its present revision.
func (w *world) awaitRollout(names ...string) {
	w.t.Helper()
	for _, name := range names {
		NewWithT(w.t).Eventually(func() bool { return harness.Complete(w.deployment(name)) }).Should(BeTrue(), "rollout of "+name)
	}
}

// restarts counts by how often somebody other than the test moved a Deployment's generation.
func (w *world) restarts(name string) int {
	w.t.Helper()
	return int(w.deployment(name).Generation - 1 - w.edits[name])
}

// awaitRestart waits until a Deployment was restarted so many times in its life, and its rollout is through.
func (w *world) awaitRestart(name string, times int) {
	w.t.Helper()
	NewWithT(w.t).Eventually(func() int { return w.restarts(name) }).
		Should(BeNumerically(">=", times), "restarts of "+name)
	w.awaitRollout(name)
	w.expectRestarts(name, times)
}

// expectRestarts checks how many times a Deployment was restarted in its life.
func (w *world) expectRestarts(name string, times int) {
	w.t.Helper()
	g := NewWithT(w.t)
	g.Expect(w.restarts(name)).To(Equal(times), "restarts of "+name)
	g.Expect(w.replicaSets(name)).To(HaveLen(times+1), "revisions of "+name)
}

// later waits until the API server's time stamps of what is done from now on are clearly after all before.
func (w *world) later() {
	w.t.Helper()
	harness.Later(w.t)
}

// events are the controller's about a Deployment, as type and message.
func (w *world) events(name, reason string) []string {
	w.t.Helper()
	return w.eventsAbout("Deployment", name, reason)
}

func (w *world) eventsAbout(kind, name, reason string) []string {
	w.t.Helper()
	list := &corev1.EventList{}
	NewWithT(w.t).Expect(w.admin.List(w.t.Context(), list, client.InNamespace(w.namespace))).To(Succeed())
	var found []string
	for _, e := range list.Items {
		if e.InvolvedObject.Name == name && e.InvolvedObject.Kind == kind && e.Reason == reason && e.Source.Component == "reloader" {
			found = append(found, e.Type+" "+e.Message)
		}
	}
	return found
}

// patches counts the controller's patches of Deployments, refused ones included.
func (w *world) patches(names ...string) int {
	w.t.Helper()
	return w.patchesOf("deployments", names...)
}

func (w *world) patchesOf(resource string, names ...string) int {
	w.t.Helper()
	n := 0
	for _, e := range w.requests() {
		if e.Verb == "patch" && e.Resource == resource && (len(names) == 0 || slices.Contains(names, e.Name)) {
			n++
		}
	}
	return n
}

// requests are all that the controller's identity ever sent: complete ones, and watches that have begun.
func (w *world) requests() []cluster.AuditEvent {
	w.t.Helper()
	all, err := w.cluster.Audit()
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	return slices.DeleteFunc(all, func(e cluster.AuditEvent) bool {
		stage := cluster.AuditComplete
		if e.Verb == "watch" {
			stage = cluster.AuditStarted
		}
		return e.User != harness.Identity(w.state) || e.Stage != stage
	})
}

// marker is a workload whose restart proves that everything written before it was looked at.
const marker = "marker"

// createMarker makes the marker and its source.
func (w *world) createMarker() {
	w.t.Helper()
	w.create(configMap(marker, "key", "0"), deployment(marker, auto, envFromConfigMap(marker)))
	w.awaitRollout(marker)
}

// mark changes the marker's source and waits for the restart: the marker's so many-th.
func (w *world) mark(times int) {
	w.t.Helper()
	w.setConfigMap(marker, "key", fmt.Sprint(times))
	w.awaitRestart(marker, times)
}

// ledger are the shards of the controller's ledger.
func (w *world) ledger(ctx context.Context) []corev1.ConfigMap {
	w.t.Helper()
	shards, err := harness.Ledger(ctx, w.admin, w.state)
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	return shards
}

// recorded is the ledger's record of a Deployment as it is stored; empty if there is none.
func (w *world) recorded(name string) string {
	w.t.Helper()
	return w.recordOf(w.deployment(name).UID)
}

func (w *world) recordOf(uid types.UID) string {
	w.t.Helper()
	text, err := harness.Record(w.t.Context(), w.admin, w.state, uid)
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	return text
}

// awaitRecord waits until the record of a Deployment is stored and says that its pods run with the present content.
func (w *world) awaitRecord(names ...string) {
	w.t.Helper()
	for _, name := range names {
		NewWithT(w.t).Eventually(func() string { return w.recorded(name) }).
			Should(harness.Proven(w.value(name)), "record of "+name)
	}
}

func byteData(pairs []string) map[string][]byte {
	data := map[string][]byte{}
	for key, value := range textData(pairs) {
		data[key] = []byte(value)
	}
	return data
}

func textData(pairs []string) map[string]string {
	if len(pairs)%2 != 0 {
		panic("keys and values come in pairs: " + strings.Join(pairs, " "))
	}
	data := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		data[pairs[i]] = pairs[i+1]
	}
	return data
}
