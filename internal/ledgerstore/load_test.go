package ledgerstore

import (
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

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
