package integration

import (
	"slices"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// account is the user that a ServiceAccount of the test's namespace is.
func (w *world) account(name string) string {
	return "system:serviceaccount:" + w.namespace + ":" + name
}

// mayRestart grants a ServiceAccount of the test's namespace to patch these Deployments.
func (w *world) mayRestart(account string, names ...string) {
	w.t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: account}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"patch"}, ResourceNames: names,
	}}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: w.namespace}},
	}
	w.create(role, binding)
}

// actors are who patched a Deployment with success, each once: the account that the controller acted as, or nobody.
func (w *world) actors(name string) []string {
	w.t.Helper()
	var all []string
	for _, e := range w.requests() {
		if e.Verb == "patch" && e.Resource == "deployments" && e.Name == name && e.Code == 200 {
			all = append(all, e.Impersonated)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// A policy can do what its ServiceAccount may, and no more: what that may not is told, is tried until it may, and holds up
// nobody else.
func TestAPolicyActsAsItsServiceAccount(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	names := []string{"web", "denied", "free"}
	w.create(configMap("settings", "key", "0"))
	for _, name := range names {
		w.create(deployment(name, auto, envFromConfigMap("settings")))
	}
	w.createMarker()
	w.awaitRollout(names...)
	w.mayRestart("restarter", "web")
	policy := w.policy("apps", `{workloads: [{kind: Deployment, name: web}, {kind: Deployment, name: denied}], settle: {quiet: 0s},
		serviceAccountName: restarter}`)
	flags := []string{quick, "--max-retry-delay=1s"}
	c := w.startController(flags...)
	w.awaitRecord(append(names, marker)...)
	policy.awaitReady()
	w.later()

	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("web", 1)
	w.awaitRestart("free", 1)
	w.mark(1)
	refused := And(HavePrefix("Warning Deployment/denied not restarted: ConfigMap/settings changed (key)"),
		ContainSubstring(`User "`+w.account("restarter")+`" cannot patch resource "deployments"`))
	g.Eventually(func() []string { return w.events("denied", "ReloadFail") }).Should(ConsistOf(refused))
	g.Eventually(func() []string { return policy.events("ReloadFail") }).Should(ConsistOf(refused))
	policy.await(v1alpha1.RestartFailedReason, func(p *v1alpha1.ReloadPolicy) bool {
		return conditions.IsFalse(p, meta.ReadyCondition) && conditions.GetReason(p, meta.ReadyCondition) == v1alpha1.RestartFailedReason &&
			p.Status.Workloads.Failed == 1 && p.Status.Workloads.InSync == 1
	})
	policy.awaitPending(v1alpha1.RestartFailedReason, "denied")
	g.Eventually(func() []string { return policy.events(v1alpha1.RestartFailedReason) }).Should(ConsistOf(
		ContainSubstring("Deployment/" + w.namespace + "/denied: ")))
	g.Expect(w.actors("web")).To(Equal([]string{w.account("restarter")}))
	g.Expect(w.actors("free")).To(Equal([]string{""}))
	g.Expect(w.actors("denied")).To(BeEmpty())

	t.Log("the next controller does not tell it again")
	c.stop()
	w.startController(flags...)
	w.mark(2)
	g.Eventually(func() int { return w.patches("denied") }).Should(BeNumerically(">", 1))
	policy.awaitPending(v1alpha1.RestartFailedReason, "denied")
	g.Expect(policy.events(v1alpha1.RestartFailedReason)).To(HaveLen(1))

	t.Log("granted")
	change(w, &rbacv1.Role{}, "restarter", func(r *rbacv1.Role) { r.Rules[0].ResourceNames = nil })
	w.awaitRestart("denied", 1)
	w.awaitRecord("denied")
	policy.awaitMessage("governs 2 workloads")
	w.expectRestarts("web", 1)
	g.Expect(w.actors("denied")).To(Equal([]string{w.account("restarter")}))
}

// Policies that name no account act as the default one of their namespace. Workloads without a policy are none of its
// business.
func TestTheDefaultServiceAccount(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	names := []string{"web", "own", "free"}
	w.create(configMap("settings", "key", "0"))
	for _, name := range names {
		w.create(deployment(name, auto, envFromConfigMap("settings")))
	}
	w.awaitRollout(names...)
	w.mayRestart("fallback", "web")
	w.mayRestart("named", "own")
	w.policy("web", `{workloads: [{kind: Deployment, name: web}], settle: {quiet: 0s}}`)
	w.policy("own", `{workloads: [{kind: Deployment, name: own}], settle: {quiet: 0s}, serviceAccountName: named}`)
	w.startController(quick, "--default-service-account=fallback")
	w.awaitRecord(names...)
	w.later()
	w.setConfigMap("settings", "key", "1")
	for name, actor := range map[string]string{"web": w.account("fallback"), "own": w.account("named"), "free": ""} {
		w.awaitRestart(name, 1)
		g.Expect(w.actors(name)).To(Equal([]string{actor}))
	}
}
