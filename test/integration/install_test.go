package integration

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// rollers are the controllers of Kubernetes that every rollout goes through. In this test they run by themselves.
const rollers = "deployment-controller,replicaset-controller"

// The installation into a cluster of a thousand workloads writes to none of them, and what is restarted meanwhile rolls
// out: a write each would keep the controller manager, whose requests are limited where nobody raised the limit, busy for
// minutes.
func TestAThousandFirstSightsHoldUpNoRollout(t *testing.T) {
	const workloads, sources = 1000, 100
	t.Parallel()
	w, manager := worldOfLimitedRollouts(t)
	stop := w.startRollers(manager, "--kube-api-qps=1000", "--kube-api-burst=1000")
	for i := range sources {
		w.create(secret(fmt.Sprint("secret-", i), "key", "1"))
	}
	for i := range workloads {
		w.create(deployment(fmt.Sprint("idle-", i), auto, replicas(0), envFromSecret(fmt.Sprint("secret-", i%sources))))
	}
	w.create(secret("password", "password", "1"), deployment("web", auto, replicas(3), envFromSecret("password")))
	w.awaitAll(workloads + 1)
	stop()
	w.startRollers(manager)
	w.roll("web", 1) // they are at work again when this is through
	w.awaitRollout("web")
	w.later()

	g := NewWithT(t)
	c := w.startController(quick)
	g.Expect(c.lines("leading")).To(ConsistOf(HaveKeyWithValue("newLedger", true)))
	w.awaitRecord("web")
	w.setSecret("password", "password", "2")
	g.Eventually(func() int { return w.restarts("web") }).Should(Equal(1))
	w.awaitRollout("web")
	g.Eventually(func() int {
		entries := 0
		for _, shard := range w.ledger(t.Context()) {
			entries += len(shard.Data)
		}
		return entries
	}).Should(Equal(workloads + 1))
	w.expectOnlyWrittenTo("web")
	g.Expect(w.accepted("web")).To(Equal(1))
}

// worldOfLimitedRollouts makes a cluster whose controller manager has its usual limit of requests, and no rollers.
func worldOfLimitedRollouts(t *testing.T) (w *world, manager string) {
	t.Helper()
	g := NewWithT(t)
	limited, err := cluster.Start(t.Context(), cluster.Options{
		With: []cluster.Component{cluster.KWOK}, AuditLog: true, DefaultQPS: true,
		ControllerManagerArgs: []string{"--controllers=*,-deployment-controller,-replicaset-controller"},
	})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = limited.Stop() })
	binaries, err := cluster.Binaries(t.Context(), "kube-controller-manager")
	g.Expect(err).NotTo(HaveOccurred())
	w = &world{t: t, cluster: limited, edits: map[string]int64{}}
	w.admin, err = client.New(limited.Config(), client.Options{Scheme: clientgoscheme.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(rights(w.admin).CreateClusterRole(t.Context())).To(Succeed())
	w.namespace = w.newNamespace("test")
	w.state = w.namespace
	w.permit()
	w.bindHere(w.state)
	return w, binaries["kube-controller-manager"]
}

// startRollers starts the rollers, with a limit of requests as by default or by flags.
func (w *world) startRollers(manager string, flags ...string) (stop func()) {
	w.t.Helper()
	g := NewWithT(w.t)
	arguments := append([]string{
		"--kubeconfig=" + w.cluster.Kubeconfig(), "--controllers=" + rollers, "--leader-elect=false", "--secure-port=0",
	}, flags...)
	process, err := w.cluster.Command("rollers", manager, arguments, nil)
	g.Expect(err).NotTo(HaveOccurred())
	return func() { g.Expect(process.Kill()).To(Succeed()) }
}

// awaitAll waits until there are so many Deployments, and the rollouts of all of them are through.
func (w *world) awaitAll(n int) {
	w.t.Helper()
	NewWithT(w.t).Eventually(func() (int, error) {
		list := &appsv1.DeploymentList{}
		err := w.admin.List(w.t.Context(), list, client.InNamespace(w.namespace))
		through := 0
		for i := range list.Items {
			if d := &list.Items[i]; harness.Complete(d) && d.Annotations["deployment.kubernetes.io/revision"] != "" {
				through++
			}
		}
		return through, err
	}).WithTimeout(5 * time.Minute).WithPolling(500 * time.Millisecond).Should(Equal(n))
}
