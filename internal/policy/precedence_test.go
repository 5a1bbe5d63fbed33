package policy_test

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/policy"
)

// aged is a policy made that many seconds after the beginning.
func aged(t *testing.T, namespace, name string, seconds int, spec v1alpha1.ReloadPolicySpec) policy.Policy {
	t.Helper()
	o := object(namespace, name, spec)
	o.CreationTimestamp = metav1.Unix(int64(seconds), 0)
	return compiled(t, o)
}

var (
	everywhere = v1alpha1.ReloadPolicySpec{NamespaceSelector: &metav1.LabelSelector{}}
	anything   = v1alpha1.ReloadPolicySpec{}
)

// ranked are the policies that select the workload: the one that governs it and those that it shadows.
func ranked(policies []policy.Policy, w policy.Workload) []string {
	governing, shadowed := policy.Governing(policies, w)
	if governing == nil {
		return nil
	}
	names := []string{governing.String()}
	for _, p := range shadowed {
		names = append(names, p.String())
	}
	return names
}

func TestGoverning(t *testing.T) {
	named := func(name string) v1alpha1.ReloadPolicySpec {
		return v1alpha1.ReloadPolicySpec{Workloads: []v1alpha1.WorkloadSelector{{Kind: "Deployment", Name: name}}}
	}
	denied, _ := policy.Compile(object("a", "denied", everywhere), reach)
	for name, test := range map[string]struct {
		policies []policy.Policy
		want     []string
	}{
		"none":              {nil, nil},
		"none that selects": {[]policy.Policy{aged(t, "b", "p", 1, anything), aged(t, "a", "q", 1, named("other"))}, nil},
		"its namespace's before the controller's": {
			[]policy.Policy{aged(t, system, "a", 1, everywhere), aged(t, "a", "z", 9, anything)}, []string{"a/z", "flux-system/a"}},
		"the older": {
			[]policy.Policy{aged(t, "a", "a", 2, anything), aged(t, "a", "z", 1, anything)}, []string{"a/z", "a/a"}},
		"the lesser name of the same age": {
			[]policy.Policy{aged(t, "a", "q", 1, anything), aged(t, "a", "p", 1, anything)}, []string{"a/p", "a/q"}},
		"the older of the controller's": {
			[]policy.Policy{aged(t, system, "a", 2, everywhere), aged(t, system, "z", 1, everywhere)}, []string{"flux-system/z", "flux-system/a"}},
		"one that names it has no advantage": {
			[]policy.Policy{aged(t, "a", "exact", 2, named("registry")), aged(t, "a", "wide", 1, anything)}, []string{"a/wide", "a/exact"}},
		"one that is denied": {
			[]policy.Policy{denied, aged(t, system, "p", 9, everywhere)}, []string{"flux-system/p"}},
		"a suspended one governs": {
			[]policy.Policy{aged(t, "a", "p", 1, v1alpha1.ReloadPolicySpec{Suspend: true}), aged(t, "a", "q", 2, anything)}, []string{"a/p", "a/q"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, ranked(test.policies, deployment("a", "registry"))); diff != "" {
				t.Errorf("policies (-want +got):\n%s", diff)
			}
		})
	}
}

// In the controller's own namespace all policies are of the workload's namespace, whatever they select.
func TestGoverningTheControllersNamespace(t *testing.T) {
	policies := []policy.Policy{aged(t, system, "here", 2, anything), aged(t, system, "wide", 1, everywhere)}
	if diff := cmp.Diff([]string{"flux-system/wide", "flux-system/here"}, ranked(policies, deployment(system, "registry"))); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
}

// The order in which policies are listed does not count, and asking changes nothing.
func TestGoverningWithoutOrder(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 300 {
		var policies []policy.Policy
		for i := range 1 + random.Intn(6) {
			namespace, spec := []string{"a", "b", system}[random.Intn(3)], anything
			if namespace == system {
				spec = everywhere
			}
			policies = append(policies, aged(t, namespace, fmt.Sprint("p", i), random.Intn(3), spec))
		}
		want := ranked(policies, deployment("a", "registry"))
		for range 5 {
			random.Shuffle(len(policies), func(i, j int) { policies[i], policies[j] = policies[j], policies[i] })
			if diff := cmp.Diff(want, ranked(policies, deployment("a", "registry"))); diff != "" {
				t.Fatalf("the order counts (-want +got):\n%s", diff)
			}
		}
	}
}

// Creation times have no zone.
func TestGoverningAcrossZones(t *testing.T) {
	older, younger := aged(t, "a", "z", 1, anything), aged(t, "a", "a", 2, anything)
	older.Created = older.Created.In(time.FixedZone("east", 3600))
	if diff := cmp.Diff([]string{"a/z", "a/a"}, ranked([]policy.Policy{younger, older}, deployment("a", "registry"))); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
}
