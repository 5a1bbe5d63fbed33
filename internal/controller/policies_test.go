package controller

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/policy"
)

// waits is a queue that only notes what is to be looked at when.
type waits struct {
	workqueue.TypedRateLimitingInterface[policy.Name]
	after map[policy.Name][]time.Duration
}

func (w *waits) AddAfter(name policy.Name, after time.Duration) {
	w.after[name] = append(w.after[name], after)
}

// take returns how long each policy is to wait, and forgets it.
func (w *waits) take() map[policy.Name][]time.Duration {
	after := w.after
	w.after = map[policy.Name][]time.Duration{}
	return after
}

// book is what policies are told of in a test, under a clock of its own.
type book struct {
	*policies
	t     *testing.T
	queue *waits
	clock time.Time
}

func newBook(t *testing.T) *book {
	t.Helper()
	b := &book{t: t, queue: &waits{after: map[policy.Name][]time.Duration{}}, clock: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)}
	f := &feed[policy.Name]{}
	f.open(b.queue)
	b.policies = newPolicies(f, func() time.Time { return b.clock })
	return b
}

func appsPolicy(name string) policy.Name { return policy.Name{Namespace: "apps", Name: name} }

func appsObject(name string, uid types.UID) *v1alpha1.ReloadPolicy {
	return &v1alpha1.ReloadPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name, UID: uid, Generation: 1}}
}

// noted notes that a workload is in sync, under the first of these policies, and the others shadowed.
func (b *book) noted(workload string, of ...string) {
	var governing *policy.Policy
	var shadowed []policy.Name
	for i, name := range of {
		if i == 0 {
			governing = &policy.Policy{Name: appsPolicy(name)}
		} else {
			shadowed = append(shadowed, appsPolicy(name))
		}
	}
	b.note(named(workload), governing, shadowed, policy.Outcome{State: policy.InSync})
}

// begun begins a round of a policy and returns the names of the workloads that have to be looked at.
func (b *book) begun(r *round, awaited ...string) []string {
	all := map[ledger.Workload]bool{}
	for _, name := range awaited {
		all[named(name)] = true
	}
	var of policy.Name
	for name, known := range b.by {
		if known == r {
			of = name
		}
	}
	var look []string
	for _, w := range b.begin(r, of, all) {
		look = append(look, w.Name)
	}
	slices.Sort(look)
	return look
}

func (b *book) told(policies ...string) {
	b.t.Helper()
	want := map[policy.Name]bool{}
	for _, name := range policies {
		want[appsPolicy(name)] = true
	}
	got := map[policy.Name]bool{}
	for name := range b.queue.take() {
		got[name] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("policies whose status is to be written (-want +got):\n%s", diff)
	}
}

func (b *book) expect(r *round, want observed) v1alpha1.ReloadPolicyStatus {
	b.t.Helper()
	status := v1alpha1.ReloadPolicyStatus{History: []v1alpha1.Restart{{Cause: "stored"}}}
	got := b.write(r, &status)
	if len(got.shadowed) == 0 {
		got.shadowed = nil
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(observed{})); diff != "" {
		b.t.Errorf("observed (-want +got):\n%s", diff)
	}
	return status
}

func inSync(n int32) v1alpha1.WorkloadCounts { return v1alpha1.WorkloadCounts{Selected: n, InSync: n} }

// Until every workload was looked at once, what is stored tells more than what is known.
func TestAFirstRound(t *testing.T) {
	b := newBook(t)
	r := b.round(appsObject("a", "1"))
	if look := b.begun(r, "web", "db"); !slices.Equal(look, []string{"db", "web"}) {
		t.Errorf("looks at %v", look)
	}
	b.noted("web", "a")
	status := b.expect(r, observed{awaited: 1})
	if status.Workloads != nil || len(status.History) != 1 {
		t.Errorf("half of a round overwrites what is stored: %+v", status)
	}
	b.gone(named("db"))
	status = b.expect(r, observed{complete: true, counts: inSync(1)})
	if status.Workloads == nil || len(status.History) != 0 {
		t.Errorf("a whole round is not written: %+v", status)
	}

	t.Log("the next round: what was known goes on to be")
	if look := b.begun(r, "web"); !slices.Equal(look, []string{"web"}) {
		t.Errorf("looks at %v", look)
	}
	b.expect(r, observed{complete: true, awaited: 1, counts: inSync(1)})
	b.unseen(named("web"))
	b.expect(r, observed{complete: true, counts: inSync(1)})

	t.Log("nothing is selected")
	empty := b.round(appsObject("empty", "2"))
	if look := b.begun(empty); len(look) > 0 {
		t.Errorf("looks at %v", look)
	}
	b.expect(empty, observed{complete: true})
}

// An object that took another's place begins anew, and with the restarts on its record.
func TestARecreatedPolicyBeginsAnew(t *testing.T) {
	b := newBook(t)
	first := b.round(appsObject("a", "1"))
	b.begun(first, "web")
	b.noted("web", "a")
	if b.round(appsObject("a", "1")) != first {
		t.Error("the same object has two rounds")
	}
	object := appsObject("a", "2")
	object.Status.History = []v1alpha1.Restart{{Cause: "before"}}
	second := b.round(object)
	b.begun(second, "web")
	b.noted("web", "a")
	if status := b.expect(second, observed{complete: true, counts: inSync(1)}); len(status.History) != 1 || status.History[0].Cause != "before" {
		t.Errorf("history %+v", status.History)
	}
}

// A new leader may look at a workload before the policy that governs it. What it restarts, or recovers, is noted all the same.
func TestRestartsBeforeTheFirstRoundAreNoted(t *testing.T) {
	b := newBook(t)
	governing := &policy.Policy{Name: appsPolicy("a")}
	b.restarted(named("web"), governing, "restarted")
	b.recovered(named("db"), governing, "recovered", b.clock)
	r := b.round(appsObject("a", "1"))
	b.begun(r)
	history := b.expect(r, observed{complete: true}).History
	if len(history) != 2 || history[0].Cause != "recovered" || history[1].Cause != "restarted" {
		t.Errorf("history %+v", history)
	}
	b.restarted(named("web"), &policy.Policy{Name: appsPolicy("gone")}, "restarted")
	b.forget(appsPolicy("gone"))
	if len(b.early) > 0 {
		t.Errorf("%d policies are left", len(b.early))
	}
}

// Who governs a workload may change at any time. All policies that this concerns say so.
func TestWorkloadsGoFromPolicyToPolicy(t *testing.T) {
	b := newBook(t)
	older, younger := b.round(appsObject("older", "1")), b.round(appsObject("younger", "2"))
	b.begun(older)
	b.begun(younger, "web", "db")
	b.noted("web", "younger")
	b.noted("db", "younger")
	b.told("younger")
	b.expect(younger, observed{complete: true, counts: inSync(2)})

	t.Log("the older one comes to select one of them")
	b.begun(older, "web")
	b.noted("web", "older", "younger")
	b.told("older", "younger")
	b.expect(older, observed{complete: true, counts: inSync(1)})
	b.expect(younger, observed{complete: true, counts: inSync(1), shadowed: map[policy.Name]int{appsPolicy("older"): 1}})
	b.noted("web", "older", "younger")
	b.told()

	t.Log("what it selected is looked at again when it does not any more")
	if look := b.begun(younger); !slices.Equal(look, []string{"db", "web"}) {
		t.Errorf("looks at %v", look)
	}
	b.noted("web", "older")
	b.noted("db")
	b.told("younger")
	b.expect(younger, observed{complete: true})

	t.Log("the other one takes over when it is gone")
	b.begun(younger, "web")
	b.noted("web", "older", "younger")
	b.told("younger")
	if governed := b.forget(appsPolicy("older")); len(governed) != 1 || governed[0] != named("web") {
		t.Errorf("governed %v", governed)
	}
	b.noted("web", "younger")
	b.told("younger")
	b.expect(younger, observed{complete: true, counts: inSync(1)})

	t.Log("the workload is gone")
	b.gone(named("web"))
	b.told("younger")
	b.expect(younger, observed{complete: true})
	if len(b.of) > 0 {
		t.Errorf("%d workloads are left", len(b.of))
	}
}

// Many changes make one write, and not before the last one is a while ago.
func TestWritesOfAStatusAreApart(t *testing.T) {
	b := newBook(t)
	r := b.round(appsObject("a", "1"))
	b.begun(r, "web")
	b.noted("web", "a")
	if got := b.queue.take()[appsPolicy("a")]; len(got) == 0 || slices.Max(got) != 0 {
		t.Errorf("waits %v, and nothing was ever written", got)
	}
	b.stored(r, appsObject("a", "1"))
	b.clock = b.clock.Add(statusEvery / 4)
	governing := &policy.Policy{Name: appsPolicy("a")}
	b.note(named("web"), governing, nil, policy.Outcome{State: policy.Restarting})
	b.restarted(named("web"), governing, "for a reason")
	if got := b.queue.take()[appsPolicy("a")]; !slices.Equal(got, []time.Duration{statusEvery * 3 / 4, statusEvery * 3 / 4}) {
		t.Errorf("waits %v", got)
	}
	b.note(named("web"), governing, nil, policy.Outcome{State: policy.Restarting})
	b.restarted(named("web"), nil, "of nobody")
	b.told()
}

// The cache may show an older status than what was written. What came of a write that failed is not known, and the cache is
// the best there is.
func TestTheLatestStatus(t *testing.T) {
	b := newBook(t)
	r := b.round(appsObject("a", "1"))
	version := func(version string, observed int64) *v1alpha1.ReloadPolicy {
		object := appsObject("a", "1")
		object.ResourceVersion, object.Status.ObservedGeneration = version, observed
		return object
	}
	expect := func(why, cached, want string, observed int64) {
		t.Helper()
		got := version(cached, 1)
		r.latest(got)
		if diff := cmp.Diff(version(want, observed), got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", why, diff)
		}
	}
	expect("nothing was written", "9", "9", 1)
	b.stored(r, version("10", 2))
	expect("the cache is behind", "9", "10", 2)
	expect("the cache has caught up, with what was stored", "10", "10", 1)
	expect("somebody else has written since", "99", "99", 1)
	expect("nobody knows which one is older", "other", "other", 1)
	b.stored(r, nil)
	expect("it is not known what was written", "9", "9", 1)
}
