package watchtest

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// Host is the address of a server that stands for the API server, in JSON and for custom resources only.
type Host string

// Client makes a client of the host for watches of a kind that the scheme knows.
func (h Host) Client(kind schema.GroupVersionKind, scheme *runtime.Scheme) (rest.Interface, error) {
	version := kind.GroupVersion()
	return rest.RESTClientFor(&rest.Config{
		Host: string(h), APIPath: "/apis", QPS: -1, ContentConfig: rest.ContentConfig{
			ContentType: runtime.ContentTypeJSON, GroupVersion: &version,
			NegotiatedSerializer: serializer.NewCodecFactory(scheme).WithoutConversion(),
		},
	})
}

// Eventually waits for a condition: a reflector's first backoff is near a second, and doubles.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
