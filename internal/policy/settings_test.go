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

func TestSettings(t *testing.T) {
	type spec = v1alpha1.ReloadPolicySpec
	for name, test := range map[string]struct {
		spec spec
		want func(*policy.Settings)
	}{
		"what is not said":               {spec{}, func(*policy.Settings) {}},
		"an interval":                    {spec{Interval: metav1.Duration{Duration: time.Hour}}, func(s *policy.Settings) { s.Interval = time.Hour }},
		"no interval at all":             {spec{Interval: metav1.Duration{Duration: -1}}, func(*policy.Settings) {}},
		"suspended":                      {spec{Suspend: true}, func(s *policy.Settings) { s.Suspend = true }},
		"automatic":                      {spec{Mode: v1alpha1.ModeAuto}, func(*policy.Settings) {}},
		"observing":                      {spec{Mode: v1alpha1.ModeObserve}, func(s *policy.Settings) { s.Observe = true }},
		"an unknown mode observes":       {spec{Mode: "Approve"}, func(s *policy.Settings) { s.Observe = true }},
		"by annotation":                  {spec{OptIn: v1alpha1.OptInAnnotation}, func(s *policy.Settings) { s.OptIn = v1alpha1.OptInAnnotation }},
		"an unknown opt-in asks":         {spec{OptIn: "Label"}, func(s *policy.Settings) { s.OptIn = v1alpha1.OptInAnnotation }},
		"all begin with what is there":   {spec{OptIn: v1alpha1.OptInAll}, func(s *policy.Settings) { s.OptIn, s.OnAdoption = v1alpha1.OptInAll, plan.BaselineOnly }},
		"all, and stale ones restart":    {spec{OptIn: v1alpha1.OptInAll, OnAdoption: v1alpha1.AdoptionRestartStale}, func(s *policy.Settings) { s.OptIn, s.OnAdoption = v1alpha1.OptInAll, plan.RestartStale }},
		"stale ones restart":             {spec{OnAdoption: v1alpha1.AdoptionRestartStale}, func(s *policy.Settings) { s.OnAdoption = plan.RestartStale }},
		"the annotated begin so as well": {spec{OnAdoption: v1alpha1.AdoptionBaseline}, func(s *policy.Settings) { s.OnAdoption = plan.BaselineOnly }},
		"an unknown adoption":            {spec{OnAdoption: "Ask"}, func(s *policy.Settings) { s.OnAdoption = plan.BaselineOnly }},
		"settling":                       {spec{Settle: settle(time.Minute, time.Hour)}, func(s *policy.Settings) { s.SettleQuiet, s.SettleMax = new(time.Minute), new(time.Hour) }},
		"a quiet time only":              {spec{Settle: &v1alpha1.Settle{Quiet: &metav1.Duration{Duration: time.Minute}}}, func(s *policy.Settings) { s.SettleQuiet = new(time.Minute) }},
		"a longest time only":            {spec{Settle: &v1alpha1.Settle{Max: &metav1.Duration{Duration: time.Second}}}, func(s *policy.Settings) { s.SettleMax = new(time.Second) }},
		"no settling":                    {spec{Settle: settle(0, 0)}, func(s *policy.Settings) { s.SettleQuiet, s.SettleMax = new(time.Duration(0)), new(time.Duration(0)) }},
		"settling for less than nothing": {spec{Settle: settle(-1, -1)}, func(*policy.Settings) {}},
		"quiet for longer than at most":  {spec{Settle: settle(time.Minute, time.Second)}, func(s *policy.Settings) { s.SettleQuiet, s.SettleMax = new(time.Minute), new(time.Minute) }},
		"waiting for the owner":          {spec{Settle: &v1alpha1.Settle{Owner: v1alpha1.SettleOwnerWait}}, func(*policy.Settings) {}},
		"ignoring the owner":             {spec{Settle: &v1alpha1.Settle{Owner: v1alpha1.SettleOwnerIgnore}}, func(s *policy.Settings) { s.IgnoreOwner = true }},
		"an unknown way with the owner":  {spec{Settle: &v1alpha1.Settle{Owner: "Hold"}}, func(*policy.Settings) {}},
		"variables":                      {spec{Strategy: v1alpha1.StrategyEnvVars}, func(s *policy.Settings) { s.Strategy = plan.EnvVars }},
		"annotations":                    {spec{Strategy: v1alpha1.StrategyAnnotations}, func(s *policy.Settings) { s.Strategy = plan.Annotations }},
		"an unknown strategy":            {spec{Strategy: "Evict"}, func(s *policy.Settings) { s.Strategy = plan.Annotations }},
		"a service account":              {spec{ServiceAccountName: "restarter"}, func(s *policy.Settings) { s.ServiceAccount = "restarter" }},
	} {
		t.Run(name, func(t *testing.T) {
			want := policy.Settings{Interval: 10 * time.Minute}
			test.want(&want)
			p, _ := policy.Compile(object("a", "policy", test.spec), reach)
			if diff := cmp.Diff(want, p.Settings); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

// What a policy says counts, and the flags for what it does not say.
func TestSettingsTakeThePlaceOfFlags(t *testing.T) {
	type spec = v1alpha1.ReloadPolicySpec
	for name, test := range map[string]struct {
		spec spec
		want func(*plan.Policy)
	}{
		"nothing": {spec{}, func(*plan.Policy) {}},
		"other things": {
			spec{Mode: v1alpha1.ModeObserve, OptIn: v1alpha1.OptInAnnotation, Settle: &v1alpha1.Settle{Owner: v1alpha1.SettleOwnerIgnore}},
			func(*plan.Policy) {},
		},
		"everything": {
			spec{OnAdoption: v1alpha1.AdoptionRestartStale, Strategy: v1alpha1.StrategyAnnotations, Settle: settle(0, time.Second)},
			func(p *plan.Policy) {
				p.OnAdoption, p.Strategy, p.SettleQuiet, p.SettleMax = plan.RestartStale, plan.Annotations, 0, time.Second
			},
		},
		"adoption":              {spec{OnAdoption: v1alpha1.AdoptionRestartStale}, func(p *plan.Policy) { p.OnAdoption = plan.RestartStale }},
		"strategy":              {spec{Strategy: v1alpha1.StrategyAnnotations}, func(p *plan.Policy) { p.Strategy = plan.Annotations }},
		"settling":              {spec{Settle: settle(time.Second, 2*time.Second)}, func(p *plan.Policy) { p.SettleQuiet, p.SettleMax = time.Second, 2*time.Second }},
		"quiet":                 {spec{Settle: &v1alpha1.Settle{Quiet: &metav1.Duration{Duration: time.Second}}}, func(p *plan.Policy) { p.SettleQuiet = time.Second }},
		"longer quiet than max": {spec{Settle: &v1alpha1.Settle{Quiet: &metav1.Duration{Duration: 3 * time.Hour}}}, func(p *plan.Policy) { p.SettleQuiet, p.SettleMax = 3*time.Hour, 3*time.Hour }},
		"max":                   {spec{Settle: &v1alpha1.Settle{Max: &metav1.Duration{Duration: 3 * time.Hour}}}, func(p *plan.Policy) { p.SettleMax = 3 * time.Hour }},
		"less max than quiet":   {spec{Settle: &v1alpha1.Settle{Max: &metav1.Duration{}}}, func(p *plan.Policy) { p.SettleQuiet, p.SettleMax = 0, 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			flags := plan.Policy{
				SettleQuiet: time.Hour, SettleMax: 2 * time.Hour, OnAdoption: plan.BaselineOnly, Strategy: plan.EnvVars,
				OnCreate: true, OnDelete: true,
			}
			want := flags
			test.want(&want)
			p, problems := policy.Compile(object("a", "policy", test.spec), reach)
			if len(problems) > 0 {
				t.Errorf("problems: %v", problems)
			}
			if diff := cmp.Diff(want, p.Settings.Plan(flags)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOptInTakesThePlaceOfTheFlag(t *testing.T) {
	for said, want := range map[v1alpha1.OptIn]map[bool]bool{ // by the flag
		"":                       {false: false, true: true},
		v1alpha1.OptInAnnotation: {false: false, true: false},
		v1alpha1.OptInAll:        {false: true, true: true},
	} {
		for flag, all := range want {
			flags, of := selection.Defaults(), selection.Defaults()
			flags.AutoAll, of.AutoAll = flag, all
			p, _ := policy.Compile(object("a", "policy", v1alpha1.ReloadPolicySpec{OptIn: said}), reach)
			if diff := cmp.Diff(of, p.Settings.Selection(flags)); diff != "" {
				t.Errorf("opt-in %q, flag %t (-want +got):\n%s", said, flag, diff)
			}
		}
	}
}
