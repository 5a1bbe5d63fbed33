package owner

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/watch/watchtest"
)

// fixture is a store that fills from an API server, and what it has told of.
type fixture struct {
	*Store
	t      *testing.T
	server *apiServer

	mu   sync.Mutex
	now  time.Time
	told []string
}

const timeout = 5 * time.Minute

func start(t *testing.T, s *apiServer, scope watch.Scope) *fixture {
	t.Helper()
	f := run(t, s, scope)
	watchtest.Eventually(t, "settled", f.Settled)
	return f
}

// run is start without waiting for anything.
func run(t *testing.T, s *apiServer, scope watch.Scope) *fixture {
	t.Helper()
	f := &fixture{t: t, server: s, now: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)}
	var err error
	f.Store, err = New(Options{
		Log: logr.Discard(), Scope: scope, Client: s.host.Client, Timeout: timeout, Now: f.clock,
		Changed: func(o plan.Owner) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.told = append(f.told, o.String())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return f
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) later(by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(by)
}

// tellsOf waits until the store has told of these, and forgets what it has told.
func (f *fixture) tellsOf(owners ...string) {
	f.t.Helper()
	watchtest.Eventually(f.t, "told of "+strings.Join(owners, ", "), func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		slices.Sort(f.told)
		return slices.Equal(owners, f.told)
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = nil
}

func named(text string) []plan.Owner {
	parts := strings.Split(text, "/")
	return []plan.Owner{{Kind: parts[0], Namespace: parts[1], Name: parts[2]}}
}

// held is what holds what an owner applies: verdict and message.
func (f *fixture) held(owner string) string {
	hold := f.Hold(named(owner), f.clock())
	if hold == nil {
		return ""
	}
	return string(hold.Verdict) + ": " + hold.Message
}

func (f *fixture) expect(owner, want string) {
	f.t.Helper()
	watchtest.Eventually(f.t, owner+" holds: "+want, func() bool { return f.held(owner) == want })
}

// noted waits until the store has noted since when an owner is reconciling: whoever asks sees that it is a moment before.
func (f *fixture) noted(owner string) {
	f.t.Helper()
	watchtest.Eventually(f.t, owner+" is noted", func() bool {
		f.Store.mu.Lock()
		defer f.Store.mu.Unlock()
		_, noted := f.since[named(owner)[0]]
		return noted
	})
}

func (f *fixture) expectNow(owner, want string) {
	f.t.Helper()
	if got := f.held(owner); got != want {
		f.t.Errorf("%s: held %q, want %q", owner, got, want)
	}
}

var (
	done    = map[string]any{"status": map[string]any{"observedGeneration": int64(1)}}
	held    = map[string]any{"spec": map[string]any{"suspend": true}}
	running = map[string]any{"status": map[string]any{"conditions": []any{
		map[string]any{"type": "Reconciling", "status": "True", "reason": "Progressing"},
	}}}
)

const (
	release = "HelmRelease/apps/web"
	apps    = "Kustomization/flux-system/apps"
	root    = "Kustomization/flux-system/flux-system"
	tenants = "ResourceSet/tenancy/tenants"
)

// chained is a store that knows of a release that a Kustomization applies, which a ResourceSet applies; and of a
// Kustomization that applies itself.
func chained(t *testing.T) *fixture {
	t.Helper()
	s := newAPIServer(t)
	s.install()
	s.set(release, apps, done)
	s.set(apps, tenants, done)
	s.set(tenants, "", done)
	s.set(root, root, done)
	f := start(t, s, watch.AllNamespaces())
	f.tellsOf()
	return f
}

func TestWhoeverIsSuspendedHoldsAllBelow(t *testing.T) {
	t.Parallel()
	f := chained(t)
	all := []string{release, apps, tenants}
	for i, by := range all {
		f.server.set(by, slices.Concat(all, []string{""})[i+1], held)
		for j, owner := range all {
			want := ""
			if j <= i {
				want = "OwnerSuspended: " + by + " is suspended"
			}
			f.expect(owner, want)
		}
		f.expectNow(root, "")
		f.tellsOf(all[:i+1]...)
		f.server.set(by, slices.Concat(all, []string{""})[i+1], done)
		f.expect(release, "")
		f.tellsOf(all[:i+1]...)
	}
	f.server.set(root, root, held)
	f.expect(root, "OwnerSuspended: "+root+" is suspended")
	f.tellsOf(root)
}

func TestAnOwnerThatIsNotThereHoldsNothing(t *testing.T) {
	t.Parallel()
	f := chained(t)
	f.expectNow("Kustomization/elsewhere/apps", "")
	f.expectNow("Unknown/flux-system/apps", "")
	f.server.set(apps, tenants, held)
	f.expect(release, "OwnerSuspended: "+apps+" is suspended")
	f.tellsOf(release, apps)
	f.server.remove(apps)
	f.expect(release, "")
	f.tellsOf(release, apps)
	f.server.set(tenants, "", held)
	f.tellsOf(tenants)
	f.expectNow(release, "")
}

func TestWhoeverReconcilesHoldsForAWhile(t *testing.T) {
	t.Parallel()
	f := chained(t)
	f.server.set(apps, tenants, running)
	f.expect(release, "OwnerReconciling: "+apps+" is reconciling")
	f.noted(apps)
	f.later(2 * time.Minute)
	want := &plan.Hold{Verdict: plan.OwnerReconciling, Message: apps + " is reconciling", For: 3 * time.Minute}
	if diff := cmp.Diff(want, f.Hold(named(release), f.clock())); diff != "" {
		t.Errorf("hold (-want +got):\n%s", diff)
	}
	f.server.set(apps, tenants, running)
	f.server.set(tenants, "", held)
	f.expect(release, "OwnerSuspended: "+tenants+" is suspended")
	f.server.set(tenants, "", done)
	f.expect(release, "OwnerReconciling: "+apps+" is reconciling")

	f.later(3 * time.Minute)
	f.expectNow(release, "")
	f.server.set(tenants, "", running)
	f.expect(release, "OwnerReconciling: "+tenants+" is reconciling")
	f.server.set(tenants, "", done)
	f.server.set(apps, tenants, done)
	f.server.set(apps, tenants, running)
	f.expect(release, "OwnerReconciling: "+apps+" is reconciling")
	f.server.set(apps, tenants, done)
	f.expect(release, "")
}

// What is reconciling holds whoever asks; only its end is worth waking everybody for.
func TestTheBeginningOfAReconcileIsNotTold(t *testing.T) {
	t.Parallel()
	f := chained(t)
	f.server.set(apps, tenants, running)
	f.expect(release, "OwnerReconciling: "+apps+" is reconciling")
	f.server.set(tenants, "", held)
	f.tellsOf(release, apps, tenants)
	f.server.set(apps, tenants, done)
	f.tellsOf(release, apps)
	f.server.set(apps, "", done)
	f.tellsOf(release, apps)
	f.expectNow(release, "")
}

func TestKindsComeAndGo(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	f := start(t, s, watch.AllNamespaces())
	f.expectNow(release, "")
	if n := f.Refused(); n != 0 {
		t.Errorf("%d watches are refused: nobody need install Flux", n)
	}
	s.set(release, "", held)
	s.install()
	f.expect(release, "OwnerSuspended: "+release+" is suspended")
	f.tellsOf(release)

	watchtest.Eventually(t, "watched", s.watched)
	s.remove(release)
	f.expect(release, "")
	f.tellsOf(release)
	s.withdraw()
	watchtest.Eventually(t, "noticed", func() bool { return !f.served("HelmRelease") })
	s.set(release, "", done)
	s.install()
	watchtest.Eventually(t, "served again", func() bool { _, found := f.Ref(named(release)); return found })
	f.expectNow(release, "")

	s.set(release, "", held)
	f.expect(release, "OwnerSuspended: "+release+" is suspended")
	s.withdraw()
	f.expect(release, "")
}

// An API that goes while its watch is lost tells of no deletion: what its objects held is free all the same.
func TestWhatAKindHeldIsToldWhenItGoes(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.install()
	s.set(apps, "", held)
	s.set(root, apps, done)
	s.set(release, root, done)
	f := start(t, s, watch.AllNamespaces())
	f.expectNow(release, "OwnerSuspended: "+apps+" is suspended")
	watchtest.Eventually(t, "watched", s.watched)
	f.mu.Lock()
	f.told = nil
	f.mu.Unlock()
	s.withdraw()
	watchtest.Eventually(t, "told", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.Contains(f.told, apps) && slices.Contains(f.told, root) && slices.Contains(f.told, release)
	})
	f.expect(release, "")
}

// What was suspended must not restart because the API server forbids to see that for a moment.
func TestWhatIsForbiddenStaysAsItWasSeen(t *testing.T) {
	for _, code := range []int{http.StatusForbidden, http.StatusUnauthorized, http.StatusInternalServerError} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t)
			s.install()
			s.set(release, "", held)
			f := start(t, s, watch.AllNamespaces())
			watchtest.Eventually(t, "watched", s.watched)
			s.answer("helmreleases", code)
			watchtest.Eventually(t, "refused", func() bool {
				f.later(patience)
				return f.Refused() == 1
			})
			f.expectNow(release, "OwnerSuspended: "+release+" is suspended")
			s.set(release, "", done)
			s.answer("helmreleases", 0)
			f.expect(release, "")
		})
	}
}

// A kind that cannot be listed, since a version is gone that some are stored in, holds up the controller for a while only.
func TestABrokenAPIHoldsUpNothingForEver(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.install()
	s.set(release, "", held)
	s.set(apps, "", held)
	s.answer("helmreleases", http.StatusInternalServerError)
	f := run(t, s, watch.AllNamespaces())
	f.expect(apps, "OwnerSuspended: "+apps+" is suspended")
	watchtest.Eventually(t, "tried again", func() bool { return s.askedFor("helmreleases") > 3 })
	if f.Settled() {
		t.Error("a list that fails for a moment is not waited for: what is suspended restarts")
	}
	watchtest.Eventually(t, "given up", func() bool {
		f.later(patience)
		return f.Settled()
	})
	if n := f.Refused(); n != 1 {
		t.Errorf("%d watches are refused, want that of HelmReleases", n)
	}
	f.expectNow(release, "")
	f.expectNow(apps, "OwnerSuspended: "+apps+" is suspended")
	s.answer("helmreleases", 0)
	f.expect(release, "OwnerSuspended: "+release+" is suspended")
	watchtest.Eventually(t, "seen", func() bool { return f.Settled() && f.Refused() == 0 })
}

func TestOwnersOutsideTheScopeHoldNothing(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.install()
	s.set(release, apps, done)
	s.set(apps, "", held)
	f := start(t, s, watch.Namespaces("apps"))
	f.expectNow(apps, "")
	f.expectNow(release, "")
}

func TestRefIsTheNearestThatExists(t *testing.T) {
	t.Parallel()
	f := chained(t)
	ref, found := f.Ref(slices.Concat(named("HelmRelease/apps/gone"), named(apps)))
	want := corev1.ObjectReference{
		APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization", Namespace: "flux-system", Name: "apps", UID: "uid",
	}
	if diff := cmp.Diff(want, ref); diff != "" || !found {
		t.Errorf("found %t (-want +got):\n%s", found, diff)
	}
	if _, found := f.Ref(named("HelmRelease/apps/gone")); found {
		t.Error("an owner that is gone is found")
	}
	if _, found := f.Ref(nil); found {
		t.Error("nobody's owner is found")
	}
}

func TestWhoAppliesTheNearestOwner(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.install()
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	s.set(release, apps, map[string]any{"metadata": map[string]any{"managedFields": []any{map[string]any{
		"manager": "kustomize-controller", "operation": "Apply", "time": at.Format(time.RFC3339),
		"fieldsV1": map[string]any{"f:spec": map[string]any{}},
	}}}})
	s.set(apps, "", done)
	f := start(t, s, watch.AllNamespaces())
	want := plan.Apply{Manager: "kustomize-controller", At: at}
	if diff := cmp.Diff(want, f.Apply(slices.Concat(named("HelmRelease/apps/gone"), named(release), named(apps)))); diff != "" {
		t.Errorf("of a release (-want +got):\n%s", diff)
	}
	for _, owners := range [][]plan.Owner{named(apps), named("HelmRelease/apps/gone"), nil} {
		if got := f.Apply(owners); got != (plan.Apply{}) {
			t.Errorf("of %v: %v", owners, got)
		}
	}
}
