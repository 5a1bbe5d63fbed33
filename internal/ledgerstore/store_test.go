package ledgerstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
)

const namespace = "flux-reloader"

// server is a fake API server that counts writes and lets tests get in between.
type server struct {
	client.WithWatch
	writes int
	// before is called ahead of every write of a ConfigMap, after behind it; their errors are the answer.
	before func(object client.Object) error
	after  func(object client.Object) error
}

func newServer(objects ...client.Object) *server {
	s := &server{}
	within := func(object client.Object, do func() error) error {
		s.writes++
		if s.before != nil {
			if err := s.before(object); err != nil {
				return err
			}
		}
		if err := do(); err != nil {
			return err
		}
		if s.after != nil {
			return s.after(object)
		}
		return nil
	}
	s.WithWatch = fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objects...).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
				return within(o, func() error { return c.Create(ctx, o, options...) })
			},
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
				return within(o, func() error { return c.Patch(ctx, o, p, options...) })
			},
		}).Build()
	return s
}

// once lets a function run on its first call only.
func once(f func(client.Object) error) func(client.Object) error {
	done := false
	return func(o client.Object) error {
		if done {
			return nil
		}
		done = true
		return f(o)
	}
}

// newStore is a store that has not loaded anything and writes as often as it likes.
func newStore(s *server) *Store {
	store := New(Options{Log: logr.Discard(), Client: s, Namespace: namespace})
	store.writes = rate.NewLimiter(rate.Inf, 1)
	return store
}

func load(t *testing.T, s *server) *Store {
	t.Helper()
	store := newStore(s)
	if err := store.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

func put(t *testing.T, store *Store, entries ...*ledger.Entry) {
	t.Helper()
	for _, e := range entries {
		if err := store.Put(e); err != nil {
			t.Fatal(err)
		}
	}
}

func flush(t *testing.T, store *Store) {
	t.Helper()
	if err := store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// entry is a record with so many sources.
func entry(uid string, sources int) *ledger.Entry {
	e := &ledger.Entry{
		Workload: ledger.Workload{Kind: "Deployment", Namespace: "apps", Name: "web-" + uid}, UID: types.UID(uid),
		Sources: map[reference.Source]ledger.Source{},
	}
	for i := range sources {
		name := reference.Source{Kind: reference.Secret, Namespace: "apps", Name: fmt.Sprintf("%s-%d", strings.Repeat("s", 40), i)}
		e.Sources[name] = ledger.Source{Present: true, Scope: reference.Scope{All: true}, UID: types.UID(uid), ResourceVersion: "1"}
	}
	return e
}

// restarted is the entry after a restart.
func restarted(e *ledger.Entry, value string) *ledger.Entry {
	e = e.Clone()
	e.Value = value
	return e
}

// shards are the data of the stored shards, by name.
func shards(t *testing.T, s *server) map[string]map[string]string {
	t.Helper()
	list := &corev1.ConfigMapList{}
	if err := s.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	data := map[string]map[string]string{}
	for _, cm := range list.Items {
		data[cm.Name] = cm.Data
	}
	return data
}

func shardOf(t *testing.T, s *server, name string) *corev1.ConfigMap {
	t.Helper()
	cm := &corev1.ConfigMap{}
	if err := s.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, cm); err != nil {
		t.Fatal(err)
	}
	return cm
}

// wantEntries loads the ledger anew and checks that it holds exactly these.
func wantEntries(t *testing.T, s *server, want ...*ledger.Entry) {
	t.Helper()
	store := load(t, s)
	if store.Len() != len(want) {
		t.Errorf("%d entries, want %d", store.Len(), len(want))
	}
	for _, e := range want {
		if diff := cmp.Diff(e, store.Get(e.UID)); diff != "" {
			t.Errorf("entry %s (-want +got):\n%s", e.UID, diff)
		}
		if named := store.Named(e.Workload); named == nil || named.UID != e.UID {
			t.Errorf("entry of the name %s: %v", e.Workload, named)
		}
	}
}

func TestANewLedger(t *testing.T) {
	s := newServer()
	store := load(t, s)
	if !store.Bootstrapping() {
		t.Error("it was not there before")
	}
	cm := shardOf(t, s, "reloader-ledger-0")
	if cm.Annotations[epochAnnotation] != "1" || cm.Annotations[bootstrapAnnotation] != "true" || cm.Labels[ShardLabel] != "shard" {
		t.Errorf("shard %+v", cm.ObjectMeta)
	}
	if again := load(t, s); !again.Bootstrapping() {
		t.Error("a crash before the end of the bootstrap ends it")
	}
}

func TestEndBootstrap(t *testing.T) {
	s := newServer()
	store := load(t, s)
	store.EndBootstrap()
	flush(t, store)
	if _, found := shardOf(t, s, "reloader-ledger-0").Annotations[bootstrapAnnotation]; found {
		t.Error("the shard still says bootstrap")
	}
	next := load(t, s)
	if next.Bootstrapping() {
		t.Error("the next controller begins anew")
	}
	if got := shardOf(t, s, "reloader-ledger-0").Annotations[epochAnnotation]; got != "2" {
		t.Errorf("epoch %s, want 2", got)
	}
}

func TestEntriesOutliveTheirController(t *testing.T) {
	s := newServer()
	store := load(t, s)
	a, b := entry("a", 1), entry("b", 2)
	put(t, store, a, b)
	flush(t, store)
	wantEntries(t, s, a, b)
}

func TestDelete(t *testing.T) {
	s := newServer()
	store := load(t, s)
	a, b := entry("a", 1), entry("b", 1)
	put(t, store, a, b)
	flush(t, store)
	store.Delete("a")
	store.Delete("unknown")
	flush(t, store)
	if store.Get("a") != nil || store.Named(a.Workload) != nil {
		t.Error("it is still there")
	}
	wantEntries(t, s, b)
}

// What is worth no write of its own waits for the next write of its shard, or for the end.
func TestHintsAreWrittenLater(t *testing.T) {
	s := newServer()
	store := load(t, s)
	a := entry("a", 1)
	put(t, store, a)
	flush(t, store)
	before := s.writes
	hint := a.Clone()
	for name, source := range hint.Sources {
		source.ResourceVersion = "2"
		hint.Sources[name] = source
	}
	put(t, store, hint)
	if err := store.write(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if s.writes != before {
		t.Errorf("%d writes for a hint", s.writes-before)
	}
	put(t, store, hint) // the same again
	flush(t, store)
	if s.writes != before+1 {
		t.Errorf("%d writes at the end, want 1", s.writes-before)
	}
	wantEntries(t, s, hint)
}

func TestPersisted(t *testing.T) {
	s := newServer()
	store := load(t, s)
	if !store.Persisted("a") {
		t.Error("nothing is to be stored of a workload that was never restarted")
	}
	a := entry("a", 1)
	put(t, store, a)
	if !store.Persisted("a") {
		t.Error("a first record without a restart")
	}
	flush(t, store)
	put(t, store, restarted(a, "value"))
	if store.Persisted("a") {
		t.Error("persisted before it is written")
	}
	s.before = func(client.Object) error { return errors.New("no answer") }
	if err := store.Flush(t.Context()); err == nil {
		t.Fatal("the error is lost")
	}
	if store.Persisted("a") {
		t.Error("persisted although the write failed")
	}
	s.before = nil
	flush(t, store)
	if !store.Persisted("a") {
		t.Error("not persisted although it is written")
	}
	wantEntries(t, s, restarted(a, "value"))
}

// An entry that changes while it is written is not persisted by that write.
func TestPersistedWhileWriting(t *testing.T) {
	s := newServer()
	store := load(t, s)
	a := entry("a", 1)
	put(t, store, restarted(a, "first"))
	s.after = once(func(client.Object) error { return store.Put(restarted(a, "second")) })
	if err := store.write(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if store.Persisted("a") {
		t.Error("the second restart is not written")
	}
	if len(store.pending(false)) == 0 {
		t.Error("the second restart waits for another write")
	}
	flush(t, store)
	if !store.Persisted("a") {
		t.Error("the second restart is written")
	}
	wantEntries(t, s, restarted(a, "second"))
}

// The API server wrote, but the answer got lost.
func TestALostAnswer(t *testing.T) {
	s := newServer()
	store := load(t, s)
	a := entry("a", 1)
	put(t, store, restarted(a, "value"))
	s.after = once(func(client.Object) error { return apierrors.NewTimeoutError("lost", 1) })
	if err := store.write(t.Context(), false); err == nil {
		t.Fatal("the error is lost")
	}
	flush(t, store)
	if !store.Persisted("a") {
		t.Error("not persisted")
	}
	wantEntries(t, s, restarted(a, "value"))
}

func TestSomebodyElseWritesAShard(t *testing.T) {
	s := newServer()
	store := load(t, s)
	a, b := entry("a", 1), entry("b", 1)
	put(t, store, a)
	flush(t, store)
	cm := shardOf(t, s, "reloader-ledger-0")
	cm.Data = map[string]string{"foreign": "record"}
	if err := s.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	put(t, store, b)
	flush(t, store)
	if diff := cmp.Diff([]string{"a", "b"}, keys(shards(t, s)["reloader-ledger-0"])); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	wantEntries(t, s, a, b)
}

func keys(data map[string]string) []string {
	var names []string
	for _, name := range []string{"a", "b", "foreign"} {
		if _, found := data[name]; found {
			names = append(names, name)
		}
	}
	return names
}

func TestADeletedShardIsMadeAgain(t *testing.T) {
	s := newServer()
	store := load(t, s)
	store.EndBootstrap()
	a, b := entry("a", 1), entry("b", 1)
	put(t, store, a)
	flush(t, store)
	if err := s.WithWatch.Delete(t.Context(), shardOf(t, s, "reloader-ledger-0")); err != nil {
		t.Fatal(err)
	}
	put(t, store, b)
	flush(t, store)
	cm := shardOf(t, s, "reloader-ledger-0")
	if cm.Annotations[epochAnnotation] != "1" || cm.Labels[ShardLabel] == "" {
		t.Errorf("shard %+v", cm.ObjectMeta)
	}
	wantEntries(t, s, a, b)
}

func TestASupersededStoreWritesNothing(t *testing.T) {
	s := newServer()
	old := load(t, s)
	a := entry("a", 1)
	put(t, old, a)
	flush(t, old)
	load(t, s)
	before := shards(t, s)
	put(t, old, restarted(a, "value"), entry("b", 1))
	if err := old.Flush(t.Context()); !errors.Is(err, ErrSuperseded) {
		t.Fatalf("error %v, want %v", err, ErrSuperseded)
	}
	if err := old.Run(t.Context()); !errors.Is(err, ErrSuperseded) {
		t.Errorf("error %v, want %v", err, ErrSuperseded)
	}
	if diff := cmp.Diff(before, shards(t, s)); diff != "" {
		t.Errorf("shards (-before +after):\n%s", diff)
	}
}

// A predecessor still writes between the list and the claim: what it wrote counts.
func TestAPredecessorsLastWriteIsRead(t *testing.T) {
	s := newServer()
	old := load(t, s)
	a := entry("a", 1)
	put(t, old, a)
	flush(t, old)
	put(t, old, restarted(a, "value"))
	s.before = once(func(client.Object) error { return old.Flush(t.Context()) })
	store := load(t, s)
	if got := store.Get("a"); got == nil || got.Value != "value" {
		t.Errorf("entry %+v", got)
	}
}

func TestTwoTakeOverAtOnce(t *testing.T) {
	s := newServer()
	load(t, s)
	s.before = once(func(client.Object) error { load(t, s); return nil })
	if err := newStore(s).Load(t.Context()); !errors.Is(err, ErrSuperseded) {
		t.Errorf("error %v, want %v", err, ErrSuperseded)
	}
}

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

func TestUnreadableRecordsAreLostOneByOne(t *testing.T) {
	a := entry("a", 1)
	cm := shardWith(t, 0, a, 1)
	cm.Data["broken"], cm.Data["foreign"] = "{", cm.Data["a"]
	s := newServer(cm)
	store := load(t, s)
	// The workload whose record is lost is met for the first time, as if there had been no ledger.
	if store.Len() != 1 || !store.Bootstrapping() {
		t.Errorf("%d entries, bootstrapping %t", store.Len(), store.Bootstrapping())
	}
	flush(t, store)
	if diff := cmp.Diff([]string{"a"}, keys(shards(t, s)["reloader-ledger-0"])); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// Digests of another key can be compared to nothing: every workload is met for the first time, as if there had been no
// ledger, and the records are removed.
func TestALedgerOfAnotherKeyIsLost(t *testing.T) {
	s := newServer()
	old := load(t, s)
	old.EndBootstrap()
	put(t, old, entry("a", 1))
	flush(t, old)
	with := func(id string) *Store {
		store := newStore(s)
		store.options.KeyID = id
		if err := store.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return store
	}
	store := with("another")
	if store.Len() != 0 || !store.Bootstrapping() {
		t.Errorf("%d entries, bootstrapping %t", store.Len(), store.Bootstrapping())
	}
	put(t, store, entry("b", 1))
	store.EndBootstrap()
	flush(t, store)
	if diff := cmp.Diff([]string{"b"}, keys(shards(t, s)["reloader-ledger-0"])); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if next := with("another"); next.Len() != 1 || next.Bootstrapping() {
		t.Errorf("the next one with that key: %d entries, bootstrapping %t", next.Len(), next.Bootstrapping())
	}
}

// A shard whose label somebody took away is not listed. It is found by its name, and labelled again.
func TestAShardWithoutItsLabelIsFound(t *testing.T) {
	s := newServer()
	store := load(t, s)
	store.EndBootstrap()
	put(t, store, entry("a", 1))
	flush(t, store)
	cm := shardOf(t, s, "reloader-ledger-0")
	cm.Labels = nil
	if err := s.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	next := load(t, s)
	if next.Len() != 1 || next.Bootstrapping() {
		t.Errorf("%d entries, bootstrapping %t", next.Len(), next.Bootstrapping())
	}
	if cm := shardOf(t, s, "reloader-ledger-0"); cm.Labels[ShardLabel] == "" || cm.Annotations[epochAnnotation] != "2" {
		t.Errorf("shard %+v", cm.ObjectMeta)
	}
	put(t, store, entry("b", 1))
	if err := store.Flush(t.Context()); !errors.Is(err, ErrSuperseded) {
		t.Errorf("error %v, want %v", err, ErrSuperseded)
	}
}

// Digests of another key cannot be compared: what was recorded with it must not look like changes of everything.
func TestRecordsOfAnotherKeyAreLost(t *testing.T) {
	s := newServer()
	first := load(t, s)
	first.EndBootstrap()
	put(t, first, entry("a", 1), entry("b", 1))
	flush(t, first)

	withKey := func() *Store {
		store := New(Options{Log: logr.Discard(), Client: s, Namespace: namespace, KeyID: "another"})
		store.writes.SetLimit(rate.Inf)
		if err := store.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return store
	}
	second := withKey()
	if second.Len() != 0 || !second.Bootstrapping() {
		t.Fatalf("%d entries, bootstrapping %t", second.Len(), second.Bootstrapping())
	}
	flush(t, second)
	if third := withKey(); third.Len() != 0 || !third.Bootstrapping() {
		t.Errorf("after a crash: %d entries, bootstrapping %t", third.Len(), third.Bootstrapping())
	}
	put(t, second, entry("c", 1)) // superseded, and nothing of it is stored
	if err := second.Flush(t.Context()); !errors.Is(err, ErrSuperseded) {
		t.Errorf("error %v, want ErrSuperseded", err)
	}
	fourth := withKey()
	fourth.EndBootstrap()
	put(t, fourth, entry("c", 1))
	flush(t, fourth)
	if last := withKey(); last.Len() != 1 || last.Bootstrapping() {
		t.Errorf("with the key in use: %d entries, bootstrapping %t", last.Len(), last.Bootstrapping())
	}
}

// Without its label a shard is not found by a list, and in the way of a new one.
func TestAFirstShardWithoutItsLabel(t *testing.T) {
	e := entry("a", 1)
	cm := shardWith(t, 0, e, 1)
	cm.Labels = nil
	s := newServer(cm)
	store := load(t, s)
	if store.Len() != 1 || store.Bootstrapping() {
		t.Errorf("%d entries, bootstrapping %t", store.Len(), store.Bootstrapping())
	}
	if shardOf(t, s, "reloader-ledger-0").Labels[ShardLabel] == "" {
		t.Error("the label is not restored")
	}
}

// Of two objects that had a name after one another, the name's entry is the one that is there.
func TestNamedAfterALoad(t *testing.T) {
	gone, present := entry("a", 1), entry("b", 1)
	present.Workload = gone.Workload
	gone.AbsentSince = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	s := newServer()
	store := load(t, s)
	put(t, store, gone, present)
	flush(t, store)
	for range 5 { // maps have no order
		if got := load(t, s).Named(gone.Workload); got == nil || got.UID != "b" {
			t.Fatalf("entry %+v", got)
		}
	}
}

func TestInstancesShareANamespace(t *testing.T) {
	s := newServer()
	one := load(t, s)
	other := New(Options{Log: logr.Discard(), Client: s, Namespace: namespace, Instance: "shard1"})
	other.writes = rate.NewLimiter(rate.Inf, 1)
	if err := other.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, one, entry("a", 1))
	put(t, other, entry("b", 1))
	flush(t, one)
	flush(t, other)
	if got := keys(shards(t, s)["reloader-ledger-0"]); len(got) != 1 || got[0] != "a" {
		t.Errorf("keys %v", got)
	}
	if got := keys(shards(t, s)["reloader-ledger-shard1-0"]); len(got) != 1 || got[0] != "b" {
		t.Errorf("keys %v", got)
	}
	wantEntries(t, s, entry("a", 1))
}

func TestShardNumber(t *testing.T) {
	tests := []struct {
		instance, name string
		number         int
		ok             bool
	}{
		{"", "reloader-ledger-0", 0, true},
		{"", "reloader-ledger-12", 12, true},
		{"", "reloader-ledger-012", 12, false},
		{"", "reloader-ledger--1", 0, false},
		{"", "reloader-ledger-x-0", 0, false},
		{"", "reloader-ledger", 0, false},
		{"", "other-0", 0, false},
		{"x", "reloader-ledger-x-0", 0, true},
		{"x", "reloader-ledger-0", 0, false},
	}
	for _, test := range tests {
		number, ok := Options{Instance: test.instance}.shardNumber(test.name)
		if ok != test.ok || ok && number != test.number {
			t.Errorf("%q of %q: %d, %t", test.name, test.instance, number, ok)
		}
	}
}

func TestLoadFails(t *testing.T) {
	s := newServer()
	load(t, s)
	refused := apierrors.NewForbidden(corev1.Resource("configmaps"), "reloader-ledger-0", errors.New("no"))
	s.before = func(client.Object) error { return refused }
	if err := newStore(s).Load(t.Context()); !errors.Is(err, refused) {
		t.Errorf("error %v, want %v", err, refused)
	}
	conflict := apierrors.NewConflict(corev1.Resource("configmaps"), "reloader-ledger-0", errors.New("moved"))
	s.before = func(client.Object) error { return conflict }
	if err := newStore(s).Load(t.Context()); err == nil {
		t.Error("it gave up without an error")
	}
}

// Run writes what changes, goes on after errors, and ends with its context.
func TestRun(t *testing.T) {
	s := newServer()
	store := load(t, s)
	put(t, store, entry("a", 1))
	failures := make(chan struct{}, 1)
	s.before = once(func(client.Object) error { failures <- struct{}{}; return errors.New("no answer") })
	written := make(chan struct{}, 8)
	s.after = func(client.Object) error { written <- struct{}{}; return nil }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- store.Run(ctx) }()
	<-failures
	<-written
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	s.after = nil
	wantEntries(t, s, entry("a", 1))
}
