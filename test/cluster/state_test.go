package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestOpenFolderIsExclusive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	opened, unlock, err := openFolder(context.Background(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, _, err := openFolder(context.Background(), Options{Dir: dir}); err == nil {
		t.Error("a folder in use is opened again")
	}
	if _, err := tryLock(filepath.Join(opened, ownerFile)); !errors.Is(err, errLocked) {
		t.Errorf("got %v, want that the folder is locked", err)
	}
}

func TestTidyKeepsUsedAndLatestFolders(t *testing.T) {
	root := t.TempDir()
	run := runFolder(root)
	// The oldest of all is in use, so it must stay.
	used := filepath.Join(run, "0000")
	unlock := makeStateFolder(t, used)
	defer unlock()
	for i := range keptFolders + 3 {
		makeStateFolder(t, filepath.Join(run, fmt.Sprintf("1%03d", i)))()
	}
	if err := tidy(run); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(run)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != keptFolders+1 || entries[0].Name() != "0000" || entries[1].Name() != "1003" {
		t.Errorf("left are %v", entries)
	}
	if _, err := os.Stat(filepath.Join(used, "etcd")); err != nil {
		t.Errorf("data of a running cluster is gone: %v", err)
	}
	if _, err := os.Stat(filepath.Join(run, "1003", "etcd")); err == nil {
		t.Error("data of an ended cluster is left")
	}
}

func makeStateFolder(t *testing.T, dir string) (unlock func()) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "etcd"), 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := own(context.Background(), dir, false)
	if err != nil {
		t.Fatal(err)
	}
	return unlock
}
