package ledger_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
)

var (
	all  = reference.Scope{All: true}
	tls  = reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "tls"}
	app  = reference.Source{Kind: reference.ConfigMap, Namespace: "apps", Name: "app"}
	base = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
)

func newKey(t testing.TB) digest.Key {
	t.Helper()
	key, err := digest.NewKey(bytes.Repeat([]byte{1}, digest.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func content(t testing.TB, keyValue ...string) digest.Content {
	t.Helper()
	text := map[string]string{}
	for i := 0; i < len(keyValue); i += 2 {
		text[keyValue[i]] = keyValue[i+1]
	}
	return newKey(t).Content(tls, nil, text)
}

// full is an entry in which nothing is left at its zero value.
func full() *ledger.Entry {
	return &ledger.Entry{
		Workload: ledger.Workload{Kind: "Deployment", Namespace: "apps", Name: "registry"}, UID: "uid",
		Value: "value", Token: "token", Template: digest.Digest{1}, ProvenAt: base,
		PendingSince: base.Add(time.Second), Throttle: base.Add(2 * time.Second), AbsentSince: base.Add(3 * time.Millisecond),
		Sources: map[reference.Source]ledger.Source{
			tls: {
				Present: true, Scope: reference.Keys("a", "b"), Digest: digest.Digest{2},
				Tags: map[string]ledger.Tag{"a": {1}, "b": {2}}, UID: "source", ResourceVersion: "7",
				Immutable: true, Changed: base, NotAfter: base.Add(time.Hour), Provisional: true, Diverged: base.Add(time.Minute),
				Pending: digest.Digest{4}, PendingChanged: base.Add(2 * time.Minute), Written: true, Turned: true,
			},
			app: {Present: true, Scope: all, Digest: digest.Digest{3}, Tags: map[string]ledger.Tag{"": {3}}},
			{Kind: reference.Secret, Namespace: "apps", Name: "absent"}: {Scope: all},
		},
	}
}

// random is an entry of the kind that a controller could make, from a source of randomness.
func random(r *rand.Rand) *ledger.Entry {
	text := func() string {
		return string([]rune{rune('a' + r.Intn(26)), rune(r.Intn(0xd7ff)), '"', '\n', '<'}[:r.Intn(6)])
	}
	moment := func() time.Time {
		if r.Intn(3) == 0 {
			return time.Time{}
		}
		return time.UnixMilli(1 + r.Int63n(1<<42)).UTC()
	}
	sum := func() (d digest.Digest) {
		if r.Intn(3) > 0 {
			r.Read(d[:])
		}
		return d
	}
	e := &ledger.Entry{
		Workload: ledger.Workload{Kind: "D" + text(), Namespace: text(), Name: "n" + text()}, UID: types.UID("u" + text()),
		Value: text(), Token: text(), Template: sum(), ProvenAt: moment(),
		PendingSince: moment(), Throttle: moment(), PausedSince: moment(), AbsentSince: moment(),
		Sources: map[reference.Source]ledger.Source{},
	}
	for i := range r.Intn(4) {
		s := ledger.Source{
			Present: r.Intn(2) == 0, Digest: sum(), UID: types.UID(text()), ResourceVersion: text(),
			Immutable: r.Intn(2) == 0, Changed: moment(), NotAfter: moment(), Provisional: r.Intn(2) == 0, Diverged: moment(),
			Pending: sum(), PendingChanged: moment(), Written: r.Intn(2) == 0, Turned: r.Intn(2) == 0,
		}
		switch s.Scope = reference.Keys(text(), text()); r.Intn(3) {
		case 0:
			s.Scope = all
		case 1:
			s.Scope = s.Scope.Union(reference.Globs(text()+"*", text()+"?"))
		}
		for range r.Intn(3) {
			var tag ledger.Tag
			r.Read(tag[:])
			if s.Tags == nil {
				s.Tags = map[string]ledger.Tag{}
			}
			s.Tags[text()] = tag
		}
		e.Sources[reference.Source{Kind: reference.Secret, Namespace: text(), Name: fmt.Sprint(i)}] = s
	}
	return e
}
