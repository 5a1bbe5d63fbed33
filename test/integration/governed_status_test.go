package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/cluster"
)

// size is that of the policy as it is stored, in bytes, but for who manages which field.
func (p *reloadPolicy) size() int {
	p.w.t.Helper()
	g := NewWithT(p.w.t)
	stored := p.object()
	g.Expect(p.w.admin.Get(p.w.t.Context(), client.ObjectKeyFromObject(stored), stored)).To(Succeed())
	unstructured.RemoveNestedField(stored.Object, "metadata", "managedFields")
	text, err := json.Marshal(stored)
	g.Expect(err).NotTo(HaveOccurred())
	return len(text)
}

// However many workloads restart at once, their policy is written once a second at most, and stays small however many of
// them wait, and however long their names.
func TestTheStatusOfABurst(t *testing.T) {
	const count = 100
	w := newWorld(t)
	g := NewWithT(t)
	w.create(configMap("settings", "key", "0"))
	var names []string
	for i := range count {
		name := fmt.Sprintf("%s-%d", strings.Repeat("x", 48), i) // as long as the name of a pod leaves room for
		names = append(names, name)
		w.create(deployment(name, auto, envFromConfigMap("settings")))
	}
	w.createMarker()
	w.awaitRollout(names...)
	policy := w.policy("apps", `{settle: {quiet: 500ms}}`)
	c := w.startController(quick)
	policy.awaitMessage(fmt.Sprintf("governs %d workloads", count+1))
	w.awaitRecord(append(names, marker)...)
	w.later()
	policy.patch(`{"spec":{"suspend":true}}`)
	c.awaitVerdict(w, names[0], "Suspended", 0)
	w.setConfigMap("settings", "key", "1")
	held := policy.await("held", func(p *v1alpha1.ReloadPolicy) bool { return p.Status.Workloads.Pending == count })
	g.Expect(held.Status.Pending).To(HaveLen(v1alpha1.MaxPending))
	g.Expect(policy.size()).To(BeNumerically("<", 100<<10))

	policy.patch(`{"spec":{"suspend":false}}`)
	w.awaitRollout(names...)
	w.awaitRecord(names...)
	policy.await("through", func(p *v1alpha1.ReloadPolicy) bool { return p.Status.Workloads.InSync == count+1 })
	g.Expect(policy.read().Status.History).To(HaveLen(v1alpha1.MaxHistory))
	var writes []cluster.AuditEvent
	for _, e := range w.requests() {
		if e.Resource == "reloadpolicies" && e.Subresource == "status" {
			writes = append(writes, e)
		}
	}
	g.Expect(writes).NotTo(BeEmpty())
	g.Expect(w.patchesOf("deployments")).To(BeNumerically(">=", count))
	for i, first := range writes {
		for j, last := range writes[i:] {
			g.Expect(j).To(BeNumerically("<=", int(last.Received.Sub(first.Received)/time.Second)), "writes after the one at %v until %v", first.Received, last.Received)
		}
	}
	t.Logf("%d writes in %v", len(writes), writes[len(writes)-1].Received.Sub(writes[0].Received))
}

// What the status of a policy says is mended when everything is looked at, whoever wrote it.
func TestAStatusThatSomebodyElseWroteIsMended(t *testing.T) {
	w := newWorld(t)
	w.create(configMap("settings", "key", "0"), deployment("web", auto, envFromConfigMap("settings")))
	w.createMarker()
	w.awaitRollout("web")
	policy := w.policy("apps", `{workloads: [{kind: Deployment, name: web}]}`)
	w.startController(quick)
	policy.awaitMessage("governs 1 workload")
	w.awaitRecord("web", marker)
	other := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"workloads":{"inSync":7}}}`))
	NewWithT(t).Expect(w.admin.Status().Patch(t.Context(), policy.object(), other)).To(Succeed())
	policy.request("once")
	policy.await("mended", func(p *v1alpha1.ReloadPolicy) bool { return p.Status.Workloads.InSync == 1 })
}
