package watch

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// List is the list type of a kind whose project is not imported, so that only the object's own type has to be written.
type List[T any, P pointer[T]] struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []T `json:"items"`
}

// pointer is what P of List always is: a pointer to T, which is an API object.
type pointer[T any] interface {
	*T
	runtime.Object
}

// DeepCopyObject implements runtime.Object. It copies items by their own DeepCopyObject, which must return a P.
func (l *List[T, P]) DeepCopyObject() runtime.Object {
	c := &List[T, P]{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		c.Items = append(c.Items, *P(&l.Items[i]).DeepCopyObject().(P))
	}
	return c
}

// AddKind makes the scheme decode a kind as T, and its list as a List of T. Several kinds may share a T.
func AddKind[T any, P pointer[T]](scheme *runtime.Scheme, kind schema.GroupVersionKind) {
	version := kind.GroupVersion()
	metav1.AddToGroupVersion(scheme, version)
	scheme.AddKnownTypeWithName(kind, P(new(T)))
	scheme.AddKnownTypeWithName(version.WithKind(kind.Kind+"List"), &List[T, P]{})
}
