package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeRepository lays out a repository with one pinned module.
func fakeRepository(t *testing.T, goMod string) string {
	t.Helper()
	root := t.TempDir()
	folder := filepath.Join(root, filepath.FromSlash(coreModule))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "go.mod"), goMod)
	return root
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPinnedVersion(t *testing.T) {
	const base = "module x\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v1.36.3\n"
	tests := map[string]struct {
		goMod string
		want  string
		fails bool
	}{
		"required":           {goMod: base, want: "v1.36.3"},
		"replaced":           {goMod: base + "replace k8s.io/kubernetes => k8s.io/kubernetes v1.36.4\n", want: "v1.36.4"},
		"replaced by folder": {goMod: base + "replace k8s.io/kubernetes => ./local\n", want: "v1.36.3"},
		"absent":             {goMod: "module x\n", fails: true},
		"broken":             {goMod: "modul x\n", fails: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := pinnedVersion("go.mod", []byte(test.goMod), "k8s.io/kubernetes")
			if (err != nil) != test.fails || got != test.want {
				t.Errorf("got %q and error %v, want %q and failure %t", got, err, test.want, test.fails)
			}
		})
	}
}

func TestStampMatches(t *testing.T) {
	const goMod = "module x\n\nrequire k8s.io/kubernetes v1.36.3\n"
	root := fakeRepository(t, goMod)
	bin := kubernetesBinary("kubectl")
	path := filepath.Join(t.TempDir(), "kubectl")
	current := func() buildStamp {
		t.Helper()
		stamp, err := stampOf(root, bin)
		if err != nil {
			t.Fatal(err)
		}
		return stamp
	}

	stamp := current()
	if stamp.matches(path) {
		t.Error("a stamp matches although there is no binary")
	}
	writeFile(t, path, "binary")
	if stamp.matches(path) {
		t.Error("a stamp matches although none is beside the binary")
	}
	if err := stamp.write(path); err != nil {
		t.Fatal(err)
	}
	if !current().matches(path) {
		t.Error("a stamp does not match the binary it was written for")
	}

	writeFile(t, bin.goMod(root), strings.Replace(goMod, "v1.36.3", "v1.36.4", 1))
	if current().matches(path) {
		t.Error("a stamp matches after the pinned version changed")
	}
	writeFile(t, bin.goMod(root), goMod+"\nrequire golang.org/x/net v0.61.0 // indirect\n")
	if current().matches(path) {
		t.Error("a stamp matches after a dependency's version changed")
	}
}

func TestStampOfOwnSources(t *testing.T) {
	root := fakeRepository(t, "module x\n")
	folder := filepath.Join(root, filepath.FromSlash(coreModule), "own")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	bin := binary{name: "own", module: coreModule, pkg: "./own", files: []string{"own"}}
	if _, err := stampOf(root, bin); err == nil {
		t.Error("a binary without sources has a stamp")
	}
	writeFile(t, filepath.Join(folder, "main.go"), "package main")
	before, err := stampOf(root, bin)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "main.go"), "package main // Changed.")
	after, err := stampOf(root, bin)
	if err != nil {
		t.Fatal(err)
	}
	if before.Version == after.Version {
		t.Error("the version of an own program did not change with its source")
	}
}

func TestKubernetesStampsItsVersion(t *testing.T) {
	flags := strings.Join(buildFlags(kubernetesBinary("kubectl"), "v1.36.3"), " ")
	for _, want := range []string{"gitVersion=v1.36.3", "gitMajor=1 ", "gitMinor=36 ", "-s -w", "-trimpath"} {
		if !strings.Contains(flags, want) {
			t.Errorf("flags %q do not contain %q", flags, want)
		}
	}
}

func TestFindBinaries(t *testing.T) {
	if _, err := find([]string{"no-such-binary"}); err == nil {
		t.Error("an unknown binary is found")
	}
	all, err := find(nil)
	if err != nil || len(all) != len(BinaryNames()) {
		t.Errorf("no name gives %d of %d binaries and error %v", len(all), len(BinaryNames()), err)
	}
	names := BinaryNames()
	if slices.Sort(names); len(slices.Compact(names)) != len(all) {
		t.Error("two binaries have the same name")
	}
}

// TestPinsAreComplete fails when the version of a binary cannot be found in the
// committed go.mod files.
func TestPinsAreComplete(t *testing.T) {
	root, err := FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, bin := range catalog() {
		if _, err := stampOf(root, bin); err != nil {
			t.Errorf("%s: %v", bin.name, err)
		}
	}
}
