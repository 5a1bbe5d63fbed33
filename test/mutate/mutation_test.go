package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var exported = cmp.AllowUnexported(mutation{}, test{}, suite{})

func TestParse(t *testing.T) {
	text := `What breaks: the transform digests data
  that it has emptied already.
Caught by: ./internal/source TestKeepTwice
Caught by: test ./integration TestRestartsOfTheControllerRestartNothing
Caught by: ./internal/plan TestSimulation -schedules 300

--- a/file.go
+++ b/file.go
@@ -1 +1 @@
-Caught by: ./internal/source TestOfTheDiff
+b
`
	breaks, tests, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := "the transform digests data that it has emptied already."; breaks != want {
		t.Errorf("breaks %q, want %q", breaks, want)
	}
	want := []test{
		{suite{module: ".", pkg: "./internal/source"}, "TestKeepTwice"},
		{suite{module: "test", pkg: "./integration"}, "TestRestartsOfTheControllerRestartNothing"},
		{suite{module: ".", pkg: "./internal/plan", flags: "-schedules 300"}, "TestSimulation"},
	}
	if diff := cmp.Diff(want, tests, exported); diff != "" {
		t.Error(diff)
	}
	var kinds []string
	for _, t := range tests {
		kinds = append(kinds, t.kind())
	}
	if diff := cmp.Diff([]string{"unit", "integration", "unit"}, kinds); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, header := range map[string]string{
		"nothing":           "",
		"no test":           "What breaks: a rule",
		"no rule":           "Caught by: ./pkg TestA",
		"a test of nothing": "What breaks: a rule\nCaught by: TestA",
		"no function":       "What breaks: a rule\nCaught by: ./pkg -v",
		"a package only":    "What breaks: a rule\nCaught by: test ./pkg",
		"an empty line":     "What breaks: a rule\nCaught by:",
		"prose":             "A rule.\nWhat breaks: a rule\nCaught by: ./pkg TestA",
		"prose at the end":  "What breaks: a rule\nCaught by: ./pkg TestA\nand others",
		"in the diff":       "--- a/f\nWhat breaks: a rule\nCaught by: ./pkg TestA",
		"in git's diff":     "diff --git a/f b/f\nWhat breaks: a rule\nCaught by: ./pkg TestA",
	} {
		t.Run(name, func(t *testing.T) {
			if breaks, tests, err := parse(header + "\n"); err == nil {
				t.Errorf("read %q and %v", breaks, tests)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	unit := test{suite{module: ".", pkg: "./a"}, "TestA"}
	integration := test{suite{module: "test", pkg: "./integration"}, "TestB"}
	all := []mutation{
		{name: "a-unit", tests: []test{unit}},
		{name: "b-both", tests: []test{unit, integration}},
		{name: "c-integration", tests: []test{integration}},
	}
	for _, tt := range []struct {
		name     string
		kind     string
		patterns []string
		want     map[string][]test
	}{
		{"all", "", nil, map[string][]test{"a-unit": {unit}, "b-both": {unit, integration}, "c-integration": {integration}}},
		{"unit", "unit", nil, map[string][]test{"a-unit": {unit}, "b-both": {unit}}},
		{"integration", "integration", nil, map[string][]test{"b-both": {integration}, "c-integration": {integration}}},
		{"by name", "", []string{"a-unit"}, map[string][]test{"a-unit": {unit}}},
		{"by pattern and kind", "unit", []string{"a-*", "b-*"}, map[string][]test{"a-unit": {unit}, "b-both": {unit}}},
		{"unknown name", "", []string{"a-unit", "d"}, nil},
		{"unknown kind", "smoke", nil, nil},
		{"bad pattern", "", []string{"["}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chosen, err := choose(all, tt.kind, tt.patterns)
			if (err != nil) != (tt.want == nil) {
				t.Fatalf("error %v", err)
			}
			var got map[string][]test
			for _, m := range chosen {
				if got == nil {
					got = map[string][]test{}
				}
				got[m.name] = m.tests
			}
			if diff := cmp.Diff(tt.want, got, exported); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSuites(t *testing.T) {
	a, b := suite{module: ".", pkg: "./a"}, suite{module: ".", pkg: "./a", flags: "-n 1"}
	got := suites([]mutation{{tests: []test{{a, "TestA"}, {a, "TestB"}}}, {tests: []test{{a, "TestA"}, {b, "TestA"}}}})
	want := map[suite][]string{a: {"TestA", "TestB"}, b: {"TestA"}}
	if diff := cmp.Diff(want, got, exported); diff != "" {
		t.Error(diff)
	}
}

// A mutation whose patch does not apply any more, or whose test is gone, proves nothing. That is known without running
// any, so whoever changes the code is told at once.
func TestMutationsFitTheTree(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	mutations, err := load(filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	if len(mutations) == 0 {
		t.Error("no mutations")
	}
	copied, err := copyTree(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(copied.remove)
	for _, m := range mutations {
		if err := copied.apply(t.Context(), m.patch, "--check"); err != nil {
			t.Errorf("%s does not apply: %v", m.name, err)
		}
		for _, named := range m.tests {
			if !declares(t, filepath.Join(root, named.module, named.pkg), named.name) {
				t.Errorf("%s: no %s in %s", m.name, named.name, named.pkg)
			}
		}
	}
}

// declares reports whether a test file of the folder has this test.
func declares(t *testing.T, dir, name string) bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}
