package policy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/policy"
)

// system is the controller's namespace in these tests.
const system = "flux-system"

// reach is that of policies where all namespaces are watched.
var reach = policy.Reach{Trusted: system}

// object is a ReloadPolicy as it comes from the API server, without the defaults.
func object(namespace, name string, spec v1alpha1.ReloadPolicySpec) *v1alpha1.ReloadPolicy {
	return &v1alpha1.ReloadPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
}

// compiled is a policy without problems.
func compiled(t *testing.T, o *v1alpha1.ReloadPolicy) policy.Policy {
	t.Helper()
	p, problems := policy.Compile(o, reach)
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	return p
}

func labelled(pairs ...string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		s.MatchLabels[pairs[i]] = pairs[i+1]
	}
	return s
}

func unreadable() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Like"}}}
}

func deployment(namespace, name string) policy.Workload {
	return policy.Workload{
		Workload:   ledger.Workload{Kind: "Deployment", Namespace: namespace, Name: name},
		APIVersion: "apps/v1", Labels: labels.Set{"app": name}, NamespaceLabels: labels.Set{"team": "of-" + namespace},
	}
}

func TestWorkloads(t *testing.T) {
	type entries = []v1alpha1.WorkloadSelector
	for name, test := range map[string]struct {
		workloads entries
		want      bool
	}{
		"no entries":                         {nil, true},
		"its kind":                           {entries{{Kind: "Deployment"}}, true},
		"another kind":                       {entries{{Kind: "StatefulSet"}}, false},
		"its API":                            {entries{{APIVersion: "apps/v1"}}, true},
		"another version of its API":         {entries{{APIVersion: "apps/v2beta1"}}, true},
		"another API":                        {entries{{APIVersion: "argoproj.io/v1"}}, false},
		"the API without a group":            {entries{{APIVersion: "v1", Kind: "Deployment"}}, false},
		"its name":                           {entries{{Kind: "Deployment", Name: "registry"}}, true},
		"another's name":                     {entries{{Kind: "Deployment", Name: "registry-ui"}}, false},
		"its name, of another kind":          {entries{{Kind: "DaemonSet", Name: "registry"}}, false},
		"a name is no pattern":               {entries{{Kind: "Deployment", Name: "reg*"}}, false},
		"its labels":                         {entries{{Selector: labelled("app", "registry")}}, true},
		"more labels than it has":            {entries{{Selector: labelled("app", "registry", "tier", "a")}}, false},
		"its labels, of another kind":        {entries{{Kind: "DaemonSet", Selector: labelled("app", "registry")}}, false},
		"labels of its namespace":            {entries{{Selector: labelled("team", "of-a")}}, false},
		"one of several":                     {entries{{Kind: "DaemonSet"}, {Kind: "Deployment", Name: "registry"}}, true},
		"none of several":                    {entries{{Kind: "DaemonSet"}, {Kind: "Deployment", Name: "other"}}, false},
		"parts of it in several entries":     {entries{{Kind: "Deployment", Name: "other"}, {Kind: "DaemonSet", Name: "registry"}}, false},
		"its labels and another one's name":  {entries{{Name: "other", Selector: labelled("app", "registry")}}, false},
		"an entry of a field yet unknown":    {entries{{}}, false},
		"an empty selector":                  {entries{{Selector: &metav1.LabelSelector{}}}, false},
		"an unreadable selector":             {entries{{Kind: "Deployment", Selector: unreadable()}}, false},
		"an unreadable API":                  {entries{{APIVersion: "a/b/c", Kind: "Deployment"}}, false},
		"an unreadable entry beside another": {entries{{Selector: unreadable()}, {Kind: "Deployment"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := policy.Compile(object("a", "policy", v1alpha1.ReloadPolicySpec{Workloads: test.workloads}), reach)
			if got := p.Selects(deployment("a", "registry")); got != test.want {
				t.Errorf("selects: %v, want %v", got, test.want)
			}
		})
	}
}

func TestNamespaces(t *testing.T) {
	for name, test := range map[string]struct {
		of       string
		selector *metav1.LabelSelector
		want     []string
	}{
		"a policy of a namespace":               {"a", nil, []string{"a"}},
		"a policy of the controller's":          {system, nil, []string{system}},
		"all namespaces":                        {system, &metav1.LabelSelector{}, []string{"a", "b", system}},
		"namespaces with labels":                {system, labelled("team", "of-b"), []string{"b"}},
		"other than some":                       {system, &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "NotIn", Values: []string{"of-b"}}}}, []string{"a", system}},
		"an unreadable selector":                {system, unreadable(), nil},
		"others, from a namespace":              {"a", labelled("team", "of-b"), nil},
		"all, from a namespace":                 {"a", &metav1.LabelSelector{}, nil},
		"its own, from a namespace, by a label": {"a", labelled("team", "of-a"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := policy.Compile(object(test.of, "policy", v1alpha1.ReloadPolicySpec{NamespaceSelector: test.selector}), reach)
			var got []string
			for _, namespace := range []string{"a", "b", system} {
				if p.Selects(deployment(namespace, "registry")) {
					got = append(got, namespace)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("namespaces (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	type spec = v1alpha1.ReloadPolicySpec
	for name, test := range map[string]struct {
		spec   spec
		reason string
		field  string
		value  string
	}{
		"other namespaces":        {spec{NamespaceSelector: &metav1.LabelSelector{}}, "AccessDenied", "spec.namespaceSelector", ""},
		"an empty workload entry": {spec{Workloads: []v1alpha1.WorkloadSelector{{Kind: "DaemonSet"}, {}}}, "InvalidSpec", "spec.workloads[1]", ""},
		"a workload's API":        {spec{Workloads: []v1alpha1.WorkloadSelector{{APIVersion: "a/b/c"}}}, "InvalidSpec", "spec.workloads[0].apiVersion", "a/b/c"},
		"a workload's selector":   {spec{Workloads: []v1alpha1.WorkloadSelector{{Selector: unreadable()}}}, "InvalidSpec", "spec.workloads[0].selector", ""},
		"an empty selector":       {spec{Workloads: []v1alpha1.WorkloadSelector{{Selector: labelled()}}}, "InvalidSpec", "spec.workloads[0].selector", ""},
		"an empty source entry":   {spec{Sources: []v1alpha1.SourceSelector{{}}}, "InvalidSpec", "spec.sources[0]", ""},
		"a source's selector":     {spec{Sources: []v1alpha1.SourceSelector{{Kind: "Secret"}, {Selector: unreadable()}}}, "InvalidSpec", "spec.sources[1].selector", ""},
		"a glob":                  {spec{Sources: []v1alpha1.SourceSelector{{Keys: []string{"tls.*", "[a-"}}}}, "InvalidSpec", "spec.sources[0].keys[1]", "[a-"},
		"a mode of later":         {spec{Mode: "Approve"}, "InvalidSpec", "spec.mode", "Approve"},
		"an opt-in of later":      {spec{OptIn: "Label"}, "InvalidSpec", "spec.optIn", "Label"},
		"an adoption of later":    {spec{OnAdoption: "Ask"}, "InvalidSpec", "spec.onAdoption", "Ask"},
		"a strategy of later":     {spec{Strategy: "Evict"}, "InvalidSpec", "spec.strategy", "Evict"},
		"an owner of later":       {spec{Settle: &v1alpha1.Settle{Owner: "Hold"}}, "InvalidSpec", "spec.settle.owner", "Hold"},
		"less than quiet":         {spec{Settle: settle(2*time.Second, time.Second)}, "InvalidSpec", "spec.settle.max", "1s"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := policy.Compile(object("a", "policy", test.spec), reach)
			if len(problems) != 1 {
				t.Fatalf("%d problems, want one: %v", len(problems), problems)
			}
			got := problems[0]
			if got.Detail == "" || got.String() == "" {
				t.Errorf("%#v does not say what is wrong", got)
			}
			got.Detail = ""
			if diff := cmp.Diff(policy.Problem{Reason: test.reason, Field: test.field, Value: test.value}, got); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

// A namespace's labels that cannot be selected by are a problem of the policy, and nobody's denial.
func TestUnreadableNamespaces(t *testing.T) {
	_, problems := policy.Compile(object(system, "policy", v1alpha1.ReloadPolicySpec{NamespaceSelector: unreadable()}), reach)
	if len(problems) != 1 || problems[0].Reason != v1alpha1.InvalidSpecReason || problems[0].Field != "spec.namespaceSelector" {
		t.Errorf("problems: %v", problems)
	}
}

// Where no policy may select other namespaces, one of the controller's namespace is denied as well, and one that selects by
// no labels is as ever.
func TestNobodyIsTrusted(t *testing.T) {
	denied, problems := policy.Compile(object(system, "policy", v1alpha1.ReloadPolicySpec{NamespaceSelector: &metav1.LabelSelector{}}), policy.Reach{})
	if len(problems) != 1 || problems[0].Reason != v1alpha1.AccessDeniedReason || problems[0].Field != "spec.namespaceSelector" {
		t.Errorf("problems: %v", problems)
	}
	if denied.Selects(deployment("a", "web")) || denied.Selects(deployment(system, "web")) {
		t.Error("a policy that is denied selects")
	}
	own, problems := policy.Compile(object(system, "policy", v1alpha1.ReloadPolicySpec{}), policy.Reach{})
	if len(problems) != 0 || !own.Selects(deployment(system, "web")) {
		t.Errorf("a policy of its own namespace does not select there; problems: %v", problems)
	}
}

// Where the controller watches some namespaces only, it does not know their labels: a policy of its own namespace selects all
// that are watched, and none by labels.
func TestLabelsAreNotKnown(t *testing.T) {
	unlabelled := policy.Reach{Trusted: system, Unlabelled: true}
	all, problems := policy.Compile(object(system, "policy", v1alpha1.ReloadPolicySpec{NamespaceSelector: &metav1.LabelSelector{}}), unlabelled)
	if len(problems) != 0 || !all.Selects(deployment("a", "web")) || all.SelectsNamespaces() {
		t.Errorf("a policy of all namespaces does not select one of them; problems: %v", problems)
	}
	some, problems := policy.Compile(object(system, "policy", v1alpha1.ReloadPolicySpec{NamespaceSelector: labelled("team", "of-a")}), unlabelled)
	if len(problems) != 1 || problems[0].Reason != v1alpha1.AccessDeniedReason || problems[0].Field != "spec.namespaceSelector" {
		t.Errorf("problems: %v", problems)
	}
	if some.Selects(deployment("a", "web")) {
		t.Error("a policy that is denied selects")
	}
}

func settle(quiet, most time.Duration) *v1alpha1.Settle {
	return &v1alpha1.Settle{Quiet: &metav1.Duration{Duration: quiet}, Max: &metav1.Duration{Duration: most}}
}
