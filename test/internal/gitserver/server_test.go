package gitserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is committed can be cloned, and what is cloned cannot be pushed.
func TestServer(t *testing.T) {
	server, err := Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	repository, err := server.Create(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	first := commit(t, repository, map[string]string{"deploy/a.yaml": "1", "deploy/b.yaml": "1"})
	second := commit(t, repository, map[string]string{"deploy/a.yaml": "2"})
	if first == second || !strings.HasPrefix(second, "main@sha1:") {
		t.Errorf("revisions %s and %s", first, second)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	if _, err := git(t.Context(), t.TempDir(), "clone", "--quiet", repository.URL(), clone); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "2", "b": "1"} {
		if got, err := os.ReadFile(filepath.Join(clone, "deploy", name+".yaml")); err != nil || string(got) != want {
			t.Errorf("%s: %q, error %v, want %q", name, got, err, want)
		}
	}
	if _, err := git(t.Context(), clone, "push", "--quiet", "origin", "HEAD:other"); err == nil {
		t.Error("anybody can push")
	}
}

func commit(t *testing.T, repository *Repository, files map[string]string) (revision string) {
	t.Helper()
	revision, err := repository.Commit(t.Context(), "change", files)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}
