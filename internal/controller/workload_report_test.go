package controller

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/policy"
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

// Each attempt has a port of its own. That is no reason to tell, and to alert, of the same failure each time.
func TestTheSameFailureIsToldOnce(t *testing.T) {
	reset := func(port int, number syscall.Errno) error {
		server, own := net.TCPAddr{IP: net.IPv4(10, 96, 0, 1), Port: 443}, net.TCPAddr{IP: net.IPv4(10, 244, 0, 5), Port: port}
		lost := &net.OpError{Op: "read", Net: "tcp", Source: &own, Addr: &server, Err: os.NewSyscallError("read", number)}
		return fmt.Errorf("restarting: %w", &url.Error{Op: "Patch", URL: "https://10.96.0.1:443/apis/apps/v1", Err: lost})
	}
	var tracked track
	for i, step := range []struct {
		err  error
		anew bool
	}{
		{reset(40001, syscall.ECONNRESET), true}, {reset(40002, syscall.ECONNRESET), false}, {reset(40003, syscall.ETIMEDOUT), true},
	} {
		why, anew := tracked.fails(step.err)
		if anew != step.anew {
			t.Errorf("step %d: news %t, want %t: %s", i, anew, step.anew, why)
		}
		if !strings.HasPrefix(why, "restarting: Patch ") || !strings.Contains(why, "10.96.0.1:443: read: ") {
			t.Errorf("step %d: told %q", i, why)
		}
	}
}

// The status of a policy tells no more than events do.
func TestAFailureInAStatusQuotesNothing(t *testing.T) {
	failed := apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "web", field.ErrorList{
		field.Invalid(field.NewPath("spec", "template"), "hunter2", "no"),
	})
	var tracked track
	if _, anew := tracked.fails(failed); !anew {
		t.Error("a first failure is no news")
	}
	if _, anew := tracked.fails(failed); anew {
		t.Error("the same failure is news again")
	}
	r := &Reconciler{}
	for _, d := range []plan.Decision{{Verdict: plan.Restart}, {Verdict: plan.InSync}} {
		o := r.outcome(&tracked, true, d, failed, time.Unix(1, 0))
		if o.State != policy.Failed || o.Reason != v1alpha1.RestartFailedReason || strings.Contains(o.Message, "hunter2") || !strings.Contains(o.Message, "spec.template") {
			t.Errorf("%s: %+v", d.Verdict, o)
		}
	}
	if o := r.outcome(&tracked, false, plan.Decision{Verdict: plan.NotSelected}, nil, time.Unix(1, 0)); o.State != policy.Unselected {
		t.Errorf("not selected: %+v", o)
	}
}
