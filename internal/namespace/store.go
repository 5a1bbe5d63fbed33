// Package namespace watches namespaces, keeps their labels, and tells which of them a label selector selects. Labels change,
// and with them what Reloader looks after, and by which policy.
package namespace

import (
	"fmt"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/flux-reloader/reloader/internal/watch"
)

const resource = "namespaces"

// Options are what a Store needs.
type Options struct {
	Log logr.Logger
	// Client talks to the core API group.
	Client rest.Interface
	Codec  runtime.ParameterCodec
	// Labels select the namespaces that count; nil for all.
	Labels labels.Selector
	// Changed is told of every namespace that is selected from now on, or no longer, and of one that is and whose labels
	// changed. It must not block.
	Changed func(name string)
}

// Store knows which namespaces are selected, and the labels of all.
type Store struct {
	watch.Group
	// all is whether every namespace is selected, also one that is not known yet.
	all     bool
	changed func(name string)
}

// New prepares a store. It fills with Run.
func New(options Options) (*Store, error) {
	s := &Store{all: options.Labels == nil, changed: options.Changed}
	informers, err := watch.New(options.Log, watch.AllNamespaces(), watch.Resource{
		Name: resource, Client: options.Client, Codec: options.Codec, Object: &corev1.Namespace{}, Keep: keep(options.Labels),
	}, s)
	if err != nil {
		return nil, fmt.Errorf("preparing namespaces: %w", err)
	}
	s.Group = watch.Group{resource: informers}
	return s, nil
}

// Selected reports whether the namespace is selected. Known is false if the API server has not said, or does not say.
func (s *Store) Selected(name string) (selected, known bool) {
	if s.all {
		return true, true
	}
	kept, _, known := s.Group[resource].Get(metav1.NamespaceNone, name)
	o, ok := kept.(*object)
	return ok && o.selected, known
}

// Labels returns a namespace's labels; nil for one that has none, or does not exist. Known is false if the API server has
// not said, or does not say.
func (s *Store) Labels(name string) (set labels.Set, known bool) {
	kept, _, known := s.Group[resource].Get(metav1.NamespaceNone, name)
	if o, ok := kept.(*object); ok {
		set = o.labels.Set()
	}
	return set, known
}

// object is what is kept of a namespace. It never changes once made.
type object struct {
	meta     metav1.ObjectMeta
	selected bool
	labels   watch.Labels
}

// GetObjectMeta lets client-go's stores key and compare objects.
func (o *object) GetObjectMeta() metav1.Object { return &o.meta }

func keep(selector labels.Selector) func(any) any {
	return func(from any) any {
		n, ok := from.(*corev1.Namespace)
		if !ok {
			return from
		}
		return &object{
			meta:     metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion},
			selected: selector == nil || selector.Matches(labels.Set(n.Labels)),
			labels:   watch.KeepLabels(n.Labels),
		}
	}
}

// Added implements watch.Handler.
func (s *Store) Added(kept any, _ watch.Origin) {
	if o, ok := kept.(*object); ok && o.selected {
		s.changed(o.meta.Name)
	}
}

// Updated implements watch.Handler.
func (s *Store) Updated(before, after any, _ watch.Origin) {
	older, ok := before.(*object)
	newer, isObject := after.(*object)
	if ok && isObject && (older.selected != newer.selected || newer.selected && older.labels != newer.labels) {
		s.changed(newer.meta.Name)
	}
}

// Deleted implements watch.Handler. What was in the namespace goes by itself.
func (s *Store) Deleted(any) {}
