package policystore

import (
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/watch"
)

// system is the controller's namespace in these tests.
const system = "flux-system"

var created = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// fixture is a store, and what it has told of: "+" for a policy that is there from now on, "-" for one that is gone, "~" for
// another, "@" for other annotations.
type fixture struct {
	*Store
	t *testing.T

	mu   sync.Mutex
	now  time.Time
	told []string
}

func newFixture(t *testing.T, scope watch.Scope, client func(schema.GroupVersionKind, *runtime.Scheme) (rest.Interface, error)) *fixture {
	t.Helper()
	f := &fixture{t: t, now: created}
	store, err := New(Options{
		Log: logr.Discard(), Scope: scope, Namespace: system, Client: client, Now: f.clock, Changed: f.changed,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Store = store
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

// holding is a store that watches nothing, and knows of these policies.
func holding(t *testing.T, policies ...*v1alpha1.ReloadPolicy) *fixture {
	t.Helper()
	f := newFixture(t, watch.AllNamespaces(), func(schema.GroupVersionKind, *runtime.Scheme) (rest.Interface, error) { return nil, nil })
	f.setServed(true)
	for _, p := range policies {
		f.Added(kept(p), watch.Initial)
	}
	f.told = nil
	return f
}

func (f *fixture) changed(before, after *policy.Policy, name policy.Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kind := "~"
	switch {
	case before == nil:
		kind = "+"
	case after == nil:
		kind = "-"
	case before == after:
		kind = "@"
	}
	f.told = append(f.told, kind+name.String())
}

func kept(p *v1alpha1.ReloadPolicy) any { return keep(policy.Reach{Trusted: system})(p.DeepCopy()) }

// newPolicy selects all workloads of its namespace.
func newPolicy(namespace, name string) *v1alpha1.ReloadPolicy {
	return &v1alpha1.ReloadPolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: "uid", Generation: 1, CreationTimestamp: metav1.NewTime(created),
	}}
}

// everywhere lets it select workloads of all namespaces.
func everywhere(p *v1alpha1.ReloadPolicy) *v1alpha1.ReloadPolicy {
	p.Spec.NamespaceSelector = &metav1.LabelSelector{}
	return p
}

// byLabels lets it select sources by their labels.
func byLabels(p *v1alpha1.ReloadPolicy) *v1alpha1.ReloadPolicy {
	p.Spec.Sources = []v1alpha1.SourceSelector{{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
	return p
}

func older(p *v1alpha1.ReloadPolicy) *v1alpha1.ReloadPolicy {
	p.CreationTimestamp = metav1.NewTime(created.Add(-time.Hour))
	return p
}

func web(namespace string) policy.Workload {
	return policy.Workload{
		Workload: ledger.Workload{Kind: "Deployment", Namespace: namespace, Name: "web"}, APIVersion: "apps/v1", Labels: labels.Set{"app": "web"},
	}
}

func TestGoverning(t *testing.T) {
	others := newPolicy("apps", "others")
	others.Spec.Workloads = []v1alpha1.WorkloadSelector{{Kind: "StatefulSet"}}
	type policies = []*v1alpha1.ReloadPolicy
	for name, test := range map[string]struct {
		held     policies
		of       string
		want     string
		shadowed []string
	}{
		"none":                                  {nil, "apps", "", nil},
		"one of its namespace":                  {policies{newPolicy("apps", "a")}, "apps", "apps/a", nil},
		"one of another namespace":              {policies{newPolicy("apps", "a")}, "other", "", nil},
		"one for other workloads":               {policies{others}, "apps", "", nil},
		"one of several":                        {policies{others, newPolicy("apps", "a"), newPolicy("other", "b")}, "apps", "apps/a", nil},
		"one of the controller's":               {policies{everywhere(newPolicy(system, "a"))}, "apps", "flux-system/a", nil},
		"one of the controller's, for it alone": {policies{newPolicy(system, "a")}, "apps", "", nil},
		"for a workload of the controller's":    {policies{newPolicy(system, "a")}, system, "flux-system/a", nil},
		"several": {
			policies{everywhere(older(newPolicy(system, "c"))), newPolicy("apps", "b"), newPolicy("apps", "a"), older(newPolicy("apps", "z")), others},
			"apps", "apps/z", []string{"apps/a", "apps/b", "flux-system/c"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := holding(t, test.held...)
			governing, names := f.Governing(web(test.of))
			var got string
			if governing != nil {
				got = governing.String()
				if compiled, _ := f.Compiled(governing.Name); compiled != governing {
					t.Error("what governs is not what is held")
				}
			}
			var shadowed []string
			for _, name := range names {
				shadowed = append(shadowed, name.String())
			}
			if diff := cmp.Diff(test.shadowed, shadowed); got != test.want || diff != "" {
				t.Errorf("governed by %q, want %q; shadowed (-want +got):\n%s", got, test.want, diff)
			}
		})
	}
}

// A cluster without policies pays nothing for them, nor does a namespace without any.
func TestGoverningNothingAllocatesNothing(t *testing.T) {
	others := newPolicy("apps", "others")
	others.Spec.Workloads = []v1alpha1.WorkloadSelector{{Kind: "StatefulSet"}}
	for name, f := range map[string]*fixture{"none": holding(t), "others": holding(t, newPolicy("other", "a"), newPolicy(system, "b"), others)} {
		w := web("apps")
		if n := testing.AllocsPerRun(100, func() { f.Governing(w) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestChanged(t *testing.T) {
	edit := func(change func(p *v1alpha1.ReloadPolicy)) *v1alpha1.ReloadPolicy {
		p := byLabels(newPolicy("apps", "a"))
		p.Annotations = map[string]string{"note": "1"}
		p.ResourceVersion = "2"
		change(p)
		return p
	}
	now := metav1.NewTime(created.Add(time.Minute))
	for name, test := range map[string]struct {
		after *v1alpha1.ReloadPolicy
		want  []string
	}{
		"nothing":    {edit(func(*v1alpha1.ReloadPolicy) {}), nil},
		"its status": {edit(func(p *v1alpha1.ReloadPolicy) { p.Status.ObservedGeneration = 1 }), nil},
		"its labels": {edit(func(p *v1alpha1.ReloadPolicy) { p.Labels = map[string]string{"a": "b"} }), nil},
		"its spec":   {edit(func(p *v1alpha1.ReloadPolicy) { p.Generation, p.Spec.Suspend = 2, true }), []string{"~apps/a"}},
		"a request": {
			edit(func(p *v1alpha1.ReloadPolicy) { p.Annotations["reconcile.fluxcd.io/requestedAt"] = "now" }), []string{"@apps/a"},
		},
		"its spec, and a request": {edit(func(p *v1alpha1.ReloadPolicy) { p.Generation, p.Annotations = 2, nil }), []string{"~apps/a"}},
		"marked to be deleted":    {edit(func(p *v1alpha1.ReloadPolicy) { p.DeletionTimestamp = &now }), []string{"~apps/a"}},
		"made again":              {edit(func(p *v1alpha1.ReloadPolicy) { p.UID = "another" }), []string{"~apps/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := edit(func(p *v1alpha1.ReloadPolicy) { p.ResourceVersion = "1" })
			f := holding(t, before)
			f.Updated(kept(before), kept(test.after), watch.Watched)
			if diff := cmp.Diff(test.want, f.told); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			got, exists := f.Get(policy.Name{Namespace: "apps", Name: "a"})
			want := test.after.DeepCopy()
			want.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ReloadPolicy"))
			if diff := cmp.Diff(want, got); !exists || diff != "" {
				t.Errorf("exists %v; (-want +got):\n%s", exists, diff)
			}
			if compiled, _ := f.Compiled(policy.Name{Namespace: "apps", Name: "a"}); compiled.Settings.Suspend != test.after.Spec.Suspend {
				t.Error("it is compiled as it was")
			}
			if !f.SelectsByLabels() {
				t.Error("labels do not matter any more")
			}
		})
	}
}

func TestDeleted(t *testing.T) {
	p := byLabels(newPolicy("apps", "a"))
	f := holding(t, p, newPolicy("apps", "b"))
	f.Deleted(kept(p))
	f.Deleted(kept(p))
	if diff := cmp.Diff([]string{"-apps/a"}, f.told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if _, exists := f.Get(policy.Name{Namespace: "apps", Name: "a"}); exists || f.SelectsByLabels() || len(f.All()) != 1 {
		t.Errorf("what was deleted is still there: %v", f.All())
	}
}

func TestSelectsByLabels(t *testing.T) {
	f := holding(t, newPolicy("apps", "a"))
	for _, step := range []struct {
		p    *v1alpha1.ReloadPolicy
		want bool
	}{{newPolicy("apps", "b"), false}, {byLabels(newPolicy("apps", "c")), true}, {byLabels(newPolicy("other", "d")), true}} {
		if f.Added(kept(step.p), watch.Watched); f.SelectsByLabels() != step.want {
			t.Errorf("with %s: %v, want %v", step.p.Name, !step.want, step.want)
		}
	}
	without := newPolicy("apps", "c")
	without.Generation = 2
	f.Updated(nil, kept(without), watch.Watched)
	if !f.SelectsByLabels() {
		t.Error("one that does is left")
	}
	f.Deleted(kept(newPolicy("other", "d")))
	if f.SelectsByLabels() {
		t.Error("none that does is left")
	}
	f.setServed(false)
	if f.Added(kept(byLabels(newPolicy("apps", "e"))), watch.Watched); f.SelectsByLabels() {
		t.Error("policies are not served")
	}
}

// What is kept is enough for a patch of the status, and safe to change.
func TestKept(t *testing.T) {
	p := newPolicy("apps", "a")
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	p.Spec.Mode = "Approve"
	f := holding(t, p)
	name := policy.Name{Namespace: "apps", Name: "a"}
	got, _ := f.Get(name)
	if got.ManagedFields != nil || got.Kind != v1alpha1.ReloadPolicyKind || got.UID != p.UID {
		t.Errorf("kept %+v", got)
	}
	got.Status.ObservedGeneration = 7
	if again, _ := f.Get(name); again.Status.ObservedGeneration == 7 {
		t.Error("a change of what was got shows in what is kept")
	}
	if _, problems := f.Compiled(name); len(problems) != 1 || problems[0].Field != "spec.mode" {
		t.Errorf("problems: %v", problems)
	}
	once := keep(policy.Reach{Trusted: system})(p)
	if keep(policy.Reach{Trusted: system})(once) != once {
		t.Error("what was kept is not returned as it is")
	}
	if compiled, problems := f.Compiled(policy.Name{Namespace: "apps", Name: "b"}); compiled != nil || problems != nil {
		t.Error("there is a policy that there is not")
	}
}

// Policies of the controller's namespace select others, by labels where those are known, and also of a list of namespaces:
// the default policy of a delivery is one of all namespaces, whatever its controller watches.
func TestReach(t *testing.T) {
	all, list := watch.AllNamespaces(), watch.Namespaces("a", system)
	for name, test := range map[string]struct {
		options Options
		want    policy.Reach
	}{
		"all":              {Options{Namespace: system, Scope: all}, policy.Reach{Trusted: system}},
		"all but some":     {Options{Namespace: system, Scope: all.Except("b")}, policy.Reach{Trusted: system}},
		"a list":           {Options{Namespace: system, Scope: list}, policy.Reach{Trusted: system, Unlabelled: true}},
		"crossing refused": {Options{Namespace: system, Scope: all, NoCrossNamespaceRefs: true}, policy.Reach{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.options.reach(); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
