package watch

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/utils/ptr"
)

type widget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec map[string]string `json:"spec,omitempty"`
}

func (w *widget) DeepCopyObject() runtime.Object {
	return &widget{TypeMeta: w.TypeMeta, ObjectMeta: *w.ObjectMeta.DeepCopy(), Spec: maps.Clone(w.Spec)}
}

func TestAddKind(t *testing.T) {
	version := schema.GroupVersion{Group: "example.test", Version: "v1"}
	scheme := runtime.NewScheme()
	AddKind[widget](scheme, version.WithKind("Widget"))
	AddKind[widget](scheme, version.WithKind("Gadget"))
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	meta := func(kind string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: "example.test/v1", Kind: kind} }
	one := widget{TypeMeta: meta("Gadget"), ObjectMeta: metav1.ObjectMeta{Name: "one"}, Spec: map[string]string{"size": "1"}}
	for text, want := range map[string]runtime.Object{
		`{"apiVersion": "example.test/v1", "kind": "Gadget", "metadata": {"name": "one"}, "spec": {"size": "1"}}`: &one,
		`{"apiVersion": "example.test/v1", "kind": "WidgetList", "metadata": {"resourceVersion": "7", "continue": "more"}, "items": [
			{"apiVersion": "example.test/v1", "kind": "Gadget", "metadata": {"name": "one"}, "spec": {"size": "1"}}]}`: &List[widget, *widget]{
			TypeMeta: meta("WidgetList"), ListMeta: metav1.ListMeta{ResourceVersion: "7", Continue: "more"}, Items: []widget{one},
		},
		`{"apiVersion": "example.test/v1", "kind": "GadgetList", "items": []}`: &List[widget, *widget]{
			TypeMeta: meta("GadgetList"), Items: []widget{},
		},
	} {
		got, _, err := decoder.Decode([]byte(text), nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// What was copied changes apart from what it was copied from.
func TestListDeepCopyObject(t *testing.T) {
	list := func() *List[widget, *widget] {
		return &List[widget, *widget]{
			TypeMeta: metav1.TypeMeta{Kind: "WidgetList"},
			ListMeta: metav1.ListMeta{ResourceVersion: "7", RemainingItemCount: ptr.To(int64(1))},
			Items:    []widget{{Spec: map[string]string{"size": "1"}}, {ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}}},
		}
	}
	original := list()
	c := original.DeepCopyObject().(*List[widget, *widget])
	if diff := cmp.Diff(list(), c); diff != "" {
		t.Fatalf("(-original +copy):\n%s", diff)
	}
	c.Items[0].Name, c.Items[0].Spec["size"], c.Items[1].Labels["a"], *c.RemainingItemCount = "other", "2", "c", 9
	if diff := cmp.Diff(list(), original); diff != "" {
		t.Errorf("the original has changed with its copy (-want +got):\n%s", diff)
	}
}
