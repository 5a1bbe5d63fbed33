package ledgerstore

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/ledger"
)

func TestShardsAreBounded(t *testing.T) {
	s := newServer()
	store := load(t, s)
	store.EndBootstrap()
	var entries []*ledger.Entry
	for i := range 40 {
		entries = append(entries, entry(fmt.Sprintf("uid-%d", i), 20))
	}
	put(t, store, entries...)
	flush(t, store)
	if n := len(shards(t, s)); n < 2 {
		t.Errorf("%d shards", n)
	}
	wantBounded(t, s)
	wantEntries(t, s, entries...)
}

func wantBounded(t *testing.T, s *server) {
	t.Helper()
	for name, data := range shards(t, s) {
		size := 0
		for _, text := range data {
			size += len(text)
		}
		if size > maxShard {
			t.Errorf("%s holds %d bytes", name, size)
		}
	}
}

// An entry that outgrows its shard moves. Until it is written there, the old shard keeps it: at no time is it in neither.
func TestAnEntryMoves(t *testing.T) {
	s := newServer()
	store := load(t, s)
	entries := map[string]*ledger.Entry{}
	for i := range 10 {
		uid := fmt.Sprintf("uid-%d", i)
		entries[uid] = entry(uid, 1)
		put(t, store, entries[uid])
	}
	flush(t, store)
	s.after = func(client.Object) error {
		held := map[string]bool{}
		for _, data := range shards(t, s) {
			for uid := range data {
				held[uid] = true
			}
		}
		if len(held) != len(entries) {
			t.Errorf("%d entries are stored, want %d", len(held), len(entries))
		}
		return nil
	}
	for uid := range maps.Keys(entries) {
		entries[uid] = entry(uid, 80)
		put(t, store, entries[uid])
	}
	flush(t, store)
	s.after = nil
	wantBounded(t, s)
	stored := map[string]int{}
	for _, data := range shards(t, s) {
		for uid := range data {
			stored[uid]++
		}
	}
	for uid := range entries {
		if stored[uid] != 1 {
			t.Errorf("%s is stored %d times", uid, stored[uid])
		}
	}
	if len(shards(t, s)) < 2 {
		t.Error("nothing moved")
	}
	var want []*ledger.Entry
	for _, e := range entries {
		want = append(want, e)
	}
	wantEntries(t, s, want...)
}

// A crash while an entry moved left it in two shards: the later one counts, whichever comes first.
func TestAnEntryInTwoShards(t *testing.T) {
	older, newer := entry("a", 1), restarted(entry("a", 1), "value")
	for name, numbers := range map[string][2]int{"the first is older": {0, 1}, "the first is newer": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			s := newServer(
				shardWith(t, numbers[0], older, 5),
				shardWith(t, numbers[1], newer, 6),
			)
			store := load(t, s)
			if diff := cmp.Diff(newer, store.Get("a")); diff != "" {
				t.Errorf("entry (-want +got):\n%s", diff)
			}
			flush(t, store)
			total := 0
			for _, data := range shards(t, s) {
				total += len(data)
			}
			if total != 1 {
				t.Errorf("stored %d times", total)
			}
			wantEntries(t, s, newer)
		})
	}
}

func shardWith(t *testing.T, number int, e *ledger.Entry, sequence uint64) *corev1.ConfigMap {
	t.Helper()
	text, err := ledger.Encode(e, sequence)
	if err != nil {
		t.Fatal(err)
	}
	cm := Options{Namespace: namespace}.configMap(number)
	cm.Annotations = map[string]string{epochAnnotation: "7"}
	cm.Data = map[string]string{string(e.UID): string(text)}
	return cm
}
