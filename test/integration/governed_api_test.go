package integration

import (
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

const (
	notInstalled = "ReloadPolicies are not installed: annotations and flags alone say what is restarted"
	nowInstalled = "ReloadPolicies are installed: they say how the workloads that they select are restarted"
)

// ReloadPolicies may be installed and removed while the controller runs. Without them annotations decide, of which one line
// of the log tells.
func TestReloadPoliciesComeAndGo(t *testing.T) {
	w := newOwnWorld(t)
	g := NewWithT(t)
	w.create(configMap("settings", "key", "0"), deployment("web", auto, envFromConfigMap("settings")))
	w.createMarker()
	w.awaitRollout("web")
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	w.later()
	w.setConfigMap("settings", "key", "1")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	g.Expect(c.lines(notInstalled)).To(ConsistOf(HaveKeyWithValue("level", "info")))
	g.Expect(c.lines(nowInstalled)).To(BeEmpty())
	g.Expect(strings.Count(c.log(), `"reloadpolicies"`)).To(BeZero(), "nothing else is said of them")

	g.Expect(applyPolicyCRD(t.Context(), w.admin)).To(Succeed())
	policy := w.policy("apps", `{suspend: true, workloads: [{kind: Deployment, name: web}]}`)
	g.Eventually(func() []map[string]any { return c.lines(nowInstalled) }).WithTimeout(refusalTimeout).Should(HaveLen(1))
	c.awaitVerdict(w, "web", "Suspended", 0)
	w.later()
	w.setConfigMap("settings", "key", "2")
	w.mark(1)
	w.expectRestarts("web", 1)
	policy.awaitPending("Suspended", "web")

	w.removePolicyCRD()
	g.Eventually(func() int { return w.restarts("web") }).WithTimeout(refusalTimeout).Should(Equal(2))
	w.awaitRestart("web", 2)
	w.awaitRecord("web")
	g.Eventually(func() []map[string]any { return c.lines(notInstalled) }).WithTimeout(refusalTimeout).Should(HaveLen(2))
	w.mark(2)
	w.expectRestarts("web", 2)
}

// removePolicyCRD lets the API server serve ReloadPolicies no longer.
func (w *world) removePolicyCRD() {
	w.t.Helper()
	g := NewWithT(w.t)
	objects, err := harness.Objects(filepath.Join(root, "config", policyCRD))
	g.Expect(err).NotTo(HaveOccurred())
	for _, object := range objects {
		g.Expect(w.admin.Delete(w.t.Context(), object)).To(Succeed())
		g.Eventually(func() bool {
			return apierrors.IsNotFound(w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(object), object))
		}).Should(BeTrue())
	}
}
