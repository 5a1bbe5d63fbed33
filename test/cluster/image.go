package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

var errNoNode = errors.New("the cluster has no real node")

// LoadImage makes an image and gives it to the real node, whose pods may then
// use it with imagePullPolicy IfNotPresent or Never. ref is a complete reference
// with registry and tag, such as reloader.test/app:1. files maps absolute paths in
// the image to files of this machine, normally static binaries; they become
// executable by all. Equal content gives an equal image.
func (c *Cluster) LoadImage(ctx context.Context, ref string, files map[string]string, entrypoint []string) error {
	if c.node == nil || c.node.runtime == nil {
		return fmt.Errorf("loading image %s: %w", ref, errNoNode)
	}
	tag, err := name.NewTag(ref, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("loading image: %w", err)
	}
	image, err := buildImage(files, entrypoint)
	if err != nil {
		return fmt.Errorf("loading image %s: %w", ref, err)
	}
	archive, err := os.CreateTemp(c.dir, "image-*.tar")
	if err != nil {
		return fmt.Errorf("loading image %s: %w", ref, err)
	}
	defer func() { _ = os.Remove(archive.Name()) }()
	if err := errors.Join(tarball.Write(tag, image, archive), archive.Close()); err != nil {
		return fmt.Errorf("loading image %s: %w", ref, err)
	}
	if err := c.importImage(ctx, archive.Name()); err != nil {
		return fmt.Errorf("loading image %s: %w", ref, err)
	}
	return nil
}

// LoadArchive gives an image to the real node that is in an OCI archive, as
// `make image` makes one, under the name of a repository and the tag that the
// archive says.
func (c *Cluster) LoadArchive(ctx context.Context, repository, archive string) error {
	if c.node == nil || c.node.runtime == nil {
		return fmt.Errorf("loading %s: %w", archive, errNoNode)
	}
	if err := c.importImage(ctx, "--base-name", repository, archive); err != nil {
		return fmt.Errorf("loading %s: %w", archive, err)
	}
	return nil
}

func (c *Cluster) importImage(ctx context.Context, args ...string) error {
	command := []string{"--address", c.node.slot.Socket, "--namespace", "k8s.io", "images", "import"}
	if out, err := exec.CommandContext(ctx, "ctr", append(command, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// buildImage makes an image of one layer with the files and nothing else.
func buildImage(files map[string]string, entrypoint []string) (v1.Image, error) {
	content, err := layerOf(files)
	if err != nil {
		return nil, err
	}
	// Uncompressed: it never leaves this machine, and compressing takes seconds.
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(content, types.DockerUncompressedLayer))
	if err != nil {
		return nil, fmt.Errorf("adding the layer: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the image's configuration: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: entrypoint, WorkingDir: "/", Env: []string{"PATH=/"}}
	image, err = mutate.ConfigFile(image, config)
	if err != nil {
		return nil, fmt.Errorf("setting the image's configuration: %w", err)
	}
	return image, nil
}

// layerOf returns a tar archive of the files and the folders above them, with
// neither times nor owners.
func layerOf(files map[string]string) ([]byte, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	folders := map[string]bool{".": true}
	for _, target := range slices.Sorted(maps.Keys(files)) {
		if !path.IsAbs(target) {
			return nil, fmt.Errorf("path %q in an image must be absolute", target)
		}
		inside := strings.TrimPrefix(path.Clean(target), "/")
		if err := addFolders(archive, path.Dir(inside), folders); err != nil {
			return nil, err
		}
		content, err := os.ReadFile(filepath.Clean(files[target]))
		if err != nil {
			return nil, fmt.Errorf("reading a file for an image: %w", err)
		}
		if err := addEntry(archive, inside, tar.TypeReg, content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("writing a layer: %w", err)
	}
	return buffer.Bytes(), nil
}

// addFolders adds a folder and those above it, as far as they are not done.
func addFolders(archive *tar.Writer, folder string, done map[string]bool) error {
	if done[folder] {
		return nil
	}
	if err := addFolders(archive, path.Dir(folder), done); err != nil {
		return err
	}
	done[folder] = true
	return addEntry(archive, folder+"/", tar.TypeDir, nil)
}

func addEntry(archive *tar.Writer, entry string, kind byte, content []byte) error {
	const executable = fs.FileMode(0o755)
	header := &tar.Header{Typeflag: kind, Name: entry, Mode: int64(executable), Size: int64(len(content)), Format: tar.FormatUSTAR}
	if err := archive.WriteHeader(header); err != nil {
		return fmt.Errorf("writing a layer: %w", err)
	}
	if _, err := archive.Write(content); err != nil {
		return fmt.Errorf("writing a layer: %w", err)
	}
	return nil
}
