package source

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
)

// object is what is kept of a Secret or ConfigMap. It never changes once made.
type object struct {
	source   reference.Source
	observed plan.Source
	marks    selection.Marks
	labels   watch.Labels
}

// GetObjectMeta lets client-go's stores key and compare objects.
func (o *object) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{
		Namespace: o.source.Namespace, Name: o.source.Name,
		UID: o.observed.UID, ResourceVersion: o.observed.ResourceVersion,
	}
}

// keep digests the data of a Secret or ConfigMap and lets go of it. It returns what it made before as it is, and
// anything else too: a transform that fails would drop the object, or a whole list.
func keep(key digest.Key, annotations selection.Annotations, selected labels.Selector) func(any) any {
	return func(from any) any {
		switch o := from.(type) {
		case *corev1.Secret:
			kept := newObject(reference.Secret, &o.ObjectMeta, o.Immutable)
			kept.marks = marks(&o.ObjectMeta, annotations, selected)
			kept.observed.Content = key.Content(kept.source, o.Data, nil)
			kept.observed.NotBefore, kept.observed.NotAfter = validity(o.Data[corev1.TLSCertKey])
			return kept
		case *corev1.ConfigMap:
			kept := newObject(reference.ConfigMap, &o.ObjectMeta, o.Immutable)
			kept.marks = marks(&o.ObjectMeta, annotations, selected)
			kept.observed.Content = key.Content(kept.source, o.BinaryData, o.Data)
			return kept
		default:
			return from
		}
	}
}

func newObject(kind reference.Kind, meta *metav1.ObjectMeta, immutable *bool) *object {
	o := &object{
		source: reference.Source{Kind: kind, Namespace: meta.Namespace, Name: meta.Name}, labels: watch.KeepLabels(meta.Labels),
		observed: plan.Source{
			State: plan.Present, UID: meta.UID, ResourceVersion: meta.ResourceVersion,
			Immutable: immutable != nil && *immutable, Created: meta.CreationTimestamp.UTC(),
		},
	}
	o.observed.Changed, o.observed.Manager = lastDataWrite(meta.ManagedFields)
	return o
}

// marks are what the annotations say. A source that is not selected by its labels counts as ignored.
func marks(meta *metav1.ObjectMeta, annotations selection.Annotations, selected labels.Selector) selection.Marks {
	m := selection.ReadMarks(annotations, meta.Annotations)
	m.Ignored = m.Ignored || selected != nil && !selected.Matches(labels.Set(meta.Labels))
	return m
}

// lastDataWrite returns when, and by which field manager, an object's data was last written, as its managed fields tell.
// It is evidence, not proof: a label-only write by the data's manager moves the time, the removal of a key does not. The
// manager is empty if several wrote within that second: any of them may have been the last.
func lastDataWrite(fields []metav1.ManagedFieldsEntry) (at time.Time, manager string) {
	for _, entry := range fields {
		if entry.Time == nil || !ownsData(entry.FieldsV1) {
			continue
		}
		switch t := entry.Time.UTC(); {
		case t.After(at):
			at, manager = t, entry.Manager
		case t.Equal(at) && entry.Manager != manager:
			manager = ""
		}
	}
	return at, manager
}

func ownsData(managed *metav1.FieldsV1) bool {
	return watch.Owns(managed, "data") || watch.Owns(managed, "stringData") || watch.Owns(managed, "binaryData")
}

// validity reads the leaf of a PEM bundle, the first certificate in it; zero times if there is none.
func validity(bundle []byte) (notBefore, notAfter time.Time) {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return time.Time{}, time.Time{}
		}
		return leaf.NotBefore.UTC(), leaf.NotAfter.UTC()
	}
	return time.Time{}, time.Time{}
}
