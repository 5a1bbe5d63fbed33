package integration

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

func TestAnInvalidAnnotationIsReportedAndStopsNobodyElse(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "1"))
	w.later()
	w.create(deployment("web", envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	w.startController(quick)
	w.annotate("web", v1alpha1.AutoAnnotation, "ture")
	g := NewWithT(t)
	g.Eventually(func() []string { return w.events("web", "InvalidAnnotation") }).Should(ConsistOf(
		`Warning annotation reloader.stakater.com/auto: invalid value "ture": want "true" or "false"`))
	w.later()
	w.setSecret("password", "password", "2")
	w.mark(1)
	w.expectRestarts("web", 0)

	w.annotate("web", v1alpha1.AutoAnnotation, "true")
	w.awaitRestart("web", 1)
	g.Expect(w.events("web", "InvalidAnnotation")).To(HaveLen(1))
}

func TestARestartThatIsRefusedIsTriedUntilItSucceeds(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "1"), deployment("web", auto, envFromSecret("password")),
		deployment("other", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web", "other")
	w.startController(quick, "--max-retry-delay=2s")
	w.awaitRecord("web", "other", marker)
	w.later()
	allow := w.refuseRestarts("web")

	w.setSecret("password", "password", "2")
	g := NewWithT(t)
	g.Eventually(func() []string { return w.events("web", "ReloadFail") }).Should(ConsistOf(
		And(HavePrefix("Warning Deployment/web not restarted: Secret/password changed (password)"), ContainSubstring("no restarts here"))))
	w.awaitRestart("other", 1)
	w.mark(1)
	w.expectRestarts("web", 0)

	allow()
	w.awaitRestart("web", 1)
	g.Expect(w.events("web", "ReloadFail")).To(HaveLen(1), "reported once")
	g.Eventually(func() []string { return w.events("web", "Reloaded") }).Should(HaveLen(1))
	w.expectRestarts("other", 1)
}

// refuseRestarts lets the API server refuse restarts of a Deployment until what it returns is called.
func (w *world) refuseRestarts(name string) (allow func()) {
	w.t.Helper()
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: w.matching(name),
			Validations: []admissionregistrationv1.Validation{{
				Expression: `!has(object.spec.template.metadata.annotations) || ` +
					`!("` + v1alpha1.ConfigDigestAnnotation + `" in object.spec.template.metadata.annotations)`,
				Message: "no restarts here",
			}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        policy.Name,
			ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	return w.enforce(name, func(after string, err error) bool { return err != nil }, policy, binding)
}

// stripRestarts lets the API server drop restarts of a Deployment silently.
func (w *world) stripRestarts(name string) {
	w.t.Helper()
	policy := &admissionregistrationv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			MatchConstraints: w.matching(name),
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				Name: "restart", Expression: `has(object.spec.template.metadata.annotations) && ` +
					`"` + v1alpha1.ConfigDigestAnnotation + `" in object.spec.template.metadata.annotations`,
			}},
			ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
			Mutations: []admissionregistrationv1.Mutation{{
				PatchType: admissionregistrationv1.PatchTypeJSONPatch,
				JSONPatch: &admissionregistrationv1.JSONPatch{Expression: `[JSONPatch{op: "remove", path: "/spec/template/metadata/annotations"}]`},
			}},
		},
	}
	binding := &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec:       admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: policy.Name},
	}
	w.enforce(name, func(after string, err error) bool { return err == nil && after == "" }, policy, binding)
}

// matching are updates of one Deployment.
func (w *world) matching(name string) *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.namespace}},
		ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
			ResourceNames: []string{name},
			RuleWithOperations: admissionregistrationv1.RuleWithOperations{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
				Rule: admissionregistrationv1.Rule{
					APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"},
					Scope: ptr.To(admissionregistrationv1.NamespacedScope),
				},
			},
		}},
	}
}

// enforce makes the objects of a policy and waits until a restart that is only tried out, by another user, shows that
// they are in force.
func (w *world) enforce(name string, inForce func(after string, err error) bool, objects ...client.Object) (end func()) {
	w.t.Helper()
	g := NewWithT(w.t)
	for _, object := range objects {
		g.Expect(w.admin.Create(w.t.Context(), object)).To(Succeed())
	}
	remove := func(ctx context.Context) {
		for _, object := range objects {
			_ = w.admin.Delete(ctx, object)
		}
	}
	w.t.Cleanup(func() { remove(context.Background()) })
	g.Eventually(func() bool {
		d := w.deployment(name)
		d.Spec.Template.Annotations = with(d.Spec.Template.Annotations, v1alpha1.ConfigDigestAnnotation, "probe")
		err := w.admin.Update(w.t.Context(), d, client.DryRunAll)
		return inForce(value(d), err)
	}).Should(BeTrue(), "the policy is in force")
	return func() { remove(w.t.Context()) }
}

func TestARestartThatIsStrippedIsReportedAndNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "1"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick, "--max-retry-delay=2s")
	w.awaitRecord("web", marker)
	w.later()
	w.stripRestarts("web")

	w.setSecret("password", "password", "2")
	g := NewWithT(t)
	g.Eventually(func() []string { return w.events("web", "ReloadFail") }).Should(HaveLen(1))
	w.mark(1)
	g.Expect(w.patches("web")).To(BeNumerically("<=", 2))
	c.stop()

	w.startController(quick, "--max-retry-delay=2s")
	w.mark(2)
	g.Expect(w.patches("web")).To(BeNumerically("<=", 2), "nor by the next controller")
	w.expectRestarts("web", 0)
	g.Expect(w.events("web", "Reloaded")).To(BeEmpty())
}
