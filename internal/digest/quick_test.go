package digest_test

import (
	"bytes"
	"maps"
	"math/rand"
	"slices"
	"testing"
	"testing/quick"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/reference"
)

// seeded makes a run repeat what another one found.
func seeded() *quick.Config {
	return &quick.Config{MaxCount: 500, Rand: rand.New(rand.NewSource(1))}
}

func checkProperty(t *testing.T, property any) {
	t.Helper()
	if err := quick.Check(property, seeded()); err != nil {
		t.Error(err)
	}
}

func TestContentIsDeterministic(t *testing.T) {
	key := newKey(t, 1)
	checkProperty(t, func(data map[string][]byte, name string) bool {
		source := reference.Source{Kind: reference.ConfigMap, Namespace: "apps", Name: name}
		// A copy of a map is iterated in another order.
		a, b := key.Content(source, data, nil), key.Content(source, maps.Clone(data), nil)
		return maps.Equal(a, b) && key.Scoped(source, all, a) == key.Scoped(source, all, b)
	})
}

func TestDifferentContentNeverCollides(t *testing.T) {
	key := newKey(t, 1)
	digestOf := func(data map[string][]byte) digest.Digest { return key.Scoped(tls, all, key.Content(tls, data, nil)) }
	checkProperty(t, func(a, b map[string][]byte) bool {
		return maps.EqualFunc(a, b, bytes.Equal) == (digestOf(a) == digestOf(b))
	})
	// Moving the border between a key and its value is the collision of encodings without delimiters.
	checkProperty(t, func(text []byte, first, second uint8) bool {
		if len(text) == 0 {
			return true
		}
		i, j := int(first)%(len(text)+1), int(second)%(len(text)+1)
		a := map[string][]byte{string(text[:i]): text[i:]}
		b := map[string][]byte{string(text[:j]): text[j:]}
		return (i == j) == (digestOf(a) == digestOf(b))
	})
}

func TestScopeOfAllKeysByName(t *testing.T) {
	key := newKey(t, 1)
	checkProperty(t, func(data map[string][]byte, extra string) bool {
		content := key.Content(tls, data, nil)
		named := reference.Keys(slices.Collect(maps.Keys(data))...)
		if key.Scoped(tls, named, content) == key.Scoped(tls, all, content) {
			return false // to name all keys is another scope than all: it does not grow
		}
		wider := maps.Clone(data)
		if wider == nil {
			wider = map[string][]byte{}
		}
		if _, had := wider[extra]; had {
			return true
		}
		wider[extra] = nil
		grown := key.Content(tls, wider, nil)
		return key.Scoped(tls, named, grown) == key.Scoped(tls, named, content) &&
			key.Scoped(tls, all, grown) != key.Scoped(tls, all, content)
	})
}

func TestSumIsIndependentOfOrder(t *testing.T) {
	key := newKey(t, 1)
	checkProperty(t, func(names map[string]digest.Digest, seed int64) bool {
		var parts []digest.Part
		for name, d := range names {
			parts = append(parts, digest.Part{
				Source: reference.Source{Kind: reference.Secret, Namespace: "apps", Name: name}, Digest: d,
			})
		}
		want := key.Sum(parts)
		rand.New(rand.NewSource(seed)).Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		return key.Sum(parts) == want
	})
}

func TestBytesNeverCollides(t *testing.T) {
	key := newKey(t, 1)
	checkProperty(t, func(a, b [][]byte) bool {
		return slices.EqualFunc(a, b, bytes.Equal) == (key.Bytes("test", a...) == key.Bytes("test", b...))
	})
}

// FuzzText reads what others may have written to an annotation.
func FuzzText(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("AAAAAAAAAAAAAAAAAAAAAA"))
	f.Add([]byte("AAAAAAAAAAAAAAAAAAAAAB"))
	f.Add([]byte("AAAAAAAAAAAAAAAAAAAAA\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var d digest.Digest
		if d.UnmarshalText(text) == nil && d.String() != string(text) {
			t.Errorf("%q and %q are one digest", text, d)
		}
	})
}
