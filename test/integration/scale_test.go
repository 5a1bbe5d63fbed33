package integration

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

func TestRestartsOfTheControllerRestartNothing(t *testing.T) {
	const each = 25
	w := newWideWorld(t)
	var names []string
	var objects []client.Object
	for i := range each {
		a, b := fmt.Sprintf("secret-%d", i), fmt.Sprintf("configmap-%d", i)
		names = append(names, a, b)
		objects = append(objects, secret(a, "key", a), configMap(b, "key", b),
			deployment(a, auto, mountSecret(a, "/etc/a")), deployment(b, auto, envFromConfigMap(b)))
	}
	w.create(objects...)
	w.createMarker()
	w.awaitRollout(names...)
	c := w.startController(quick)
	w.awaitRecord(names...)
	w.awaitRecord(marker)
	c.stop()

	c = w.startController(quick)
	w.mark(1)
	g := NewWithT(t)
	g.Expect(w.patches(names...)).To(BeZero())

	for i := range each {
		change(w, &corev1.Secret{}, fmt.Sprintf("secret-%d", i), func(s *corev1.Secret) { s.Labels = with(s.Labels, "a", "b") })
		change(w, &corev1.ConfigMap{}, fmt.Sprintf("configmap-%d", i), func(c *corev1.ConfigMap) { c.Labels = with(c.Labels, "a", "b") })
	}
	w.mark(2)
	g.Expect(w.patches(names...)).To(BeZero())
	c.kill()

	w.startController(quick)
	w.mark(3)
	g.Expect(w.patches(names...)).To(BeZero())
	g.Expect(w.accepted(marker)).To(Equal(3))
	streamed := map[string]int{}
	for _, e := range w.requests() {
		if e.Verb == "watch" && strings.Contains(e.RequestURI, "sendInitialEvents=true") {
			streamed[e.Resource]++
		}
	}
	for _, optional := range []string{"kustomizations", "helmreleases", "resourcesets"} { // other tests install them
		delete(streamed, optional)
	}
	g.Expect(streamed).To(Equal(map[string]int{
		"secrets": 3, "configmaps": 3, "deployments": 3, "statefulsets": 3, "daemonsets": 3, "namespaces": 3, "reloadpolicies": 3, "jobs": 3, "cronjobs": 3,
	}))
}

// upkeepTimeout is for what the controller looks after once a minute.
const upkeepTimeout = 90 * time.Second

func TestTheLedgerIsShardedAndRestored(t *testing.T) {
	const count = 300
	w := newWorld(t)
	w.create(secret("password", "password", "1"), configMap("settings", "mode", "1"),
		deployment("web", auto, envFromSecret("password")))
	var objects []client.Object
	for i := range count {
		objects = append(objects, deployment(fmt.Sprintf("web-%d", i), auto, replicas(0), envFromSecret("password"), envFromConfigMap("settings")))
	}
	w.create(objects...)
	w.awaitRollout("web")
	c := w.startController(quick)
	g := NewWithT(t)
	g.Eventually(w.entries).Should(Equal(count + 1))
	shards := w.ledger(t.Context())
	g.Expect(len(shards)).To(BeNumerically(">", 1))
	for _, shard := range shards {
		g.Expect(sizeOf(&shard)).To(BeNumerically("<=", 64<<10), shard.Name)
	}
	var selectors []string
	for _, e := range w.requests() {
		if e.Verb == "watch" && e.Resource == "configmaps" {
			uri, err := url.Parse(e.RequestURI)
			g.Expect(err).NotTo(HaveOccurred())
			selectors = append(selectors, uri.Query().Get("labelSelector"))
		}
	}
	g.Expect(selectors).To(And(Not(BeEmpty()), HaveEach("!"+harness.LedgerLabel)), "the ledger's own ConfigMaps are not watched")

	t.Log("the key and a shard are deleted")
	key := &corev1.Secret{}
	keyName := client.ObjectKey{Namespace: w.state, Name: "reloader-digest-key"}
	g.Expect(w.admin.Get(t.Context(), keyName, key)).To(Succeed())
	g.Expect(w.admin.Delete(t.Context(), key.DeepCopy())).To(Succeed())
	for i := range shards {
		g.Expect(w.admin.Delete(t.Context(), &shards[i])).To(Succeed())
	}
	w.later()
	w.setSecret("password", "password", "2")
	w.awaitRestart("web", 1)
	g.Eventually(w.entries).Should(Equal(count+1), "every shard is written again, as all workloads changed")
	restored := &corev1.Secret{}
	g.Eventually(func() error { return w.admin.Get(t.Context(), keyName, restored) }).WithTimeout(upkeepTimeout).Should(Succeed())
	g.Expect(restored.Data).To(Equal(key.Data))

	t.Log("the next controller finds all of it")
	c.stop()
	c = w.startController(quick)
	g.Expect(c.lines("leading")[0]).To(HaveKeyWithValue("ledgerEntries", BeEquivalentTo(count+1)))
	w.expectRestarts("web", 1)
}

// entries counts what the ledger has on record.
func (w *world) entries() int {
	n := 0
	for _, shard := range w.ledger(w.t.Context()) {
		n += len(shard.Data)
	}
	return n
}

func sizeOf(shard *corev1.ConfigMap) int {
	size := 0
	for key, text := range shard.Data {
		size += len(key) + len(text)
	}
	return size
}
