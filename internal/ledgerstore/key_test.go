package ledgerstore

import (
	"bytes"
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flux-reloader/reloader/internal/digest"
)

func keyOf(t *testing.T, letter byte) digest.Key {
	t.Helper()
	key, err := digest.NewKey(bytes.Repeat([]byte{letter}, digest.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keySecret(material []byte) *corev1.Secret {
	s := &corev1.Secret{Data: map[string][]byte{keyField: material}}
	s.Namespace, s.Name = namespace, KeySecret
	return s
}

func builder(objects ...client.Object) *fake.ClientBuilder {
	return fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objects...)
}

func TestEnsureKeyMakesOne(t *testing.T) {
	c := builder().Build()
	key, err := EnsureKey(t.Context(), c, namespace)
	if err != nil {
		t.Fatal(err)
	}
	if key.Equal(digest.Key{}) {
		t.Error("the key is no key")
	}
	again, err := EnsureKey(t.Context(), c, namespace)
	if err != nil || !again.Equal(key) {
		t.Errorf("another key the second time, error %v", err)
	}
	stored := &corev1.Secret{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: KeySecret}, stored); err != nil {
		t.Fatal(err)
	}
	if stored.Immutable == nil || !*stored.Immutable || !bytes.Equal(stored.Data[keyField], key.Material()) {
		t.Errorf("stored is another, or immutable is %v", stored.Immutable)
	}
}

// Two replicas make a key at the same time: one wins, and both use that.
func TestEnsureKeyTakesTheOthers(t *testing.T) {
	other := keyOf(t, 'o')
	c := builder().WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if err := c.Create(ctx, keySecret(other.Material())); err != nil {
				return err
			}
			return c.Create(ctx, o, options...)
		},
	}).Build()
	key, err := EnsureKey(t.Context(), c, namespace)
	if err != nil || !key.Equal(other) {
		t.Errorf("not the other's key, error %v", err)
	}
}

// Only the answer that there is no key makes one.
func TestEnsureKeyMakesNoneOnOtherErrors(t *testing.T) {
	refused := apierrors.NewForbidden(corev1.Resource("secrets"), KeySecret, errors.New("no"))
	c := builder().WithInterceptorFuncs(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return refused
		},
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			t.Error("a key was made")
			return nil
		},
	}).Build()
	if _, err := EnsureKey(t.Context(), c, namespace); !errors.Is(err, refused) {
		t.Errorf("error %v, want %v", err, refused)
	}
	if err := VerifyKey(t.Context(), c, namespace, keyOf(t, 'k')); !errors.Is(err, refused) {
		t.Errorf("error %v, want %v", err, refused)
	}
}

func TestEnsureKeyRefusesABadOne(t *testing.T) {
	c := builder(keySecret([]byte("short"))).Build()
	if _, err := EnsureKey(t.Context(), c, namespace); !errors.Is(err, digest.ErrKeySize) {
		t.Errorf("error %v, want %v", err, digest.ErrKeySize)
	}
}

func TestEnsureKeyCannotStore(t *testing.T) {
	refused := apierrors.NewForbidden(corev1.Resource("secrets"), KeySecret, errors.New("no"))
	c := builder().WithInterceptorFuncs(interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return refused },
	}).Build()
	if _, err := EnsureKey(t.Context(), c, namespace); !errors.Is(err, refused) {
		t.Errorf("error %v, want %v", err, refused)
	}
}

func TestVerifyKey(t *testing.T) {
	key, other := keyOf(t, 'k'), keyOf(t, 'o')
	if err := VerifyKey(t.Context(), builder(keySecret(key.Material())).Build(), namespace, key); err != nil {
		t.Error(err)
	}
	if err := VerifyKey(t.Context(), builder(keySecret(other.Material())).Build(), namespace, key); !errors.Is(err, ErrKeyReplaced) {
		t.Errorf("error %v, want %v", err, ErrKeyReplaced)
	}

	t.Log("deleted")
	c := builder().Build()
	if err := VerifyKey(t.Context(), c, namespace, key); err != nil {
		t.Fatal(err)
	}
	if restored, err := EnsureKey(t.Context(), c, namespace); err != nil || !restored.Equal(key) {
		t.Errorf("not the key that was deleted, error %v", err)
	}
}

// Another replica stores a key, another or the same, while this one is about to.
func TestVerifyKeyLosesARace(t *testing.T) {
	key, other := keyOf(t, 'k'), keyOf(t, 'o')
	for want, theirs := range map[error]digest.Key{nil: key, ErrKeyReplaced: other} {
		c := builder().WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
				if err := c.Create(ctx, keySecret(theirs.Material())); err != nil {
					return err
				}
				return c.Create(ctx, o, options...)
			},
		}).Build()
		if err := VerifyKey(t.Context(), c, namespace, key); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
}
