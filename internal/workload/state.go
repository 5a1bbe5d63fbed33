package workload

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/ledger"
)

const (
	// StateSecret is the name of the Secret that holds the replacements that have begun, each under the uid of the object to
	// be replaced. It is a Secret because a manifest may have passwords in it, and one for all so that rights on one name
	// suffice.
	StateSecret = "reloader-jobs"

	// maxManifest bounds what is read of one, in bytes: several times what the API server accepts.
	maxManifest = 8 << 20
)

// State is where a Store keeps what must survive the process: replacements that have begun.
type State struct {
	Client    client.Client
	Namespace string
	// Instance tells controllers apart that share the namespace; empty for the only one.
	Instance string
}

// replacement is a workload that is made again: all it takes to go on.
type replacement struct {
	Workload ledger.Workload
	// UID and ResourceVersion of the object that is replaced.
	UID             types.UID
	ResourceVersion string
	// Value is the config digest annotation of the new object.
	Value string
	// Account is who makes it.
	Account string
	// Manifest is the new object.
	Manifest *unstructured.Unstructured
}

var errForeign = errors.New("not written by this version")

func (s State) field(r replacement) string {
	if s.Instance == "" {
		return string(r.UID)
	}
	return string(r.UID) + "." + s.Instance
}

// save stores a replacement. It is stored when there is no error.
func (s State) save(ctx context.Context, r replacement) error {
	encoded, err := r.encode()
	if err != nil {
		return err
	}
	data := map[string][]byte{s.field(r): encoded}
	err = s.patch(ctx, map[string]any{s.field(r): encoded})
	if !apierrors.IsNotFound(err) {
		return err
	}
	secret := &corev1.Secret{Type: corev1.SecretTypeOpaque, Data: data}
	secret.Namespace, secret.Name = s.Namespace, StateSecret
	secret.Labels = map[string]string{"app.kubernetes.io/managed-by": "reloader"}
	if err := s.Client.Create(ctx, secret); !apierrors.IsAlreadyExists(err) {
		return err
	}
	return s.patch(ctx, map[string]any{s.field(r): encoded})
}

// forget takes a replacement away.
func (s State) forget(ctx context.Context, r replacement) error {
	return client.IgnoreNotFound(s.patch(ctx, map[string]any{s.field(r): nil}))
}

func (s State) patch(ctx context.Context, data map[string]any) error {
	body, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = s.Namespace, StateSecret
	return s.Client.Patch(ctx, secret, client.RawPatch(types.MergePatchType, body))
}

// load reads the replacements of this instance. What cannot be read is left for whoever wrote it.
func (s State) load(ctx context.Context, log logr.Logger) ([]replacement, error) {
	secret := &corev1.Secret{}
	err := s.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: StateSecret}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading secret %s/%s: %w", s.Namespace, StateSecret, err)
	}
	var list []replacement
	for field, encoded := range secret.Data {
		if _, instance, _ := strings.Cut(field, "."); instance != s.Instance {
			continue
		}
		r, err := decodeReplacement(encoded)
		if err == nil && s.field(r) != field {
			err = errForeign
		}
		if err != nil {
			log.Error(err, "cannot finish a restart that has begun", "secret", s.Namespace+"/"+StateSecret, "field", field)
			continue
		}
		list = append(list, r)
	}
	return list, nil
}

func (r replacement) encode() ([]byte, error) {
	var encoded bytes.Buffer
	compressed := gzip.NewWriter(&encoded)
	if err := errors.Join(json.NewEncoder(compressed).Encode(r), compressed.Close()); err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return encoded.Bytes(), nil
}

func decodeReplacement(encoded []byte) (replacement, error) {
	var r replacement
	compressed, err := gzip.NewReader(bytes.NewReader(encoded))
	if err != nil {
		return r, fmt.Errorf("decoding: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(compressed, maxManifest))
	if err != nil {
		return r, fmt.Errorf("decoding: %w", err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("decoding: %w", errForeign) // the error itself may quote what is secret
	}
	return r, nil
}
