package policystore

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/watch/watchtest"
)

// start runs a store that fills from an API server until the test ends.
func start(t *testing.T, s *apiServer, scope watch.Scope) *fixture {
	t.Helper()
	f := run(t, s, scope)
	watchtest.Eventually(t, "settled", f.Settled)
	return f
}

// run is start without waiting for anything.
func run(t *testing.T, s *apiServer, scope watch.Scope) *fixture {
	t.Helper()
	f := newFixture(t, scope, s.host.Client)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return f
}

// tells waits until the store has told of these, and forgets what it has told.
func (f *fixture) tells(want ...string) {
	f.t.Helper()
	slices.Sort(want)
	watchtest.Eventually(f.t, "told of "+strings.Join(want, ", "), func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		slices.Sort(f.told)
		return slices.Equal(want, f.told)
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = nil
}

func (f *fixture) governs(want string) {
	f.t.Helper()
	got, _ := f.Governing(web("apps"))
	if got == nil && want != "" || got != nil && got.String() != want {
		f.t.Errorf("governed by %v, want %q", got, want)
	}
}

func TestThePoliciesThatAreThere(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.set(newPolicy("apps", "a"))
	f := start(t, s, watch.AllNamespaces())
	f.tells("+apps/a")
	f.governs("apps/a")
	if !f.Installed() || f.Refused() != 0 {
		t.Errorf("installed %v, refused %d", f.Installed(), f.Refused())
	}
	suspended := newPolicy("apps", "a")
	suspended.Generation, suspended.Spec.Suspend = 2, true
	s.set(suspended)
	f.tells("~apps/a")
	if p, _ := f.Governing(web("apps")); p == nil || !p.Settings.Suspend {
		t.Errorf("governed by %+v, want it suspended", p)
	}
}

// Their API is installed, and deleted, while the controller runs.
func TestAnAPIThatComesAndGoes(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.installed = false
	s.set(newPolicy("apps", "a"))
	f := start(t, s, watch.AllNamespaces())
	f.governs("")
	if f.Installed() || f.Refused() != 0 {
		t.Errorf("installed %v, refused %d, want neither", f.Installed(), f.Refused())
	}
	s.change(func() { s.installed = true })
	f.tells("+apps/a")
	f.governs("apps/a")

	s.change(func() { s.installed = false })
	f.tells("-apps/a")
	f.governs("")
	if _, exists := f.Get(policy.Name{Namespace: "apps", Name: "a"}); exists || f.Installed() || len(f.All()) > 0 || !f.Settled() {
		t.Error("what is not served any more is still there")
	}

	s.change(func() {
		s.installed = true
		delete(s.policies, policy.Name{Namespace: "apps", Name: "a"})
		b := newPolicy("apps", "b")
		b.ResourceVersion = "100"
		s.version, s.policies[policy.Name{Namespace: "apps", Name: "b"}] = 100, s.stamped(b)
	})
	f.tells("+apps/a", "-apps/a", "+apps/b")
	f.governs("apps/b")
}

// Where the controller watches a list of namespaces, policies of its own count, too, and one that is forbidden stops none.
func TestAListOfNamespaces(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.forbidden["secret"] = true
	s.set(newPolicy("apps", "a"))
	s.set(newPolicy("other", "b"))
	s.set(newPolicy("secret", "c"))
	s.set(everywhere(newPolicy(system, "d")))
	f := start(t, s, watch.Namespaces("apps", "secret"))
	f.tells("+apps/a", "+flux-system/d")
	f.governs("apps/a")
	if f.Refused() != 1 || !f.Installed() {
		t.Errorf("installed %v, refused %d, want one", f.Installed(), f.Refused())
	}
	s.change(func() { s.forbidden["apps"] = true })
	watchtest.Eventually(t, "refused", func() bool { return f.Refused() == 2 })
	f.governs("apps/a") // what was seen last is the best there is
	f.tells()
}

// One policy that cannot be decoded keeps the list from being read, and the controller from its work for a while only.
func TestAPolicyThatCannotBeDecodedHoldsUpNothingForEver(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.broken = true
	s.set(newPolicy("apps", "a"))
	f := run(t, s, watch.AllNamespaces())
	watchtest.Eventually(t, "tried again", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.asked > 3 })
	if f.Settled() || f.Refused() != 0 {
		t.Errorf("settled %v, refused %d, although it may pass", f.Settled(), f.Refused())
	}
	watchtest.Eventually(t, "given up", func() bool {
		f.later(patience)
		return f.Settled()
	})
	f.governs("")
	if f.Refused() != 1 {
		t.Errorf("refused %d, want one", f.Refused())
	}
	s.change(func() { s.broken = false })
	f.tells("+apps/a")
	watchtest.Eventually(t, "seen", func() bool { return f.Settled() && f.Refused() == 0 })
}
