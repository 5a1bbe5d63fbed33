package policy

import (
	"cmp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/selection"
)

// Settings are how the workloads of a policy are restarted. What the policy says takes the place of the controller's flags
// of the same meaning; what it does not say is as they are.
type Settings struct {
	// Interval is how often everything selected is compared in full.
	Interval time.Duration
	// Suspend holds restarts; Observe reports that one is due, and does no more.
	Suspend bool
	Observe bool
	// OptIn is which workloads are restarted; empty if the flags say it.
	OptIn v1alpha1.OptIn
	// OnAdoption is what happens to pods that are stale at first sight; empty if the flags say it.
	OnAdoption plan.Adoption
	// SettleQuiet is how long no source must have changed, SettleMax how long that may hold a restart back; nil if the
	// flags say it.
	SettleQuiet *time.Duration
	SettleMax   *time.Duration
	// IgnoreOwner is false if restarts wait while the Flux object that owns the workload is being reconciled.
	IgnoreOwner bool
	// Strategy is what a restart writes; empty if the flags say it.
	Strategy plan.Strategy
	// ServiceAccount of the policy's namespace restarts the workloads; the controller itself if it is empty.
	ServiceAccount string
}

// Plan is these settings, and those flags for what they do not say.
func (s Settings) Plan(flags plan.Policy) plan.Policy {
	flags.SettleQuiet, flags.SettleMax = s.settle(flags.SettleQuiet, flags.SettleMax)
	flags.OnAdoption = cmp.Or(s.OnAdoption, flags.OnAdoption)
	flags.Strategy = cmp.Or(s.Strategy, flags.Strategy)
	return flags
}

// settle is those times in the place of the flags'. One that the policy does not say gives way to the other: max is not
// less than quiet.
func (s Settings) settle(quiet, most time.Duration) (time.Duration, time.Duration) {
	switch {
	case s.SettleQuiet == nil && s.SettleMax == nil:
		return quiet, most
	case s.SettleMax == nil:
		return *s.SettleQuiet, max(most, *s.SettleQuiet)
	case s.SettleQuiet == nil:
		return min(quiet, *s.SettleMax), *s.SettleMax
	default:
		return *s.SettleQuiet, *s.SettleMax
	}
}

// Selection is these settings, and those flags for what they do not say.
func (s Settings) Selection(flags selection.Settings) selection.Settings {
	if s.OptIn != "" {
		flags.AutoAll = s.OptIn == v1alpha1.OptInAll
	}
	return flags
}

func (c *compiler) settings(spec *v1alpha1.ReloadPolicySpec) Settings {
	mode := oneOf(c, "spec.mode", spec.Mode, v1alpha1.ModeAuto, v1alpha1.ModeObserve, v1alpha1.ModeAuto)
	optIn := oneOf(c, "spec.optIn", spec.OptIn, "", v1alpha1.OptInAnnotation, v1alpha1.OptInAll)
	var byDefault v1alpha1.Adoption
	if optIn == v1alpha1.OptInAll { // nobody asked for these workloads to be restarted at once
		byDefault = v1alpha1.AdoptionBaseline
	}
	adoption := oneOf(c, "spec.onAdoption", spec.OnAdoption, byDefault, v1alpha1.AdoptionBaseline, v1alpha1.AdoptionRestartStale)
	s := Settings{
		Interval:       spec.Interval.Duration,
		Suspend:        spec.Suspend,
		Observe:        mode == v1alpha1.ModeObserve,
		OptIn:          optIn,
		OnAdoption:     plan.Adoption(adoption),
		ServiceAccount: spec.ServiceAccountName,
	}
	if s.Interval <= 0 {
		s.Interval = v1alpha1.DefaultInterval
	}
	if spec.Settle != nil {
		c.settle(&s, spec.Settle)
	}
	strategy := oneOf(c, "spec.strategy", spec.Strategy, "", v1alpha1.StrategyAnnotations, v1alpha1.StrategyEnvVars)
	s.Strategy = plan.Strategy(strategy)
	return s
}

func (c *compiler) settle(s *Settings, from *v1alpha1.Settle) {
	s.SettleQuiet, s.SettleMax = duration(from.Quiet), duration(from.Max)
	if s.SettleQuiet != nil && s.SettleMax != nil && *s.SettleMax < *s.SettleQuiet {
		c.invalid("spec.settle.max", s.SettleMax.String(), "must not be less than quiet")
		s.SettleMax = s.SettleQuiet
	}
	owner := oneOf(c, "spec.settle.owner", from.Owner, v1alpha1.SettleOwnerWait, v1alpha1.SettleOwnerWait, v1alpha1.SettleOwnerIgnore)
	s.IgnoreOwner = owner == v1alpha1.SettleOwnerIgnore
}

// duration is nil if there is none, or none that makes sense.
func duration(from *metav1.Duration) *time.Duration {
	if from == nil || from.Duration < 0 {
		return nil
	}
	return new(from.Duration)
}

// oneOf is the value, the default if there is none, and the cautious one if it is neither that nor the other.
func oneOf[T ~string](c *compiler, field string, value, byDefault, cautious, other T) T {
	switch value {
	case "":
		return byDefault
	case cautious, other:
		return value
	default:
		c.invalid(field, string(value), "not known to this version, which takes it for "+string(cautious))
		return cautious
	}
}
