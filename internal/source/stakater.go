package source

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flux-reloader/reloader/internal/reference"
)

// StakaterHash reads a source from the API server and returns what Stakater Reloader writes to the templates of those that
// it restarts for the present content; empty if there is no such source. Nothing of the data is kept.
func (s *Store) StakaterHash(ctx context.Context, source reference.Source) (string, error) {
	if source.Kind.Copied() {
		return s.stakaterHashOfCopies(ctx, source)
	}
	var resource string
	var list runtime.Object
	switch source.Kind {
	case reference.Secret:
		resource, list = "secrets", &corev1.SecretList{}
	case reference.ConfigMap:
		resource, list = "configmaps", &corev1.ConfigMapList{}
	default:
		return "", fmt.Errorf("reading %s: %w", source, ErrKind)
	}
	// Listed, not got: the controller may list and watch sources, and needs no other right.
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", source.Name).String()}
	err := s.options.Client.Get().Namespace(source.Namespace).Resource(resource).
		VersionedParams(&options, s.options.Codec).Do(ctx).Into(list)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", source, err)
	}
	switch l := list.(type) {
	case *corev1.SecretList:
		for i := range l.Items {
			return stakaterHash(text(l.Items[i].Data), nil), nil
		}
	case *corev1.ConfigMapList:
		for i := range l.Items {
			return stakaterHash(l.Items[i].Data, l.Items[i].BinaryData), nil
		}
	}
	return "", nil
}

// stakaterHashOfCopies is that of what the driver wrote last of a class; empty if it has not written anything.
func (s *Store) stakaterHashOfCopies(ctx context.Context, source reference.Source) (string, error) {
	scheme := csiScheme()
	client, err := s.options.ClientFor(csiVersion().WithKind(podStatusKind), scheme)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", source, err)
	}
	list := &podStatusList{}
	err = client.Get().Namespace(source.Namespace).Resource(podStatusResource).
		VersionedParams(&metav1.ListOptions{}, runtime.NewParameterCodec(scheme)).Do(ctx).Into(list)
	if apierrors.IsNotFound(err) {
		return "", nil // what is not served has not been written
	}
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", source, err)
	}
	of, found := &class{held: map[string]*mounted{}}, map[string]string{}
	keep := keepMounted(s.options.Key)
	for i := range list.Items {
		status := &list.Items[i]
		m, ok := keep(status).(*mounted)
		if !ok || m.source != source {
			continue
		}
		of.put(m)
		entries := map[string]string{"SecretProviderClassName": source.Name}
		for _, object := range status.Status.Objects {
			entries[object.ID] = object.Version
		}
		found[m.name] = stakaterHash(entries, nil)
	}
	if newest := of.newest(); newest != nil {
		return found[newest.name], nil
	}
	return "", nil
}

// stakaterHash is the SHA-1, in hex, of all "key=value", sorted and joined by semicolons; binary values are in base64.
func stakaterHash(data map[string]string, binary map[string][]byte) string {
	entries := make([]string, 0, len(data)+len(binary))
	for key, value := range data {
		entries = append(entries, key+"="+value)
	}
	for key, value := range binary {
		entries = append(entries, key+"="+base64.StdEncoding.EncodeToString(value))
	}
	slices.Sort(entries)
	sum := sha1.Sum([]byte(strings.Join(entries, ";")))
	return hex.EncodeToString(sum[:])
}

func text(data map[string][]byte) map[string]string {
	texts := make(map[string]string, len(data))
	for key, value := range data {
		texts[key] = string(value)
	}
	return texts
}
