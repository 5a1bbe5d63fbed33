package ledgerstore

import (
	"context"
	"errors"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

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
	if err := store.write(t.Context(), false); err == nil {
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
