package ledgerstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/digest"
)

const (
	// KeySecret is the name of the Secret that holds the digest key.
	KeySecret = "reloader-digest-key"

	keyField = "key"
)

// ErrKeyReplaced means that the stored digest key is not the one in use: every digest made since is of no use.
var ErrKeyReplaced = errors.New("the digest key was replaced")

// EnsureKey returns the installation's digest key. It makes one only if the API server says that there is none; of
// several replicas that try, one wins and the others take its key. Any other error means to try again.
func EnsureKey(ctx context.Context, c client.Client, namespace string) (digest.Key, error) {
	key, err := readKey(ctx, c, namespace)
	if !apierrors.IsNotFound(err) {
		return key, err
	}
	secret := make([]byte, digest.KeySize)
	if _, err := rand.Read(secret); err != nil {
		return digest.Key{}, fmt.Errorf("making the digest key: %w", err)
	}
	if err := createKey(ctx, c, namespace, secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return digest.Key{}, fmt.Errorf("storing the digest key: %w", err)
	}
	return readKey(ctx, c, namespace)
}

// VerifyKey checks that the key in use is the one that is stored, and stores it again if it was deleted. It returns
// ErrKeyReplaced if another is.
func VerifyKey(ctx context.Context, c client.Client, namespace string, key digest.Key) error {
	stored, err := readKey(ctx, c, namespace)
	if apierrors.IsNotFound(err) {
		err = createKey(ctx, c, namespace, key.Material())
		if err == nil || !apierrors.IsAlreadyExists(err) {
			return err
		}
		stored, err = readKey(ctx, c, namespace)
	}
	if err != nil {
		return err
	}
	if !stored.Equal(key) {
		return fmt.Errorf("secret %s/%s: %w", namespace, KeySecret, ErrKeyReplaced)
	}
	return nil
}

func readKey(ctx context.Context, c client.Client, namespace string) (digest.Key, error) {
	secret := &corev1.Secret{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: KeySecret}, secret); err != nil {
		return digest.Key{}, fmt.Errorf("reading the digest key: %w", err)
	}
	key, err := digest.NewKey(secret.Data[keyField])
	if err != nil {
		return digest.Key{}, fmt.Errorf("secret %s/%s, field %s: %w", namespace, KeySecret, keyField, err)
	}
	return key, nil
}

func createKey(ctx context.Context, c client.Client, namespace string, key []byte) error {
	secret := &corev1.Secret{Type: corev1.SecretTypeOpaque, Immutable: ptr.To(true), Data: map[string][]byte{keyField: key}}
	secret.Namespace, secret.Name = namespace, KeySecret
	secret.Labels = map[string]string{"app.kubernetes.io/managed-by": "reloader"}
	return c.Create(ctx, secret)
}
