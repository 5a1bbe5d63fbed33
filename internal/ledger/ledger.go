// Package ledger is the record that Reloader keeps of each workload: what its pods were proven to run with, what was
// written to its template, and what is held. It is pure: values, their encoding and their comparison.
package ledger

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/reference"
)

// Workload names one workload. It is comparable and serves as a key and as the unit of work.
type Workload struct {
	// Kind as in the API, "Deployment".
	Kind      string
	Namespace string
	Name      string
}

// String is Kind/namespace/name, as logs write it.
func (w Workload) String() string { return w.Kind + "/" + w.Namespace + "/" + w.Name }

// Short is Kind/name, as events write it.
func (w Workload) Short() string { return w.Kind + "/" + w.Name }

// Entry is the record of one workload. Entries are values: Clone before changing what another may hold.
type Entry struct {
	Workload Workload
	UID      types.UID

	// Value is the last template value that Reloader wrote, or adopted as its own; empty if it never restarted this
	// workload. Every new value is derived from it, so that none ever returns.
	Value string
	// Token is the restart request handled last.
	Token string

	// Template is the digest of the pod template that was proven, zero until one was. It advances only together with all
	// digests.
	Template digest.Digest
	// ProvenAt is when, on the controller's clock.
	ProvenAt time.Time

	// Sources is what the pods were proven, or taken at first sight, to run with.
	Sources map[reference.Source]Source

	// PendingSince is when the difference that is held, or being rolled out, was first seen, on the controller's clock;
	// zero if there is none.
	PendingSince time.Time
	// Throttle is the time up to which restarts are paid for, on the controller's clock: see the plan package.
	Throttle time.Time
	// PausedSince is when the pause period began for whose end the restart that is due waits, on the controller's clock; zero
	// if none has. What the restart is written for ends it.
	PausedSince time.Time
	// AbsentSince is when the workload was first found missing, on the controller's clock.
	AbsentSince time.Time
}

// Source is the record of one source of a workload.
type Source struct {
	// Present is false for a source that has not existed since it was entered. A source that went away keeps its record:
	// if it comes back with other content, that is a change.
	Present bool
	// Scope is what the template showed of the source, and counted; Digest is that scope's content.
	Scope  reference.Scope
	Digest digest.Digest
	// Tags are short keyed digests, a key of the scope each, to name the keys that changed. They may be left out of an
	// entry that is too large.
	Tags map[string]Tag
	// UID and ResourceVersion of the object as last seen. Digests decide; the version tells what is older.
	UID             types.UID
	ResourceVersion string
	// Immutable says that the object's data could not change: other content means that it was replaced.
	Immutable bool
	// Changed is the time of the content's last change by the API server's clock; zero if unknown.
	Changed time.Time
	// NotAfter is when the certificate in tls.crt ends; zero without one.
	NotAfter time.Time
	// Provisional marks content entered at first sight while a rollout was under way: judged again when that ends.
	Provisional bool
	// Diverged is a lower bound, by the API server's clock, of when the content first differed from the digest; zero if
	// it does not, or did not since.
	Diverged time.Time
	// Pending is the digest of the content that differs, as last seen, in the scope of that time. PendingChanged is the
	// time of that content's change by the API server's clock; zero if it cannot be trusted.
	Pending        digest.Digest
	PendingChanged time.Time
	// Written is set when Value is written for the pending content, until content is another: a pod that carries Value
	// then may have started with either.
	Written bool
	// Turned is set when the content was yet another, or may have been, between what Value was written for, or what was proven,
	// and what is pending: a restart whose record was lost may have been written before that.
	Turned bool
}

// TagSize is the length of a Tag in bytes.
const TagSize = 6

// Tag stands for the content of one key.
type Tag [TagSize]byte

// Tags shortens the digests of the keys within the scope.
func Tags(content digest.Content, scope reference.Scope) map[string]Tag {
	tags := make(map[string]Tag, len(scope.Keys))
	for key, d := range content {
		if scope.Includes(key) {
			tags[key] = Tag(d[:TagSize])
		}
	}
	return tags
}

// Keys lists the keys that the record had, sorted. It is empty where tags were left out.
func (s Source) Keys() []string { return slices.Sorted(maps.Keys(s.Tags)) }

// ChangedKeys lists, sorted, the keys within both the recorded and the given scope whose content differs from the
// record. Known is false if the record has no tags to tell.
func (s Source) ChangedKeys(content digest.Content, scope reference.Scope) (keys []string, known bool) {
	if len(s.Tags) == 0 && s.Present {
		return nil, false
	}
	for key, tag := range s.Tags {
		if d, ok := content[key]; scope.Includes(key) && (!ok || Tag(d[:TagSize]) != tag) {
			keys = append(keys, key)
		}
	}
	for key := range content {
		if _, had := s.Tags[key]; !had && s.Scope.Includes(key) && scope.Includes(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, true
}

// Complete reports whether every one of these sources has been entered, and none of them provisionally.
func (e *Entry) Complete(sources []reference.Source) bool {
	for _, source := range sources {
		if s, entered := e.Sources[source]; !entered || s.Provisional {
			return false
		}
	}
	return true
}

// Clone copies the entry so that the copy's sources can be changed. Tags are shared: they are never changed in place.
func (e *Entry) Clone() *Entry {
	if e == nil {
		return nil
	}
	c := *e
	c.Sources = maps.Clone(e.Sources)
	if c.Sources == nil {
		c.Sources = map[reference.Source]Source{}
	}
	return &c
}
