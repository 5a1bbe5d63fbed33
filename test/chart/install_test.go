package chart

import (
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// Helm installs the chart, and the controller works by no rights but those that came with it: with the arguments of its
// Deployment it restarts a workload whose Secret changes. An upgrade keeps the Deployment, and nothing but the
// definition of ReloadPolicies is left when the release goes.
func TestAnInstallationByHelm(t *testing.T) {
	for name, text := range map[string]string{
		"all namespaces":  "reloader: {settle: {quiet: 100ms}}",
		"some namespaces": "reloader: {watchGlobally: false, namespaces: [WATCHED], settle: {quiet: 100ms}}",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			watched := newNamespace(t, "watched-", nil)
			values := parse(t, strings.ReplaceAll(text, "WATCHED", watched))
			own := newNamespace(t, "own-", map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
			withoutDefinition(t)
			helm := configuration(t, own)
			install := action.NewInstall(helm)
			install.ReleaseName, install.Namespace, install.WaitStrategy = "reloader", own, kube.HookOnlyStrategy
			_, err := install.RunWithContext(t.Context(), load(t), values)
			g.Expect(err).NotTo(HaveOccurred())

			begun := time.Now()
			c := start(t, own)
			runs(t, watched)
			expectNothingRefused(t, own, begun)
			g.Expect(c.Process.Stop(harness.Grace)).To(Succeed())

			upgrade := action.NewUpgrade(helm)
			upgrade.Namespace, upgrade.WaitStrategy = own, kube.HookOnlyStrategy
			g.Expect(set(values, path("reloader.autoReloadAll"), "true")).To(Succeed())
			_, err = upgrade.RunWithContext(t.Context(), "reloader", load(t), values)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(installed(t, own).Spec.Template.Spec.Containers[0].Args).To(ContainElement("--auto-reload-all=true"))

			uninstall := action.NewUninstall(helm)
			uninstall.WaitStrategy = kube.HookOnlyStrategy
			_, err = uninstall.Run("reloader")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(admin.Get(t.Context(), client.ObjectKey{Namespace: own, Name: "reloader"}, &appsv1.Deployment{})).
				To(Satisfy(apierrors.IsNotFound))
			g.Expect(admin.Get(t.Context(), client.ObjectKeyFromObject(definition()), definition())).To(Succeed())
		})
	}
}

// Who may view, edit or administer a namespace may do so with its ReloadPolicies, and does not write their status.
func TestTheClusterRolesOfUsersHavePolicies(t *testing.T) {
	r := newRelease(t, "reloader")
	install := action.NewInstall(r.helm)
	install.ReleaseName, install.Namespace, install.WaitStrategy = r.name, r.namespace, kube.HookOnlyStrategy
	_, err := install.RunWithContext(t.Context(), load(t), nil)
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	read, write := []string{"get", "list", "watch"}, []string{"create", "delete", "deletecollection", "patch", "update"}
	for name, want := range map[string][]string{"view": read, "edit": slices.Concat(read, write), "admin": slices.Concat(read, write)} {
		g.Eventually(func() []string { return verbs(t, name, "reloadpolicies") }).Should(ConsistOf(want), name)
		g.Expect(verbs(t, name, "reloadpolicies/status")).To(BeEmpty(), name)
	}
	r.uninstall()
	g.Eventually(func() []string { return verbs(t, "edit", "reloadpolicies") }).Should(BeEmpty())
}

// verbs are what a ClusterRole allows to do with a resource of ours, each once.
func verbs(t *testing.T, role, resource string) []string {
	t.Helper()
	object := &rbacv1.ClusterRole{}
	NewWithT(t).Expect(admin.Get(t.Context(), client.ObjectKey{Name: role}, object)).To(Succeed())
	var found []string
	for _, rule := range object.Rules {
		if slices.Contains(rule.APIGroups, v1alpha1.GroupVersion.Group) && slices.Contains(rule.Resources, resource) {
			found = append(found, rule.Verbs...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// definition is that of ReloadPolicies, without content.
func definition() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetAPIVersion("apiextensions.k8s.io/v1")
	object.SetKind("CustomResourceDefinition")
	object.SetName("reloadpolicies." + v1alpha1.GroupVersion.Group)
	return object
}

// withoutDefinition takes the definition of ReloadPolicies away, for Helm to bring.
func withoutDefinition(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(client.IgnoreNotFound(admin.Delete(t.Context(), definition()))).To(Succeed())
	g.Eventually(func() error { return admin.Get(t.Context(), client.ObjectKeyFromObject(definition()), definition()) }).
		Should(Satisfy(apierrors.IsNotFound))
}

// configuration lets Helm work in a namespace of the cluster, as an administrator.
func configuration(t *testing.T, namespace string) *action.Configuration {
	t.Helper()
	flags := genericclioptions.NewConfigFlags(false)
	kubeconfig := shared.Kubeconfig()
	flags.KubeConfig, flags.Namespace = &kubeconfig, &namespace
	helm := action.NewConfiguration()
	NewWithT(t).Expect(helm.Init(flags, namespace, "secret")).To(Succeed())
	return helm
}

// start runs the controller as the Deployment of the namespace says, but for its addresses: they are the machine's.
func start(t *testing.T, own string) *harness.Controller {
	t.Helper()
	pod := installed(t, own).Spec.Template.Spec
	NewWithT(t).Expect(pod.ServiceAccountName).To(Equal(harness.ServiceAccount))
	args := slices.DeleteFunc(slices.Clone(pod.Containers[0].Args), func(arg string) bool {
		return strings.HasPrefix(arg, "--metrics-addr=") || strings.HasPrefix(arg, "--health-addr=")
	})
	c := harness.Launch{
		Cluster: shared, Binary: reloader, Name: own, Namespace: own, Everywhere: true, Flags: args,
	}.Start(t)
	c.AwaitReady()
	c.AwaitLeading()
	return c
}

func installed(t *testing.T, own string) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{}
	NewWithT(t).Expect(admin.Get(t.Context(), client.ObjectKey{Namespace: own, Name: "reloader"}, d)).To(Succeed())
	return d
}

// runs checks that a change of a Secret restarts a workload of a namespace.
func runs(t *testing.T, namespace string) {
	t.Helper()
	g := NewWithT(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "password"}, StringData: map[string]string{"key": "1"}}
	g.Expect(admin.Create(t.Context(), secret)).To(Succeed())
	labels := map[string]string{"app": "web"}
	web := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web", Annotations: map[string]string{"reloader.stakater.com/auto": "true"}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "app", Image: "example.test/app",
					EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "password"}}}},
				}}},
			},
		},
	}
	g.Expect(admin.Create(t.Context(), web)).To(Succeed())
	value := func() string {
		g.Expect(admin.Get(t.Context(), client.ObjectKeyFromObject(web), web)).To(Succeed())
		return web.Spec.Template.Annotations[v1alpha1.ConfigDigestAnnotation]
	}
	g.Eventually(func() bool { value(); return harness.Complete(web) }).Should(BeTrue())
	harness.Later(t)
	secret.StringData = map[string]string{"key": "2"}
	g.Expect(admin.Update(t.Context(), secret)).To(Succeed())
	g.Eventually(value).ShouldNot(BeEmpty())
	g.Eventually(func() bool { value(); return harness.Complete(web) }).Should(BeTrue())
}

// expectNothingRefused checks that the controller asked for nothing that its rights do not allow.
func expectNothingRefused(t *testing.T, own string, since time.Time) {
	t.Helper()
	g := NewWithT(t)
	all, err := shared.Audit()
	g.Expect(err).NotTo(HaveOccurred())
	asked := 0
	for _, e := range all {
		if e.User != harness.Identity(own) || e.Received.Before(since) {
			continue
		}
		asked++
		g.Expect(e.Code).NotTo(Equal(403), "%s %s", e.Verb, e.RequestURI)
	}
	g.Expect(asked).To(BeNumerically(">", 0))
}
