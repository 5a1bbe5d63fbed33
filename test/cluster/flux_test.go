package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/mod/modfile"
)

// What a test adds comes last, where it replaces the package's own.
func TestFluxArgs(t *testing.T) {
	addresses, err := newFluxAddresses(fluxControllers())
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{opts: Options{FluxArgs: map[string][]string{binHelm: {"--kube-api-qps=5"}}}}
	helm := c.fluxArgs(binHelm, t.TempDir(), addresses)
	if !slices.Contains(helm, "--kube-api-qps=500") || helm[len(helm)-1] != "--kube-api-qps=5" {
		t.Errorf("got %q", helm)
	}
	if source := c.fluxArgs(binSource, t.TempDir(), addresses); slices.Contains(source, "--kube-api-qps=5") {
		t.Errorf("source-controller has helm-controller's arguments: %q", source)
	}
	c.opts.DefaultQPS = true
	if args := c.fluxArgs(binKustomize, t.TempDir(), addresses); slices.Contains(args, "--kube-api-qps=500") {
		t.Errorf("the usual limit is replaced: %q", args)
	}
	if events := "--events-addr=" + addresses.events; !slices.Contains(c.fluxArgs(binNotification, t.TempDir(), addresses), events) {
		t.Errorf("notification-controller does not listen at %s", addresses.events)
	}
}

func TestFluxAddressesDiffer(t *testing.T) {
	a, err := newFluxAddresses(fluxControllers())
	if err != nil {
		t.Fatal(err)
	}
	all := []string{a.artifacts, a.events, a.receiver}
	for _, name := range fluxControllers() {
		all = append(all, a.health[name])
	}
	if slices.Sort(all); len(slices.Compact(all)) != 7 || all[0] == "" {
		t.Errorf("got %q", all)
	}
}

// The copy has the file that the module lacks, and the build finds it there.
func TestComplete(t *testing.T) {
	from, tools, dir := t.TempDir(), t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(from, "main.go"), "package main")
	writeFile(t, filepath.Join(tools, "go.mod"), "module x\n\nrequire example.test/tool v1.0.0\n")
	writeFile(t, filepath.Join(tools, "go.sum"), "sums")
	source := filepath.Join(dir, "source")
	bin := binary{source: "example.test/tool", missing: "cmd/manifests/none.yaml"}
	goMod, err := complete(bin, from, source, tools, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"source/main.go", "source/cmd/manifests/none.yaml", "go.sum"} {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(file))); err != nil {
			t.Error(err)
		}
	}
	content, err := os.ReadFile(goMod)
	if err != nil {
		t.Fatal(err)
	}
	file, err := modfile.Parse(goMod, content, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Replace) != 1 || file.Replace[0].Old.Path != bin.source || file.Replace[0].New.Path != source {
		t.Errorf("got:\n%s", content)
	}
}
