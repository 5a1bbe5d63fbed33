package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/registry"
)

// fieldManager owns what the demo applies.
const fieldManager = "demo"

// applyManifest applies one of the demo's own manifests.
func (d *demo) applyManifest(ctx context.Context, name string) error {
	expanded, err := registry.Manifest(name, d.variables)
	if err != nil {
		return fmt.Errorf("applying %s: %w", name, err)
	}
	if err := d.apply(ctx, namespace, []byte(expanded)); err != nil {
		return fmt.Errorf("applying %s: %w", name, err)
	}
	return nil
}

// applyFile applies a manifest of the repository, as an installation would.
func (d *demo) applyFile(ctx context.Context, into, path string) error {
	content, err := os.ReadFile(filepath.Join(d.root, filepath.FromSlash(path)))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is missing: `make generate` makes it", path)
	}
	if err != nil {
		return fmt.Errorf("applying %s: %w", path, err)
	}
	if err := d.apply(ctx, into, content); err != nil {
		return fmt.Errorf("applying %s: %w", path, err)
	}
	return nil
}

// apply applies all objects of a manifest; those that live in a namespace and name none go into the given one.
func (d *demo) apply(ctx context.Context, into string, content []byte) error {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		if len(object.Object) == 0 {
			continue
		}
		namespaced, err := d.client.IsObjectNamespaced(object)
		if err != nil {
			return fmt.Errorf("%s: %w", object.GetKind(), err)
		}
		if namespaced && object.GetNamespace() == "" {
			object.SetNamespace(into)
		}
		apply := client.ApplyConfigurationFromUnstructured(object)
		if err := d.client.Apply(ctx, apply, client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}
