package policy

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/selection"
)

// Settings are how the workloads of a policy are restarted, with defaults filled in. They take the place of the
// controller's flags of the same meaning.
type Settings struct {
	// Interval is how often everything selected is compared in full.
	Interval time.Duration
	// Suspend holds restarts; Observe reports that one is due, and does no more.
	Suspend bool
	Observe bool
	// OptInAll restarts workloads that do not say otherwise, and not only those that ask for it.
	OptInAll bool
	// OnAdoption is what happens to pods that are stale at first sight.
	OnAdoption plan.Adoption
	// SettleQuiet is how long no source must have changed, SettleMax how long that may hold a restart back.
	SettleQuiet time.Duration
	SettleMax   time.Duration
	// IgnoreOwner is false if restarts wait while the Flux object that owns the workload is being reconciled.
	IgnoreOwner bool
	// Strategy is what a restart writes.
	Strategy plan.Strategy
	// ServiceAccount of the policy's namespace restarts the workloads; the controller itself if it is empty.
	ServiceAccount string
}

// Plan is these settings in the place of those flags, of which the others stay.
func (s Settings) Plan(flags plan.Policy) plan.Policy {
	flags.SettleQuiet, flags.SettleMax = s.SettleQuiet, s.SettleMax
	flags.OnAdoption, flags.Strategy = s.OnAdoption, s.Strategy
	return flags
}

// Selection is these settings in the place of those flags, of which the others stay.
func (s Settings) Selection(flags selection.Settings) selection.Settings {
	flags.AutoAll = s.OptInAll
	return flags
}

func (c *compiler) settings(spec *v1alpha1.ReloadPolicySpec) Settings {
	mode := oneOf(c, "spec.mode", spec.Mode, v1alpha1.ModeAuto, v1alpha1.ModeObserve, v1alpha1.ModeAuto)
	optIn := oneOf(c, "spec.optIn", spec.OptIn, v1alpha1.OptInAnnotation, v1alpha1.OptInAnnotation, v1alpha1.OptInAll)
	byDefault := v1alpha1.AdoptionRestartStale
	if optIn == v1alpha1.OptInAll { // nobody asked for what runs well enough to be restarted at once
		byDefault = v1alpha1.AdoptionBaseline
	}
	adoption := oneOf(c, "spec.onAdoption", spec.OnAdoption, byDefault, v1alpha1.AdoptionBaseline, v1alpha1.AdoptionRestartStale)
	s := Settings{
		Interval:       spec.Interval.Duration,
		Suspend:        spec.Suspend,
		Observe:        mode == v1alpha1.ModeObserve,
		OptInAll:       optIn == v1alpha1.OptInAll,
		OnAdoption:     plan.Adoption(adoption),
		ServiceAccount: spec.ServiceAccountName,
	}
	if s.Interval <= 0 {
		s.Interval = v1alpha1.DefaultInterval
	}
	c.settle(&s, spec.Settle)
	strategy := oneOf(c, "spec.strategy", spec.Strategy, v1alpha1.StrategyAnnotations, v1alpha1.StrategyAnnotations, v1alpha1.StrategyEnvVars)
	s.Strategy = plan.Strategy(strategy)
	return s
}

func (c *compiler) settle(s *Settings, from *v1alpha1.Settle) {
	if from == nil {
		from = &v1alpha1.Settle{}
	}
	s.SettleQuiet, s.SettleMax = duration(from.Quiet, v1alpha1.DefaultSettleQuiet), duration(from.Max, v1alpha1.DefaultSettleMax)
	if s.SettleMax < s.SettleQuiet {
		c.invalid("spec.settle.max", s.SettleMax.String(), "must not be less than quiet")
		s.SettleMax = s.SettleQuiet
	}
	owner := oneOf(c, "spec.settle.owner", from.Owner, v1alpha1.SettleOwnerWait, v1alpha1.SettleOwnerWait, v1alpha1.SettleOwnerIgnore)
	s.IgnoreOwner = owner == v1alpha1.SettleOwnerIgnore
}

func duration(from *metav1.Duration, or time.Duration) time.Duration {
	if from == nil || from.Duration < 0 {
		return or
	}
	return from.Duration
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
