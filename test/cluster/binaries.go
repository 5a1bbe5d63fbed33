package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Binaries builds the named binaries, or all of BinaryNames for none, as far as
// they are not up to date, into build/cluster/bin of the repository that the
// working directory is in. It returns the path of each by name and tells its
// progress on standard error. Calls at the same time, in any process, wait for
// each other.
func Binaries(ctx context.Context, names ...string) (map[string]string, error) {
	root, err := FindRoot()
	if err != nil {
		return nil, err
	}
	return Builder{Root: root, Log: logTo(os.Stderr)}.Build(ctx, names...)
}

// Builder builds pinned binaries. The zero value is not usable: Root is needed.
type Builder struct {
	// Root is the root folder of the repository.
	Root string
	// Log receives one line of progress per binary; nil discards them.
	Log func(format string, args ...any)

	// quiet leaves out the lines about binaries that are up to date.
	quiet bool
}

// Build is Binaries for the Builder's repository.
func (b Builder) Build(ctx context.Context, names ...string) (map[string]string, error) {
	wanted, err := find(names)
	if err != nil {
		return nil, err
	}
	if b.Log == nil {
		b.Log = func(string, ...any) {}
	}
	folder := filepath.Join(b.Root, "build", "cluster", "bin")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder for binaries: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(folder, ".lock"))
	if err != nil {
		return nil, fmt.Errorf("waiting for another build: %w", err)
	}
	defer unlock()
	paths := make(map[string]string, len(wanted))
	for _, bin := range wanted {
		path := filepath.Join(folder, bin.name)
		if err := b.ensure(ctx, bin, path); err != nil {
			return nil, fmt.Errorf("building %s: %w", bin.name, err)
		}
		paths[bin.name] = path
	}
	return paths, nil
}

// ensure builds one binary unless the stamp beside it shows that it is current.
func (b Builder) ensure(ctx context.Context, bin binary, path string) error {
	want, err := stampOf(b.Root, bin)
	if err != nil {
		return err
	}
	if want.matches(path) {
		if !b.quiet {
			b.Log("%s %s up to date", bin.name, want.Version)
		}
		return nil
	}
	started := time.Now()
	b.Log("%s %s building…", bin.name, want.Version)
	// A stamp must never be beside a binary that it does not describe.
	if err := os.Remove(stampPath(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the old stamp: %w", err)
	}
	if err := b.compile(ctx, bin, want.Flags, path); err != nil {
		return err
	}
	if err := want.write(path); err != nil {
		return err
	}
	b.Log("%s %s built in %s", bin.name, want.Version, time.Since(started).Round(100*time.Millisecond))
	return nil
}

// compile runs go build and puts the result in place in one step, so that a
// cluster which runs the old binary is not disturbed.
func (b Builder) compile(ctx context.Context, bin binary, flags []string, path string) error {
	fresh := path + ".new"
	args := append([]string{"build"}, flags...)
	if bin.missing != "" {
		modfile, remove, err := b.completed(ctx, bin)
		if err != nil {
			return err
		}
		defer remove()
		args = append(args, "-modfile="+modfile)
	}
	args = append(args, "-o", fresh, bin.pkg)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Dir(bin.goMod(b.Root))
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", bin.pkg, err, strings.TrimSpace(output.String()))
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("putting the binary in place: %w", err)
	}
	return nil
}

// moduleDir returns the folder of a Go module that the binary's tool module
// pins, for the files that come with it.
func (b Builder) moduleDir(ctx context.Context, toolModule, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = filepath.Join(b.Root, filepath.FromSlash(toolModule))
	cmd.Env = append(cmd.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("downloading module %s: %w", module, err)
	}
	dir, err := downloadedDir(out)
	if err != nil {
		return "", fmt.Errorf("finding module %s: %w", module, err)
	}
	return dir, nil
}
