package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	certManagerUser      = "cert-manager"
	certManagerNamespace = "cert-manager"
	certManagerModule    = "github.com/cert-manager/cert-manager"

	conditionIssuing = "Issuing"
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
		MaxTime:            c.opts.StartTimeout,
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

// How often Renew looks whether cert-manager is done with what it is issuing.
const renewalPoll = 50 * time.Millisecond

// Renew makes cert-manager issue a Certificate anew, as its command cmctl renew
// does: it sets the status condition Issuing, and cert-manager does the rest.
// An issuance under way is waited for, as long as ctx allows: cert-manager takes
// the condition away at the end of it, and ours with it, although the Secret has
// the certificate by then. The Secret has the new certificate some time after
// Renew has returned.
func Renew(ctx context.Context, c client.Client, namespace, certificate string) error {
	err := wait.PollUntilContextCancel(ctx, renewalPoll, true, func(ctx context.Context) (bool, error) {
		accepted, err := requestIssuance(ctx, c, client.ObjectKey{Namespace: namespace, Name: certificate})
		// cert-manager changed the status in between.
		if apierrors.IsConflict(err) {
			return false, nil
		}
		return accepted, err
	})
	if err != nil {
		return fmt.Errorf("renewing certificate %s/%s: %w", namespace, certificate, err)
	}
	return nil
}

// requestIssuance sets the condition Issuing, unless the Certificate has it.
func requestIssuance(ctx context.Context, c client.Client, key client.ObjectKey) (bool, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"})
	if err := c.Get(ctx, key, object); err != nil {
		return false, err
	}
	conditions, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(conditions, func(condition any) bool { return isType(condition, conditionIssuing) })
	if at >= 0 && conditions[at].(map[string]any)["status"] == string(metav1.ConditionTrue) {
		return false, nil
	}
	if at >= 0 {
		conditions = slices.Delete(conditions, at, at+1)
	}
	conditions = append(conditions, map[string]any{
		"type":               conditionIssuing,
		"status":             string(metav1.ConditionTrue),
		"reason":             "ManuallyTriggered",
		"message":            "Certificate re-issuance manually triggered",
		"lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
		"observedGeneration": object.GetGeneration(),
	})
	if err := unstructured.SetNestedSlice(object.Object, conditions, "status", "conditions"); err != nil {
		return false, err
	}
	// An update, not a patch: it fails when cert-manager changed the status in between.
	return true, c.Status().Update(ctx, object)
}

func isType(condition any, name string) bool {
	fields, ok := condition.(map[string]any)
	return ok && fields["type"] == name
}
