package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository makes one with a rule, a test of it, and these mutations of the line `return a + b`.
func repository(t *testing.T, mutations map[string]string) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"go.mod":        "module example.test/sum\n\ngo 1.26.0\n",
		".gitignore":    "/build/\n",
		"sum/sum.go":    "package sum\n\nfunc sum(a, b int) int {\n\treturn a + b\n}\n",
		"build/old.go":  "package old\n\nno Go at all\n",
		"sum/file.json": "{}\n",
		"sum/sum_test.go": "package sum\n\nimport \"testing\"\n\n" +
			"func TestSum(t *testing.T) {\n\tif sum(1, 2) != 3 {\n\t\tt.Error(sum(1, 2))\n\t}\n}\n\n" +
			"func TestZero(t *testing.T) {\n\tif sum(0, 0) != 0 {\n\t\tt.Error(sum(0, 0))\n\t}\n}\n\n" +
			"func TestBroken(t *testing.T) { t.Error(sum(0, 0)) }\n",
	}
	for name, change := range mutations {
		by, line, _ := strings.Cut(change, ": ")
		files[folder+"/"+name+".patch"] = "What breaks: sums.\nCaught by: ./sum " + by +
			"\n\n--- a/sum/sum.go\n+++ b/sum/sum.go\n@@ -3,3 +3,3 @@\n func sum(a, b int) int {\n" + line + " }\n"
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("git", "init", "--quiet")
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, output)
	}
	return root
}

func TestRun(t *testing.T) {
	minus := "-\treturn a + b\n+\treturn a - b\n"
	root := repository(t, map[string]string{
		"caught":           "TestSum: " + minus,
		"survives":         "TestZero: " + minus,
		"uncompiled":       "TestSum: -\treturn a + b\n+\treturn a + c\n",
		"panics":           "TestSum: -\treturn a + b\n+\tpanic(a - b)\n",
		"outdated":         "TestSum: -\treturn b + a\n+\treturn a - b\n",
		"broken-anyway":    "TestBroken: " + minus,
		"without-a-test":   "TestDifference: " + minus,
		"caught-with-flag": "TestSum -test.short: " + minus,
	})
	var out strings.Builder
	err := run(t.Context(), root, nil, &out)
	if err == nil || !strings.Contains(err.Error(), "6 of 8") {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{
		"ok caught", "ok caught-with-flag", "FAIL survives", "FAIL uncompiled", "FAIL panics", "FAIL outdated",
		"FAIL broken-anyway", "FAIL without-a-test", "TestZero passes", "does not compile", "undefined: c", "panic",
		"does not apply", "without the mutation, TestBroken fails", "without the mutation, TestDifference does not run",
	} {
		if !strings.Contains(words(out.String()), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}

	out.Reset()
	if err := run(t.Context(), root, []string{"-kind", "unit", "caught*"}, &out); err != nil {
		t.Errorf("error %v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "all 2 mutations caught") {
		t.Error(out.String())
	}
	if text, err := os.ReadFile(filepath.Join(root, "sum", "sum.go")); err != nil || !strings.Contains(string(text), "a + b") {
		t.Errorf("the tree itself is changed: %v\n%s", err, text)
	}
}

// words leaves out the times, and what is between the words.
func words(out string) string {
	var kept []string
	for _, field := range strings.Fields(out) {
		if !strings.HasSuffix(field, "s") || strings.Trim(field, "0123456789.") != "s" {
			kept = append(kept, field)
		}
	}
	return strings.Join(kept, " ")
}
