package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	serviceAccount = "reloader"
	clusterRole    = "reloader"
	stateRole      = "reloader-state"
)

// identity is the user that the controller of a namespace is.
func identity(namespace string) string {
	return "system:serviceaccount:" + namespace + ":" + serviceAccount
}

// manifests reads the objects of one of the project's RBAC files.
func manifests(name string) ([]*unstructured.Unstructured, error) {
	return manifestsIn(filepath.Join("rbac", name))
}

// manifestsIn reads the objects of a file below config.
func manifestsIn(name string) ([]*unstructured.Unstructured, error) {
	path := filepath.Join(root, "config", name)
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading manifests, see `make generate`: %w", err)
	}
	defer func() { _ = file.Close() }()
	decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

func applyClusterRole(ctx context.Context, c client.Client) error {
	objects, err := manifests("role.yaml")
	if err != nil {
		return err
	}
	for _, object := range objects {
		if err := c.Create(ctx, object); err != nil {
			return fmt.Errorf("making %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// permit gives the controller the project's Roles in its own namespace.
func (w *world) permit(files ...string) {
	w.t.Helper()
	g := NewWithT(w.t)
	for _, file := range files {
		objects, err := manifests(file)
		g.Expect(err).NotTo(HaveOccurred())
		for _, object := range objects {
			if object.GetKind() == "RoleBinding" {
				subjects := []any{map[string]any{"kind": "ServiceAccount", "name": serviceAccount, "namespace": w.state}}
				g.Expect(unstructured.SetNestedSlice(object.Object, subjects, "subjects")).To(Succeed())
			}
			object.SetNamespace(w.state)
			g.Expect(w.admin.Create(w.t.Context(), object)).To(Succeed())
		}
	}
}

// bindHere lets the controller work in one namespace.
func (w *world) bindHere(namespace string) {
	w.t.Helper()
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reloader-of-" + w.state},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: serviceAccount, Namespace: w.state}},
	}
	NewWithT(w.t).Expect(w.admin.Create(w.t.Context(), binding)).To(Succeed())
}

// bindEverywhere lets the controller work in all namespaces until the test ends.
func (w *world) bindEverywhere() {
	w.t.Helper()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reloader-of-" + w.state},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: serviceAccount, Namespace: w.state}},
	}
	NewWithT(w.t).Expect(w.admin.Create(w.t.Context(), binding)).To(Succeed())
	w.t.Cleanup(func() { _ = w.admin.Delete(context.Background(), binding) })
}

// forbidLedger takes the right away to write ledger shards that exist, until what it returns is called.
func (w *world) forbidLedger() (restore func()) {
	w.t.Helper()
	g := NewWithT(w.t)
	role := &rbacv1.Role{}
	key := client.ObjectKey{Namespace: w.state, Name: stateRole}
	g.Expect(admin.Get(w.t.Context(), key, role)).To(Succeed())
	original := role.DeepCopy()
	for i := range role.Rules {
		kept := role.Rules[i].Verbs[:0]
		for _, verb := range role.Rules[i].Verbs {
			if verb != "patch" {
				kept = append(kept, verb)
			}
		}
		role.Rules[i].Verbs = kept
	}
	g.Expect(admin.Update(w.t.Context(), role)).To(Succeed())
	g.Eventually(w.mayPatchLedger).Should(BeFalse())
	return func() {
		w.t.Helper()
		g.Expect(admin.Get(w.t.Context(), key, role)).To(Succeed())
		role.Rules = original.Rules
		g.Expect(admin.Update(w.t.Context(), role)).To(Succeed())
		g.Eventually(w.mayPatchLedger).Should(BeTrue())
	}
}

func (w *world) mayPatchLedger() (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: identity(w.state), Groups: groups(w.state),
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: w.state, Verb: "patch", Resource: "configmaps", Name: "reloader-ledger-0",
		},
	}}
	err := admin.Create(w.t.Context(), review)
	return review.Status.Allowed, err
}
