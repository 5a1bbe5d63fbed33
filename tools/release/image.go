package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is a number, so that the kubelet can tell that it is not root.
const user = "65532:65532"

// epoch is the time of everything: the time of a build would make equal input differ.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

// writeImage writes the image for the architectures of the binaries as an archive of an OCI layout. It returns the digest of
// the image's index, by which all of it is known.
func writeImage(out, version string, binaries map[string]string) (digest string, err error) {
	index, err := buildIndex(version, binaries)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "reloader-image-")
	if err != nil {
		return "", fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return "", fmt.Errorf("writing the image: %w", err)
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": version})); err != nil {
		return "", fmt.Errorf("writing the image: %w", err)
	}
	if err := archive(dir, out); err != nil {
		return "", err
	}
	hash, err := index.Digest()
	if err != nil {
		return "", fmt.Errorf("digesting the image: %w", err)
	}
	return hash.String(), nil
}

// buildIndex is the image for all architectures.
func buildIndex(version string, binaries map[string]string) (v1.ImageIndex, error) {
	base, err := baseLayer()
	if err != nil {
		return nil, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	index = mutate.Annotations(index, labels(version)).(v1.ImageIndex)
	for _, architecture := range slices.Sorted(maps.Keys(binaries)) {
		image, err := buildImage(version, architecture, binaries[architecture], base)
		if err != nil {
			return nil, fmt.Errorf("making the image for %s: %w", architecture, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	return index, nil
}

// buildImage is the image for one architecture: what every image has, and the binary.
func buildImage(version, architecture, binary string, base v1.Layer) (v1.Image, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("reading the binary: %w", err)
	}
	layer, err := layerOf(file{"reloader", 0o755, content})
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: architecture, Created: v1.Time{Time: epoch()},
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{"/reloader"}, User: user, WorkingDir: "/", Labels: labels(version),
			Env: []string{"PATH=/", "SSL_CERT_FILE=/" + rootsFile, "ZONEINFO=/" + zonesFile},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("setting the configuration: %w", err)
	}
	for what, layer := range []v1.Layer{base, layer} {
		image, err = mutate.Append(image, mutate.Addendum{
			Layer: layer, MediaType: types.OCILayer,
			History: v1.History{Created: v1.Time{Time: epoch()}, CreatedBy: [2]string{"certificate authorities, time zones", "reloader"}[what]},
		})
		if err != nil {
			return nil, fmt.Errorf("adding a layer: %w", err)
		}
	}
	return image, nil
}

func labels(version string) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    "reloader",
		"org.opencontainers.image.source":   "https://github.com/flux-reloader/reloader",
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version":  version,
	}
}

// layerOf is a layer of files.
func layerOf(files ...file) (v1.Layer, error) {
	content, err := pack(files)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		return nil, fmt.Errorf("making a layer: %w", err)
	}
	return layer, nil
}
