package ledger

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/reference"
)

// Format numbers the encoding of entries. Whoever raises it lets Decode read the one before as well, so that an upgrade
// forgets nothing, and adds to testdata what Encode writes in the new one.
const Format = 1

// MaxSize is the size in bytes above which Encode leaves tags out.
const MaxSize = 16 << 10

var (
	// ErrFormat is returned for a record of a format that this version does not read.
	ErrFormat = errors.New("unknown ledger format")
	// ErrDigest is returned for a record whose digests were made in another format than digest.Format.
	ErrDigest = errors.New("ledger digests of another format")
)

// header is the part of a record that is the same in all formats, and tells which it is.
type header struct {
	Format  int `json:"v"`
	Digests int `json:"h"`
}

// record is the encoded form: short names, since thousands of them are kept.
type record struct {
	header
	Sequence uint64 `json:"n,omitempty"`

	Kind      string    `json:"k"`
	Namespace string    `json:"ns"`
	Name      string    `json:"nm"`
	UID       types.UID `json:"u"`

	Value    string         `json:"val,omitempty"`
	Token    string         `json:"tok,omitempty"`
	Template *digest.Digest `json:"tpl,omitempty"`
	ProvenAt int64          `json:"at,omitempty"`
	Pending  int64          `json:"pend,omitempty"`
	Throttle int64          `json:"thr,omitempty"`
	Paused   int64          `json:"pau,omitempty"`
	Absent   int64          `json:"abs,omitempty"`

	Sources []sourceRecord `json:"src,omitempty"`
}

type sourceRecord struct {
	Kind            reference.Kind    `json:"k"`
	Namespace       string            `json:"ns"`
	Name            string            `json:"nm"`
	Present         bool              `json:"p,omitempty"`
	All             bool              `json:"all,omitempty"`
	Keys            []string          `json:"keys,omitempty"`
	Globs           []string          `json:"g,omitempty"`
	Digest          *digest.Digest    `json:"d,omitempty"`
	Tags            map[string]string `json:"t,omitempty"`
	UID             types.UID         `json:"u,omitempty"`
	ResourceVersion string            `json:"rv,omitempty"`
	Immutable       bool              `json:"im,omitempty"`
	Changed         int64             `json:"ch,omitempty"`
	NotAfter        int64             `json:"na,omitempty"`
	Provisional     bool              `json:"pr,omitempty"`
	Diverged        int64             `json:"dv,omitempty"`
	Pending         *digest.Digest    `json:"pd,omitempty"`
	PendingChanged  int64             `json:"pc,omitempty"`
	Written         bool              `json:"w,omitempty"`
	Turned          bool              `json:"tu,omitempty"`
}

// Encode writes the entry as one line of JSON. The sequence orders two records of one workload, should a crash leave
// both. Tags are left out of an entry that would be larger than MaxSize.
func Encode(e *Entry, sequence uint64) ([]byte, error) {
	r := toRecord(e, sequence)
	data, err := json.Marshal(r)
	if err == nil && len(data) > MaxSize {
		for i := range r.Sources {
			r.Sources[i].Tags = nil
		}
		data, err = json.Marshal(r)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding ledger entry of %s: %w", e.Workload, err)
	}
	return data, nil
}

// Decode reads what Encode wrote. It returns ErrFormat or ErrDigest for records of other versions, and never panics on
// what others wrote.
func Decode(data []byte) (*Entry, uint64, error) {
	var h header
	if err := json.Unmarshal(data, &h); err != nil {
		return nil, 0, fmt.Errorf("decoding ledger entry: %w", err)
	}
	switch {
	case h.Format != Format: // the one before has a case of its own, once there is one
		return nil, 0, fmt.Errorf("%w: %d", ErrFormat, h.Format)
	case h.Digests != digest.Format:
		return nil, 0, fmt.Errorf("%w: %d", ErrDigest, h.Digests)
	default:
		return decode(data)
	}
}

func decode(data []byte) (*Entry, uint64, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, 0, fmt.Errorf("decoding ledger entry: %w", err)
	}
	e, err := r.entry()
	if err != nil {
		return nil, 0, fmt.Errorf("decoding ledger entry: %w", err)
	}
	return e, r.Sequence, nil
}

func toRecord(e *Entry, sequence uint64) record {
	r := record{
		header: header{Format: Format, Digests: digest.Format}, Sequence: sequence,
		Kind: e.Workload.Kind, Namespace: e.Workload.Namespace, Name: e.Workload.Name, UID: e.UID,
		Value: e.Value, Token: e.Token, Template: optional(e.Template), ProvenAt: milli(e.ProvenAt),
		Pending: milli(e.PendingSince), Throttle: milli(e.Throttle),
		Paused: milli(e.PausedSince), Absent: milli(e.AbsentSince),
	}
	for _, source := range slices.SortedFunc(maps.Keys(e.Sources), reference.Source.Compare) {
		s := e.Sources[source]
		sr := sourceRecord{
			Kind: source.Kind, Namespace: source.Namespace, Name: source.Name,
			Present: s.Present, All: s.Scope.All, Keys: s.Scope.Keys, Globs: s.Scope.Globs, Digest: optional(s.Digest),
			UID: s.UID, ResourceVersion: s.ResourceVersion, Immutable: s.Immutable, Provisional: s.Provisional,
			Changed: milli(s.Changed), NotAfter: milli(s.NotAfter), Diverged: milli(s.Diverged),
			Pending: optional(s.Pending), PendingChanged: milli(s.PendingChanged), Written: s.Written, Turned: s.Turned,
		}
		if len(s.Tags) > 0 {
			sr.Tags = make(map[string]string, len(s.Tags))
			for key, tag := range s.Tags {
				sr.Tags[key] = base64.RawURLEncoding.EncodeToString(tag[:])
			}
		}
		r.Sources = append(r.Sources, sr)
	}
	return r
}

func (r record) entry() (*Entry, error) {
	if r.UID == "" || r.Kind == "" || r.Name == "" {
		return nil, errors.New("no workload is named")
	}
	e := &Entry{
		Workload: Workload{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}, UID: r.UID,
		Value: r.Value, Token: r.Token, Template: value(r.Template), ProvenAt: fromMilli(r.ProvenAt),
		PendingSince: fromMilli(r.Pending), Throttle: fromMilli(r.Throttle),
		PausedSince: fromMilli(r.Paused), AbsentSince: fromMilli(r.Absent),
		Sources: make(map[reference.Source]Source, len(r.Sources)),
	}
	for _, sr := range r.Sources {
		source := reference.Source{Kind: sr.Kind, Namespace: sr.Namespace, Name: sr.Name}
		s := Source{
			Present: sr.Present, Digest: value(sr.Digest), UID: sr.UID, ResourceVersion: sr.ResourceVersion,
			Immutable: sr.Immutable, Provisional: sr.Provisional, Changed: fromMilli(sr.Changed), NotAfter: fromMilli(sr.NotAfter), Diverged: fromMilli(sr.Diverged),
			Pending: value(sr.Pending), PendingChanged: fromMilli(sr.PendingChanged), Written: sr.Written, Turned: sr.Turned,
		}
		if s.Scope = reference.Globs(sr.Globs...).Union(reference.Keys(sr.Keys...)); sr.All {
			s.Scope = reference.Scope{All: true}
		}
		var err error
		if s.Tags, err = decodeTags(sr.Tags); err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		e.Sources[source] = s
	}
	return e, nil
}

func decodeTags(encoded map[string]string) (map[string]Tag, error) {
	if len(encoded) == 0 {
		return nil, nil
	}
	tags := make(map[string]Tag, len(encoded))
	for key, text := range encoded {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("tag of key %q: %w", key, err)
		}
		if len(raw) != TagSize {
			return nil, fmt.Errorf("tag of key %q: %d bytes, want %d", key, len(raw), TagSize)
		}
		tags[key] = Tag(raw)
	}
	return tags, nil
}

func optional(d digest.Digest) *digest.Digest {
	if d.IsZero() {
		return nil
	}
	return &d
}

func value(d *digest.Digest) digest.Digest {
	if d == nil {
		return digest.Digest{}
	}
	return *d
}

func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
