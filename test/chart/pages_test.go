package chart

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// page is a page of the documentation.
type page struct {
	// name is its path in the repository.
	name, text string
}

// pages are those that users read, but for what is generated from the types of the API.
func pages(t *testing.T) []page {
	t.Helper()
	var found []page
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "build" || name == "test" || name == filepath.Join("docs", "api") || len(name) > 1 && name[0] == '.'):
			return filepath.SkipDir
		case filepath.Ext(name) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		found = append(found, page{filepath.ToSlash(name), string(text)})
		return err
	})
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(found)).To(BeNumerically(">", 5))
	return found
}

// block is a piece of code of a page.
type block struct {
	// place is the page and the line that it begins in.
	place, language, text string
}

// blocks are all fenced pieces of code, without the indentation of the fence.
func (p page) blocks() []block {
	var found []block
	var open *block
	indent := 0
	for i, line := range strings.Split(p.text, "\n") {
		trimmed := strings.TrimLeft(line, " ")
		language, fence := strings.CutPrefix(trimmed, "```")
		switch {
		case fence && open == nil:
			indent = len(line) - len(trimmed)
			open = &block{place: fmt.Sprintf("%s:%d", p.name, i+1), language: strings.TrimSpace(language)}
		case fence:
			found = append(found, *open)
			open = nil
		case open != nil:
			open.text += line[min(indent, len(line)-len(trimmed)):] + "\n"
		}
	}
	return found
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	p := page{"a.md", "text\n\n1. item\n\n   ```yaml\n   a:\n     b: 1\n\n   ```\n```\nplain\n```\n"}
	NewWithT(t).Expect(p.blocks()).To(Equal([]block{{"a.md:5", "yaml", "a:\n  b: 1\n\n"}, {"a.md:10", "", "plain\n"}}))
}
