package ledger_test

import (
	"embed"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
)

// stored is what controllers of each format have written: one entry a line, those of samples in their order. What is
// there is never changed; a new format adds a file.
//
//go:embed testdata/format-*.jsonl
var stored embed.FS

// samples are entries of all stages. What later formats add is left at its zero value.
func samples() []*ledger.Entry {
	registry := full().Workload
	at := func(seconds int) time.Time { return base.Add(time.Duration(seconds) * time.Second) }
	settings := ledger.Source{
		Present: true, Scope: reference.Keys("mode"), Digest: digest.Digest{5}, Tags: map[string]ledger.Tag{"mode": {5}},
		UID: "source", ResourceVersion: "1", Changed: base,
	}
	pending := settings
	pending.Diverged, pending.Pending, pending.PendingChanged = at(60), digest.Digest{6}, at(60)
	return []*ledger.Entry{
		full(),
		{Workload: registry, UID: "first-sight", Sources: map[reference.Source]ledger.Source{app: settings}},
		{Workload: registry, UID: "proven", Template: digest.Digest{1}, ProvenAt: at(10),
			Sources: map[reference.Source]ledger.Source{app: settings}},
		{Workload: registry, UID: "restarting", Value: "value", Template: digest.Digest{1}, ProvenAt: at(10), PendingSince: at(61),
			Throttle: at(180), Sources: map[reference.Source]ledger.Source{app: pending}},
		{Workload: registry, UID: "no-sources", Sources: map[reference.Source]ledger.Source{}},
	}
}

// The present format and the one before are read, for ever as they were written.
func TestStoredFormatsAreRead(t *testing.T) {
	for format := max(1, ledger.Format-1); format <= ledger.Format; format++ {
		t.Run(fmt.Sprint(format), func(t *testing.T) {
			lines := storedLines(t, format)
			for i, want := range samples() {
				got, sequence := decode(t, []byte(lines[i]))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("entry %d (-want +got):\n%s", i, diff)
				}
				if sequence != uint64(i+1) {
					t.Errorf("sequence %d, want %d", sequence, i+1)
				}
			}
		})
	}
}

// What is written is what this format's number stands for. A difference is another format: raise ledger.Format.
func TestTheFormatIsAsStored(t *testing.T) {
	lines := storedLines(t, ledger.Format)
	for i, entry := range samples() {
		if got := string(encode(t, entry, uint64(i+1))); got != lines[i] {
			t.Errorf("entry %d is written otherwise:\n got %s\nwant %s", i, got, lines[i])
		}
	}
}

// Patterns came later, and are written only where there are some: what was written before stays what it is.
func TestPatternsAreStored(t *testing.T) {
	entry := &ledger.Entry{Workload: full().Workload, UID: "uid", Sources: map[reference.Source]ledger.Source{
		app: {Scope: reference.Globs("tls.*", "ca.crt", "*.key")},
	}}
	want := `{"v":1,"h":1,"k":"Deployment","ns":"apps","nm":"registry","u":"uid",` +
		`"src":[{"k":"ConfigMap","ns":"apps","nm":"app","keys":["ca.crt"],"g":["*.key","tls.*"]}]}`
	data := encode(t, entry, 0)
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, _ := decode(t, data); cmp.Diff(entry, got) != "" {
		t.Errorf("(-written +read):\n%s", cmp.Diff(entry, got))
	}
}

// Pauses came later, too.
func TestPausesAreStored(t *testing.T) {
	entry := &ledger.Entry{Workload: full().Workload, UID: "uid", PausedSince: base, Sources: map[reference.Source]ledger.Source{}}
	want := fmt.Sprintf(`{"v":1,"h":1,"k":"Deployment","ns":"apps","nm":"registry","u":"uid","pau":%d}`, base.UnixMilli())
	data := encode(t, entry, 0)
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, _ := decode(t, data); cmp.Diff(entry, got) != "" {
		t.Errorf("(-written +read):\n%s", cmp.Diff(entry, got))
	}
}

func storedLines(t *testing.T, format int) []string {
	t.Helper()
	data, err := stored.ReadFile(fmt.Sprintf("testdata/format-%d.jsonl", format))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) != len(samples()) {
		t.Fatalf("%d entries are stored, want %d", len(lines), len(samples()))
	}
	return lines
}
