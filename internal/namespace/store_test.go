package namespace

import (
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/watch/watchtest"
)

func namespace(version string, labels labels.Set) *corev1.Namespace {
	return &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: "apps", ResourceVersion: version, Labels: labels},
	}
}

func TestChanged(t *testing.T) {
	ofA := labels.SelectorFromSet(labels.Set{"team": "a"})
	type set = labels.Set
	for name, test := range map[string]struct {
		selector      labels.Selector
		before, after set
		added, told   bool
	}{
		"selected":                          {ofA, set{"team": "b"}, set{"team": "a"}, false, true},
		"not selected any more":             {ofA, set{"team": "a"}, nil, true, true},
		"another label, selected":           {ofA, set{"team": "a"}, set{"team": "a", "x": ""}, true, true},
		"another label, not selected":       {ofA, set{"team": "b"}, set{"team": "b", "x": ""}, false, false},
		"nothing, selected":                 {ofA, set{"team": "a"}, set{"team": "a"}, true, false},
		"another label, without a selector": {nil, set{"team": "a"}, set{"team": "b"}, true, true},
		"nothing, without a selector":       {nil, nil, set{}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			var told int
			store, err := New(Options{
				Log: logr.Discard(), Codec: clientgoscheme.ParameterCodec, Labels: test.selector, Changed: func(string) { told++ },
			})
			if err != nil {
				t.Fatal(err)
			}
			kept := keep(test.selector)
			before, after := kept(namespace("1", test.before)), kept(namespace("2", test.after))
			if store.Added(before, watch.Initial); (told == 1) != test.added {
				t.Errorf("told of one that comes: %v, want %v", told == 1, test.added)
			}
			told = 0
			if store.Updated(before, after, watch.Watched); (told == 1) != test.told {
				t.Errorf("told of its change: %v, want %v", told == 1, test.told)
			}
		})
	}
}

func TestLabels(t *testing.T) {
	clients := watchtest.Stream(t, map[string][]runtime.Object{resource: {
		namespace("1", labels.Set{"team": "a"}), namespace("2", labels.Set{"team": "b"}),
	}})
	told := make(chan struct{}, 100)
	store, err := New(Options{
		Log: logr.Discard(), Client: clients.CoreV1().RESTClient(), Codec: clientgoscheme.ParameterCodec,
		Changed: func(string) { told <- struct{}{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, known := store.Labels("apps"); known {
		t.Error("labels are known before the API server has told of any")
	}
	watchtest.Run(t, store.Run, told, 2, store.Settled)
	for name, want := range map[string]labels.Set{"apps": {"team": "b"}, "absent": nil} {
		set, known := store.Labels(name)
		if diff := cmp.Diff(want, set); diff != "" || !known {
			t.Errorf("%s: known %v, labels (-want +got):\n%s", name, known, diff)
		}
	}
	for _, name := range []string{"apps", "absent"} {
		if selected, known := store.Selected(name); !selected || !known {
			t.Errorf("%s, without a selector: selected %v, known %v", name, selected, known)
		}
	}
}
