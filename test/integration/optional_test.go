package integration

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	kindIsServed    = "the API server serves the kind: its workloads are watched"
	kindIsNotServed = "the API server does not serve the kind: none is restarted until it does"
)

// The APIs of optional kinds may come and go while the controller runs, and the server of one may be away: all else goes on
// and nothing is tried again and again.
func TestOptionalKindsComeAndGo(t *testing.T) {
	w := newOwnWorld(t)
	g := NewWithT(t)
	w.startArgo()
	w.startOpenShift()
	away := w.serverThatIsAway(configVersion().GroupVersion())
	w.createMarker()
	c := w.startController(quick, withRollouts)
	w.awaitRecord(marker)
	said := func(message, kind string) int {
		n := 0
		for _, line := range c.lines(message) {
			if line["kind"] == kind {
				n++
			}
		}
		return n
	}
	g.Expect(said(kindIsNotServed, "Rollout")).To(Equal(1))
	g.Expect(c.lines("the resource cannot be listed for now; trying again until it can")).To(ConsistOf(HaveKeyWithValue("resource", "deploymentconfigs")))

	t.Log("installed")
	g.Expect(w.admin.Delete(t.Context(), away)).To(Succeed())
	w.define(rolloutVersion(), rolloutDefinition)
	w.define(configVersion(), configDefinition)
	w.create(secret("password", "password", "A"))
	for times, o := range []*optional{w.rollout(), w.config()} {
		w.create(o.like(reader()))
		w.awaitSettled(o.kind, web)
		g.Eventually(func() int { return said(kindIsServed, o.kind.Kind) }).WithTimeout(refusalTimeout).Should(Equal(1))
		o.awaitProven()
		o.setPassword(o.kind.Kind)
		o.awaitProven()
		w.mark(times + 1)
		o.expectRestarts(1)
		o.end()
	}

	t.Log("removed, with one that is there")
	gone := w.rollout()
	w.create(gone.like(reader()))
	w.awaitSettled(gone.kind, web)
	gone.awaitProven()
	w.undefine(rolloutDefinition)
	w.undefine(configDefinition)
	for _, kind := range []string{"Rollout", "DeploymentConfig"} {
		g.Eventually(func() int { return said(kindIsNotServed, kind) }).WithTimeout(refusalTimeout).Should(BeNumerically(">=", 1), kind)
	}
	w.later()
	w.setSecret("password", "password", "gone")
	w.mark(3)
	g.Expect(w.patchesOf("rollouts")).To(Equal(1))
	g.Expect(strings.Count(c.log(), `"level":"error"`)).To(BeZero())

	t.Log("installed again")
	gone.clear()
	w.define(rolloutVersion(), rolloutDefinition)
	o := w.rollout()
	w.create(o.like(reader()))
	w.awaitSettled(o.kind, web)
	g.Eventually(func() int { return said(kindIsServed, "Rollout") }).WithTimeout(refusalTimeout).Should(Equal(2))
	o.awaitProven()
	o.setPassword("B")
	o.awaitProven()
	o.expectRestartsSince(1)
}

// end deletes the workload, and what belongs to it.
func (o *optional) end() {
	o.t.Helper()
	NewWithT(o.t).Expect(o.admin.Delete(o.t.Context(), o.now())).To(Succeed())
	o.clear()
}

// clear deletes what belonged to a workload that is gone: the cluster's garbage collector learns late of a kind.
func (o *optional) clear() {
	o.t.Helper()
	g := NewWithT(o.t)
	labelled := []client.DeleteAllOfOption{
		client.InNamespace(o.namespace), client.MatchingLabels{"app": web}, client.PropagationPolicy(metav1.DeletePropagationBackground),
	}
	for _, children := range []client.Object{&appsv1.ReplicaSet{}, &corev1.ReplicationController{}} {
		g.Expect(o.admin.DeleteAllOf(o.t.Context(), children, labelled...)).To(Succeed())
	}
	g.Eventually(o.names).Should(BeEmpty())
}

// expectRestartsSince is expectRestarts of an object that took another's place, which was written to so many times.
func (o *optional) expectRestartsSince(before int) {
	o.t.Helper()
	NewWithT(o.t).Expect(o.acceptedOf(o.resource, web)).To(Equal(before + 1))
}

// serverThatIsAway lets the API server say of a group that another serves it, which does not answer.
func (w *world) serverThatIsAway(version schema.GroupVersion) *unstructured.Unstructured {
	w.t.Helper()
	service := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"group": version.Group, "version": version.Version, "groupPriorityMinimum": int64(2000), "versionPriority": int64(15),
		"insecureSkipTLSVerify": true, "service": map[string]any{"namespace": "default", "name": "nobody"},
	}}}
	service.SetAPIVersion("apiregistration.k8s.io/v1")
	service.SetKind("APIService")
	service.SetName(version.Version + "." + version.Group)
	g := NewWithT(w.t)
	g.Expect(w.admin.Create(w.t.Context(), service)).To(Succeed())
	asked, err := kubernetes.NewForConfig(w.cluster.Config())
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() bool {
		err := asked.Discovery().RESTClient().Get().AbsPath("/apis", version.String(), "deploymentconfigs").Do(w.t.Context()).Error()
		return apierrors.IsServiceUnavailable(err)
	}).Should(BeTrue())
	return service
}
