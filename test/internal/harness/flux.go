package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
)

// Apply makes or changes objects, as somebody with kubectl does, whoever else applies them. Those that live in a namespace
// and name none go into the given one.
func Apply(ctx context.Context, c client.Client, namespace, manifests string) error {
	objects, err := Decode(strings.NewReader(manifests))
	if err != nil {
		return err
	}
	for _, object := range objects {
		namespaced, err := c.IsObjectNamespaced(object)
		if err != nil {
			return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if namespaced && object.GetNamespace() == "" {
			object.SetNamespace(namespace)
		}
		err = c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("e2e"), client.ForceOwnership)
		if err != nil {
			return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// Readiness is an object's condition Ready, as status and message; empty while it is that of an earlier generation.
func Readiness(object *unstructured.Unstructured) (string, error) {
	observed, _, err := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	if err != nil || observed != object.GetGeneration() {
		return "", err
	}
	conditions, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	if err != nil {
		return "", err
	}
	for _, condition := range conditions {
		if c, ok := condition.(map[string]any); ok && c["type"] == "Ready" {
			return fmt.Sprint(c["status"], " ", c["message"]), nil
		}
	}
	return "", nil
}

// Flux runs the flux command, which waits for what it asks for.
func Flux(t *testing.T, c *cluster.Cluster, binary string, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), binary, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HOME="+t.TempDir())
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	gomega.NewWithT(t).Expect(command.Run()).To(gomega.Succeed(), "flux %s\n%s", strings.Join(args, " "), &output)
}
