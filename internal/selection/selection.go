// Package selection decides from annotations and settings which sources restart a workload. It is pure.
package selection

import (
	"fmt"
	"slices"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/reference"
)

// Annotations are the keys that count. Every one of Stakater Reloader's can be renamed by a flag, or has a fixed name.
type Annotations struct {
	// Auto, on a workload, selects every source that its pods use; TypedAuto those of one kind.
	Auto      string
	TypedAuto map[reference.Kind]string
	// Search, on a workload, selects every source that its pods use and that carries Match.
	Search string
	Match  string
	// Named, on a workload, lists names and regular expressions of sources of one kind, used or not.
	Named map[reference.Kind]string
	// Exclude, on a workload, lists names of sources of one kind that never restart it.
	Exclude map[reference.Kind]string
	// Ignore, on a source, keeps it from restarting anything.
	Ignore string
	// PausePeriod, on a Deployment, is how long its restarts are put off, and PausedAt since when they are. They select
	// nothing.
	PausePeriod string
	PausedAt    string
}

// OnWorkloads lists the keys that are read from workloads and their pod templates.
func (a Annotations) OnWorkloads() []string {
	keys := []string{a.Auto, a.Search, a.PausePeriod, a.PausedAt}
	for _, of := range []map[reference.Kind]string{a.TypedAuto, a.Named, a.Exclude} {
		for _, key := range of {
			keys = append(keys, key)
		}
	}
	return keys
}

// Settings are the parts of the controller's flags that selection depends on.
type Settings struct {
	Annotations Annotations
	// AutoAll opts in every workload that does not say otherwise.
	AutoAll bool
	// Kinds are the kinds of sources that count.
	Kinds []reference.Kind
}

// Defaults are the settings without any flag.
func Defaults() Settings {
	return Settings{
		Annotations: Annotations{
			Auto: v1alpha1.AutoAnnotation,
			TypedAuto: map[reference.Kind]string{
				reference.Secret: v1alpha1.SecretAutoAnnotation, reference.ConfigMap: v1alpha1.ConfigMapAutoAnnotation,
				reference.SecretProviderClass: v1alpha1.SecretProviderClassAutoAnnotation,
			},
			Search: v1alpha1.SearchAnnotation, Match: v1alpha1.MatchAnnotation, Ignore: v1alpha1.IgnoreAnnotation,
			Named: map[reference.Kind]string{
				reference.Secret: v1alpha1.SecretReloadAnnotation, reference.ConfigMap: v1alpha1.ConfigMapReloadAnnotation,
				reference.SecretProviderClass: v1alpha1.SecretProviderClassReloadAnnotation,
			},
			Exclude: map[reference.Kind]string{
				reference.Secret: v1alpha1.SecretExcludeAnnotation, reference.ConfigMap: v1alpha1.ConfigMapExcludeAnnotation,
				reference.SecretProviderClass: v1alpha1.SecretProviderClassExcludeAnnotation,
			},
			PausePeriod: v1alpha1.PausePeriodAnnotation, PausedAt: v1alpha1.PausedAtAnnotation,
		},
		Kinds: []reference.Kind{reference.ConfigMap, reference.Secret},
	}
}

// Marks are what a source's own annotations say.
type Marks struct{ Ignored, Matched bool }

// ReadMarks reads the annotations of a source. Only the word "true" counts, as in Stakater Reloader.
func ReadMarks(annotations Annotations, of map[string]string) Marks {
	return Marks{Ignored: of[annotations.Ignore] == "true", Matched: of[annotations.Match] == "true"}
}

// Sources is what selection has to know of sources. One that is gone, but is on the workload's record, counts as it did:
// should it come back, that has to be compared.
type Sources interface {
	// Marks are the source's; none for one that is not there.
	Marks(source reference.Source) Marks
	// Names lists the names of the sources of a kind in a namespace.
	Names(kind reference.Kind, namespace string) []string
}

// Result says what restarts a workload.
type Result struct {
	// Selected is whether the workload opted in at all.
	Selected bool
	// Asked is whether it did so itself, and not by AutoAll alone.
	Asked bool
	// Uses are the sources that restart it and what of them counts, sorted by source.
	Uses []reference.Use
	// Problems are annotations that could not be read. They disable only themselves.
	Problems []Problem
}

// Problem is an annotation whose value makes no sense.
type Problem struct {
	Annotation string
	Value      string
	Detail     string
}

// String names the annotation, its value and what is wrong with it.
func (p Problem) String() string {
	return fmt.Sprintf("annotation %s: invalid value %q: %s", p.Annotation, p.Value, p.Detail)
}

// Select says what restarts a workload in this namespace whose pods use these sources.
func (r Rules) Select(namespace string, uses []reference.Use, sources Sources) Result {
	result := Result{Problems: r.problems}
	selected := map[reference.Source]reference.Use{}
	for kind, rules := range r.byKind {
		result.Selected, result.Asked = result.Selected || rules.opted(), result.Asked || rules.asked()
		for _, name := range rules.listed(kind, namespace, sources) {
			source := reference.Source{Kind: kind, Namespace: namespace, Name: name}
			// Who names an object depends on all of it, used by the pods or not.
			selected[source] = reference.Use{Source: source, Scope: reference.Scope{All: true}, Optional: true}
		}
	}
	for _, use := range uses {
		rules := r.byKind[use.Source.Kind]
		if named, found := selected[use.Source]; found {
			named.Optional, named.Container = use.Optional, use.Container
			selected[use.Source] = named
			continue
		}
		if !rules.exclude[use.Source.Name] && (rules.auto || rules.search && sources.Marks(use.Source).Matched) {
			selected[use.Source] = use
		}
	}
	for source, use := range selected {
		if !sources.Marks(source).Ignored {
			result.Uses = append(result.Uses, use)
		}
	}
	slices.SortFunc(result.Uses, func(a, b reference.Use) int { return a.Source.Compare(b.Source) })
	return result
}

// listed are the names that the list matches: those it spells out, there or not, and what its patterns find.
func (r rules) listed(kind reference.Kind, namespace string, sources Sources) []string {
	names := slices.DeleteFunc(slices.Clone(r.names), func(name string) bool { return r.exclude[name] })
	if len(r.patterns) == 0 {
		return names
	}
	for _, name := range sources.Names(kind, namespace) {
		if r.matches(name) {
			names = append(names, name)
		}
	}
	return names
}

// IndexKeys are the keys under which the workload is found when a source changes: one a source that its pods use or that
// it names, and one a kind for lists with patterns.
func (r Rules) IndexKeys(namespace string, uses []reference.Use) []string {
	var keys []string
	for _, use := range uses {
		keys = append(keys, use.Source.IndexKey())
	}
	for kind, rules := range r.byKind {
		for _, name := range rules.names {
			keys = append(keys, reference.Source{Kind: kind, Namespace: namespace, Name: name}.IndexKey())
		}
		if len(rules.patterns) > 0 {
			keys = append(keys, PatternKey(kind, namespace))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// PatternKey is the index key of workloads whose lists have patterns for this kind.
func PatternKey(kind reference.Kind, namespace string) string {
	return reference.Source{Kind: kind, Namespace: namespace}.IndexKey()
}

// Lists reports whether the workload's list matches the source.
func (r Rules) Lists(source reference.Source) bool { return r.byKind[source.Kind].matches(source.Name) }
