package integration

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// What the controller asks of the API server for one restart, by what it does: at most these.
const (
	eventWrites = 2
	// ledgerWrites: the difference, then the value that was written, then the proof. Two may come in one.
	ledgerWrites = 3
	// looks at the pods: before the restart, in case they are fresh already, and after it for the proof. Each is a LIST of
	// the pods and one of the revisions, by the workload's selector, and a GET of the workload. One more is for pods that
	// the workload's controller has not counted yet.
	looks = 3
	// statusWrites to a policy: what differs, the restart, and how long its rollout took.
	statusWrites = 3
)

// A restart is one PATCH and little else, for workloads of each kind: no source is ever read but by its watch, and no
// workload listed. A change that concerns nobody asks for nothing.
func TestARestartIsFewRequests(t *testing.T) {
	t.Parallel()
	for _, kind := range []setKind{deployments(), statefulSets(), daemonSets()} {
		t.Run(kind.name, func(t *testing.T) { fewRequests(&subject{world: newWorld(t), kind: kind}, 0) })
	}
}

// A restart of a workload that a policy governs costs the writes of its status beside that.
func TestAGovernedRestartIsFewRequests(t *testing.T) {
	fewRequests(&subject{world: newWorld(t), kind: deployments()}, 1)
}

// So it does if the policy governs thousands, and however many of them wait, and however long their names, the policy stays small.
func TestAPolicyOfThousands(t *testing.T) {
	const others = 5000
	s := &subject{world: newOwnWorld(t), kind: deployments()}
	g := NewWithT(t)
	g.Expect(applyPolicyCRD(t.Context(), s.admin)).To(Succeed())
	fewRequests(s, others)
	policy := &reloadPolicy{s.world, "apps"}
	policy.patch(`{"spec":{"suspend":true}}`)
	s.setSecret("theirs", "key", "2")
	held := policy.await("held", func(p *v1alpha1.ReloadPolicy) bool { return p.Status.Workloads.Pending == others })
	g.Expect(held.Status.Pending).To(HaveLen(v1alpha1.MaxPending))
	g.Expect(policy.size()).To(BeNumerically("<", 100<<10))
	t.Logf("with %d workloads that wait, the policy is of %d bytes", others, policy.size())
	g.Expect(s.patches()).To(Equal(2), "those of the workload and the marker")
}

// fewRequests restarts the workload and the marker. If there are others, a policy governs them all.
func fewRequests(s *subject, others int) {
	s.create(secret("nobodys", "key", "1"))
	told, settled := 1, func(int) {}
	if others > 0 {
		told, settled = 2, s.governAll(others)
	}
	metrics := harness.FreeAddress(s.t)
	s.beginWith([]string{quick, "--metrics-addr=" + metrics}, reader(replicas(2)))
	g := NewWithT(s.t)
	g.Eventually(func() string { return s.ledger(s.t.Context())[0].Annotations[bootstrapMark] }).Should(BeEmpty())
	settled(0)
	begun := len(s.asked())

	s.t.Log("a restart")
	s.setPassword("B")
	s.awaitComplete()
	s.awaitProven()
	g.Eventually(func() []string { return s.eventsAbout(s.kind.name, web, "Reloaded") }).Should(HaveLen(1))
	g.Eventually(func() map[string]int { return count(s.asked()[begun:]) }).Should(HaveKeyWithValue("events", told), "it is on record")
	settled(1)
	restarted := len(s.asked())

	s.t.Log("a change that concerns nobody")
	s.setSecret("nobodys", "key", "2")
	known := func() (int, error) { return gauge(metrics, `reloader_tracked_sources{kind="Secret"}`) }
	before, err := known()
	g.Expect(err).NotTo(HaveOccurred())
	s.create(secret("nobodys-either", "key", "1"))
	g.Eventually(known).Should(Equal(before+1), "the controller has seen the Secret that came after the change")
	g.Expect(s.asked()[restarted:]).To(BeEmpty())
	s.mark(1)
	s.awaitRecord(marker)
	settled(2)

	spent := count(s.asked()[begun:])
	s.t.Logf("requests: %v", spent)
	g.Expect(spent).To(HaveKeyWithValue("patch "+s.kind.resource+" "+web, 1))
	for what, most := range map[string]int{
		"patch " + s.kind.resource + " " + web: 1, "patch deployments " + marker: 1,
		"events": 2 * eventWrites, "ledger": 2 * ledgerWrites, "patch reloadpolicies apps": 2 * statusWrites,
		"list pods " + web: looks, "list " + s.kind.revisions + " " + web: looks, "get " + s.kind.resource + " " + web: looks,
		"list pods " + marker: looks, "list replicasets " + marker: looks, "get deployments " + marker: looks,
	} {
		g.Expect(spent[what]).To(BeNumerically("<=", most), what)
		delete(spent, what)
	}
	g.Expect(spent).To(BeEmpty(), "all else is too much")
}

// governAll makes other workloads, for which no controller has anything to do, and a policy for all. What it returns waits
// until the policy has so many restarts on its record, and all workloads are in sync.
func (s *subject) governAll(others int) (settled func(restarts int)) {
	s.t.Helper()
	s.create(secret("theirs", "key", "1"))
	var creating errgroup.Group
	creating.SetLimit(16)
	for i := range others {
		idle := cronJob(func(c *batchv1.CronJob) {
			c.Namespace, c.Name, c.Spec.Suspend = s.namespace, fmt.Sprintf("%s-%d", strings.Repeat("x", 46), i), ptr.To(true)
			c.Spec.JobTemplate.Spec.Template.Spec.Containers[0].EnvFrom[0].SecretRef.Name = "theirs"
		})
		creating.Go(func() error { return s.admin.Create(s.t.Context(), idle) })
	}
	NewWithT(s.t).Expect(creating.Wait()).To(Succeed())
	policy := s.policy("apps", `{settle: {quiet: 500ms}}`)
	return func(restarts int) {
		s.t.Helper()
		g := NewWithT(s.t)
		g.Eventually(s.entries).WithTimeout(upkeepTimeout).Should(Equal(others+2), "all of them are on record")
		policy.await("through", func(p *v1alpha1.ReloadPolicy) bool {
			return conditions.IsReady(p) && int(p.Status.Workloads.InSync) == others+2 && len(p.Status.History) == restarts &&
				!slices.ContainsFunc(p.Status.History, func(r v1alpha1.Restart) bool { return r.RolloutDuration == nil })
		})
		g.Eventually(func() []string { return policy.events("Succeeded") }).Should(HaveLen(1))
	}
}

const bootstrapMark = "reloader.contrib.fluxcd.io/ledger-bootstrap"

// deployments lets a Deployment be looked at like the other kinds.
func deployments() setKind {
	return setKind{
		name: "Deployment", resource: "deployments", revisions: "replicasets",
		empty: func() client.Object { return &appsv1.Deployment{} },
		like:  func(d *appsv1.Deployment) client.Object { return d },
		see: func(o client.Object) set {
			d := o.(*appsv1.Deployment)
			return set{uid: d.UID, template: &d.Spec.Template, available: d.Status.AvailableReplicas, complete: harness.Complete(d)}
		},
	}
}

// asked are the controller's requests but for its look at the digest key, once a minute, for watches that go on after some
// minutes, and for optional objects, which it looks for again and again until their APIs are served.
func (w *world) asked() []cluster.AuditEvent {
	w.t.Helper()
	return slices.DeleteFunc(w.requests(), func(e cluster.AuditEvent) bool {
		optional := strings.Contains(e.APIGroup, "fluxcd") || e.APIGroup == configVersion().Group ||
			strings.HasPrefix(e.RequestURI, "/apis/"+configVersion().GroupVersion().String())
		renewed := e.Verb == "watch" && !strings.Contains(e.RequestURI, "sendInitialEvents=true")
		return e.Verb == "get" && e.Name == keySecret || optional && e.Verb != "patch" || renewed
	})
}

// count counts requests by what they do, and to which workload.
func count(requests []cluster.AuditEvent) map[string]int {
	n := map[string]int{}
	for _, e := range requests {
		name := e.Name
		if uri, err := url.Parse(e.RequestURI); err == nil && name == "" {
			name = strings.TrimPrefix(uri.Query().Get("labelSelector"), "app=")
		}
		what := e.Verb + " " + e.Resource + " " + name
		switch {
		case e.Resource == "events" && (e.Verb == "create" || e.Verb == "patch"):
			what = "events"
		case e.Verb == "patch" && e.Resource == "configmaps" && strings.HasPrefix(name, "reloader-ledger-"):
			what = "ledger"
		}
		n[what]++
	}
	return n
}
