package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// ServiceAccount is the controller's, in any namespace.
	ServiceAccount = "reloader"
	// ClusterRole is what bindings refer to.
	ClusterRole = "reloader"
)

// Identity is the user that the controller of a namespace is.
func Identity(namespace string) string {
	return "system:serviceaccount:" + namespace + ":" + ServiceAccount
}

// Groups are those of a ServiceAccount in the namespace.
func Groups(namespace string) []string {
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
}

// Rights gives controllers the rights of config/rbac.
type Rights struct {
	// Client is an administrator's.
	Client client.Client
	// Root is the folder of the repository.
	Root string
}

// Manifests reads the objects of one of the project's RBAC files.
func (r Rights) Manifests(name string) ([]*unstructured.Unstructured, error) {
	return Objects(filepath.Join(r.Root, "config", "rbac", filepath.FromSlash(name)))
}

// Objects reads the objects of a file of manifests.
func Objects(path string) ([]*unstructured.Unstructured, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading manifests, see `make generate`: %w", err)
	}
	defer func() { _ = file.Close() }()
	objects, err := Decode(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return objects, nil
}

// Decode reads the objects of manifests. Documents that are empty are none.
func Decode(manifests io.Reader) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(manifests, 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading manifests: %w", err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// CreateClusterRole makes the role that the bindings refer to. It is needed once a cluster.
func (r Rights) CreateClusterRole(ctx context.Context) error {
	objects, err := r.Manifests("role.yaml")
	if err != nil {
		return err
	}
	return r.create(ctx, objects)
}

// Permit gives the controller of a namespace the project's Roles there: those for its state and its lease.
func (r Rights) Permit(ctx context.Context, namespace string) error {
	for _, file := range []string{"state_role.yaml", "leader_election_role.yaml"} {
		objects, err := r.Manifests(file)
		if err != nil {
			return err
		}
		for _, object := range objects {
			object.SetNamespace(namespace)
			if object.GetKind() == "RoleBinding" {
				if err := SetSubject(object, namespace); err != nil {
					return err
				}
			}
		}
		if err := r.create(ctx, objects); err != nil {
			return err
		}
	}
	return nil
}

// SetSubject lets a binding be for the controller of a namespace.
func SetSubject(binding *unstructured.Unstructured, namespace string) error {
	subject := map[string]any{"kind": rbacv1.ServiceAccountKind, "name": ServiceAccount, "namespace": namespace}
	if err := unstructured.SetNestedSlice(binding.Object, []any{subject}, "subjects"); err != nil {
		return fmt.Errorf("binding %s: %w", binding.GetName(), err)
	}
	return nil
}

// Bind lets the controller of a namespace work in another one, or in the same.
func (r Rights) Bind(ctx context.Context, controller, namespace string) error {
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reloader-of-" + controller}}
	binding.RoleRef, binding.Subjects = bound(controller)
	if err := r.Client.Create(ctx, binding); err != nil {
		return fmt.Errorf("binding the controller of %s: %w", controller, err)
	}
	return nil
}

// BindEverywhere lets the controller of a namespace work in all of them, until what it returns is called.
func (r Rights) BindEverywhere(ctx context.Context, controller string) (undo func(), err error) {
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reloader-of-" + controller}}
	binding.RoleRef, binding.Subjects = bound(controller)
	if err := r.Client.Create(ctx, binding); err != nil {
		return nil, fmt.Errorf("binding the controller of %s: %w", controller, err)
	}
	return func() { _ = r.Client.Delete(context.Background(), binding) }, nil
}

func bound(controller string) (rbacv1.RoleRef, []rbacv1.Subject) {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: ClusterRole},
		[]rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: ServiceAccount, Namespace: controller}}
}

func (r Rights) create(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		if err := r.Client.Create(ctx, object); err != nil {
			return fmt.Errorf("making %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}
