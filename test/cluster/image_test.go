package cluster

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestBuildImageIsDeterministic(t *testing.T) {
	folder := t.TempDir()
	first, second := filepath.Join(folder, "a"), filepath.Join(folder, "b")
	writeFile(t, first, "one")
	writeFile(t, second, "two")
	files := map[string]string{"/bin/a": first, "/etc/deep/b": second}
	digest := func() string {
		t.Helper()
		image, err := buildImage(files, []string{"/bin/a"})
		if err != nil {
			t.Fatal(err)
		}
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return digest.String()
	}
	before := digest()
	if err := os.Chtimes(first, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if after := digest(); after != before {
		t.Errorf("equal content gives images %s and %s", before, after)
	}
	writeFile(t, first, "changed")
	if after := digest(); after == before {
		t.Error("changed content gives the same image")
	}
}

func TestBuildImageRefusesBadPaths(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"relative": {"bin/a": "/dev/null"},
		"absent":   {"/a": filepath.Join(t.TempDir(), "absent")},
	} {
		if _, err := buildImage(files, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
