package ledgerstore

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

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

// The API server may be going down at the same time: what is written at the end is tried again, for as long as there is time.
func TestTheLastWriteIsTriedAgain(t *testing.T) {
	s := newServer()
	store := load(t, s)
	a := restarted(entry("a", 1), "value")
	put(t, store, a)
	s.before = once(func(client.Object) error { return apierrors.NewServiceUnavailable("no endpoints") })
	flush(t, store)
	wantEntries(t, s, a)

	t.Log("rights that were taken away do not come back")
	put(t, store, entry("b", 1))
	forbidden := apierrors.NewForbidden(corev1.Resource("configmaps"), "reloader-ledger-0", nil)
	s.before = func(client.Object) error { return forbidden }
	if err := store.Flush(t.Context()); !errors.Is(err, forbidden) {
		t.Errorf("error %v, want %v", err, forbidden)
	}

	t.Log("time runs out")
	ctx, cancel := context.WithCancel(t.Context())
	s.before = func(client.Object) error { cancel(); return apierrors.NewServiceUnavailable("no endpoints") }
	if err := store.Flush(ctx); err == nil {
		t.Error("the error is lost")
	}
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
