package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tree is a copy of the repository that may be broken.
type tree struct{ dir string }

// copyTree copies what git knows of a repository, or would add: work that is not committed is tested too. What was
// built is shared, so that no binary of the cluster is built again.
func copyTree(ctx context.Context, root string) (tree, error) {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		return tree{}, fmt.Errorf("listing the repository's files: %w", err)
	}
	dir, err := os.MkdirTemp("", "reloader-mutate-")
	if err != nil {
		return tree{}, fmt.Errorf("making a folder: %w", err)
	}
	t := tree{dir}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if err := copyFile(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
			t.remove()
			return tree{}, err
		}
	}
	if err := os.Symlink(filepath.Join(root, "build"), filepath.Join(dir, "build")); err != nil {
		t.remove()
		return tree{}, fmt.Errorf("sharing what was built: %w", err)
	}
	return t, nil
}

// copyFile copies one file. One that was deleted without a commit is left out.
func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("copying: %w", err)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copying: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("copying: %w", err)
	}
	return os.WriteFile(to, data, info.Mode().Perm())
}

func (t tree) remove() { _ = os.RemoveAll(t.dir) }

// apply applies a patch, or with --reverse takes it back. One line of context must fit: code nearby may change.
func (t tree) apply(ctx context.Context, patch string, options ...string) error {
	command := exec.CommandContext(ctx, "git", append(append([]string{"apply", "-C1"}, options...), patch)...)
	command.Dir = t.dir
	// The copy is no repository, not even if it lies within one.
	command.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(t.dir))
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("git apply: %w\n%s", err, output)
	}
	return nil
}

// test runs some tests of a suite. Its error is that of the go command itself: tests that fail are an outcome.
func (t tree) test(ctx context.Context, s suite, tests []string) (outcome, error) {
	args := []string{"test", "-json", "-count=1", "-timeout=20m", "-run", "^(" + strings.Join(tests, "|") + ")$", s.pkg}
	if s.flags != "" {
		args = append(append(args, "-args"), strings.Fields(s.flags)...)
	}
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = filepath.Join(t.dir, s.module)
	command.Env = append(os.Environ(), "RELOADER_BINARY=") // a controller that is built already is not the broken one
	var events bytes.Buffer
	command.Stdout, command.Stderr = &events, &events
	// Asked to end, the go command ends its tests, and they their cluster.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = time.Minute
	var exit *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exit) {
		return outcome{}, fmt.Errorf("go test: %w", err)
	}
	return read(&events)
}
