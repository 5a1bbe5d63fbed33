package policy

import (
	"fmt"
	"path"
	"slices"

	"github.com/flux-reloader/reloader/internal/reference"
)

// narrow is the part of what pods see that counts. What pods see is all keys, or keys by name, never globs.
func narrow(seen, counts reference.Scope) reference.Scope {
	switch {
	case counts.All:
		return seen
	case seen.All:
		return counts
	default:
		return reference.Keys(slices.DeleteFunc(slices.Clone(seen.Keys), func(key string) bool { return !counts.Includes(key) })...)
	}
}

// keys compiles the globs of one entry: all keys if it says nothing of them, none if nothing that it says can be read.
func (c *compiler) keys(field string, from []string) reference.Scope {
	if from == nil {
		return reference.Scope{All: true}
	}
	var globs []string
	for i, glob := range from {
		if _, err := path.Match(glob, ""); err != nil {
			c.invalid(fmt.Sprintf("%s[%d]", field, i), glob, err.Error())
			continue
		}
		globs = append(globs, glob)
	}
	return reference.Globs(globs...)
}
