package ledger

import (
	"maps"
)

// Change says how far two versions of an entry are apart, which decides when the newer one is written.
type Change int

const (
	// Unchanged entries need no write.
	Unchanged Change = iota
	// Refreshed entries differ only in what tells how old they are, a resourceVersion that moved without the content: they are worth
	// a write now and then.
	Refreshed
	// Updated entries are written as soon as the rate allows.
	Updated
)

// Compare says how far the newer entry is from the older; either may be nil. Restarted reports that the template value
// moved, and with it that no further restart may follow before the newer entry is written.
func Compare(older, newer *Entry) (change Change, restarted bool) {
	switch {
	case older == nil && newer == nil:
		return Unchanged, false
	case older == nil || newer == nil:
		return Updated, newer != nil && newer.Value != ""
	}
	restarted = older.Value != newer.Value || older.Token != newer.Token
	if restarted || !sameRecord(older, newer) || !sameSources(older, newer) {
		return Updated, restarted
	}
	if !maps.EqualFunc(older.Sources, newer.Sources, func(a, b Source) bool {
		return a.UID == b.UID && a.ResourceVersion == b.ResourceVersion && a.Changed.Equal(b.Changed)
	}) || !older.ProvenAt.Equal(newer.ProvenAt) {
		return Refreshed, false
	}
	return Unchanged, false
}

func sameRecord(a, b *Entry) bool {
	return a.Workload == b.Workload && a.UID == b.UID && a.Template == b.Template &&
		a.PendingSince.Equal(b.PendingSince) && a.Throttle.Equal(b.Throttle) &&
		a.PausedSince.Equal(b.PausedSince) && a.AbsentSince.Equal(b.AbsentSince)
}

func sameSources(a, b *Entry) bool {
	return maps.EqualFunc(a.Sources, b.Sources, func(x, y Source) bool {
		return x.Present == y.Present && x.Immutable == y.Immutable && x.Provisional == y.Provisional && x.Digest == y.Digest && x.Scope.Equal(y.Scope) &&
			maps.Equal(x.Tags, y.Tags) && x.NotAfter.Equal(y.NotAfter) && x.Diverged.Equal(y.Diverged) &&
			x.Pending == y.Pending && x.PendingChanged.Equal(y.PendingChanged) && x.Written == y.Written && x.Turned == y.Turned
	})
}
