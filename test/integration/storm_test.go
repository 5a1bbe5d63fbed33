package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Labels and annotations of sources are written all the time: by those who own the data, which moves the time of the
// data's last write, and by others. No workload is written for that, nor for what of it happened while no controller ran.
func TestAStormOfLabelsRestartsNothing(t *testing.T) {
	const each, writes = 10, 15
	w := newWorld(t)
	var names []string
	var sources []labelled
	for i := range each {
		name := fmt.Sprintf("web-%d", i)
		names = append(names, name)
		for _, kind := range []string{"Secret", "ConfigMap"} {
			source := labelled{world: w, kind: kind, name: name, applied: i%2 == 0}
			source.create()
			sources = append(sources, source)
		}
		w.create(deployment(name, auto, mountSecret(name, "/etc/secret"), envFromConfigMap(name)))
	}
	w.createMarker()
	w.awaitRollout(names...)
	c := w.startController(quick)
	w.awaitRecord(append(names, marker)...)
	w.storm(sources, 0, writes)
	w.mark(1)
	c.stop()
	w.storm(sources, writes, 2*writes)
	w.startController(quick)
	w.mark(2)

	g := NewWithT(t)
	for _, name := range names {
		w.expectRestarts(name, 0)
	}
	for _, e := range w.requests() {
		if e.APIGroup == "apps" && e.Name != marker {
			g.Expect(e.Verb).To(BeElementOf("get", "list", "watch"), e.RequestURI)
		}
	}
}

// storm writes labels and annotations of all sources at once, from one round up to another.
func (w *world) storm(sources []labelled, from, to int) {
	w.t.Helper()
	w.later()
	failed := make([]error, len(sources))
	var writing sync.WaitGroup
	for i, source := range sources {
		writing.Go(func() { failed[i] = source.label(from, to) })
	}
	writing.Wait()
	NewWithT(w.t).Expect(errors.Join(failed...)).To(Succeed())
}

const (
	dataOwner = "owner"
	stranger  = "stranger"
)

// labelled is a source whose data somebody owns, by having applied it or by having made it in an Update.
type labelled struct {
	*world
	kind, name string
	applied    bool
}

func (l labelled) create() {
	l.t.Helper()
	g := NewWithT(l.t)
	if l.applied {
		g.Expect(l.patch(types.ApplyPatchType, dataOwner, l.manifest())).To(Succeed())
		return
	}
	g.Expect(l.admin.Create(l.t.Context(), l.manifest(), client.FieldOwner(dataOwner))).To(Succeed())
}

// label writes labels and annotations in turn: a stranger's Update, a stranger's apply, and the way of the data's owner.
func (l labelled) label(from, to int) error {
	before, err := l.read()
	if err != nil {
		return err
	}
	for round := from; round < to; round++ {
		object := l.manifest()
		field := []string{"labels", "annotations"}[round/3%2]
		manager, how := stranger, types.ApplyPatchType
		if round%3 == 0 || round%3 == 2 && !l.applied {
			how = types.MergePatchType
		}
		if round%3 == 2 {
			manager = dataOwner
		} else {
			unstructured.RemoveNestedField(object.Object, "data")
		}
		_ = unstructured.SetNestedField(object.Object, fmt.Sprint(round), "metadata", field, "of-"+manager)
		if err := l.patch(how, manager, object); err != nil {
			return err
		}
	}
	after, err := l.read()
	if err == nil && !dataTime(after).After(dataTime(before)) {
		return fmt.Errorf("%s %s: the time of the data's last write was to move", l.kind, l.name)
	}
	return err
}

func (l labelled) manifest() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": l.kind,
		"metadata": map[string]any{"namespace": l.namespace, "name": l.name},
		"data":     map[string]any{"key": "MQ=="},
	}}
}

func (l labelled) patch(how types.PatchType, manager string, object *unstructured.Unstructured) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	options := []client.PatchOption{client.FieldOwner(manager)}
	if how == types.ApplyPatchType {
		options = append(options, client.ForceOwnership)
	}
	return l.admin.Patch(l.t.Context(), object, client.RawPatch(how, body), options...)
}

func (l labelled) read() (*metav1.PartialObjectMetadata, error) {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(l.manifest().GroupVersionKind())
	return object, l.admin.Get(l.t.Context(), l.key(l.name), object)
}
