package plan

import (
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
)

// condition is how one source compares to its record.
type condition int

const (
	// same content as recorded, or a difference that the template no longer shows.
	same condition = iota
	// first sight of the source, or of keys of it.
	first
	// appeared means recorded as absent, present now.
	appeared
	// changed content, also of an object that was deleted and made again.
	changed
	// returned to the recorded content after it had been another.
	returned
	// missing now.
	missing
	// vanished since it was recorded, which the policy takes for a change.
	vanished
	// unseen because its namespace is not watched, or because what is seen is older than what was seen before.
	unseen
)

// finding is one source of the workload, observed and compared.
type finding struct {
	condition
	use    reference.Use
	seen   Source
	record ledger.Source
	// shown is the digest of what the template shows of a source: of nothing if it is absent, zero if that is not known.
	shown digest.Digest
	// proof is what the record is to say of it: the same, but for a source of copies. Then it stands for all that pods hold,
	// copies is how many kinds of that there are, and spreads is set if what is shown is no news.
	proof   digest.Digest
	copies  int
	spreads bool
	// own is whether each pod of the workload tells by its copy what it runs with.
	own bool
	// equal is whether the content is the recorded one, all of it.
	equal bool
	keys  []string
	event Event
	// turns are the changes that were seen since the record was made, or brought up to date, of what the template shows.
	turns []Turn
	// since is when the content became what it is, if timed: evidence that can be trusted to be no earlier than the truth.
	since time.Time
	timed bool
}

func (f finding) differs() bool {
	return f.condition == changed || f.condition == returned || f.condition == vanished
}

// turned reports whether the content was yet another between what the last value was written for, or what was proven, and
// what it is now, as far as is known: a restart whose record was lost may have been written for this content before that.
func (f finding) turned() bool {
	r := f.record
	switch {
	case r.Provisional, f.seen.UID != r.UID:
		return true
	case r.Written && len(f.turns) == 0 && !f.copied():
		// If it was written meanwhile, it may have left and returned before this process looked.
		return r.Turned || f.seen.ResourceVersion != r.ResourceVersion
	case r.Diverged.IsZero(), r.Written:
		return r.Turned || len(f.turns) > 1 || len(f.turns) == 1 && (f.turns[0].Merged || f.turns[0].After != r.ResourceVersion)
	default:
		return r.Turned || len(f.turns) > 0 || f.shown != r.Pending
	}
}

// replaced reports whether a source differs whose data could not change.
func (f finding) replaced() bool { return f.condition == changed && f.record.Immutable }

func (f finding) change() Change {
	return Change{Source: f.use.Source, Event: f.event, Keys: f.keys, SeenAt: f.seen.SeenAt}
}

// compare finds out how a source stands to its record. Leading is for how long this process has decided.
func compare(key digest.Key, leading time.Duration, use reference.Use, seen Source, record ledger.Source, recorded bool) finding {
	f := finding{use: use, seen: seen, record: record, event: Changed}
	if seen.State != Unknown {
		f.shown = key.Scoped(use.Source, use.Scope, seen.Content)
		f.proof = f.shown
	}
	if f.copied() && seen.State == Present {
		f.proof, f.copies = seen.held(key, f)
	}
	switch {
	case seen.State == Unknown, recorded && leading < catchUp && older(seen, record) && !f.copied():
		f.condition = unseen
	case seen.State == Absent:
		f.condition = missing
	case !recorded:
		f.condition = first
	case !record.Present:
		f.condition = appeared
	case f.copied():
		f.compareCopies()
	default:
		f.compareContent(key)
	}
	f.since, f.timed = changeTime(f)
	return f
}

// catchUp is how long the cache of a new leader may lag behind what another recorded. After that, what it shows is what
// there is: the versions of a cluster that was restored from a backup begin anew.
const catchUp = time.Minute

// older reports whether a source is shown as it was before it was recorded. Resource versions of one resource are ordered:
// an object that was made again has a greater one than its predecessor ever had.
func older(seen Source, record ledger.Source) bool {
	if seen.State != Present {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(seen.ResourceVersion, record.ResourceVersion)
	return err == nil && order < 0
}

// compareContent compares the content of a source that was present and is.
func (f *finding) compareContent(key digest.Key) {
	f.turns = f.seen.turnsAfter(f.record.ResourceVersion, f.use.Scope)
	now := f.shown
	if !f.record.Scope.Equal(f.use.Scope) {
		now = key.Scoped(f.use.Source, f.record.Scope, f.seen.Content)
	}
	f.equal = now == f.record.Digest
	if !f.equal {
		keys, known := f.record.ChangedKeys(f.seen.Content, f.use.Scope)
		if f.keys = keys; !known || len(keys) > 0 {
			f.condition = changed
			return
		}
	}
	another := !f.record.Diverged.IsZero() || len(f.turns) > 0 // in keys that may not be shown any more
	switch {
	case f.equal && another:
		f.condition = returned
	case f.record.Provisional || extends(f.use.Scope, f.record.Scope, f.seen.Content):
		f.condition = first
	case another:
		f.condition = returned
	default:
		f.condition = same
	}
}

// extends reports whether the wider scope shows keys of the content that the other does not.
func extends(wider, other reference.Scope, content digest.Content) bool {
	for key := range content {
		if wider.Includes(key) && !other.Includes(key) {
			return true
		}
	}
	return false
}

// entered is the record of a source as it is now.
func entered(f finding) ledger.Source {
	if f.condition == vanished {
		return ledger.Source{Scope: f.use.Scope}
	}
	if f.seen.State != Present {
		// One that went away keeps its record: should it come back with other content, that is a change.
		r := f.record
		r.Provisional = false
		return r
	}
	return ledger.Source{
		Present: true, Scope: f.use.Scope,
		Digest: f.proof,
		Tags:   ledger.Tags(f.seen.Content, f.use.Scope),
		UID:    f.seen.UID, ResourceVersion: f.seen.ResourceVersion, Immutable: f.seen.Immutable,
		Changed: f.seen.Changed, NotAfter: f.seen.NotAfter,
	}
}

// content is the digest of everything that new pods would read now. A source that went away counts as what it held last:
// its absence is no change, so it must not look like one.
func content(key digest.Key, findings []finding) digest.Digest {
	parts := make([]digest.Part, len(findings))
	for i, f := range findings {
		parts[i].Source = f.use.Source
		switch {
		case f.seen.State == Present:
			parts[i].Digest = f.shown
		case !f.record.Pending.IsZero():
			parts[i].Digest = f.record.Pending
		default:
			parts[i].Digest = f.record.Digest
		}
	}
	return key.Sum(parts)
}

// diverged is the record of a source whose content differs, with what is known of that content.
func diverged(f finding) ledger.Source {
	r := f.record
	r.Turned = f.turned()
	if f.condition == vanished { // should it come back as it was before anything is done about it, nothing has happened
		r.Written = r.Written && f.shown == r.Pending
		r.Pending, r.PendingChanged = f.shown, time.Time{}
		return r
	}
	if r.Diverged.IsZero() {
		r.Diverged = divergence(f)
	}
	r.Written = r.Written && (f.own || f.shown == r.Pending && (len(f.turns) == 0 || f.copied()))
	r.UID, r.ResourceVersion = f.seen.UID, f.seen.ResourceVersion
	r.Pending, r.PendingChanged = f.shown, time.Time{}
	if f.timed {
		r.PendingChanged = f.since
	}
	return r
}

// divergence is a lower bound of when content first differed from the record: the first turn, if it is from the version
// that the record names, unless the object was made again before. A time that was read from a list is none: it is that of
// the last change, and there may have been more. Then the time of the record's own content is one; without that, any pod
// may have been created since.
func divergence(f finding) time.Time {
	since := f.record.Changed
	switch {
	case len(f.turns) > 0:
		if f.turns[0].After == f.record.ResourceVersion {
			since = latest(since, f.turns[0].Since)
		}
	case f.seen.Timing == Exact:
		since = f.seen.Changed
	}
	if f.seen.UID != f.record.UID && f.seen.Created.Before(since) {
		since = f.seen.Created
	}
	return latest(since, longAgo())
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
