package ledger_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
)

// edit is an entry that differs from the full one in what the function changes.
func edit(change func(e *ledger.Entry)) *ledger.Entry {
	e := full()
	change(e)
	return e
}

// editSource is an entry that differs from the full one in what the function changes of its source.
func editSource(change func(s *ledger.Source)) *ledger.Entry {
	return edit(func(e *ledger.Entry) {
		s := e.Sources[tls]
		change(&s)
		e.Sources[tls] = s
	})
}

func TestCompare(t *testing.T) {
	later := base.Add(48 * time.Hour)
	for _, tc := range []struct {
		name         string
		older, newer *ledger.Entry
		want         ledger.Change
		restarted    bool
	}{
		{name: "none and none", want: ledger.Unchanged},
		{name: "equal", older: full(), newer: full(), want: ledger.Unchanged},
		{name: "new", newer: edit(func(e *ledger.Entry) { e.Value = "" }), want: ledger.Updated},
		{name: "new with a value", newer: full(), want: ledger.Updated, restarted: true},
		{name: "gone", older: full(), want: ledger.Updated},
		{name: "value", older: full(), newer: edit(func(e *ledger.Entry) { e.Value = "b" }), want: ledger.Updated, restarted: true},
		{name: "token", older: full(), newer: edit(func(e *ledger.Entry) { e.Token = "b" }), want: ledger.Updated, restarted: true},
		{name: "name", older: full(), newer: edit(func(e *ledger.Entry) { e.Workload.Name = "b" }), want: ledger.Updated},
		{name: "uid", older: full(), newer: edit(func(e *ledger.Entry) { e.UID = "b" }), want: ledger.Updated},
		{name: "template", older: full(), newer: edit(func(e *ledger.Entry) { e.Template = digest.Digest{9} }), want: ledger.Updated},
		{name: "pending", older: full(), newer: edit(func(e *ledger.Entry) { e.PendingSince = later }), want: ledger.Updated},
		{name: "throttle", older: full(), newer: edit(func(e *ledger.Entry) { e.Throttle = later }), want: ledger.Updated},
		{name: "paused", older: full(), newer: edit(func(e *ledger.Entry) { e.PausedSince = later }), want: ledger.Updated},
		{name: "absent", older: full(), newer: edit(func(e *ledger.Entry) { e.AbsentSince = later }), want: ledger.Updated},
		{name: "proven later", older: full(), newer: edit(func(e *ledger.Entry) { e.ProvenAt = later }), want: ledger.Refreshed},
		{name: "source gone", older: full(), newer: edit(func(e *ledger.Entry) { delete(e.Sources, tls) }), want: ledger.Updated},
		{name: "source new", older: edit(func(e *ledger.Entry) { delete(e.Sources, tls) }), newer: full(), want: ledger.Updated},
		{
			name: "source replaced", older: full(), want: ledger.Updated, newer: edit(func(e *ledger.Entry) {
				e.Sources[reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "b"}] = e.Sources[tls]
				delete(e.Sources, tls)
			}),
		},
		{name: "present", older: full(), newer: editSource(func(s *ledger.Source) { s.Present = false }), want: ledger.Updated},
		{name: "scope", older: full(), newer: editSource(func(s *ledger.Source) { s.Scope = all }), want: ledger.Updated},
		{name: "patterns", older: full(), newer: editSource(func(s *ledger.Source) { s.Scope = s.Scope.Union(reference.Globs("c*")) }), want: ledger.Updated},
		{name: "digest", older: full(), newer: editSource(func(s *ledger.Source) { s.Digest = digest.Digest{9} }), want: ledger.Updated},
		{name: "tags", older: full(), newer: editSource(func(s *ledger.Source) { s.Tags = nil }), want: ledger.Updated},
		{name: "not after", older: full(), newer: editSource(func(s *ledger.Source) { s.NotAfter = later }), want: ledger.Updated},
		{name: "provisional", older: full(), newer: editSource(func(s *ledger.Source) { s.Provisional = false }), want: ledger.Updated},
		{name: "diverged", older: full(), newer: editSource(func(s *ledger.Source) { s.Diverged = later }), want: ledger.Updated},
		{name: "pending content", older: full(), newer: editSource(func(s *ledger.Source) { s.Pending = digest.Digest{9} }), want: ledger.Updated},
		{name: "pending time", older: full(), newer: editSource(func(s *ledger.Source) { s.PendingChanged = later }), want: ledger.Updated},
		{name: "turned", older: full(), newer: editSource(func(s *ledger.Source) { s.Turned = false }), want: ledger.Updated},
		{name: "written", older: full(), newer: editSource(func(s *ledger.Source) { s.Written = false }), want: ledger.Updated},
		{name: "immutable", older: full(), newer: editSource(func(s *ledger.Source) { s.Immutable = false }), want: ledger.Updated},
		{name: "source uid", older: full(), newer: editSource(func(s *ledger.Source) { s.UID = "b" }), want: ledger.Refreshed},
		{name: "resource version", older: full(), newer: editSource(func(s *ledger.Source) { s.ResourceVersion = "8" }), want: ledger.Refreshed},
		{name: "change time", older: full(), newer: editSource(func(s *ledger.Source) { s.Changed = later }), want: ledger.Refreshed},
		{
			name: "times in another zone", older: full(), want: ledger.Unchanged,
			newer: edit(func(e *ledger.Entry) { e.ProvenAt = e.ProvenAt.In(time.FixedZone("east", 3600)) }),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, restarted := ledger.Compare(tc.older, tc.newer)
			if got != tc.want || restarted != tc.restarted {
				t.Errorf("change %d, restarted %t; want %d, %t", got, restarted, tc.want, tc.restarted)
			}
		})
	}
}

func TestChangedKeys(t *testing.T) {
	before := content(t, "a", "1", "b", "1", "c", "1")
	record := func(content digest.Content, scope reference.Scope) ledger.Source {
		return ledger.Source{Present: true, Scope: scope, Tags: ledger.Tags(content, scope)}
	}
	untagged := func(scope reference.Scope) ledger.Source {
		s := record(before, scope)
		s.Tags = nil
		return s
	}
	for _, tc := range []struct {
		name    string
		reason  string
		record  ledger.Source
		now     digest.Content
		scope   reference.Scope
		want    []string
		unknown bool
	}{
		{name: "nothing", reason: "equal content", record: record(before, all), now: before, scope: all},
		{
			name: "changed", reason: "other content under the same key", record: record(before, all),
			now: content(t, "a", "2", "b", "1", "c", "1"), scope: all, want: []string{"a"},
		},
		{name: "removed", reason: "a key that went is a change", record: record(before, all), now: content(t, "a", "1"), scope: all, want: []string{"b", "c"}},
		{
			name: "added", reason: "all keys include those to come", record: record(before, all),
			now: content(t, "a", "1", "b", "1", "c", "1", "d", "1"), scope: all, want: []string{"d"},
		},
		{
			name: "all of it, sorted", reason: "messages name keys in their order", record: record(before, all),
			now: content(t, "d", "1", "b", "2", "c", "1"), scope: all, want: []string{"a", "b", "d"},
		},
		{
			name: "outside the record's scope", reason: "pods did not see it", record: record(before, reference.Keys("a")),
			now: content(t, "a", "1", "b", "2", "d", "1"), scope: all,
		},
		{
			name: "outside the present scope", reason: "new pods do not see it", record: record(before, all),
			now: content(t, "a", "1", "b", "2", "d", "1"), scope: reference.Keys("a"),
		},
		{
			name: "within both", reason: "old and new pods see it", record: record(before, reference.Keys("a", "b")),
			now: content(t, "a", "2", "b", "2", "c", "2"), scope: reference.Keys("b", "c"), want: []string{"b"},
		},
		{
			name: "a named key comes", reason: "its absence was recorded", record: record(content(t, "a", "1"), reference.Keys("a", "b")),
			now: content(t, "a", "1", "b", "1"), scope: reference.Keys("a", "b"), want: []string{"b"},
		},
		{
			name: "the only named key comes", reason: "a record without any key reads like one without tags",
			record: record(digest.Content{}, reference.Keys("a")), now: content(t, "a", "1"), scope: reference.Keys("a"), unknown: true,
		},
		{
			name: "one that matches is added", reason: "patterns include keys to come", record: record(before, reference.Globs("a*")),
			now: content(t, "a", "1", "b", "2", "a2", "1"), scope: reference.Globs("a*"), want: []string{"a2"},
		},
		{
			name: "one that does not match is added", reason: "only what matches counts", record: record(before, reference.Globs("a*")),
			now: content(t, "a", "1", "b", "2", "c2", "1"), scope: reference.Globs("a*"),
		},
		{
			name: "within another pattern", reason: "what counts no longer is no difference", record: record(before, all),
			now: content(t, "a", "1", "b", "2", "c", "2"), scope: reference.Globs("b*"), want: []string{"b"},
		},
		{name: "no tags", reason: "tags were left out of a large entry", record: untagged(all), now: content(t, "a", "2"), scope: all, unknown: true},
		{
			name: "never present", reason: "what was absent had no keys", record: ledger.Source{Scope: all},
			now: content(t, "b", "1", "a", "1"), scope: all, want: []string{"a", "b"},
		},
		{
			name: "no tags, named keys, one removed", reason: "without tags nobody knows that the key was there",
			record: untagged(reference.Keys("a", "b")), now: content(t, "a", "1"), scope: reference.Keys("a", "b"), unknown: true,
		},
		{
			name: "no tags, the only named key removed", reason: "to say that no key changed hides the change",
			record: untagged(reference.Keys("a")), now: digest.Content{}, scope: reference.Keys("a"), unknown: true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tc.record
			s.Digest = newKey(t).Scoped(tls, s.Scope, before)
			keys, known := s.ChangedKeys(tc.now, tc.scope)
			if known == tc.unknown {
				t.Errorf("%s: known %t, want %t (keys %q)", tc.reason, known, !tc.unknown, keys)
			}
			if diff := cmp.Diff(tc.want, keys); known && diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tc.reason, diff)
			}
		})
	}
}

func TestTags(t *testing.T) {
	c := content(t, "a", "1", "b", "1")
	tag := func(key string) ledger.Tag { d := c[key]; return ledger.Tag(d[:ledger.TagSize]) }
	if diff := cmp.Diff(map[string]ledger.Tag{"a": tag("a"), "b": tag("b")}, ledger.Tags(c, all)); diff != "" {
		t.Errorf("all: (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]ledger.Tag{"b": tag("b")}, ledger.Tags(c, reference.Keys("b", "c"))); diff != "" {
		t.Errorf("a key outside the scope, or one that is not there: (-want +got)\n%s", diff)
	}
	s := ledger.Source{Tags: ledger.Tags(c, all)}
	if diff := cmp.Diff([]string{"a", "b"}, s.Keys()); diff != "" {
		t.Errorf("Keys: (-want +got)\n%s", diff)
	}
}

func TestClone(t *testing.T) {
	if (*ledger.Entry)(nil).Clone() != nil {
		t.Error("a clone of nothing is something")
	}
	e := full()
	c := e.Clone()
	if diff := cmp.Diff(e, c); diff != "" {
		t.Errorf("not equal: (-entry +clone)\n%s", diff)
	}
	c.Value, c.Sources[app] = "other", ledger.Source{}
	delete(c.Sources, tls)
	if diff := cmp.Diff(full(), e); diff != "" {
		t.Errorf("changing the clone changed the entry: (-want +got)\n%s", diff)
	}
	if (&ledger.Entry{}).Clone().Sources == nil {
		t.Error("the sources of a clone cannot be set")
	}
}

func TestWorkload(t *testing.T) {
	w := full().Workload
	if diff := cmp.Diff([]string{"Deployment/apps/registry", "Deployment/registry"}, []string{w.String(), w.Short()}); diff != "" {
		t.Errorf("names: (-want +got)\n%s", diff)
	}
}
