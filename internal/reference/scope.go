package reference

import (
	"path"
	"slices"
	"strings"
)

// Scope is the part of a source that counts: all of it, or the keys that are named or match a pattern. What pods can see
// has no patterns; a policy may narrow it by some. The zero value is an empty scope.
type Scope struct {
	// All keys, those to come included; Keys and Globs are then empty.
	All bool
	// Keys, sorted, each once.
	Keys []string
	// Globs, sorted, each once, are patterns of keys as path.Match reads them, those to come included.
	Globs []string
}

// Keys is a scope of just these keys.
func Keys(keys ...string) Scope { return Scope{Keys: sorted(keys)} }

// Globs is a scope of the keys that match one of these patterns. Those without a wildcard are keys. One that is malformed
// matches nothing.
func Globs(globs ...string) Scope {
	var keys, patterns []string
	for _, glob := range globs {
		if strings.ContainsAny(glob, `*?[\`) {
			patterns = append(patterns, glob)
		} else {
			keys = append(keys, glob)
		}
	}
	return Scope{Globs: sorted(patterns)}.Union(Keys(keys...))
}

// Includes reports whether the key is within the scope.
func (s Scope) Includes(key string) bool {
	if s.All {
		return true
	}
	_, found := slices.BinarySearch(s.Keys, key)
	return found || s.matches(key)
}

// matches reports whether one of the patterns matches.
func (s Scope) matches(key string) bool {
	return slices.ContainsFunc(s.Globs, func(glob string) bool {
		matched, err := path.Match(glob, key)
		return err == nil && matched
	})
}

// Empty reports whether nothing is within the scope, whatever there may be.
func (s Scope) Empty() bool { return !s.All && len(s.Keys) == 0 && len(s.Globs) == 0 }

// Equal reports whether both scopes are given by the same keys and patterns.
func (s Scope) Equal(o Scope) bool {
	return s.All == o.All && slices.Equal(s.Keys, o.Keys) && slices.Equal(s.Globs, o.Globs)
}

// Union is the scope of what either includes. A key that a pattern of it matches is not named beside that.
func (s Scope) Union(o Scope) Scope {
	if s.All || o.All {
		return Scope{All: true}
	}
	union := Scope{Globs: sorted(slices.Concat(s.Globs, o.Globs))}
	union.Keys = sorted(slices.DeleteFunc(slices.Concat(s.Keys, o.Keys), union.matches))
	return union
}

func sorted(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}
