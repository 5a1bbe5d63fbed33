package integration

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

const printerImage = "reloader.test/printer:1"

// TestRealNode lets a kubelet start the pods.
func TestRealNode(t *testing.T) {
	t.Parallel()
	node := realCluster(t)
	printer, err := harness.Build(t.Context(), ".", "./internal/printer", filepath.Join(t.TempDir(), "printer"))
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(node.LoadImage(t.Context(), printerImage, map[string]string{"/printer": printer}, []string{"/printer"})).To(Succeed())
	nodeAdmin, err := client.New(node.Config(), client.Options{Scheme: clientgoscheme.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(rights(nodeAdmin).CreateClusterRole(t.Context())).To(Succeed())
	t.Run("pods run with what the ledger says", func(t *testing.T) { podsRunWithWhatTheLedgerSays(t, node) })
	t.Run("an immutable Secret that is replaced is reported", func(t *testing.T) { replacedImmutableIsReported(t, node) })
}

// podsRunWithWhatTheLedgerSays: a Deployment comes before its Secret, and has one revision ever; then the Secret changes,
// and the new pod has the new content in its variable and in its file.
func podsRunWithWhatTheLedgerSays(t *testing.T, node *cluster.Cluster) {
	w, output := newRealWorld(t, node)
	g := NewWithT(t)
	c := w.startController()
	w.create(deployment("web", auto, onRealNode, envKey("PASSWORD", "late", "password"), mountSecret("late", "/etc/late")))
	g.Eventually(func() int { return c.decided("Deployment/"+w.namespace+"/web", "Waiting") }).Should(BeNumerically(">", 0))
	g.Eventually(func() []corev1.Pod { return w.pods("web") }).Should(HaveLen(1))
	w.later()
	w.later()
	w.create(secret("late", "password", "first"))
	g.Eventually(output).WithTimeout(slowly).Should(ConsistOf("variable=first file=first\n"))
	w.awaitRecord("web")
	w.expectRestarts("web", 0)

	w.later()
	w.setSecret("late", "password", "second")
	g.Eventually(func() int { return w.restarts("web") }).Should(Equal(1))
	g.Eventually(output).WithTimeout(slowly).Should(ConsistOf("variable=second file=second\n"))
	g.Eventually(func() bool { return harness.Complete(w.deployment("web")) }).WithTimeout(slowly).Should(BeTrue())
	w.awaitRecord("web")
	w.expectRestarts("web", 1)
	g.Expect(w.accepted("web")).To(Equal(1))
}

// replacedImmutableIsReported shows what a kubelet makes of it, and why nothing but a report helps: a new pod beside an old
// one gets the former content. Once no pod on the node uses the object any more, the next one gets the present.
func replacedImmutableIsReported(t *testing.T, node *cluster.Cluster) {
	w, output := newRealWorld(t, node)
	g := NewWithT(t)
	fixed := func(password string) *corev1.Secret {
		s := secret("fixed", "password", password)
		s.Immutable = ptr.To(true)
		return s
	}
	// Only pods that end in their own time are gone for the kubelet when they are gone for the API server.
	gracefully := func(d *appsv1.Deployment) { d.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To(int64(1)) }
	w.create(fixed("first"), deployment("web", auto, onRealNode, gracefully,
		envKey("PASSWORD", "fixed", "password"), mountSecret("fixed", "/etc/late")))
	g.Eventually(output).WithTimeout(slowly).Should(ConsistOf("variable=first file=first\n"))
	w.awaitRollout("web")
	w.startController()
	w.awaitRecord("web")

	w.later()
	g.Expect(w.admin.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "fixed"}})).To(Succeed())
	w.create(fixed("second"))
	g.Eventually(func() int { return w.restarts("web") }).Should(Equal(1))
	g.Eventually(func() bool { return harness.Complete(w.deployment("web")) }).WithTimeout(slowly).Should(BeTrue())
	g.Eventually(func() []string { return w.events("web", "ImmutableReplaced") }).Should(HaveLen(1))
	g.Eventually(output).WithTimeout(slowly).Should(ConsistOf("variable=first file=first\n"), "of the new pod")

	scale := func(to int32) {
		change(w, &appsv1.Deployment{}, "web", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To(to) })
		w.edits["web"]++
	}
	scale(0)
	g.Eventually(func() []corev1.Pod {
		left := &corev1.PodList{} // those that end, too
		g.Expect(w.admin.List(t.Context(), left, client.InNamespace(w.namespace))).To(Succeed())
		return left.Items
	}).WithTimeout(slowly).Should(BeEmpty())
	scale(1)
	g.Eventually(output).WithTimeout(slowly).Should(ConsistOf("variable=second file=second\n"))
	w.expectRestarts("web", 1)
	g.Expect(w.events("web", "ImmutableReplaced")).To(HaveLen(1))
}

// newRealWorld is a namespace on a cluster with a kubelet, and what the pods of its Deployment web have printed.
func newRealWorld(t *testing.T, node *cluster.Cluster) (w *world, output func() []string) {
	t.Helper()
	g := NewWithT(t)
	w = &world{t: t, cluster: node, edits: map[string]int64{}}
	var err error
	w.admin, err = client.New(node.Config(), client.Options{Scheme: clientgoscheme.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	pods, err := kubernetes.NewForConfig(node.Config())
	g.Expect(err).NotTo(HaveOccurred())
	w.namespace = w.newNamespace("test")
	w.state = w.namespace
	w.permit()
	w.bindHere(w.state)
	return w, func() []string { return w.output(pods, "web") }
}

// slowly is for what a kubelet tries again with a growing backoff.
const slowly = 2 * time.Minute

func realCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Options{With: []cluster.Component{cluster.Node}, AuditLog: true})
	if errors.Is(err, cluster.ErrNeedsRoot) {
		t.Skipf("a kubelet is needed to start pods: %v", err)
	}
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// onRealNode lets the pods run on the real node.
func onRealNode(d *appsv1.Deployment) {
	spec := &d.Spec.Template.Spec
	spec.NodeSelector = map[string]string{"type": "real"}
	spec.Tolerations = []corev1.Toleration{{Key: "real", Operator: corev1.TolerationOpExists}}
	app(d).Image, app(d).ImagePullPolicy = printerImage, corev1.PullNever
	app(d).Args = []string{"PASSWORD", "/etc/late/password"}
}

// output is what the pods of a Deployment have printed, those that have started.
func (w *world) output(pods kubernetes.Interface, name string) []string {
	w.t.Helper()
	var all []string
	for _, pod := range w.pods(name) {
		text, err := logs(w.t.Context(), pods, pod)
		if err == nil && text != "" {
			all = append(all, text)
		}
	}
	return all
}

func logs(ctx context.Context, pods kubernetes.Interface, pod corev1.Pod) (string, error) {
	stream, err := pods.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).Stream(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = stream.Close() }()
	text, err := io.ReadAll(stream)
	return string(text), err
}
