// Package digest turns the data of Secrets and ConfigMaps into keyed digests: enough to see that something changed and
// which keys, too little to guess what it says. It is pure; the key is an argument.
package digest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"

	"github.com/flux-reloader/reloader/internal/reference"
)

// Size is the length of a digest in bytes: 128 bits are kept of each HMAC-SHA-256.
const Size = 16

// KeySize is the length of a Key in bytes.
const KeySize = 32

// Format numbers the encoding that is digested. Digests of different formats cannot be compared; another format never
// restarts anything by itself.
const Format = 1

// ErrKeySize is returned for key material of another length than KeySize.
var ErrKeySize = errors.New("digest key has the wrong size")

// Digest stands for content. The zero Digest stands for nothing at all.
type Digest [Size]byte

// String is the digest in unpadded base64 for URLs, 22 characters.
func (d Digest) String() string { return base64.RawURLEncoding.EncodeToString(d[:]) }

// IsZero reports whether the digest stands for nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	// The length first: the decoder skips line breaks, and every digest has one text only.
	if want := base64.RawURLEncoding.EncodedLen(Size); len(text) != want {
		return fmt.Errorf("digest %q: %d characters, want %d", text, len(text), want)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("digest %q: %w", text, err)
	}
	if len(raw) != Size {
		return fmt.Errorf("digest %q: %d bytes, want %d", text, len(raw), Size)
	}
	copy(d[:], raw)
	return nil
}

// Key keys the digests of one installation, so that nobody without it can test a guess. Copies share the key.
type Key struct{ secret [KeySize]byte }

// NewKey makes a Key of KeySize random bytes.
func NewKey(secret []byte) (Key, error) {
	if len(secret) != KeySize {
		return Key{}, fmt.Errorf("%w: %d bytes, want %d", ErrKeySize, len(secret), KeySize)
	}
	var k Key
	copy(k.secret[:], secret)
	return k, nil
}

// Equal reports whether both are the same key, in constant time.
func (k Key) Equal(o Key) bool { return hmac.Equal(k.secret[:], o.secret[:]) }

// Material is the key material, to be stored where only the controller can read it.
func (k Key) Material() []byte { return append([]byte(nil), k.secret[:]...) }

// ID names the key without telling anything about it, so that digests made with another are recognised.
func (k Key) ID() string { return k.Bytes("key").String() }

// Content is the digested data of one source: a digest for each key that it holds.
type Content map[string]Digest

// Contains reports whether all these keys are still there.
func (c Content) Contains(keys []string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool { _, ok := c[k]; return !ok })
}

// Differing lists, sorted, the keys of which the other content holds another value, or that only one of them holds.
func (c Content) Differing(other Content) []string {
	var keys []string
	for key, d := range c {
		if o, ok := other[key]; !ok || o != d {
			keys = append(keys, key)
		}
	}
	for key := range other {
		if _, ok := c[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Content digests the data of a source. A ConfigMap's binary data counts apart from its data: the same bytes under the
// same key are visible to other readers. Values are read once and not kept.
func (k Key) Content(source reference.Source, data map[string][]byte, text map[string]string) Content {
	content := make(Content, len(data)+len(text))
	for name, value := range data {
		content[name] = k.value(source, "bytes", name, value)
	}
	for name, value := range text {
		content[name] = k.value(source, "text", name, []byte(value))
	}
	return content
}

func (k Key) value(source reference.Source, field, name string, value []byte) Digest {
	m := k.mac("value")
	m.source(source)
	m.text(field)
	m.text(name)
	m.bytes(value)
	return m.sum()
}

// Scoped is the digest of what a scope shows of a source's content. A key that the scope names and the source lacks is
// part of it; of patterns, only the keys are that match. An empty source has a digest of its own, other than an absent one.
func (k Key) Scoped(source reference.Source, scope reference.Scope, content Content) Digest {
	m := k.mac("scope")
	m.source(source)
	keys := scope.Keys
	switch {
	case scope.All:
		m.text("all")
		keys = slices.Sorted(maps.Keys(content))
	case len(scope.Globs) > 0:
		m.text("globs")
		keys = matching(scope, content)
	default:
		m.text("keys")
	}
	for _, name := range keys {
		m.text(name)
		d := content[name]
		m.bytes(d[:])
	}
	return m.sum()
}

// matching are the keys that a scope names, and those of the content that are within it; sorted.
func matching(scope reference.Scope, content Content) []string {
	keys := slices.Clone(scope.Keys)
	for key := range content {
		if scope.Includes(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Part is one source's share of what a workload's pods read. The zero Digest means that the source is absent.
type Part struct {
	Source reference.Source
	Digest Digest
}

// Sum is the digest of everything that a workload's pods read. The order of the parts does not count.
func (k Key) Sum(parts []Part) Digest {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b Part) int { return a.Source.Compare(b.Source) })
	m := k.mac("sum")
	for _, p := range parts {
		m.source(p.Source)
		m.bytes(p.Digest[:])
	}
	return m.sum()
}

// Bytes digests anything else, apart from all others by its purpose.
func (k Key) Bytes(purpose string, fields ...[]byte) Digest {
	m := k.mac(purpose)
	for _, f := range fields {
		m.bytes(f)
	}
	return m.sum()
}

// mac writes fields with their length before them, so that no two lists of fields read the same.
type mac struct{ hash.Hash }

func (k Key) mac(purpose string) mac {
	m := mac{hmac.New(sha256.New, k.secret[:])}
	m.text(fmt.Sprintf("reloader/v%d/%s", Format, purpose))
	return m
}

func (m mac) bytes(field []byte) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(field)))
	_, _ = m.Write(size[:]) // a hash never fails
	_, _ = m.Write(field)
}

func (m mac) text(field string) { m.bytes([]byte(field)) }

func (m mac) source(s reference.Source) {
	m.text(string(s.Kind))
	m.text(s.Namespace)
	m.text(s.Name)
}

func (m mac) sum() Digest {
	var d Digest
	copy(d[:], m.Sum(nil))
	return d
}
