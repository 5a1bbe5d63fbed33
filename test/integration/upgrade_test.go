package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// storedLedger is what a controller of one ledger format has stored, with the names, uids and versions of another cluster
// left out. It is never changed: what a later controller can compare to it is what an upgrade can.
type storedLedger struct {
	Key     []byte
	KeyID   string
	Records map[string]json.RawMessage // by what kind of workload they are of, see storedShapes
}

// storedNamespace is where it was stored: digests depend on it.
const storedNamespace = "upgrade"

// storedSources are the sources as they were when it was stored.
func (w *world) storedSources() {
	w.t.Helper()
	w.create(secret("tls", "tls.crt", "1", "tls.key", "1"), secret("keys", "a", "1", "b", "1"),
		configMap("settings", "mode", "1", "level", "1"), secret("password", "password", "2"), secret("token", "token", "1"))
}

// storedShapes are the workloads that there are records of.
func storedShapes() map[string][]option {
	return map[string][]option{
		"mounted":   {auto, mountSecret("tls", "/tls")},
		"keyed":     {auto, envKey("A", "keys", "a"), envFromConfigMap("settings")},
		"restarted": {auto, envFromSecret("password")}, // once, by a controller of that time
		"changed":   {auto, envFromSecret("token")},
	}
}

// The records that a controller of the oldest format still read has stored are good enough for its successor: none of
// 200 workloads is restarted or written to, and a change that came in between is not missed. Then one that cannot read
// the records, because a later format was rolled back, says so, and meets everything for the first time: no storm either,
// not even for what changed in between.
func TestAnUpgradeRestartsNothing(t *testing.T) {
	const (
		format  = 1 // the only one so far; later the one before the present
		later   = 99
		version = "v99.0.0"
	)
	w := newWorldIn(t, storedNamespace)
	stored := readStored(t, format)
	shapes := storedShapes()
	w.storedSources()
	stored.present(w)
	var names []string
	records := map[string]string{}
	for shape, count := range map[string]int{"mounted": 70, "keyed": 70, "restarted": 60, "changed": 1} {
		for i := range count {
			d := deployment(fmt.Sprintf("%s-%d", shape, i), append(shapes[shape], stored.written(t, shape))...)
			w.create(d)
			names = append(names, d.Name)
			records[string(d.UID)] = stored.of(t, shape, d)
		}
	}
	const changed = "changed-0"
	w.createMarker()
	w.awaitRollout(names...)
	w.later()
	w.setSecret("token", "token", "2")
	w.storeLedger(stored, records)

	t.Log("the upgrade")
	g := NewWithT(t)
	var err error
	w.binary, err = harness.Build(t.Context(), root, "./cmd/reloader", filepath.Join(t.TempDir(), "reloader"), "-ldflags=-X main.version="+version)
	g.Expect(err).NotTo(HaveOccurred())
	c := w.startController(quick)
	g.Expect(c.lines("starting")).To(ConsistOf(HaveKeyWithValue("version", version)))
	g.Expect(c.lines("leading")).To(ConsistOf(And(
		HaveKeyWithValue("ledgerEntries", BeEquivalentTo(len(names))), HaveKeyWithValue("newLedger", false))))
	w.awaitRestart(changed, 1)
	w.awaitRecord(changed, marker)
	w.mark(1)
	w.expectOnlyWrittenTo(changed, marker)
	c.stop()

	t.Log("back from a later format")
	lost := w.makeLater(later)
	w.later()
	w.setSecret("tls", "tls.crt", "2") // nothing is left to compare it to
	w.binary = ""
	c = w.startController(quick)
	g.Expect(c.lines("leading")).To(ConsistOf(And(
		HaveKeyWithValue("ledgerEntries", BeEquivalentTo(0)), HaveKeyWithValue("newLedger", true))))
	g.Expect(lost).To(Equal(len(names)+1), "the marker's too")
	told := 0
	for _, line := range c.lines("ledger records cannot be read and are lost: their workloads are met for the first time, " +
		"changes made since are missed") {
		g.Expect(line).To(HaveKeyWithValue("error", fmt.Sprintf("unknown ledger format: %d", later)))
		told += int(line["records"].(float64))
	}
	g.Expect(told).To(Equal(lost))
	w.awaitRecord(names...)
	w.awaitRecord(marker)
	w.mark(2)
	w.expectOnlyWrittenTo(changed, marker)
	w.expectRestarts(changed, 1)
}

func readStored(t *testing.T, format int) (stored storedLedger) {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("ledger-format-%d.json", format)))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(json.Unmarshal(text, &stored)).To(Succeed())
	g.Expect(slices.Collect(maps.Keys(stored.Records))).To(ConsistOf(slices.Collect(maps.Keys(storedShapes()))))
	return stored
}

// written gives a template the value that its record says was written.
func (s storedLedger) written(t *testing.T, shape string) option {
	t.Helper()
	var record struct{ Val string }
	NewWithT(t).Expect(json.Unmarshal(s.Records[shape], &record)).To(Succeed())
	return func(d *appsv1.Deployment) {
		if record.Val != "" {
			d.Spec.Template.Annotations = with(nil, v1alpha1.ConfigDigestAnnotation, record.Val)
		}
	}
}

// present fills in what stored records say of sources with the sources that there are.
func (s storedLedger) present(w *world) {
	w.t.Helper()
	var pairs []string
	fill := func(kind string, object client.Object, name string) {
		w.get(object, name)
		about := "<" + kind + "/" + name + " "
		pairs = append(pairs, about+"uid>", string(object.GetUID()), about+"version>", object.GetResourceVersion())
	}
	for _, name := range []string{"tls", "keys", "password", "token"} {
		fill("Secret", &corev1.Secret{}, name)
	}
	fill("ConfigMap", &corev1.ConfigMap{}, "settings")
	for shape, record := range s.Records {
		s.Records[shape] = json.RawMessage(strings.NewReplacer(pairs...).Replace(string(record)))
	}
}

// of is the record of a shape as it is of this Deployment.
func (s storedLedger) of(t *testing.T, shape string, d *appsv1.Deployment) string {
	t.Helper()
	var line bytes.Buffer
	g := NewWithT(t)
	g.Expect(json.Compact(&line, s.Records[shape])).To(Succeed())
	text := strings.NewReplacer("<name>", d.Name, "<uid>", string(d.UID)).Replace(line.String())
	g.Expect(text).NotTo(ContainSubstring("<"), "nothing is left to fill in")
	return text
}

// storeLedger stores records as a controller would have, in shards, and the key that they were made with.
func (w *world) storeLedger(stored storedLedger, records map[string]string) {
	w.t.Helper()
	const each = 80 // a shard, which may hold 64 KiB
	key := secret("reloader-digest-key")
	key.Data = map[string][]byte{"key": stored.Key}
	w.create(key)
	number := 0
	for uids := range slices.Chunk(slices.Sorted(maps.Keys(records)), each) {
		shard := configMap(fmt.Sprintf("reloader-ledger-%d", number))
		shard.Labels = map[string]string{harness.LedgerLabel: "shard", "app.kubernetes.io/managed-by": "reloader"}
		shard.Annotations = map[string]string{harness.LedgerLabel + "-epoch": "1", harness.LedgerLabel + "-key": stored.KeyID}
		for _, uid := range uids {
			shard.Data[uid] = records[uid]
		}
		w.create(shard)
		number++
	}
}

// makeLater puts records of another format into the place of all that there are, and counts them.
func (w *world) makeLater(format int) (records int) {
	w.t.Helper()
	for _, shard := range w.ledger(w.t.Context()) {
		for uid := range shard.Data {
			shard.Data[uid] = fmt.Sprintf(`{"v":%d,"h":1,"u":%q,"src":{"packed":"AAAA"}}`, format, types.UID(uid))
			records++
		}
		NewWithT(w.t).Expect(w.admin.Update(w.t.Context(), &shard)).To(Succeed())
	}
	return records
}

// expectOnlyWrittenTo checks that the controller has sent no write of any other workload, accepted or not.
func (w *world) expectOnlyWrittenTo(names ...string) {
	w.t.Helper()
	for _, e := range w.requests() {
		if e.APIGroup == "apps" && !slices.Contains([]string{"get", "list", "watch"}, e.Verb) {
			NewWithT(w.t).Expect(names).To(ContainElement(e.Name), "%s of %s", e.Verb, e.Resource)
		}
	}
}
