package cluster

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flux-reloader/reloader/test/cluster/internal/sweep"
)

func startShell(t *testing.T, script string) (*Process, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	process, err := startProcess(dir, "shell", exec.Command("/bin/sh", "-c", script), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Kill() })
	return process, dir
}

func TestProcessEnds(t *testing.T) {
	process, dir := startShell(t, "echo hello; exit 3")
	var exit *exec.ExitError
	if err := process.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("got %v, want exit status 3", err)
	}
	if got := tail(process.LogFile()); got != "hello" {
		t.Errorf("the log holds %q", got)
	}
	if sweep.PID(dir, "shell") != 0 {
		t.Error("an ended process is still recorded")
	}
	if err := errors.Join(process.Kill(), process.Stop(time.Second)); err != nil {
		t.Errorf("ending an ended process fails: %v", err)
	}
}

func TestProcessStops(t *testing.T) {
	process, dir := startShell(t, "exec sleep 60")
	if sweep.PID(dir, "shell") != process.PID() {
		t.Error("a running process is not recorded")
	}
	if rss, err := process.RSS(); err != nil || rss <= 0 {
		t.Errorf("memory is %d with error %v", rss, err)
	}
	if err := process.Stop(time.Minute); err != nil {
		t.Error(err)
	}
	if _, err := process.RSS(); err == nil {
		t.Error("an ended process has memory")
	}
}

func TestProcessThatIgnoresTheSignalIsKilled(t *testing.T) {
	process, _ := startShell(t, "trap '' TERM; echo ready; while :; do sleep 1; done")
	err := waitFor(t.Context(), "the shell", func(context.Context) (bool, error) {
		return tail(process.LogFile()) == "ready", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Stop(50 * time.Millisecond); err == nil {
		t.Error("killing a process is not reported")
	}
	if !process.ended() {
		t.Error("the process still runs")
	}
}

func TestTailIsShort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writeFile(t, path, strings.Repeat("line\n", 10000)+"last\n")
	got := tail(path)
	if lines := strings.Split(got, "\n"); len(lines) != tailLines || lines[len(lines)-1] != "last" {
		t.Errorf("got %d lines ending with %q", len(lines), lines[len(lines)-1])
	}
}
