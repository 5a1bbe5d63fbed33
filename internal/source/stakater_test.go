package source

import (
	"crypto/sha1"
	"encoding/hex"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/watch/watchtest"
)

func TestStakaterHash(t *testing.T) {
	sum := func(text string) string {
		s := sha1.Sum([]byte(text))
		return hex.EncodeToString(s[:])
	}
	objects := []runtime.Object{
		&corev1.Secret{ObjectMeta: meta("tls"), Data: map[string][]byte{"b": []byte("2"), "a": []byte("1=;")}},
		&corev1.ConfigMap{ObjectMeta: meta("app"), Data: map[string]string{"text": "1"}, BinaryData: map[string][]byte{"raw": {0xff}}},
	}
	store, err := New(Options{
		Log: logr.Discard(), Scope: watch.AllNamespaces(), Client: watchtest.List(t, objects...).CoreV1().RESTClient(),
		Codec: clientgoscheme.ParameterCodec, Key: testKey(t), Selection: selection.Defaults(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[reference.Source]string{
		{Kind: reference.Secret, Namespace: "apps", Name: "tls"}:    sum("a=1=;;b=2"),
		{Kind: reference.ConfigMap, Namespace: "apps", Name: "app"}: sum("raw=/w==;text=1"),
		{Kind: reference.Secret, Namespace: "apps", Name: "gone"}:   "",
	} {
		got, err := store.StakaterHash(t.Context(), source)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", source, got, err, want)
		}
	}
	if _, err := store.StakaterHash(t.Context(), reference.Source{Kind: "Route"}); err == nil {
		t.Error("a kind that there is not has a hash")
	}
}
