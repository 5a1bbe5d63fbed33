package chart

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// The chart names the version of a release. Whatever else names it is the same.
func TestThereIsOneVersion(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	metadata := load(t).Metadata
	g.Expect(metadata.AppVersion).To(Equal("v" + metadata.Version))
	for file, want := range map[string]string{
		"config/manager/kustomization.yaml": "newTag: " + metadata.AppVersion + "\n",
		"CHANGELOG.md":                      "\n## " + metadata.Version + "\n",
	} {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(text)).To(ContainSubstring(want), file)
	}
}
