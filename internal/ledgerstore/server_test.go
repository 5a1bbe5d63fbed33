package ledgerstore

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
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
