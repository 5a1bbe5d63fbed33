package main

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// Who builds a release anew can tell that it is the one that was published.
func TestTheImageIsReproducible(t *testing.T) {
	dir := t.TempDir()
	binaries := map[string]string{}
	for _, architecture := range []string{"amd64", "arm64"} {
		binaries[architecture] = filepath.Join(dir, architecture)
		write(t, binaries[architecture], "binary for "+architecture)
	}
	first, second, third := filepath.Join(dir, "1.tar"), filepath.Join(dir, "2.tar"), filepath.Join(dir, "3.tar")
	digest := image(t, first, "v1", binaries)
	touch(t, binaries["amd64"])
	if again := image(t, second, "v1", binaries); again != digest || sum(t, first) != sum(t, second) {
		t.Errorf("digests %s and %s, archives %x and %x", digest, again, sum(t, first), sum(t, second))
	}
	write(t, binaries["arm64"], "another binary")
	if other := image(t, third, "v1", binaries); other == digest {
		t.Error("another binary has the same digest")
	}
}

// The image is for all architectures, and its user is not root.
func TestTheImage(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "binary")
	write(t, binary, "binary")
	index, err := buildIndex("v1", map[string]string{"amd64": binary, "arm64": binary})
	if err != nil {
		t.Fatal(err)
	}
	path, err := layout.Write(t.TempDir(), index)
	if err != nil {
		t.Fatal(err)
	}
	index, err = path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 2 {
		t.Fatalf("%+v, %v", manifest, err)
	}
	for i, want := range []string{"amd64", "arm64"} {
		expectImage(t, index, manifest.Manifests[i], want)
	}
}

// expectImage checks the image for an architecture.
func expectImage(t *testing.T, index v1.ImageIndex, entry v1.Descriptor, want string) {
	t.Helper()
	image, err := index.Image(entry.Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if entry.Platform.Architecture != want || config.Architecture != want || config.OS != "linux" {
		t.Errorf("%s: %+v, %s/%s", want, entry.Platform, config.OS, config.Architecture)
	}
	if config.Config.User != user || config.Config.Entrypoint[0] != "/reloader" || config.Config.Labels["org.opencontainers.image.version"] != "v1" {
		t.Errorf("%+v", config.Config)
	}
	if layers, err := image.Layers(); err != nil || len(layers) != 2 {
		t.Errorf("%d layers, %v", len(layers), err)
	}
}

func TestTheImageHasRoots(t *testing.T) {
	if len(roots()) < 100<<10 {
		t.Errorf("%d bytes of certificates", len(roots()))
	}
}

// The package of a chart does not depend on when its files were written.
func TestTheChartIsReproducible(t *testing.T) {
	source := filepath.Join(t.TempDir(), "reloader")
	if err := os.CopyFS(source, os.DirFS(filepath.Join("..", "..", "charts", "reloader"))); err != nil {
		t.Fatal(err)
	}
	first, second := t.TempDir(), t.TempDir()
	one, err := packageChart(source, first)
	if err != nil {
		t.Fatal(err)
	}
	touch(t, filepath.Join(source, "values.yaml"))
	two, err := packageChart(source, second)
	if err != nil {
		t.Fatal(err)
	}
	if sum(t, one) != sum(t, two) || sum(t, filepath.Join(first, "index.yaml")) != sum(t, filepath.Join(second, "index.yaml")) {
		t.Error("the second package or index is another")
	}
	chart, err := loader.LoadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	if chart.Name() != "reloader" || len(chart.CRDObjects()) != 1 || len(chart.Schema) == 0 {
		t.Errorf("%s, %d definitions, %d bytes of schema", chart.Name(), len(chart.CRDObjects()), len(chart.Schema))
	}
}

func image(t *testing.T, out, version string, binaries map[string]string) string {
	t.Helper()
	digest, err := writeImage(out, version, binaries)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// touch lets a file look as if it had been written at another time.
func touch(t *testing.T, path string) {
	t.Helper()
	then := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(content)
}
