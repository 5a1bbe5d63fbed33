package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/flux-reloader/reloader/internal/reference"
)

// Keys are the keys of a source that count, those to come included. The zero value is none.
type Keys struct {
	all bool
	// globs are sorted, each once, and valid; there are none with all.
	globs []string
}

// AllKeys are every key.
func AllKeys() Keys { return Keys{all: true} }

// All reports whether every key counts.
func (k Keys) All() bool { return k.all }

// Includes reports whether the key counts.
func (k Keys) Includes(key string) bool {
	if k.all {
		return true
	}
	return slices.ContainsFunc(k.globs, func(glob string) bool {
		matched, err := path.Match(glob, key)
		return err == nil && matched
	})
}

func (k Keys) union(o Keys) Keys {
	if k.all || o.all {
		return AllKeys()
	}
	return globsOf(slices.Concat(k.globs, o.globs))
}

func globsOf(globs []string) Keys {
	slices.Sort(globs)
	return Keys{globs: slices.Compact(globs)}
}

// narrow is what of a scope counts. A scope of all keys stays one if there are wildcards: keys to come may match.
func (k Keys) narrow(scope reference.Scope) reference.Scope {
	switch {
	case k.all:
		return scope
	case !scope.All:
		return reference.Keys(slices.DeleteFunc(slices.Clone(scope.Keys), func(key string) bool { return !k.Includes(key) })...)
	case slices.ContainsFunc(k.globs, wild):
		return scope
	default:
		return reference.Keys(k.globs...)
	}
}

// wild reports whether a glob may match anything but itself.
func wild(glob string) bool { return strings.ContainsAny(glob, `*?[\`) }

// keys compiles the globs of one entry: all keys if it says nothing of them, none if nothing that it says can be read.
func (c *compiler) keys(field string, from []string) Keys {
	if from == nil {
		return AllKeys()
	}
	var globs []string
	for i, glob := range from {
		if _, err := path.Match(glob, ""); err != nil {
			c.invalid(fmt.Sprintf("%s[%d]", field, i), glob, err.Error())
			continue
		}
		globs = append(globs, glob)
	}
	return globsOf(globs)
}
