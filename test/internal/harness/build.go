package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// BinaryVariable names a controller that is built already; without it, Reloader builds one.
const BinaryVariable = "RELOADER_BINARY"

// Reloader returns the path of the controller's binary, which it builds into dir unless the environment names one. The
// folder root is that of the repository.
func Reloader(ctx context.Context, root, dir string) (string, error) {
	if path := os.Getenv(BinaryVariable); path != "" {
		return path, nil
	}
	return Build(ctx, root, "./cmd/reloader", filepath.Join(dir, "reloader"))
}

// Build makes a static binary of a package, seen from a folder, and returns its path.
func Build(ctx context.Context, from, pkg, to string, flags ...string) (string, error) {
	arguments := slices.Concat([]string{"build", "-o", to}, flags, []string{pkg})
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir, command.Env = from, append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, output)
	}
	return to, nil
}
