package delivery

import (
	"context"
	"fmt"
	"strings"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

const (
	// near and far are namespaces with workloads on simulated nodes.
	near = "near"
	far  = "far"
	// plain is a workload that has not opted in.
	plain = "plain"
)

// opted are the workloads of namespace near that have opted in, loads those of them for the upgrade.
func opted() []string { return append(loads(), "web-0", "web-1", "web-2", "web-3", "web-4") }

func loads() []string {
	const count = 20
	var names []string
	for i := range count {
		names = append(names, fmt.Sprintf("load-%d", i))
	}
	return names
}

// apps are the cluster's files beside those of Reloader: what Flux applies besides.
func (d *delivery) apps() map[string]string {
	d.t.Helper()
	var manifests []string
	for _, name := range opted() {
		manifests = append(manifests, deployment(name, `{reloader.stakater.com/auto: "true"}`))
	}
	d.apply("", space(near)+space(far))
	for _, name := range append(opted(), plain) {
		d.setSecret(near, name, "1")
	}
	d.setSecret(far, "web", "1")
	d.setSecret(far, plain, "1")
	return map[string]string{
		appsFile:                     appsOf(near, far),
		"apps/near/deployments.yaml": strings.Join(append(manifests, deployment(plain, "{}")), "---"),
		"apps/far/deployments.yaml":  deployment("web", `{reloader.stakater.com/auto: "true"}`) + "---" + deployment(plain, "{}"),
	}
}

// appsOf has Flux apply the folders of these namespaces.
func appsOf(namespaces ...string) string {
	var manifests []string
	for _, name := range namespaces {
		manifests = append(manifests, app(name))
	}
	return strings.Join(manifests, "---")
}

func space(name string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", name)
}

// deployment reads the Secret of its name.
func deployment(name, annotations string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  annotations: %[2]s
spec:
  replicas: 2
  revisionHistoryLimit: 1000
  selector:
    matchLabels: {app: %[1]s}
  template:
    metadata:
      labels: {app: %[1]s}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: app
          image: reloader.test/none:1
          envFrom:
            - secretRef: {name: %[1]s}
`, name, annotations)
}

// setSecret gives a Secret of one key this value.
func (d *delivery) setSecret(namespace, name, value string) {
	d.t.Helper()
	NewWithT(d.t).Expect(d.writeSecret(d.t.Context(), namespace, name, value)).To(Succeed())
}

func (d *delivery) writeSecret(ctx context.Context, namespace, name, value string) error {
	return harness.Apply(ctx, d.admin, namespace, fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: %s}
stringData: {value: %q}
`, name, value))
}

func (d *delivery) deployment(namespace, name string) *appsv1.Deployment {
	d.t.Helper()
	deployment := &appsv1.Deployment{}
	NewWithT(d.t).Expect(d.admin.Get(d.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, deployment)).To(Succeed())
	return deployment
}

// state is how far a Deployment has come: how many revisions it has ever had, none being old enough to be cleaned up, and
// whether all its pods are of the present one.
func (d *delivery) state(ctx context.Context, namespace, name string) (revisions int, complete bool, err error) {
	deployment := &appsv1.Deployment{}
	if err := d.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, deployment); err != nil {
		return 0, false, err
	}
	sets := &appsv1.ReplicaSetList{}
	if err := d.admin.List(ctx, sets, client.InNamespace(namespace)); err != nil {
		return 0, false, err
	}
	for _, set := range sets.Items {
		if metav1.IsControlledBy(&set, deployment) {
			revisions++
		}
	}
	return revisions, harness.Complete(deployment), nil
}

// revisions counts the revisions that a Deployment has ever had.
func (d *delivery) revisions(namespace, name string) int {
	d.t.Helper()
	revisions, _, err := d.state(d.t.Context(), namespace, name)
	NewWithT(d.t).Expect(err).NotTo(HaveOccurred())
	return revisions
}

// awaitRevisions waits until a Deployment has had so many revisions, its rollout is through, and the controller has on record
// that its pods run with the present content. It must not have more then.
func (d *delivery) awaitRevisions(namespace, name string, n int) {
	d.t.Helper()
	g := NewWithT(d.t)
	what := fmt.Sprintf("%s/%s", namespace, name)
	g.Eventually(func() (int, error) {
		revisions, complete, err := d.state(d.t.Context(), namespace, name)
		if !complete {
			revisions = -revisions
		}
		return revisions, err
	}).Should(BeNumerically(">=", n), "revisions of "+what)
	d.awaitProven(namespace, name)
	g.Expect(d.revisions(namespace, name)).To(Equal(n), "revisions of "+what)
}

// awaitProven waits until the controller has on record that all pods of a Deployment run with the present content.
func (d *delivery) awaitProven(of, name string) {
	d.t.Helper()
	NewWithT(d.t).Eventually(func() (string, error) {
		return harness.Record(d.t.Context(), d.admin, namespace, d.deployment(of, name).UID)
	}).Should(harness.Proven(d.value(of, name)), "record of %s/%s", of, name)
}

// value is the template's digest annotation; empty before the first restart.
func (d *delivery) value(namespace, name string) string {
	d.t.Helper()
	return d.deployment(namespace, name).Spec.Template.Annotations[v1alpha1.ConfigDigestAnnotation]
}

// all are the workloads of the namespaces that the test has made, with what a restart or an uninstallation could change.
func (d *delivery) all() map[string]string {
	d.t.Helper()
	workloads := map[string]string{}
	for _, namespace := range []string{near, far, registrySpace} {
		list := &appsv1.DeploymentList{}
		NewWithT(d.t).Expect(d.admin.List(d.t.Context(), list, client.InNamespace(namespace))).To(Succeed())
		for _, item := range list.Items {
			workloads[namespace+"/"+item.Name] = fmt.Sprintf("generation %d, revisions %d, template %v",
				item.Generation, d.revisions(namespace, item.Name), item.Spec.Template.Annotations)
		}
	}
	return workloads
}

// podsOf are the pods of a Deployment of this test, by their label.
func (d *delivery) podsOf(ctx context.Context, namespace string, labels client.MatchingLabels) ([]corev1.Pod, error) {
	pods := &corev1.PodList{}
	err := d.admin.List(ctx, pods, client.InNamespace(namespace), labels)
	return pods.Items, err
}
