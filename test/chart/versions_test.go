package chart

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The chart names the version of a release. Whatever else names it is the same.
func TestThereIsOneVersion(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	metadata := load(t).Metadata
	g.Expect(metadata.AppVersion).To(Equal("v" + metadata.Version))
	for file, wants := range map[string][]string{
		"config/manager/kustomization.yaml": {"newTag: " + metadata.AppVersion + "\n"},
		"flux-system/source.yaml":           {"\n    tag: " + metadata.AppVersion + "\n"},
		"CHANGELOG.md":                      {"\n## " + metadata.Version + "\n"},
		"README.md": {
			"//config/default?ref=" + metadata.AppVersion + "'\n", "/reloader:" + metadata.AppVersion + " ", "@refs/tags/" + metadata.AppVersion + "\n",
		},
	} {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		g.Expect(err).NotTo(HaveOccurred())
		for _, want := range wants {
			g.Expect(string(text)).To(ContainSubstring(want), file)
		}
	}
}

// There is one address of the image and one of the charts. Each way to install names them once, and so does the workflow that
// publishes them; pages name no others.
func TestThereIsOneAddressOfEach(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	image := load(t).Values["image"].(map[string]any)["repository"].(string)
	charts, _, err := unstructured.NestedString(find(t, build(t, infrastructure), "HelmRepository", "reloader").Object, "spec", "url")
	g.Expect(err).NotTo(HaveOccurred())
	charts = strings.TrimPrefix(charts, "oci://")
	named := map[string][]string{}
	for file, text := range texts(t) {
		text = strings.ReplaceAll(text, "${{ github.repository_owner }}", "flux-reloader")
		for _, address := range regexp.MustCompile(`ghcr\.io/[a-z0-9-]+/[a-z0-9-]+`).FindAllString(text, -1) {
			g.Expect(address).To(BeElementOf(image, charts), file)
			if filepath.Ext(file) == ".yaml" {
				named[address] = append(named[address], file)
			}
		}
	}
	const workflow = ".github/workflows/release.yaml"
	g.Expect(named[image]).To(ConsistOf("charts/reloader/values.yaml", "config/manager/kustomization.yaml", workflow))
	g.Expect(named[charts]).To(ConsistOf("infrastructure/reloader/repository.yaml", workflow))
}

// texts are the files of the repository that are about what is released, but for those of tests.
func texts(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	NewWithT(t).Expect(filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{"build", "test", ".git"}, name) {
				return filepath.SkipDir
			}
			return nil
		}
		text, err := os.ReadFile(path)
		found[filepath.ToSlash(name)] = string(text)
		return err
	})).To(Succeed())
	return found
}
