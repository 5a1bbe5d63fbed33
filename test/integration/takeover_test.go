package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

const (
	// takenOver are the workloads that Stakater Reloader has looked after. It has missed a change of a few: restarts at first
	// sight are spread, and these are within the burst.
	takenOver, missed = 200, 4
	// pairs are a Secret and a ConfigMap each that change while both controllers are there; each has so many workloads.
	pairs, workloadsEach = 3, 10
	// turns is how often each changes, pace how far apart.
	turns, pace = 2, 10 * time.Second
)

// Of 200 workloads that Stakater Reloader has looked after, those restart of which it has missed a change, and no other.
// It goes on for a minute. What changes in that restarts once by each of them at the most, and nothing else does.
func TestTakingOverRestartsWhatWasMissedAndNothingElse(t *testing.T) {
	w := newWorld(t)
	old, changed, unchanged := w.createForStakater()
	w.later()
	w.setSecret("old", "key", "2") // Stakater Reloader is down
	other, stop := w.startStakater()

	w.startController() // it settles as long as by default, so that the other may be done before it
	for _, name := range old {
		w.awaitRestart(name, 1)
	}
	w.awaitRecord(slices.Concat(old, changed, unchanged, []string{marker})...)
	w.mark(1)
	for _, name := range slices.Concat(changed, unchanged) {
		w.expectRestarts(name, 0)
	}

	t.Log("both are there")
	g := NewWithT(t)
	w.later()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for turn := range turns * pairs {
		name, value := fmt.Sprint("changing-", turn%pairs), fmt.Sprint("turn-", turn+1)
		w.setSecret(name, "key", value)
		w.setConfigMap(name, "key", value)
		<-tick.C
	}
	for _, name := range changed {
		g.Eventually(other.wrote).Should(HaveKeyWithValue(name, turns), "the other looks after all")
	}
	w.expectChangedOnceByEach(other, changed)
	w.mark(2)
	after := w.generations()
	w.mark(3)
	g.Expect(w.generations()).To(Equal(after), "neither goes on")
	for _, name := range unchanged {
		w.expectRestarts(name, 0)
	}
	for _, name := range old {
		w.expectRestarts(name, 1)
	}

	t.Log("the other is gone")
	stop()
	w.later()
	w.setSecret("changing-0", "key", "alone")
	for _, name := range changed[:workloadsEach] {
		g.Eventually(func() int64 { return w.deployment(name).Generation }).Should(Equal(after[name] + 1))
	}
	w.awaitRollout(changed[:workloadsEach]...)
	g.Expect(other.wrote()).To(HaveKeyWithValue(changed[0], turns))
	w.expectSourcesReadOnce()
}

// createForStakater makes the workloads and their sources, with what Stakater Reloader left in them by either strategy.
func (w *world) createForStakater() (old, changed, unchanged []string) {
	w.t.Helper()
	var objects []client.Object
	add := func(to *[]string, kind, source string) {
		i := len(objects)
		name := fmt.Sprint("web-", i)
		*to = append(*to, name)
		from := envFromSecret(source)
		if kind == "ConfigMap" {
			from = envFromConfigMap(source)
		}
		left := byAnnotation(kind, w.namespace, source, stakaterHash("key", "1"))
		if i%2 == 0 {
			variable := strings.ToUpper(strings.ReplaceAll("STAKATER-"+source+"-"+kind, "-", "_"))
			left = byVariable(variable, stakaterHash("key", "1"))
		}
		objects = append(objects, deployment(name, auto, from, left))
	}
	w.create(secret("old", "key", "1"), configMap("current", "key", "1"))
	for range missed {
		add(&old, "Secret", "old")
	}
	for i := range pairs {
		name := fmt.Sprint("changing-", i)
		w.create(secret(name, "key", "1"), configMap(name, "key", "1"))
		for range workloadsEach {
			add(&changed, "Secret", name)
		}
		for range workloadsEach {
			add(&changed, "ConfigMap", name)
		}
	}
	for len(objects) < takenOver {
		add(&unchanged, "ConfigMap", "current")
	}
	w.later()
	w.create(objects...)
	w.createMarker()
	w.awaitRollout(old...)
	w.awaitRollout(changed...)
	w.awaitRollout(unchanged...)
	return old, changed, unchanged
}

// generations are those of all Deployments but the marker.
func (w *world) generations() map[string]int64 {
	w.t.Helper()
	list := &appsv1.DeploymentList{}
	NewWithT(w.t).Expect(w.admin.List(w.t.Context(), list, client.InNamespace(w.namespace))).To(Succeed())
	all := map[string]int64{}
	for i := range list.Items {
		if d := &list.Items[i]; d.Name != marker {
			all[d.Name] = d.Generation
		}
	}
	return all
}

// expectSourcesReadOnce checks that however many workloads use a source, what Stakater Reloader left is compared to one
// read of it, and never again to another.
func (w *world) expectSourcesReadOnce() {
	w.t.Helper()
	reads := map[string]int{}
	for _, e := range w.requests() {
		if e.Verb == "list" && (e.Resource == "secrets" || e.Resource == "configmaps") {
			reads[e.Resource+" "+e.RequestURI]++
		}
	}
	for uri, times := range reads {
		NewWithT(w.t).Expect(times).To(BeNumerically("<=", 1), uri)
	}
}

// expectChangedOnceByEach checks that all pods run with what the changing sources hold now, that this is on record, and that
// each controller has made at most one revision for each change.
func (w *world) expectChangedOnceByEach(other *stakater, names []string) {
	w.t.Helper()
	g := NewWithT(w.t)
	for i, name := range names {
		var source client.Object = &corev1.Secret{}
		if i/workloadsEach%2 == 1 {
			source = &corev1.ConfigMap{}
		}
		w.get(source, fmt.Sprint("changing-", i/workloadsEach/2))
		w.awaitRecordOf(name, source)
		w.awaitRollout(name)
		for _, pod := range w.pods(name) {
			g.Expect(pod.CreationTimestamp.Time).NotTo(BeTemporally("<", source.GetManagedFields()[0].Time.Time), pod.Name)
		}
	}
	ours := map[string]int{}
	for _, e := range w.requests() {
		if e.Verb == "patch" && e.Resource == "deployments" && e.Code == http.StatusOK {
			ours[e.Name]++
		}
	}
	others, generations := other.wrote(), w.generations()
	total := 0
	for _, name := range names {
		g.Expect(others[name]).To(Equal(turns), "the other's writes to "+name)
		g.Expect(ours[name]).To(BeNumerically("<=", turns), "ours to "+name)
		g.Expect(generations[name]).To(BeEquivalentTo(1+others[name]+ours[name]), "writes to "+name)
		total += ours[name]
	}
	w.t.Logf("%d changes of %d workloads: %d restarts by the other, %d by ours", turns, len(names), turns*len(names), total)
}

// awaitRecordOf waits until the record of a Deployment says that its pods run with this version of its source.
func (w *world) awaitRecordOf(name string, source client.Object) {
	w.t.Helper()
	NewWithT(w.t).Eventually(func() string { return w.recorded(name) }).Should(
		And(harness.Proven(w.value(name)), ContainSubstring(fmt.Sprintf("%q:%q", "rv", source.GetResourceVersion()))), "record of "+name)
}
