package integration

import (
	"slices"

	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

const stateRole = "reloader-state"

func rights(c client.Client) harness.Rights { return harness.Rights{Client: c, Root: root} }

// permit gives the controller the project's Roles in its own namespace.
func (w *world) permit() {
	w.t.Helper()
	NewWithT(w.t).Expect(rights(w.admin).Permit(w.t.Context(), w.state)).To(Succeed())
}

// bindHere lets the controller work in one namespace.
func (w *world) bindHere(namespace string) {
	w.t.Helper()
	NewWithT(w.t).Expect(rights(w.admin).Bind(w.t.Context(), w.state, namespace)).To(Succeed())
}

// bindEverywhere lets the controller work in all namespaces until the test ends.
func (w *world) bindEverywhere() {
	w.t.Helper()
	undo, err := rights(w.admin).BindEverywhere(w.t.Context(), w.state)
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	w.t.Cleanup(undo)
}

// forbidLedger takes the right away to write ledger shards that exist, until what it returns is called.
func (w *world) forbidLedger() (restore func()) {
	w.t.Helper()
	g := NewWithT(w.t)
	role := &rbacv1.Role{}
	key := client.ObjectKey{Namespace: w.state, Name: stateRole}
	g.Expect(w.admin.Get(w.t.Context(), key, role)).To(Succeed())
	original := role.DeepCopy()
	for i := range role.Rules {
		if !slices.Contains(role.Rules[i].Resources, "configmaps") {
			continue
		}
		kept := role.Rules[i].Verbs[:0]
		for _, verb := range role.Rules[i].Verbs {
			if verb != "patch" {
				kept = append(kept, verb)
			}
		}
		role.Rules[i].Verbs = kept
	}
	g.Expect(w.admin.Update(w.t.Context(), role)).To(Succeed())
	g.Eventually(w.mayPatchLedger).Should(BeFalse())
	return func() {
		w.t.Helper()
		g.Expect(w.admin.Get(w.t.Context(), key, role)).To(Succeed())
		role.Rules = original.Rules
		g.Expect(w.admin.Update(w.t.Context(), role)).To(Succeed())
		g.Eventually(w.mayPatchLedger).Should(BeTrue())
	}
}

func (w *world) mayPatchLedger() (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: harness.Identity(w.state), Groups: harness.Groups(w.state),
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: w.state, Verb: "patch", Resource: "configmaps", Name: "reloader-ledger-0",
		},
	}}
	err := w.admin.Create(w.t.Context(), review)
	return review.Status.Allowed, err
}
