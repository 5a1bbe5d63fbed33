package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/modfile"
)

// completed copies the Go module of a binary, adds the file that it lacks, and
// returns a go.mod file that is the tool module's but builds from the copy.
func (b Builder) completed(ctx context.Context, bin binary) (goMod string, remove func(), err error) {
	from, err := b.moduleDir(ctx, bin.module, bin.source)
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(filepath.Join(b.Root, "build", "cluster"), bin.name+"-*")
	if err != nil {
		return "", nil, fmt.Errorf("making a folder: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) }
	source := filepath.Join(dir, "source")
	if goMod, err = complete(bin, from, source, filepath.Dir(bin.goMod(b.Root)), dir); err != nil {
		remove()
		return "", nil, fmt.Errorf("completing module %s: %w", bin.source, err)
	}
	return goMod, remove, nil
}

// complete makes the copy of a module in the folder source, and in dir a go.mod
// and a go.sum file from those in the folder tools.
func complete(bin binary, from, source, tools, dir string) (goMod string, err error) {
	if err := os.CopyFS(source, os.DirFS(from)); err != nil {
		return "", err
	}
	missing := filepath.Join(source, filepath.FromSlash(bin.missing))
	if err := os.MkdirAll(filepath.Dir(missing), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(missing, nil, 0o644); err != nil {
		return "", err
	}
	goMod = filepath.Join(dir, "go.mod")
	content, err := os.ReadFile(filepath.Join(tools, "go.mod"))
	if err != nil {
		return "", err
	}
	if content, err = withReplacement(goMod, content, bin.source, source); err != nil {
		return "", err
	}
	sums, err := os.ReadFile(filepath.Join(tools, "go.sum"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644); err != nil {
		return "", err
	}
	return goMod, os.WriteFile(goMod, content, 0o644)
}

// withReplacement adds to a go.mod file that a module is in a folder.
func withReplacement(path string, content []byte, module, folder string) ([]byte, error) {
	file, err := modfile.Parse(path, content, nil)
	if err != nil {
		return nil, err
	}
	if err := file.AddReplace(module, "", folder, ""); err != nil {
		return nil, err
	}
	return file.Format()
}
