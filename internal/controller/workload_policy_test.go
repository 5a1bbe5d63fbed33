package controller

import (
	"testing"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/policy"
)

// What runs with old content is restarted at first sight as the policy says, or else as the flag does, but never at the word
// of --auto-reload-all alone.
func TestAdoption(t *testing.T) {
	silent, restarts := &policy.Policy{}, &policy.Policy{Settings: policy.Settings{OnAdoption: plan.RestartStale}}
	begins := &policy.Policy{Settings: policy.Settings{OnAdoption: plan.BaselineOnly}}
	for name, test := range map[string]struct {
		flag      plan.Adoption
		asked     bool
		governing *policy.Policy
		want      plan.Adoption
	}{
		"asked for":                           {plan.RestartStale, true, nil, plan.RestartStale},
		"asked for, and the flag":             {plan.BaselineOnly, true, nil, plan.BaselineOnly},
		"not asked for":                       {plan.RestartStale, false, nil, plan.BaselineOnly},
		"a silent policy":                     {plan.RestartStale, true, silent, plan.RestartStale},
		"a silent policy, and the flag":       {plan.BaselineOnly, true, silent, plan.BaselineOnly},
		"a silent policy, and not asked for":  {plan.RestartStale, false, silent, plan.BaselineOnly},
		"a policy that restarts":              {plan.BaselineOnly, true, restarts, plan.RestartStale},
		"a policy that restarts, and unasked": {plan.BaselineOnly, false, restarts, plan.RestartStale},
		"a policy that begins with it":        {plan.RestartStale, true, begins, plan.BaselineOnly},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Reconciler{options: Options{Policy: plan.Policy{OnAdoption: test.flag}}}
			if got := r.policyFor(test.asked, test.governing).OnAdoption; got != test.want {
				t.Errorf("adoption %s, want %s", got, test.want)
			}
		})
	}
}
