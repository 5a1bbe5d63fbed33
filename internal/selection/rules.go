package selection

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/flux-reloader/reloader/internal/reference"
)

// Rules are a workload's annotations, read and compiled. Those of one kind of source do not touch the other's.
type Rules struct {
	byKind   map[reference.Kind]rules
	problems []Problem
}

// rules are what a workload says about one kind of source.
type rules struct {
	auto, search bool
	// implied is whether auto is AutoAll's doing, and not the workload's.
	implied bool
	exclude map[string]bool
	// names are list items that match only themselves, patterns all others.
	names    []string
	patterns []*regexp.Regexp
}

// opted reports whether the workload restarts for anything, asked whether it says so itself.
func (r rules) opted() bool { return r.auto || r.asked() }

func (r rules) asked() bool {
	return r.auto && !r.implied || r.search || len(r.names) > 0 || len(r.patterns) > 0
}

// matches reports whether the named list matches.
func (r rules) matches(name string) bool {
	if r.exclude[name] {
		return false
	}
	for _, n := range r.names {
		if n == name {
			return true
		}
	}
	for _, p := range r.patterns {
		if p.MatchString(name) {
			return true
		}
	}
	return false
}

// Read reads the annotations of a workload and of its pod template. What cannot be read is a problem, and disables only
// itself.
func Read(settings Settings, workload, template map[string]string) Rules {
	r := Rules{byKind: make(map[reference.Kind]rules, len(settings.Kinds))}
	for _, kind := range settings.Kinds {
		r.byKind[kind] = r.read(settings, kind, workload, template)
	}
	return r
}

// read follows Stakater Reloader: the named list of this kind, search, auto and the auto of this kind count on the
// template only if the workload has none of the four.
func (r *Rules) read(settings Settings, kind reference.Kind, workload, template map[string]string) rules {
	keys := settings.Annotations
	named, search, auto, typed := keys.Named[kind], keys.Search, keys.Auto, keys.TypedAuto[kind]
	from := template
	for _, key := range []string{named, search, auto, typed} {
		if _, found := workload[key]; found {
			from = workload
			break
		}
	}
	var read rules
	excluded, found := workload[keys.Exclude[kind]]
	if !found {
		excluded = template[keys.Exclude[kind]]
	}
	for _, name := range items(excluded) {
		if read.exclude == nil {
			read.exclude = map[string]bool{}
		}
		read.exclude[name] = true
	}
	r.named(&read, named, from[named])
	read.search = r.flag(from, search, exactly)
	read.implied = settings.AutoAll && from[auto] == "" && from[typed] == ""
	read.auto = read.implied || r.auto(settings, from, auto, typed)
	return read
}

// auto is either annotation's true.
func (r *Rules) auto(settings Settings, from map[string]string, auto, typed string) bool {
	parse := strconv.ParseBool
	if settings.AutoAll {
		parse = emptyIsFalse
	}
	one, other := r.flag(from, auto, parse), r.flag(from, typed, parse)
	return one || other
}

// flag reads a yes or no; false if it is not there or cannot be read.
func (r *Rules) flag(from map[string]string, key string, parse func(string) (bool, error)) bool {
	value, found := from[key]
	if !found {
		return false
	}
	yes, err := parse(value)
	if err != nil {
		r.problem(Problem{Annotation: key, Value: value, Detail: `want "true" or "false"`})
	}
	return yes
}

// exactly takes only the word: Stakater Reloader compares these annotations, and does not parse them.
func exactly(value string) (bool, error) {
	if value != "true" && value != "false" {
		return false, strconv.ErrSyntax
	}
	return value == "true", nil
}

func emptyIsFalse(value string) (bool, error) {
	if value == "" {
		return false, nil
	}
	return strconv.ParseBool(value)
}

// named reads a list of names and regular expressions. Each must match a whole name, alternatives included.
func (r *Rules) named(read *rules, key, list string) {
	for _, item := range items(list) {
		if regexp.QuoteMeta(item) == item {
			read.names = append(read.names, item)
			continue
		}
		// Compiled by itself first: `a)|(b` must not become valid by the group around it.
		_, err := regexp.Compile(item)
		if err == nil {
			var pattern *regexp.Regexp
			if pattern, err = regexp.Compile("^(?:" + item + ")$"); err == nil {
				read.patterns = append(read.patterns, pattern)
				continue
			}
		}
		r.problem(Problem{Annotation: key, Value: item, Detail: fmt.Sprintf("is ignored: %v", err)})
	}
}

// problem notes a problem, once: kinds share annotations.
func (r *Rules) problem(p Problem) {
	for _, known := range r.problems {
		if known == p {
			return
		}
	}
	r.problems = append(r.problems, p)
}

// items splits a list at its commas.
func items(list string) []string {
	var split []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			split = append(split, item)
		}
	}
	return split
}
