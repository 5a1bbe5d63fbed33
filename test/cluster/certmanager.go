package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	certManagerUser      = "cert-manager"
	certManagerNamespace = "cert-manager"
	certManagerModule    = "github.com/cert-manager/cert-manager"
)

// startCertManager installs cert-manager's custom resources and starts its
// controllers with the rights of an administrator.
func (c *Cluster) startCertManager(ctx context.Context) error {
	module, err := c.builder.moduleDir(ctx, addonsModule, certManagerModule)
	if err != nil {
		return err
	}
	_, err = envtest.InstallCRDs(c.config, envtest.CRDInstallOptions{
		Paths:              []string{filepath.Join(module, "deploy", "crds")},
		ErrorIfPathMissing: true,
	})
	if err != nil {
		return fmt.Errorf("installing cert-manager's custom resources: %w", err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: certManagerNamespace}}
	if _, err := c.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making the namespace of cert-manager: %w", err)
	}
	if err := bind(ctx, c.client, certManagerUser, "cluster-admin"); err != nil {
		return err
	}
	return c.runAs(binCertManager, certManagerUser, []string{"--cluster-resource-namespace=" + certManagerNamespace})
}

// Renew makes cert-manager issue a Certificate anew, as its command cmctl renew
// does: it sets the status condition Issuing, and cert-manager does the rest.
// The Secret has the new certificate some time after Renew has returned.
func Renew(ctx context.Context, c client.Client, namespace, certificate string) error {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"})
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: certificate}, object); err != nil {
		return fmt.Errorf("renewing certificate %s/%s: %w", namespace, certificate, err)
	}
	conditions, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	if err != nil {
		return fmt.Errorf("renewing certificate %s/%s: %w", namespace, certificate, err)
	}
	conditions = withCondition(conditions, map[string]any{
		"type":               "Issuing",
		"status":             "True",
		"reason":             "ManuallyTriggered",
		"message":            "Certificate re-issuance manually triggered",
		"lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
		"observedGeneration": object.GetGeneration(),
	})
	if err := unstructured.SetNestedSlice(object.Object, conditions, "status", "conditions"); err != nil {
		return fmt.Errorf("renewing certificate %s/%s: %w", namespace, certificate, err)
	}
	// An update, not a patch: it fails when cert-manager changed the status in between.
	if err := c.Status().Update(ctx, object); err != nil {
		return fmt.Errorf("renewing certificate %s/%s: %w", namespace, certificate, err)
	}
	return nil
}

// withCondition replaces the condition of the same type, or appends it.
func withCondition(conditions []any, condition map[string]any) []any {
	for i := range conditions {
		if existing, ok := conditions[i].(map[string]any); ok && existing["type"] == condition["type"] {
			conditions[i] = condition
			return conditions
		}
	}
	return append(conditions, condition)
}
