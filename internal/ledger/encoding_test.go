package ledger_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
)

func encode(t testing.TB, e *ledger.Entry, sequence uint64) []byte {
	t.Helper()
	data, err := ledger.Encode(e, sequence)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(t testing.TB, data []byte) (*ledger.Entry, uint64) {
	t.Helper()
	e, sequence, err := ledger.Decode(data)
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return e, sequence
}

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	entries := []*ledger.Entry{full()}
	for range 500 {
		entries = append(entries, random(r))
	}
	for i, want := range entries {
		before := want.Clone()
		data := encode(t, want, uint64(i))
		got, sequence := decode(t, data)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("entry %d: (-written +read)\n%s", i, diff)
		}
		if sequence != uint64(i) {
			t.Errorf("sequence %d, want %d", sequence, i)
		}
		if diff := cmp.Diff(before, want); diff != "" {
			t.Errorf("Encode changed the entry: (-before +after)\n%s", diff)
		}
		if bytes.ContainsRune(data, '\n') {
			t.Errorf("%s is more than one line", data)
		}
		if again := encode(t, got, uint64(i)); !bytes.Equal(data, again) {
			t.Errorf("two encodings of one entry:\n%s\n%s", data, again)
		}
	}
}

// TestTimes says what becomes of times: milliseconds in UTC, whatever the zone and the precision they came in.
func TestTimes(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   time.Time
		want time.Time
	}{
		{"none", time.Time{}, time.Time{}},
		{"another zone", base.In(time.FixedZone("east", 3600)), base},
		{"nanoseconds", base.Add(1234567 * time.Nanosecond), base.Add(time.Millisecond)},
		{"a lower bound for want of a better", time.Unix(1, 0), time.Unix(1, 0).UTC()},
		{"far away", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &ledger.Entry{
				Workload: full().Workload, UID: "uid", ProvenAt: tc.in, PendingSince: tc.in, Throttle: tc.in, PausedSince: tc.in, AbsentSince: tc.in,
				Sources: map[reference.Source]ledger.Source{tls: {Changed: tc.in, NotAfter: tc.in, Diverged: tc.in, PendingChanged: tc.in}},
			}
			want := &ledger.Entry{
				Workload: full().Workload, UID: "uid", ProvenAt: tc.want, PendingSince: tc.want, Throttle: tc.want, PausedSince: tc.want, AbsentSince: tc.want,
				Sources: map[reference.Source]ledger.Source{tls: {Changed: tc.want, NotAfter: tc.want, Diverged: tc.want, PendingChanged: tc.want}},
			}
			got, _ := decode(t, encode(t, e, 0))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			// An equal instant in the machine's zone would be logged in it.
			if zone := got.ProvenAt.Location(); zone != time.UTC {
				t.Errorf("time in zone %s, want UTC", zone)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	valid := encode(t, full(), 1)
	with := func(field string, value any) []byte {
		var record map[string]any
		if err := json.Unmarshal(valid, &record); err != nil {
			t.Fatal(err)
		}
		if record[field] = value; value == nil {
			delete(record, field)
		}
		data, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	source := func(field string, value any) []byte {
		return with("src", []any{map[string]any{"k": "Secret", "ns": "apps", "nm": "tls", field: value}})
	}
	anyError := errors.New("any error")
	for _, tc := range []struct {
		name string
		data []byte
		want error
	}{
		{"of the next format", with("v", ledger.Format+1), ledger.ErrFormat},
		{"of the next format, with another idea of sources", fmt.Appendf(nil, `{"v":%d,"h":2,"src":{"Secret":{}},"u":1}`, ledger.Format+1), ledger.ErrFormat},
		{"without a format", with("v", nil), ledger.ErrFormat},
		{"with digests of the next format", with("h", digest.Format+1), ledger.ErrDigest},
		{"without a format of digests", with("h", nil), ledger.ErrDigest},
		{"nothing", nil, anyError},
		{"no JSON", []byte("{"), anyError},
		{"cut short", valid[:len(valid)/2], anyError},
		{"something after it", append(bytes.Clone(valid), "{}"...), anyError},
		{"no kind", with("k", nil), anyError},
		{"no name", with("nm", nil), anyError},
		{"no uid", with("u", nil), anyError},
		{"a malformed template digest", with("tpl", "?"), anyError},
		{"a digest cut short", source("d", "AAAA"), anyError},
		{"a tag that is no base64", source("t", map[string]string{"a": "????????"}), anyError},
		{"a tag cut short", source("t", map[string]string{"a": "AAAA"}), anyError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, _, err := ledger.Decode(tc.data)
			if err == nil || e != nil {
				t.Fatalf("read %v, error %v; want an error and nothing", e, err)
			}
			for _, sentinel := range []error{ledger.ErrFormat, ledger.ErrDigest} {
				if got := errors.Is(err, sentinel); got != errors.Is(tc.want, sentinel) {
					t.Errorf("error %v is %v: %t", err, sentinel, got)
				}
			}
		})
	}
}

// TestMaxSize says that an entry never costs more than it must: tags name keys in messages, digests decide.
func TestMaxSize(t *testing.T) {
	sized := func(keys int) *ledger.Entry {
		e := full()
		s := e.Sources[app]
		s.Tags = map[string]ledger.Tag{}
		for i := range keys {
			s.Tags[fmt.Sprintf("key-%06d", i)] = ledger.Tag{byte(i)}
		}
		e.Sources[app] = s
		return e
	}
	small := sized(100)
	if got, _ := decode(t, encode(t, small, 1)); !maps.Equal(got.Sources[app].Tags, small.Sources[app].Tags) {
		t.Error("tags of a small entry were left out")
	}
	large := sized(5000)
	data := encode(t, large, 1)
	if len(data) > ledger.MaxSize {
		t.Errorf("%d bytes, want at most %d", len(data), ledger.MaxSize)
	}
	want := large.Clone()
	for source, s := range want.Sources {
		s.Tags = nil
		want.Sources[source] = s
	}
	got, _ := decode(t, data)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("more than tags is missing: (-want +got)\n%s", diff)
	}
	if len(large.Sources[app].Tags) != 5000 {
		t.Error("Encode took the tags from its argument")
	}
}

// FuzzDecode reads what others may have written to the ledger.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, full(), 1))
	f.Add([]byte(`{"v":1,"h":1,"k":"D","nm":"n","u":"u","at":-62135596800000,"tpl":"AAAAAAAAAAAAAAAAAAAAAA",
		"src":[{"k":"Secret","nm":"a","all":true,"keys":["b","a","a"],"t":{"\ud800":"AAAAAAAA"}},{"k":"Secret","nm":"a","keys":["b","a","a"]}]}`))
	f.Add([]byte(`{"v":1,"h":1,"k":"D","nm":"n","u":"u","pend":9223372036854775807,"thr":-9223372036854775808,"src":[{"d":null,"t":{}}]}`))
	f.Add([]byte(`{"v":1,"h":1,"k":"D","nm":"n","u":"u","src":[{"t":{"a":"AAAA\nAAAA"}}]}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, sequence, err := ledger.Decode(data)
		if err != nil {
			return
		}
		encoded := encode(t, first, sequence)
		if len(encoded) > ledger.MaxSize {
			return // without its tags it is another entry
		}
		second, again := decode(t, encoded)
		if again != sequence {
			t.Errorf("sequence %d became %d", sequence, again)
		}
		// An entry just under the limit in others' spelling may be over it in ours, and lose its tags.
		if !bytes.Equal(encoded, encode(t, second, sequence)) {
			t.Errorf("not stable: %s", encoded)
		}
		if change, restarted := ledger.Compare(first, second); len(data) < ledger.MaxSize/2 && (change != ledger.Unchanged || restarted) {
			t.Errorf("the entry changed on its way: %v\n%s", change, cmp.Diff(first, second))
		}
	})
}
