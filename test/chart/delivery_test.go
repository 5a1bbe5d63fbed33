package chart

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

const (
	infrastructure = "infrastructure/reloader"
	policies       = "infrastructure/policies"
	fluxSystem     = "flux-system"
)

// kustomizations are all folders with one that somebody may apply.
func kustomizations() []string {
	return []string{infrastructure, policies, fluxSystem, "config/crd", "config/default", "config/manager", "config/rbac", "config/samples"}
}

// Everything that Flux is to apply can be built, and a real API server with the definitions of Flux and cert-manager knows every
// field of it. Not at the same time as other tests: some of them take definitions away.
func TestFluxCanApplyIt(t *testing.T) {
	for _, folder := range kustomizations() {
		objects := build(t, folder)
		NewWithT(t).Expect(objects).NotTo(BeEmpty())
		for _, object := range objects {
			inNamespace(t, object)
			ensureNamespace(t, object.GetNamespace())
			err := dryRun(t, object)
			if apierrors.IsAlreadyExists(err) {
				err = nil // It was validated before.
			}
			NewWithT(t).Expect(err).NotTo(HaveOccurred(), "%s: %s %s", folder, object.GetKind(), object.GetName())
		}
	}
}

// Nothing else is a kustomization, and is forgotten above.
func TestNoKustomizationIsForgotten(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var found []string
	g.Expect(filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != root && (name == "build" || name == "test" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if entry.Name() == "kustomization.yaml" {
			folder, err := filepath.Rel(root, filepath.Dir(path))
			found = append(found, filepath.ToSlash(folder))
			return err
		}
		return nil
	})).To(Succeed())
	g.Expect(found).To(ConsistOf(kustomizations()))
}

// Who copies the folder has these files, and each is listed.
func TestTheFilesOfTheRelease(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	entries, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(infrastructure)))
	g.Expect(err).NotTo(HaveOccurred())
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	g.Expect(names).To(ConsistOf("namespace.yaml", "repository.yaml", "release.yaml", "kustomization.yaml"))
	var kinds []string
	for _, object := range build(t, infrastructure) {
		kinds = append(kinds, object.GetKind())
	}
	g.Expect(kinds).To(ConsistOf("Namespace", "HelmRepository", "HelmRelease"))
}

// The release installs the chart of this repository, in the version that it has, under a name that is not repeated, and
// upgrades the definition of ReloadPolicies with it.
func TestTheReleaseIsOfThisChart(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	objects := build(t, infrastructure)
	release := find(t, objects, "HelmRelease", "reloader").Object
	metadata := load(t).Metadata
	for _, field := range []struct {
		path string
		want any
	}{
		{"spec.chart.spec.chart", metadata.Name},
		{"spec.chart.spec.version", metadata.Version},
		{"spec.chart.spec.sourceRef.name", find(t, objects, "HelmRepository", "reloader").GetName()},
		{"spec.releaseName", "reloader"},
		{"spec.install.crds", "CreateReplace"},
		{"spec.upgrade.crds", "CreateReplace"},
		{"spec.install.remediation.retries", 3.0},
		{"spec.upgrade.remediation.retries", 3.0},
		{"spec.upgrade.remediation.remediateLastFailure", true},
		{"spec.driftDetection.mode", "enabled"},
		{"spec.valuesFrom", []any{map[string]any{"kind": "ConfigMap", "name": "reloader-values", "optional": true}}},
		{"spec.valuesFrom", []any{map[string]any{"kind": "ConfigMap", "name": "reloader-values", "optional": true}}},
		{"spec.values", map[string]any{"reloader": map[string]any{"watchGlobally": true}}},
	} {
		got, _, err := unstructured.NestedFieldNoCopy(release, path(field.path)...)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(Equal(field.want), field.path)
	}
	values, _, err := unstructured.NestedMap(release, "spec", "values")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = manifest(t, "reloader", values)
	g.Expect(err).NotTo(HaveOccurred())
}

// The patch that Flux applies to the release gives values that the chart takes.
func TestThePatchOfTheReleaseIsTaken(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	patches, _, err := unstructured.NestedSlice(find(t, build(t, fluxSystem), "Kustomization", "reloader").Object, "spec", "patches")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(patches).To(HaveLen(1))
	patch := patches[0].(map[string]any)["patch"].(string)
	patched := buildWith(t, infrastructure, patch)
	values, _, err := unstructured.NestedMap(find(t, patched, "HelmRelease", "reloader").Object, "spec", "values")
	g.Expect(err).NotTo(HaveOccurred())
	text, err := manifest(t, "reloader", values)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(lines(t, text)).To(ContainElement(HaveSuffix("= --events-addr=http://notification-controller.flux-system.svc.cluster.local./")))
}

// Policies come after the controller, whose chart defines them; both are waited for, and what is taken out of Git goes,
// but for what the controller remembers.
func TestTheOrderOfDelivery(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	objects := build(t, fluxSystem)
	for name, wants := range map[string]string{"reloader": infrastructure, "reloader-policies": policies} {
		spec := find(t, objects, "Kustomization", name).Object["spec"].(map[string]any)
		g.Expect(spec).To(And(HaveKeyWithValue("wait", true), HaveKeyWithValue("prune", true), HaveKeyWithValue("path", "./"+wants)), name)
		source := spec["sourceRef"].(map[string]any)
		find(t, objects, source["kind"].(string), source["name"].(string))
	}
	dependencies := find(t, objects, "Kustomization", "reloader-policies").Object["spec"].(map[string]any)["dependsOn"]
	g.Expect(dependencies).To(ConsistOf(HaveKeyWithValue("name", "reloader")))
	g.Expect(find(t, build(t, infrastructure), "Namespace", "reloader").GetAnnotations()).
		To(HaveKeyWithValue("kustomize.toolkit.fluxcd.io/prune", "disabled"))
}

// Flux's own NetworkPolicies let nobody outside of its namespace tell notification-controller of events. The one beside lets the
// pods of the release, and leaves what others let in as it is.
func TestNotificationControllerLetsItIn(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	policy := &networkingv1.NetworkPolicy{}
	found := find(t, build(t, fluxSystem), "NetworkPolicy", "allow-reloader")
	g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(found.Object, policy, true)).To(Succeed())
	g.Expect(policy.Namespace).To(Equal("flux-system"))
	g.Expect(policy.Spec.PodSelector.MatchLabels).To(Equal(map[string]string{"app": "notification-controller"}))
	objects := build(t, infrastructure)
	own := find(t, objects, "HelmRelease", "reloader").GetNamespace()
	pod := deployment(t, render(t, "reloader", "")).Spec.Template.Labels
	other := map[string]string{"app": "other"}
	for _, from := range []struct {
		namespace string
		pod       map[string]string
		ports     []int32
	}{
		{own, pod, []int32{8080, 9090, 9292}},
		{own, other, []int32{8080, 9292}},
		{"other", pod, []int32{8080, 9292}},
		{"flux-system", other, []int32{8080, 9090, 9292, 9440}},
	} {
		var ports []int32
		for _, port := range []int32{8080, 9090, 9292, 9440} {
			if letsIn(t, policy, from.namespace, from.pod, port) {
				ports = append(ports, port)
			}
		}
		g.Expect(ports).To(Equal(from.ports), "%s: %v", from.namespace, from.pod)
	}
}

// letsIn reports whether a rule of the policy admits a pod of a namespace to a port.
func letsIn(t *testing.T, policy *networkingv1.NetworkPolicy, namespace string, pod map[string]string, port int32) bool {
	t.Helper()
	for _, rule := range policy.Spec.Ingress {
		open := len(rule.Ports) == 0 || slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.IntVal == port })
		if open && len(rule.From) == 0 || open && slices.ContainsFunc(rule.From, func(peer networkingv1.NetworkPolicyPeer) bool {
			if peer.NamespaceSelector == nil {
				return namespace == policy.Namespace && selects(t, peer.PodSelector, pod)
			}
			return selects(t, peer.NamespaceSelector, map[string]string{corev1.LabelMetadataName: namespace}) &&
				(peer.PodSelector == nil || selects(t, peer.PodSelector, pod))
		}) {
			return true
		}
	}
	return false
}

func selects(t *testing.T, selector *metav1.LabelSelector, of labels.Set) bool {
	t.Helper()
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return compiled.Matches(of)
}

// build builds a kustomization, as kustomize-controller and kubectl do.
func build(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	return buildFrom(t, filepath.Join(root, filepath.FromSlash(folder)))
}

func buildFrom(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred(), folder)
	text, err := built.AsYaml()
	g.Expect(err).NotTo(HaveOccurred())
	objects, err := harness.Decode(bytes.NewReader(text))
	g.Expect(err).NotTo(HaveOccurred())
	return objects
}

// buildWith builds a kustomization with a patch of its HelmRelease.
func buildWith(t *testing.T, folder, patch string) []*unstructured.Unstructured {
	t.Helper()
	g := NewWithT(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	base, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(folder)))
	g.Expect(err).NotTo(HaveOccurred())
	base, err = filepath.Rel(dir, base)
	g.Expect(err).NotTo(HaveOccurred())
	overlay, err := sigsyaml.Marshal(map[string]any{
		"resources": []string{base},
		"patches":   []any{map[string]any{"patch": patch, "target": map[string]any{"kind": "HelmRelease"}}},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), overlay, 0o600)).To(Succeed())
	return buildFrom(t, dir)
}

// inNamespace puts an object that belongs into a namespace, and names none, into the controller's: it is a base, for others to
// build on, or for whoever applies it to choose.
func inNamespace(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	namespaced, err := admin.IsObjectNamespaced(object)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	if namespaced && object.GetNamespace() == "" {
		object.SetNamespace(releaseNamespace)
	}
}

// ensureNamespace makes a namespace that is not there.
func ensureNamespace(t *testing.T, name string) {
	t.Helper()
	if name == "" {
		return
	}
	err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	NewWithT(t).Expect(client.IgnoreAlreadyExists(err)).To(Succeed())
}
