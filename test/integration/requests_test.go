package integration

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
)

// A restart is one PATCH and little else, for workloads of each kind: no source is ever read but by its watch, and no
// workload listed. A change that concerns nobody asks for nothing.
func TestARestartIsFewRequests(t *testing.T) {
	t.Parallel()
	for _, kind := range []setKind{deployments(), statefulSets(), daemonSets()} {
		t.Run(kind.name, func(t *testing.T) { fewRequests(&subject{world: newWorld(t), kind: kind}) })
	}
}

func fewRequests(s *subject) {
	s.create(secret("nobodys", "key", "1"))
	metrics := harness.FreeAddress(s.t)
	s.beginWith([]string{quick, "--metrics-addr=" + metrics}, reader(replicas(2)))
	g := NewWithT(s.t)
	g.Eventually(func() string { return s.ledger(s.t.Context())[0].Annotations[bootstrapMark] }).Should(BeEmpty())
	begun := len(s.asked())

	s.t.Log("a restart")
	s.setPassword("B")
	s.awaitComplete()
	s.awaitProven()
	g.Eventually(func() []string { return s.eventsAbout(s.kind.name, web, "Reloaded") }).Should(HaveLen(1))
	g.Eventually(func() map[string]int { return count(s.asked()[begun:]) }).Should(HaveKeyWithValue("events", 1), "it is on record")
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

	spent := count(s.asked()[begun:])
	s.t.Logf("requests: %v", spent)
	g.Expect(spent).To(HaveKeyWithValue("patch "+s.kind.resource+" "+web, 1))
	for what, most := range map[string]int{
		"patch " + s.kind.resource + " " + web: 1, "patch deployments " + marker: 1,
		"events": 2 * eventWrites, "ledger": 2 * ledgerWrites,
		"list pods " + web: looks, "list " + s.kind.revisions + " " + web: looks, "get " + s.kind.resource + " " + web: looks,
		"list pods " + marker: looks, "list replicasets " + marker: looks, "get deployments " + marker: looks,
	} {
		g.Expect(spent[what]).To(BeNumerically("<=", most), what)
		delete(spent, what)
	}
	g.Expect(spent).To(BeEmpty(), "all else is too much")
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

// asked are the controller's requests but for its look at the digest key, once a minute, and for Flux's objects, which it
// looks for again and again until their APIs are served.
func (w *world) asked() []cluster.AuditEvent {
	w.t.Helper()
	return slices.DeleteFunc(w.requests(), func(e cluster.AuditEvent) bool {
		return e.Verb == "get" && e.Name == keySecret || strings.Contains(e.APIGroup, "fluxcd")
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
