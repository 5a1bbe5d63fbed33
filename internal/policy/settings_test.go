package policy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/selection"
)

// byDefault are the settings of an empty spec.
func byDefault() policy.Settings {
	return policy.Settings{
		Interval: 10 * time.Minute, OnAdoption: plan.RestartStale, Strategy: plan.Annotations,
		SettleQuiet: 2 * time.Second, SettleMax: 30 * time.Second,
	}
}

func TestSettings(t *testing.T) {
	type spec = v1alpha1.ReloadPolicySpec
	for name, test := range map[string]struct {
		spec spec
		want func(*policy.Settings)
	}{
		"defaults":                       {spec{}, func(*policy.Settings) {}},
		"an interval":                    {spec{Interval: metav1.Duration{Duration: time.Hour}}, func(s *policy.Settings) { s.Interval = time.Hour }},
		"no interval at all":             {spec{Interval: metav1.Duration{Duration: -1}}, func(*policy.Settings) {}},
		"suspended":                      {spec{Suspend: true}, func(s *policy.Settings) { s.Suspend = true }},
		"automatic":                      {spec{Mode: v1alpha1.ModeAuto}, func(*policy.Settings) {}},
		"observing":                      {spec{Mode: v1alpha1.ModeObserve}, func(s *policy.Settings) { s.Observe = true }},
		"an unknown mode observes":       {spec{Mode: "Approve"}, func(s *policy.Settings) { s.Observe = true }},
		"by annotation":                  {spec{OptIn: v1alpha1.OptInAnnotation}, func(*policy.Settings) {}},
		"an unknown opt-in asks":         {spec{OptIn: "Label"}, func(*policy.Settings) {}},
		"all begin with what is there":   {spec{OptIn: v1alpha1.OptInAll}, func(s *policy.Settings) { s.OptInAll, s.OnAdoption = true, plan.BaselineOnly }},
		"all, and stale ones restart":    {spec{OptIn: v1alpha1.OptInAll, OnAdoption: v1alpha1.AdoptionRestartStale}, func(s *policy.Settings) { s.OptInAll = true }},
		"the annotated begin so as well": {spec{OnAdoption: v1alpha1.AdoptionBaseline}, func(s *policy.Settings) { s.OnAdoption = plan.BaselineOnly }},
		"an unknown adoption":            {spec{OnAdoption: "Ask"}, func(s *policy.Settings) { s.OnAdoption = plan.BaselineOnly }},
		"settling":                       {spec{Settle: settle(time.Minute, time.Hour)}, func(s *policy.Settings) { s.SettleQuiet, s.SettleMax = time.Minute, time.Hour }},
		"no settling":                    {spec{Settle: settle(0, 0)}, func(s *policy.Settings) { s.SettleQuiet, s.SettleMax = 0, 0 }},
		"settling for less than nothing": {spec{Settle: settle(-1, -1)}, func(*policy.Settings) {}},
		"quiet for longer than at most":  {spec{Settle: settle(time.Minute, time.Second)}, func(s *policy.Settings) { s.SettleQuiet, s.SettleMax = time.Minute, time.Minute }},
		"waiting for the owner":          {spec{Settle: &v1alpha1.Settle{Owner: v1alpha1.SettleOwnerWait}}, func(*policy.Settings) {}},
		"ignoring the owner":             {spec{Settle: &v1alpha1.Settle{Owner: v1alpha1.SettleOwnerIgnore}}, func(s *policy.Settings) { s.IgnoreOwner = true }},
		"an unknown way with the owner":  {spec{Settle: &v1alpha1.Settle{Owner: "Hold"}}, func(*policy.Settings) {}},
		"variables":                      {spec{Strategy: v1alpha1.StrategyEnvVars}, func(s *policy.Settings) { s.Strategy = plan.EnvVars }},
		"an unknown strategy":            {spec{Strategy: "Evict"}, func(*policy.Settings) {}},
		"a service account":              {spec{ServiceAccountName: "restarter"}, func(s *policy.Settings) { s.ServiceAccount = "restarter" }},
	} {
		t.Run(name, func(t *testing.T) {
			want := byDefault()
			test.want(&want)
			p, _ := policy.Compile(object("a", "policy", test.spec), reach)
			if diff := cmp.Diff(want, p.Settings); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSettingsTakeThePlaceOfFlags(t *testing.T) {
	settings := byDefault()
	flags := plan.Policy{
		SettleQuiet: time.Hour, SettleMax: time.Hour, OnAdoption: plan.BaselineOnly, Strategy: plan.EnvVars, OnCreate: true, OnDelete: true,
	}
	want := plan.Policy{
		SettleQuiet: 2 * time.Second, SettleMax: 30 * time.Second, OnAdoption: plan.RestartStale, Strategy: plan.Annotations,
		OnCreate: true, OnDelete: true,
	}
	if diff := cmp.Diff(want, settings.Plan(flags)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	for _, all := range []bool{false, true} {
		of := selection.Defaults()
		of.AutoAll, settings.OptInAll = !all, all
		want := selection.Defaults()
		want.AutoAll = all
		if diff := cmp.Diff(want, settings.Selection(of)); diff != "" {
			t.Errorf("selection (-want +got):\n%s", diff)
		}
	}
}
