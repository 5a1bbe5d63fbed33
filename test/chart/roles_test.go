package chart

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// The chart's roles are those of config/rbac, which `make generate` makes from the code.
func TestRolesAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	objects := render(t, "reloader", "reloader: {isArgoRollouts: true, isOpenshift: true, enableCSIIntegration: true}") // with all that is optional
	for file, role := range map[string][2]string{
		"role.yaml":                 {"ClusterRole", "reloader"},
		"state_role.yaml":           {"Role", "reloader-state"},
		"leader_election_role.yaml": {"Role", "reloader-leader-election"},
	} {
		wanted, err := harness.Objects(filepath.Join(root, "config", "rbac", file))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(rules(t, find(t, objects, role[0], role[1]))).To(Equal(rules(t, wanted[0])), file)
		g.Expect(rules(t, wanted[0])).NotTo(BeEmpty())
	}
}

// Without watchGlobally there is nothing outside of namespaces: somebody without rights on the cluster can install it.
func TestRolesOfNamespaces(t *testing.T) {
	t.Parallel()
	for values, want := range map[string][]string{
		"reloader: {watchGlobally: false}":                               {"reloader"},
		"reloader: {watchGlobally: false, namespaces: [b, a]}":           {"a", "b", "reloader"},
		"reloader: {watchGlobally: false, namespaces: 'b, a,reloader,'}": {"a", "b", "reloader"},
	} {
		g := NewWithT(t)
		objects := render(t, "reloader", values)
		var roles, bindings []string
		for _, object := range objects {
			g.Expect(object.GetKind()).NotTo(HavePrefix("Cluster"), values)
			g.Expect(object.GetNamespace()).NotTo(BeEmpty(), object.GetKind())
			if object.GetName() != "reloader" {
				continue
			}
			switch object.GetKind() {
			case "Role":
				roles = append(roles, object.GetNamespace())
				g.Expect(resources(rules(t, object))).To(ContainElements("secrets", "configmaps", "deployments"))
				g.Expect(resources(rules(t, object))).NotTo(ContainElement("namespaces"), "it is in no namespace")
			case "RoleBinding":
				bindings = append(bindings, object.GetNamespace())
				subjects, _, err := unstructured.NestedSlice(object.Object, "subjects")
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(subjects).To(ConsistOf(HaveKeyWithValue("namespace", releaseNamespace)))
			}
		}
		g.Expect(roles).To(Equal(want), values)
		g.Expect(bindings).To(Equal(want), values)
		g.Expect(deployment(t, objects).Spec.Template.Spec.Containers[0].Args).To(ContainElement("--namespaces=" + strings.Join(want, ",")))
	}
}

// What is ignored is not watched, and needs no right. The controller's own Secret and ConfigMaps are another matter.
func TestIgnoredKindsNeedNoRights(t *testing.T) {
	t.Parallel()
	objects := render(t, "reloader", "reloader: {ignoreSecrets: true, ignoreConfigMaps: true}")
	g := NewWithT(t)
	g.Expect(resources(rules(t, find(t, objects, "ClusterRole", "reloader")))).NotTo(Or(ContainElement("secrets"), ContainElement("configmaps")))
	g.Expect(resources(rules(t, find(t, objects, "Role", "reloader-state")))).To(ContainElements("secrets", "configmaps"))
}

// What is not asked for, or not wanted, needs no right.
func TestOptionalKindsNeedNoRights(t *testing.T) {
	t.Parallel()
	optional := []string{"serviceaccounts", "rollouts", "deploymentconfigs", "replicationcontrollers", "secretproviderclasses", "secretproviderclasspodstatuses"}
	for values, want := range map[string][]string{
		"":                                       {"serviceaccounts"},
		"reloader: {isArgoRollouts: true}":       {"serviceaccounts", "rollouts"},
		"reloader: {enableCSIIntegration: true}": {"serviceaccounts", "secretproviderclasses", "secretproviderclasspodstatuses"},
		"reloader: {isOpenshift: true}":          {"serviceaccounts", "deploymentconfigs", "replicationcontrollers"},
		"reloader: {rbac: {impersonate: false}}": {},
	} {
		g := NewWithT(t)
		has := resources(rules(t, find(t, render(t, "reloader", values), "ClusterRole", "reloader")))
		has = slices.DeleteFunc(has, func(resource string) bool { return !slices.Contains(optional, resource) })
		g.Expect(has).To(ConsistOf(want), values)
	}
}

// Two releases of one name do not take each other's roles away.
func TestRolesOfTwoNamespacesDiffer(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, values := range []string{"", "namespace: a", "namespace: b"} {
		for _, object := range render(t, "reloader", values) {
			if object.GetKind() == "ClusterRole" {
				NewWithT(t).Expect(names).NotTo(HaveKey(object.GetName()), values)
				names[object.GetName()] = true
			}
		}
	}
	NewWithT(t).Expect(names).To(HaveLen(9))
}

// rules are those of a role.
func rules(t *testing.T, role *unstructured.Unstructured) []rbacv1.PolicyRule {
	t.Helper()
	typed := &rbacv1.ClusterRole{}
	NewWithT(t).Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(role.Object, typed)).To(Succeed())
	return typed.Rules
}

// resources are what rules are about.
func resources(rules []rbacv1.PolicyRule) []string {
	var found []string
	for _, rule := range rules {
		found = append(found, rule.Resources...)
	}
	slices.Sort(found)
	return found
}
