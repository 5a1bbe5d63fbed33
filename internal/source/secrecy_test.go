package source

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/watch/watchtest"
)

// planted is not to be found in memory.
const planted = "planted-s3cret"

// Nothing that is kept of a source holds its data, nor what else an object carries of it: neither from the first list,
// nor from a change, nor in what client-go keeps beside it.
func TestNoDataIsKept(t *testing.T) {
	versions := map[string][]runtime.Object{}
	for _, version := range []string{"1", "2"} {
		data := map[string][]byte{
			"key": []byte(version + planted), corev1.TLSCertKey: []byte(newCertificate(t, clock) + planted),
		}
		versions["secrets"] = append(versions["secrets"], &corev1.Secret{
			TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}, ObjectMeta: plant("tls", version), Data: data,
		})
		versions["configmaps"] = append(versions["configmaps"], &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"}, ObjectMeta: plant("settings", version),
			Data: map[string]string{"text": version + planted}, BinaryData: data,
		})
	}
	store := fill(t, versions)
	texts := watchtest.Texts(store.states)
	for _, informers := range store.Group {
		texts = append(texts, watchtest.Texts(informers)...)
	}
	found := map[string]bool{}
	for _, text := range texts {
		found[text.Text] = true
	}
	for _, text := range watchtest.Holding(texts, planted) {
		t.Errorf("%s is kept: %q", text.Path, text.Text)
	}
	for source, want := range map[reference.Source]labels.Set{
		{Kind: reference.Secret, Namespace: "apps", Name: "tls"}:         {"example.test/label": "labelled"},
		{Kind: reference.ConfigMap, Namespace: "apps", Name: "settings"}: {"example.test/label": "labelled"},
		{Kind: reference.ConfigMap, Namespace: "apps", Name: "absent"}:   nil,
		{Kind: "Lease", Namespace: "apps", Name: "tls"}:                  nil,
	} {
		got, known := store.Labels(source)
		if diff := cmp.Diff(want, got); diff != "" || !known {
			t.Errorf("%s: known %t, labels (-want +got):\n%s", source, known, diff)
		}
	}
	for _, kept := range []string{"tls", "settings", "uid-1", "2", "writer", "example.test/label=labelled"} {
		if !found[kept] {
			t.Errorf("%q was not found either: the search is of no use", kept)
		}
	}
}

// plant is the metadata of an object that has the planted value in all that a source may have it in besides its data.
func plant(name, version string) metav1.ObjectMeta {
	m := meta(name)
	m.ResourceVersion = version
	m.Labels = map[string]string{"example.test/label": "labelled"}
	m.Annotations = map[string]string{
		"example.test/note":                planted,
		corev1.LastAppliedConfigAnnotation: `{"data":{"key":"` + base64.StdEncoding.EncodeToString([]byte(planted)) + `"}}`,
	}
	entry := wrote("writer", "f:data", clock)
	entry.FieldsV1 = metav1.NewFieldsV1(`{"f:data":{"f:` + planted + `":{}}}`)
	m.ManagedFields = []metav1.ManagedFieldsEntry{entry}
	return m
}

// fill runs a store until it was told of a change of every object, and stops it.
func fill(t *testing.T, versions map[string][]runtime.Object) *Store {
	t.Helper()
	changed := make(chan struct{}, 100)
	store, err := New(Options{
		Log: logr.Discard(), Scope: watch.AllNamespaces(), Client: watchtest.Stream(t, versions).CoreV1().RESTClient(),
		Codec: clientgoscheme.ParameterCodec, Key: testKey(t), Selection: selection.Defaults(),
		Now: func() time.Time { return clock },
		Changed: func(_ reference.Source, initial bool) {
			if !initial {
				changed <- struct{}{}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	watchtest.Run(t, store.Run, changed, len(versions), store.Settled)
	return store
}
