package digest_test

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/reference"
)

var (
	all = reference.Scope{All: true}
	tls = reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "tls"}
)

func newKey(t testing.TB, fill byte) digest.Key {
	t.Helper()
	key, err := digest.NewKey(bytes.Repeat([]byte{fill}, digest.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func data(keyValue ...string) map[string][]byte {
	m := map[string][]byte{}
	for i := 0; i < len(keyValue); i += 2 {
		m[keyValue[i]] = []byte(keyValue[i+1])
	}
	return m
}

func TestNewKey(t *testing.T) {
	for _, size := range []int{0, digest.KeySize - 1, digest.KeySize + 1} {
		if _, err := digest.NewKey(make([]byte, size)); !errors.Is(err, digest.ErrKeySize) {
			t.Errorf("%d bytes: error %v, want ErrKeySize", size, err)
		}
	}
	secret := bytes.Repeat([]byte{1}, digest.KeySize)
	key, err := digest.NewKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	secret[0] = 2
	if !key.Equal(newKey(t, 1)) || key.Equal(newKey(t, 2)) {
		t.Error("a key is its own copy of the bytes it was made of")
	}
}

// TestDistinct digests, in every way there is, content that differs in one respect each: no two digests may be equal.
func TestDistinct(t *testing.T) {
	key, other := newKey(t, 1), newKey(t, 2)
	named := func(kind reference.Kind, namespace, name string) reference.Source {
		return reference.Source{Kind: kind, Namespace: namespace, Name: name}
	}
	scoped := func(k digest.Key, s reference.Source, scope reference.Scope, content digest.Content) digest.Digest {
		return k.Scoped(s, scope, content)
	}
	content := func(s reference.Source, keyValue ...string) digest.Content {
		return key.Content(s, data(keyValue...), nil)
	}
	a := content(tls, "a", "bc")
	cases := []struct {
		name string
		got  digest.Digest
	}{
		{"absent", digest.Digest{}},
		{"empty, all", scoped(key, tls, all, content(tls))},
		{"empty, no keys", scoped(key, tls, reference.Scope{}, content(tls))},
		{"a: bc", scoped(key, tls, all, a)},
		{"ab: c", scoped(key, tls, all, content(tls, "ab", "c"))},
		{"abc: empty", scoped(key, tls, all, content(tls, "abc", ""))},
		{"empty: abc", scoped(key, tls, all, content(tls, "", "abc"))},
		{"a: empty", scoped(key, tls, all, content(tls, "a", ""))},
		{"a: b, c: empty", scoped(key, tls, all, content(tls, "a", "b", "c", ""))},
		{"a: empty, b: c", scoped(key, tls, all, content(tls, "a", "", "b", "c"))},
		{"a: c, b: empty", scoped(key, tls, all, content(tls, "a", "c", "b", ""))},
		{"a: bc as text", scoped(key, tls, all, key.Content(tls, nil, map[string]string{"a": "bc"}))},
		{"another key", scoped(other, tls, all, other.Content(tls, data("a", "bc"), nil))},
		{"ConfigMap", scoped(key, named(reference.ConfigMap, "apps", "tls"), all, content(named(reference.ConfigMap, "apps", "tls"), "a", "bc"))},
		{"another namespace", scoped(key, named(reference.Secret, "app", "tls"), all, content(named(reference.Secret, "app", "tls"), "a", "bc"))},
		{"another name", scoped(key, named(reference.Secret, "apps", "ls"), all, content(named(reference.Secret, "apps", "ls"), "a", "bc"))},
		{"names that join alike", scoped(key, named(reference.Secret, "app", "stls"), all, content(named(reference.Secret, "app", "stls"), "a", "bc"))},
		{"key a", scoped(key, tls, reference.Keys("a"), a)},
		{"key a, b lacking", scoped(key, tls, reference.Keys("a", "b"), a)},
		{"key b lacking", scoped(key, tls, reference.Keys("b"), a)},
		{"key c lacking", scoped(key, tls, reference.Keys("c"), a)},
		{"keys like a", scoped(key, tls, reference.Globs("a*"), a)},
		{"keys like a, b lacking", scoped(key, tls, reference.Globs("a*", "b"), a)},
		{"keys like c, none", scoped(key, tls, reference.Globs("c*"), a)},
		{"value of a", a["a"]},
		{"sum of nothing", key.Sum(nil)},
		{"sum with an absent source", key.Sum([]digest.Part{{Source: tls}})},
		{"sum with an empty source", key.Sum([]digest.Part{{Source: tls, Digest: scoped(key, tls, all, content(tls))}})},
		{"sum with a source", key.Sum([]digest.Part{{Source: tls, Digest: scoped(key, tls, all, a)}})},
		{"sum of another key", other.Sum([]digest.Part{{Source: tls, Digest: scoped(key, tls, all, a)}})},
		{"bytes", key.Bytes("a", []byte("b"), []byte("c"))},
		{"bytes of another purpose", key.Bytes("b", []byte("b"), []byte("c"))},
		{"bytes that join alike with their purpose", key.Bytes("ab", []byte("c"))},
		{"bytes in one field", key.Bytes("a", []byte("bc"))},
		{"bytes in another order", key.Bytes("a", []byte("c"), []byte("b"))},
		{"bytes with an empty field", key.Bytes("a", []byte("b"), []byte("c"), nil)},
	}
	seen := map[digest.Digest]string{}
	for _, tc := range cases {
		if twin, found := seen[tc.got]; found {
			t.Errorf("%q and %q have the same digest", tc.name, twin)
		}
		seen[tc.got] = tc.name
	}
}

func TestScoped(t *testing.T) {
	key := newKey(t, 1)
	content := func(keyValue ...string) digest.Content { return key.Content(tls, data(keyValue...), nil) }
	for _, tc := range []struct {
		name   string
		reason string
		scope  reference.Scope
		a, b   digest.Content
		equal  bool
	}{
		{name: "all, another key's value", reason: "all keys count", scope: all, a: content("a", "1", "b", "1"), b: content("a", "1", "b", "2")},
		{name: "all, one more key", reason: "keys to come count", scope: all, a: content("a", "1"), b: content("a", "1", "b", "2")},
		{name: "all, one more empty key", reason: "a key without a value is a file", scope: all, a: content("a", "1"), b: content("a", "1", "b", "")},
		{
			name: "a key outside changes", reason: "not for a key that the pod cannot see",
			scope: reference.Keys("a"), a: content("a", "1", "b", "1"), b: content("a", "1", "b", "2"), equal: true,
		},
		{
			name: "a key outside comes", reason: "not for a key that the pod cannot see",
			scope: reference.Keys("a"), a: content("a", "1"), b: content("a", "1", "b", "2"), equal: true,
		},
		{name: "a named key changes", reason: "the pod sees it", scope: reference.Keys("a", "b"), a: content("a", "1"), b: content("a", "2")},
		{name: "a named key goes", reason: "its absence is part of the scope", scope: reference.Keys("a", "b"), a: content("a", "1", "b", "2"), b: content("a", "1")},
		{name: "a named key is emptied", reason: "an empty file is not an absent one", scope: reference.Keys("a"), a: content("a", ""), b: content()},
		{
			name: "values swapped", reason: "values belong to their keys",
			scope: reference.Keys("a", "b"), a: content("a", "1", "b", "2"), b: content("a", "2", "b", "1"),
		},
		{name: "a key that matches comes", reason: "keys to come count", scope: reference.Globs("a*"), a: content("a1", "1"), b: content("a1", "1", "a2", "1")},
		{name: "the first that matches comes", reason: "keys to come count", scope: reference.Globs("a*"), a: content(), b: content("a2", "")},
		{name: "a key that matches goes", reason: "it counted", scope: reference.Globs("a*"), a: content("a1", "1", "b", "1"), b: content("b", "1")},
		{name: "a key that matches changes", reason: "it counts", scope: reference.Globs("a*"), a: content("a1", "1"), b: content("a1", "2")},
		{
			name: "a key that does not match comes", reason: "only what matches counts",
			scope: reference.Globs("a*"), a: content("a1", "1"), b: content("a1", "1", "b", "1"), equal: true,
		},
		{
			name: "a named key goes, beside a pattern", reason: "its absence is part of the scope",
			scope: reference.Globs("a*", "b"), a: content("a1", "1", "b", "1"), b: content("a1", "1"),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := key.Scoped(tls, tc.scope, tc.a) == key.Scoped(tls, tc.scope, tc.b); got != tc.equal {
				t.Errorf("%s: equal digests %t, want %t", tc.reason, got, tc.equal)
			}
		})
	}
}

func TestContent(t *testing.T) {
	key := newKey(t, 1)
	content := key.Content(tls, data("a", "1", "b", "1"), map[string]string{"c": "1"})
	if len(content) != 3 {
		t.Fatalf("%d keys, want 3", len(content))
	}
	if content["a"] == content["b"] {
		t.Error("equal values under two keys show that they are equal")
	}
	for _, tc := range []struct {
		keys []string
		want bool
	}{{nil, true}, {[]string{"a"}, true}, {[]string{"a", "b", "c"}, true}, {[]string{"a", "d"}, false}, {[]string{""}, false}} {
		if got := content.Contains(tc.keys); got != tc.want {
			t.Errorf("Contains(%q) = %t, want %t", tc.keys, got, tc.want)
		}
	}
}

func TestDiffering(t *testing.T) {
	content := func(keyValue ...string) digest.Content {
		text := map[string]string{}
		for i := 0; i < len(keyValue); i += 2 {
			text[keyValue[i]] = keyValue[i+1]
		}
		return newKey(t, 1).Content(reference.Source{Kind: reference.ConfigMap, Namespace: "apps", Name: "app"}, nil, text)
	}
	for _, tc := range []struct {
		name         string
		before, then digest.Content
		want         []string
	}{
		{name: "nothing", before: content("a", "1"), then: content("a", "1")},
		{name: "changed", before: content("a", "1", "b", "1"), then: content("a", "2", "b", "1"), want: []string{"a"}},
		{name: "removed and added", before: content("c", "1", "b", "1"), then: content("b", "1", "a", "1"), want: []string{"a", "c"}},
		{name: "emptied", before: content("a", "1"), want: []string{"a"}},
	} {
		if diff := cmp.Diff(tc.want, tc.before.Differing(tc.then)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.name, diff)
		}
	}
}

func TestSumOrder(t *testing.T) {
	key := newKey(t, 1)
	part := func(name string, fill byte) digest.Part {
		return digest.Part{
			Source: reference.Source{Kind: reference.Secret, Namespace: "apps", Name: name},
			Digest: digest.Digest(bytes.Repeat([]byte{fill}, digest.Size)),
		}
	}
	parts := []digest.Part{part("b", 1), part("a", 2), part("c", 0)}
	before := slices.Clone(parts)
	want := key.Sum(parts)
	if diff := cmp.Diff(before, parts); diff != "" {
		t.Errorf("Sum changed its argument: (-before +after)\n%s", diff)
	}
	slices.Reverse(parts)
	if got := key.Sum(parts); got != want {
		t.Error("the order of parts counts")
	}
	if got := key.Sum([]digest.Part{part("b", 2), part("a", 1), part("c", 0)}); got == want {
		t.Error("digests swapped between sources do not count")
	}
	if got := key.Sum(parts[:2]); got == want {
		t.Error("a part more does not count")
	}
}

func TestText(t *testing.T) {
	d := newKey(t, 1).Bytes("test")
	text, err := d.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if len(text) != 22 || string(text) != d.String() {
		t.Errorf("text %q of %d characters, want %q of 22", text, len(text), d)
	}
	var back digest.Digest
	if err := back.UnmarshalText(text); err != nil || back != d {
		t.Errorf("read back %s, %v; want %s", back, err, d)
	}
	if d.IsZero() || !(digest.Digest{}).IsZero() {
		t.Error("only the zero digest is zero")
	}
	for name, malformed := range map[string]string{
		"empty":         "",
		"too short":     d.String()[:20],
		"too long":      d.String() + "AA",
		"padded":        d.String() + "==",
		"trailing bits": strings.Repeat("A", 21) + "B",
		"standard":      strings.Repeat("+", 22),
		"line break":    strings.Repeat("A", 21) + "\n" + "A",
	} {
		kept := d
		if err := kept.UnmarshalText([]byte(malformed)); err == nil {
			t.Errorf("%s: %q was taken for %s", name, malformed, kept)
		}
		if kept != d {
			t.Errorf("%s: the digest changed on an error", name)
		}
	}
}

// TestFormat pins what the present format makes of content. A difference is another format: raise digest.Format, or an
// upgrade takes all content for changed.
func TestFormat(t *testing.T) {
	key := newKey(t, 1)
	content := key.Content(tls, data("tls.crt", "certificate", "tls.key", "key"), map[string]string{"text": "1"})
	scoped := key.Scoped(tls, reference.Keys("tls.crt", "absent"), content)
	got := map[string]string{
		"format": strconv.Itoa(digest.Format), "key": key.ID(), "bytes": content["tls.crt"].String(), "text": content["text"].String(),
		"all": key.Scoped(tls, all, content).String(), "keys": scoped.String(),
		"sum": key.Sum([]digest.Part{{Source: tls, Digest: scoped}}).String(),
	}
	want := map[string]string{
		"all":    "MgpHd-cCQ25UIHLt8uTc6g",
		"bytes":  "JBtlBJ0jqkv5DIf1Trys2g",
		"format": "1",
		"key":    "td8_718WXTIhu3H3O6fneg",
		"keys":   "_zu6F7MmuiAxVS2_nznT4Q",
		"sum":    "DWEtxZirfWEg8jGnNEOyVg",
		"text":   "L81RdT0MxU7uKfpSW4Vlag",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
