package integration

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// gate is an admission webhook that holds requests of the controller's until it is opened. Requests of others that are
// only tried out pass: they show that it is in force.
type gate struct {
	probed  atomic.Bool
	waiting atomic.Int64
	opened  chan struct{}
	open    func()
}

// hold lets the API server hold what the controller asks for in the test's namespace, before anything of it is stored.
// Probe tries such a request out.
func (w *world) hold(operation admissionregistrationv1.OperationType, group, resource string, probe func() error) *gate {
	w.t.Helper()
	g := NewWithT(w.t)
	opened := make(chan struct{})
	held := &gate{opened: opened, open: sync.OnceFunc(func() { close(opened) })}
	server := httptest.NewTLSServer(held)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	hook := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-" + resource},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name:         "gate.reloader.test",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: authority},
			NamespaceSelector: &metav1.LabelSelector{
				MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.namespace},
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{operation},
				Rule: admissionregistrationv1.Rule{
					APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource},
				},
			}},
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				Name:       "controller",
				Expression: `request.userInfo.username == "` + harness.Identity(w.state) + `" || (has(request.dryRun) && request.dryRun)`,
			}},
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds:          ptr.To(int32(30)),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
	w.t.Cleanup(func() {
		_ = w.admin.Delete(context.Background(), hook)
		held.open()
		server.Close()
	})
	g.Expect(w.admin.Create(w.t.Context(), hook)).To(Succeed())
	g.Eventually(func() (bool, error) {
		err := probe()
		return held.probed.Load(), err
	}).Should(BeTrue(), "the gate is in force")
	return held
}

// ServeHTTP answers the API server: it allows everything, sooner or later.
func (g *gate) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	review := &admissionv1.AdmissionReview{}
	if err := json.NewDecoder(request.Body).Decode(review); err != nil || review.Request == nil {
		http.Error(response, "no review", http.StatusBadRequest)
		return
	}
	if ptr.Deref(review.Request.DryRun, false) {
		g.probed.Store(true)
	} else {
		g.waiting.Add(1)
		defer g.waiting.Add(-1)
		select {
		case <-g.opened:
		case <-request.Context().Done(): // whoever asked has gone
		}
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	review.Request = nil
	_ = json.NewEncoder(response).Encode(review)
}
