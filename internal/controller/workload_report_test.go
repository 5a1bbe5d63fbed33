package controller

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The API server quotes the values that it rejects; one of them may be a password in an environment variable.
func TestExplainQuotesNothing(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "web", field.ErrorList{
		field.Invalid(field.NewPath("spec", "template", "spec", "containers").Index(0).Child("env"), "hunter2", "no"),
	})
	got := explain(fmt.Errorf("restarting: %w", invalid))
	if strings.Contains(got, "hunter2") || !strings.Contains(got, "spec.template.spec.containers[0].env") {
		t.Errorf("told %q, want the field and not its value", got)
	}
	if got := explain(errors.New("denied")); got != "denied" {
		t.Errorf("told %q", got)
	}
	refused := apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "web", nil)
	refused.ErrStatus.Message = "denied by policy"
	refused.ErrStatus.Details.Causes = []metav1.StatusCause{{Message: "denied by policy"}}
	if got := explain(refused); got != "denied by policy" {
		t.Errorf("told %q, want the policy's words", got)
	}
}
