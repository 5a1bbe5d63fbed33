package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// mutation is one mistake and the tests that must notice it.
type mutation struct {
	// name of the patch's file, without its ending.
	name string
	// patch is the path of the file.
	patch string
	// breaks says which rule does not hold any more.
	breaks string
	tests  []test
}

// test is one test function and where it runs.
type test struct {
	suite
	name string
}

// suite is what one run of `go test` can have in common.
type suite struct {
	// module and pkg are folders: of the module, seen from the root, and of the package, seen from the module.
	module, pkg string
	// flags are the test's own, "-schedules 300".
	flags string
}

// clusterModule is the module whose tests need a cluster.
const clusterModule = "test"

func (s suite) kind() string {
	if s.module == clusterModule {
		return "integration"
	}
	return "unit"
}

const (
	breaksField = "What breaks:"
	caughtField = "Caught by:"
)

// parse reads the header of a patch: what stands before the first line of the diff.
func parse(text string) (breaks string, tests []test, err error) {
	field := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "--- ") || strings.HasPrefix(line, "diff ") {
			break
		}
		switch {
		case strings.HasPrefix(line, breaksField):
			field, breaks = breaksField, strings.TrimSpace(strings.TrimPrefix(line, breaksField))
		case strings.HasPrefix(line, caughtField):
			field = caughtField
			t, err := parseTest(strings.Fields(strings.TrimPrefix(line, caughtField)))
			if err != nil {
				return "", nil, fmt.Errorf("%q: %w", line, err)
			}
			tests = append(tests, t)
		case line != "" && field == breaksField:
			breaks += " " + line
		case line != "":
			return "", nil, fmt.Errorf("%q: want %q or %q", line, breaksField, caughtField)
		}
	}
	if breaks == "" || len(tests) == 0 {
		return "", nil, fmt.Errorf("want both %q and %q", breaksField, caughtField)
	}
	return breaks, tests, nil
}

// parseTest reads "[module] ./package TestName [-flag…]".
func parseTest(fields []string) (test, error) {
	t := test{suite: suite{module: "."}}
	if len(fields) > 0 && !strings.HasPrefix(fields[0], "./") {
		t.module, fields = fields[0], fields[1:]
	}
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "./") || !strings.HasPrefix(fields[1], "Test") {
		return test{}, fmt.Errorf("want [module] ./package TestName [-flag…]")
	}
	t.pkg, t.name, t.flags = fields[0], fields[1], strings.Join(fields[2:], " ")
	return t, nil
}

// load reads every mutation of a folder, sorted by name.
func load(dir string) ([]mutation, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, fmt.Errorf("listing mutations: %w", err)
	}
	mutations := make([]mutation, len(paths))
	for i, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("reading a mutation: %w", err)
		}
		m := mutation{name: strings.TrimSuffix(filepath.Base(p), ".patch"), patch: p}
		if m.breaks, m.tests, err = parse(string(text)); err != nil {
			return nil, fmt.Errorf("header of %s: %w", p, err)
		}
		mutations[i] = m
	}
	return mutations, nil
}

// choose keeps the mutations that a pattern names, or all for none, and of each the tests of the kind, or all for "".
// A pattern that names nothing is an error: what is not run is not proven.
func choose(all []mutation, kind string, patterns []string) ([]mutation, error) {
	used := map[string]bool{}
	var chosen []mutation
	for _, m := range all {
		named := len(patterns) == 0
		for _, pattern := range patterns {
			match, err := path.Match(pattern, m.name)
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", pattern, err)
			}
			named, used[pattern] = named || match, used[pattern] || match
		}
		m.tests = slices.DeleteFunc(slices.Clone(m.tests), func(t test) bool { return kind != "" && t.kind() != kind })
		if named && len(m.tests) > 0 {
			chosen = append(chosen, m)
		}
	}
	for _, pattern := range patterns {
		if !used[pattern] {
			return nil, fmt.Errorf("no mutation is called %s", pattern)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no mutations of kind %q", kind)
	}
	return chosen, nil
}

// suites are the tests that the mutations name, by what one run can have in common.
func suites(mutations []mutation) map[suite][]string {
	names := map[suite][]string{}
	for _, m := range mutations {
		for _, t := range m.tests {
			if !slices.Contains(names[t.suite], t.name) {
				names[t.suite] = append(names[t.suite], t.name)
			}
		}
	}
	return names
}
