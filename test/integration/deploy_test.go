package integration

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// installed is the namespace that config/default installs into.
const installed = "reloader"

// TestTheInstallationWorksWithItsOwnRights installs the controller as the README says, on a real node, in a namespace
// that enforces the restricted Pod Security Standard. It restarts a workload of every kind by no rights but those that
// came with it, and one by those of the account that its policy names; none of its requests is refused, and none of the
// rights is left over.
func TestTheInstallationWorksWithItsOwnRights(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	w := newInstallation(t)
	w.create(secret("late", "password", "first"))
	like := func(name string) *appsv1.Deployment {
		return deployment(name, auto, onRealNode, envKey("PASSWORD", "late", "password"), mountSecret("late", "/etc/late"))
	}
	w.mayRestart("restarter", "web")
	policy := w.policy("web", `{workloads: [{kind: Deployment, name: web}], serviceAccountName: restarter}`)
	objects := []client.Object{like("web"), like("free"), statefulSets().like(like("set")), daemonSets().like(like("daemon"))}
	w.create(objects...)
	once := like(migrate)
	once.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	w.create(&batchv1.Job{ObjectMeta: once.ObjectMeta, Spec: batchv1.JobSpec{Template: once.Spec.Template}})
	w.create(&batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: report, Annotations: once.Annotations}, Spec: batchv1.CronJobSpec{
		Schedule: "0 0 31 2 *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: once.Spec.Template}},
	}})
	w.awaitEntered("Job", migrate)
	w.awaitEntered("CronJob", report)
	w.awaitProven(1, objects...)

	for times, password := range []string{"second", "third"} {
		// The ledger's last reader is not its last writer: the controller has to read again.
		for _, shard := range w.ledger(t.Context()) {
			shard.Annotations = with(shard.Annotations, "example.test/written-by", "somebody")
			g.Expect(w.admin.Update(t.Context(), &shard)).To(Succeed())
		}
		w.later()
		before := w.job(migrate)
		w.setSecret("late", "password", password)
		w.awaitProven(int64(times)+2, objects...)
		g.Eventually(w.jobs).WithTimeout(slowly).Should(HaveLen(times + 2))
		g.Eventually(func() (types.UID, error) {
			j := &batchv1.Job{}
			err := client.IgnoreNotFound(w.admin.Get(t.Context(), w.key(migrate), j))
			return j.UID, err
		}).WithTimeout(slowly).ShouldNot(BeElementOf(before.UID, types.UID("")))
	}
	// One that is refused since the workload has changed meanwhile, by its controller for one, is no restart.
	restarts := map[string]int{}
	for _, e := range w.requests() {
		if e.Verb == "patch" && e.Subresource == "" && e.APIGroup == appsv1.GroupName && e.Code != 409 {
			restarts[e.Resource]++
		}
	}
	g.Expect(restarts).To(Equal(map[string]int{"deployments": 4, "statefulsets": 2, "daemonsets": 2}))

	policy.awaitMessage("governs 1 workload")
	w.restartOptional(like)

	unused := w.rights()
	for _, e := range w.requests() {
		g.Expect(e.Code).NotTo(Or(Equal(401), Equal(403)), "%s %s", e.Verb, e.RequestURI)
		if e.Impersonated != "" { // by the rights of that one
			g.Expect(e.Impersonated).To(Equal(w.account("restarter")))
			e.APIGroup, e.Resource, e.Verb = "", "serviceaccounts", "impersonate"
		}
		resource := e.Resource
		if e.Subresource != "" {
			resource += "/" + e.Subresource
		}
		delete(unused, right{e.APIGroup, resource, e.Verb})
	}
	g.Expect(unused).To(BeEmpty(), "every right is used")
}

// restartOptional restarts a workload of each optional kind, in a namespace of its own.
func (w *world) restartOptional(like func(name string) *appsv1.Deployment) {
	w.t.Helper()
	for _, kind := range []func(*world) *optional{(*world).rollout, (*world).config} {
		of := *w
		of.namespace = w.newNamespace("optional")
		of.startArgo()
		of.startOpenShift()
		o := kind(&of)
		of.create(secret("late", "password", "first"), o.like(like(web)))
		of.awaitSettled(o.kind, web)
		o.awaitProven()
		of.later()
		of.setSecret("late", "password", "second")
		NewWithT(w.t).Eventually(o.written).WithTimeout(slowly).ShouldNot(BeEmpty())
		o.awaitProven()
		NewWithT(w.t).Expect(of.acceptedOf(o.resource, web)).To(Equal(1))
	}
}

// newInstallation is a cluster with a real node on which config/default is installed and ready. Its API server streams no
// lists, as those of older versions, so that the controller falls back to plain ones.
func newInstallation(t *testing.T) *world {
	t.Helper()
	g := NewWithT(t)
	c, err := cluster.Start(t.Context(), cluster.Options{
		With: []cluster.Component{cluster.Node}, AuditLog: true, APIServerArgs: []string{"--feature-gates=WatchList=false"},
	})
	if errors.Is(err, cluster.ErrNeedsRoot) {
		t.Skipf("a kubelet is needed to run the controller's image: %v", err)
	}
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(c.Stop()).To(Succeed()) })
	w := &world{t: t, cluster: c, state: installed, edits: map[string]int64{}}
	w.admin, err = client.New(c.Config(), client.Options{Scheme: clientgoscheme.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	w.namespace = w.newNamespace("test")
	w.define(rolloutVersion(), rolloutDefinition)
	w.define(configVersion(), configDefinition)

	binaries, err := cluster.Binaries(t.Context(), "kubectl")
	g.Expect(err).NotTo(HaveOccurred())
	kubectl := func(args ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), binaries["kubectl"], append(args, "--kubeconfig", c.Kubeconfig())...)
		output, err := command.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(output))
		return string(output)
	}
	g.Expect(kubectl("apply", "-k", filepath.Join(root, "config", "default"))).
		NotTo(ContainSubstring("Warning"), "the restricted standard, or an API that is deprecated")
	w.expectRestricted()
	w.loadImages()
	w.installCSI()
	kubectl("apply", "-k", w.overlay())
	w.awaitInstalled()
	w.expectMemoryLimit()
	return w
}

// expectRestricted checks that the controller's namespace takes no pod that the restricted standard forbids.
func (w *world) expectRestricted() {
	w.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: installed, Name: "privileged"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: printerImage}}},
	}
	NewWithT(w.t).Expect(w.admin.Create(w.t.Context(), pod)).To(Satisfy(apierrors.IsForbidden))
}

// loadImages makes the images of the workloads and of the controller, under the name that config/default gives it.
func (w *world) loadImages() {
	w.t.Helper()
	g := NewWithT(w.t)
	printer, err := harness.Build(w.t.Context(), ".", "./internal/printer", filepath.Join(w.t.TempDir(), "printer"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.cluster.LoadImage(w.t.Context(), printerImage, map[string]string{"/printer": printer}, []string{"/printer"})).To(Succeed())
	image := w.manager().Spec.Template.Spec.Containers[0].Image
	g.Expect(w.cluster.LoadImage(w.t.Context(), image, map[string]string{"/reloader": reloader}, []string{"/reloader"})).To(Succeed())
}

// manager is the controller's Deployment.
func (w *world) manager() *appsv1.Deployment {
	w.t.Helper()
	d := &appsv1.Deployment{}
	NewWithT(w.t).Expect(w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: installed, Name: "reloader"}, d)).To(Succeed())
	return d
}

// overlay adds to config/default what the test's cluster is short of: its real node is tainted, and there is no
// kube-proxy, so that pods reach the API server through a forwarder of the test. The API server's certificate is for
// localhost. All that is optional is on.
func (w *world) overlay() string {
	w.t.Helper()
	g := NewWithT(w.t)
	node := &corev1.Node{}
	g.Expect(w.admin.Get(w.t.Context(), client.ObjectKey{Name: cluster.RealNodeName}, node)).To(Succeed())
	i := slices.IndexFunc(node.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Type == corev1.NodeInternalIP })
	f := forward(w.t, node.Status.Addresses[i].Address, w.cluster.APIServerURL())
	dir := w.t.TempDir()
	base, err := filepath.Abs(filepath.Join(root, "config", "default"))
	g.Expect(err).NotTo(HaveOccurred())
	base, err = filepath.Rel(dir, base)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), fmt.Appendf(nil, overlay, base, f.host(), f.port()), 0o600)).To(Succeed())
	return dir
}

const overlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%q]
patches:
  - patch: |
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: reloader, namespace: reloader}
      spec:
        template:
          spec:
            nodeSelector: {type: real}
            tolerations: [{key: real, operator: Exists}]
            hostAliases: [{ip: %q, hostnames: [localhost]}]
            containers:
              - name: manager
                args: [--enable-leader-election, --log-encoding=json, --is-Argo-Rollouts=true]
                env:
                  - {name: KUBERNETES_SERVICE_HOST, value: localhost}
                  - {name: KUBERNETES_SERVICE_PORT, value: "%d"}
  - target: {kind: Deployment, name: reloader}
    patch: |
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --enable-csi-integration}
`

// awaitInstalled waits until the controller's Deployment is through with its rollout, which its probes decide.
func (w *world) awaitInstalled() {
	w.t.Helper()
	NewWithT(w.t).Eventually(func(g Gomega) {
		d := w.manager()
		g.Expect(d.Status.ObservedGeneration).To(Equal(d.Generation))
		g.Expect(d.Status.UpdatedReplicas).To(BeEquivalentTo(1))
		g.Expect(d.Status.Replicas).To(BeEquivalentTo(1))
		g.Expect(d.Status.AvailableReplicas).To(BeEquivalentTo(1))
	}).WithTimeout(slowly).Should(Succeed())
}

// expectMemoryLimit checks that Go's runtime knows the limit of the container: it collects garbage rather than being killed.
func (w *world) expectMemoryLimit() {
	w.t.Helper()
	g := NewWithT(w.t)
	pods := &corev1.PodList{}
	g.Expect(w.admin.List(w.t.Context(), pods, client.InNamespace(installed))).To(Succeed())
	i := slices.IndexFunc(pods.Items, func(p corev1.Pod) bool { return p.Status.PodIP != "" && p.DeletionTimestamp == nil })
	g.Expect(i).NotTo(Equal(-1))
	limit := pods.Items[i].Spec.Containers[0].Resources.Limits.Memory()
	g.Expect(limit.IsZero()).To(BeFalse())
	g.Expect(scrape(net.JoinHostPort(pods.Items[i].Status.PodIP, "8080"))).To(ContainSubstring("\ngo_gc_gomemlimit_bytes %v\n", float64(limit.Value())))
}

// awaitProven waits until workloads are of a generation, and their records say that their pods run with the present
// content.
func (w *world) awaitProven(generation int64, objects ...client.Object) {
	w.t.Helper()
	for _, object := range objects {
		NewWithT(w.t).Eventually(func(g Gomega) {
			g.Expect(w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(object), object)).To(Succeed())
			g.Expect(object.GetGeneration()).To(Equal(generation))
			g.Expect(w.recordOf(object.GetUID())).To(harness.Proven(template(object).Annotations[v1alpha1.ConfigDigestAnnotation]))
		}).WithTimeout(slowly).Should(Succeed(), object.GetName())
	}
}

func template(object client.Object) *corev1.PodTemplateSpec {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	default:
		return &o.(*appsv1.DaemonSet).Spec.Template
	}
}

// right is what a rule of a role allows.
type right struct{ group, resource, verb string }

// rights are all that the roles of the installation give.
func (w *world) rights() map[right]bool {
	w.t.Helper()
	g := NewWithT(w.t)
	wide := &rbacv1.ClusterRole{}
	g.Expect(w.admin.Get(w.t.Context(), client.ObjectKey{Name: harness.ClusterRole}, wide)).To(Succeed())
	rules := wide.Rules
	roles := &rbacv1.RoleList{}
	g.Expect(w.admin.List(w.t.Context(), roles, client.InNamespace(installed))).To(Succeed())
	g.Expect(roles.Items).NotTo(BeEmpty())
	for _, role := range roles.Items {
		rules = append(rules, role.Rules...)
	}
	rights := map[right]bool{}
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					rights[right{group, resource, verb}] = true
				}
			}
		}
	}
	return rights
}
