package chart

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	. "github.com/onsi/gomega"
)

// Annotations that pages name are those of the API. Of Stakater Reloader's, others may be named where it is said that they are not
// there.
func TestPagesNameAnnotationsThatThereAre(t *testing.T) {
	t.Parallel()
	known := append(annotationKeys(t), "reloader.stakater.com/meta-info", "reloader.contrib.fluxcd.io/v1alpha1")
	for _, p := range pages(t) {
		NewWithT(t).Expect(unknownAnnotations(p.text, known)).To(BeEmpty(), p.name)
	}
	NewWithT(t).Expect(unknownAnnotations("a `reloader.stakater.com/reload`, and reloader.stakater.com/auto: \"true\"\n", known)).
		To(ConsistOf("reloader.stakater.com/reload"))
}

func unknownAnnotations(text string, known []string) []string {
	var unknown []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "not yet") || strings.Contains(line, "never") {
			continue
		}
		for _, key := range regexp.MustCompile(`(?:[a-z]+\.)*reloader\.(?:stakater\.com|contrib\.fluxcd\.io)/[a-z0-9-]*[a-z0-9]`).FindAllString(line, -1) {
			if !slices.Contains(known, key) {
				unknown = append(unknown, key)
			}
		}
	}
	return unknown
}

// annotationKeys are the constants of the API's file of annotations.
func annotationKeys(t *testing.T) []string {
	t.Helper()
	g := NewWithT(t)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api", "v1alpha1", "annotations.go"), nil, parser.SkipObjectResolution)
	g.Expect(err).NotTo(HaveOccurred())
	var keys []string
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			key, err := strconv.Unquote(literal.Value)
			g.Expect(err).NotTo(HaveOccurred())
			keys = append(keys, key)
		}
		return true
	})
	g.Expect(keys).To(ContainElements("reloader.stakater.com/auto", "reloader.contrib.fluxcd.io/restart-requested-at"))
	return keys
}

// Flags that pages name are the controller's, or of commands that are shown beside.
func TestPagesNameFlagsThatThereAre(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	help, _ := exec.CommandContext(ctx, reloader, "--help").CombinedOutput() // It ends with an error.
	known := flagsOf(string(help))
	NewWithT(t).Expect(known).To(ContainElements("--events-addr", "--auto-reload-all"))
	known = append(known,
		"--create-namespace", "--namespace", "--reset-then-reuse-values", "--reuse-values", "--skip-crds", // helm, cmctl
		"--certificate-identity", "--certificate-oidc-issuer", // cosign
		"--field-manager", "--for", "--force", "--from", "--overwrite", "--server-side", "--timeout", "--type", // kubectl
	)
	for _, p := range pages(t) {
		unknown := slices.DeleteFunc(flagsOf(p.text), func(flag string) bool { return slices.Contains(known, flag) })
		NewWithT(t).Expect(unknown).To(BeEmpty(), p.name)
	}
}

func flagsOf(text string) []string {
	var flags []string
	for _, found := range regexp.MustCompile("(?:^|[\\s`(])(--[a-zA-Z][a-zA-Z-]+)").FindAllStringSubmatch(text, -1) {
		flags = append(flags, found[1])
	}
	return flags
}

// Links between pages, and to files, lead to something; so do those to headings.
func TestLinksLeadToSomething(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		NewWithT(t).Expect(brokenLinks(t, p)).To(BeEmpty(), p.name)
	}
	p := page{"docs/a.md", "# One: *two* `x-y`\n[a](#one-two-x-y) [b](../README.md) [c](https://example.test) [d](#none) [e](none.md) [f](../README.md#none)\n\n    [code](none)\n"}
	NewWithT(t).Expect(brokenLinks(t, p)).To(ConsistOf("#none", "none.md", "../README.md#none"))
}

func brokenLinks(t *testing.T, p page) []string {
	t.Helper()
	var broken []string
	for _, link := range regexp.MustCompile(`\]\(([^()\s]+)\)`).FindAllStringSubmatch(prose(p.text), -1) {
		target, fragment, _ := strings.Cut(link[1], "#")
		if strings.Contains(target, "://") {
			continue
		}
		text, path := p.text, filepath.Join(root, filepath.Dir(filepath.FromSlash(p.name)), filepath.FromSlash(target))
		if target != "" {
			if _, err := os.Stat(path); err != nil {
				broken = append(broken, link[1])
				continue
			}
		}
		if target != "" && fragment != "" {
			content, err := os.ReadFile(path)
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			text = string(content)
		}
		if fragment != "" && !slices.Contains(anchors(text), fragment) {
			broken = append(broken, link[1])
		}
	}
	return broken
}

// prose is a page without its code.
func prose(text string) string {
	text = regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(text, "")
	text = regexp.MustCompile("(?m)^    .*$").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllStringFunc(text, func(code string) string {
		return strings.NewReplacer("[", "", "]", "").Replace(code)
	})
}

// anchors are those that GitHub gives to headings.
func anchors(text string) []string {
	var found []string
	for _, heading := range regexp.MustCompile("(?m)^#+ (.+)$").FindAllStringSubmatch(text, -1) {
		found = append(found, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, heading[1]))
	}
	return found
}
