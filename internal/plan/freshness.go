package plan

import (
	"slices"
	"time"
)

const (
	// grain is the resolution of the API server's time stamps: what is not more than this apart may have happened in
	// either order.
	grain = time.Second

	// backdating is how far before its issue a certificate's notBefore may lie.
	backdating = 2 * time.Hour
)

// changeTime is when the content last changed, if the evidence can be trusted to be no earlier than the truth.
func changeTime(f finding) (time.Time, bool) {
	seen, record := f.seen, f.record
	switch {
	case f.copied():
		return time.Time{}, false // copies tell, one by one
	case f.differs() && len(f.turns) == 0 && !record.PendingChanged.IsZero() && f.shown == record.Pending:
		// It is the difference that was seen before. What was known of it is known still; other keys may have changed.
		return record.PendingChanged, true
	case seen.Changed.IsZero() || seen.Timing == Inexact:
		return time.Time{}, false
	case seen.Timing == Exact:
		return seen.Changed, true
	case f.condition != changed || !record.Diverged.IsZero():
		// Content was another meanwhile, with keys that are not known.
		return time.Time{}, false
	default:
		// Removing a key does not move the time.
		kept := len(f.turns) <= 1 && len(record.Tags) > 0 && seen.Content.Contains(record.Keys())
		return seen.Changed, kept && seen.Changed.After(record.Changed)
	}
}

// fresh reports whether the pod is known to run with the present content of every source that differs. If none does, all
// there is to wait for is the last restart.
func (d *decider) fresh(pod Pod) bool {
	if !d.differs() {
		return pod.Value == d.entry.Value
	}
	for _, f := range d.findings {
		if f.differs() && !d.freshFor(pod, f) {
			return false
		}
	}
	return true
}

func (d *decider) freshFor(pod Pod, f finding) bool {
	if f.copied() {
		return d.freshCopy(pod, f)
	}
	if f.record.Written && pod.Value == d.entry.Value {
		return true
	}
	if f.condition == returned && !f.record.Provisional && before(pod, f.record.Diverged) {
		return true
	}
	if !f.timed {
		return false
	}
	since := latest(f.since, f.seen.Listed) // in between it may have been another
	if age := pod.Created.Sub(since); age != 0 && age != grain {
		return age > grain
	}
	return d.tied(pod, f, since)
}

// before reports whether the pod and every container of it, also one that was started again, began before the time.
func before(pod Pod, t time.Time) bool {
	return pod.Created.Before(t) && !pod.LastStart.IsZero() && pod.LastStart.Before(t)
}

// tied decides about a pod that was created within a second of the change, the normal case where one apply brings the
// configuration and the workload. Those who apply both apply configuration first. That they applied the workload then is
// asked for because a restart, ours or another's, makes revisions too. What they apply last are Flux's own objects: if that
// is the workload's owner, the workload follows. What they apply to a paused Deployment has no revision yet: the present one may
// be of another template.
func (d *decider) tied(pod Pod, f finding, t time.Time) bool {
	if d.in.Rollout == nil || !pod.Current || f.seen.Manager == "" || !f.seen.Changed.Equal(t) {
		return false
	}
	if live := d.in.Rollout.Workload; live.Held == HeldPaused && live.Rolling {
		return false
	}
	within := func(at time.Time) bool { return !at.Before(t) && at.Sub(t) <= grain }
	if !within(d.in.Rollout.Born) || !within(d.in.Workload.Applied) {
		return false
	}
	by := d.in.OwnerApply
	return f.seen.Manager == d.in.Workload.Manager || f.seen.Manager == by.Manager && within(by.At)
}

// allFresh reports whether every active pod is fresh.
func (d *decider) allFresh() bool {
	return !slices.ContainsFunc(d.in.Rollout.Pods, func(p Pod) bool { return !d.fresh(p) })
}

// bornAfter reports whether the workload's present revision is younger than every difference, so that its pods will be
// fresh once it is rolled out.
func (d *decider) bornAfter() bool {
	born := d.in.Rollout.Born
	if born.IsZero() {
		return false
	}
	revision := Pod{Created: born, Current: true, Value: d.in.Rollout.Workload.Value}
	return d.fresh(revision)
}

// mayBeStale reports, from what is in memory, whether any pod could be certainly stale for a source met for the first
// time. Pods are no older than their workload.
func (d *decider) mayBeStale(f finding) bool {
	oldest := d.in.Workload.Created
	switch {
	case f.seen.State != Present, d.in.Workload.hasRuns(): // what ran before is nobody's wish to run again
		return false
	case f.copied():
		return d.mayHoldStale(f)
	case d.onCreate() && f.seen.Created.Sub(oldest) > grain:
		return true
	case d.in.Policy.OnAdoption == BaselineOnly, d.in.Policy.Tell:
		return false
	}
	if f.condition == appeared {
		return !f.use.Optional && f.seen.Created.Sub(oldest) > grain
	}
	switch current, taken := d.in.Taken[f.use.Source]; {
	case d.in.Bootstrap && !taken:
		return f.seen.NotBefore.Sub(oldest) > grain
	case d.in.Bootstrap && current:
		return false
	}
	return f.seen.Changed.Sub(oldest) > grain
}

// onCreate reports whether a source that is younger than a pod is a change. While there was no ledger at all nobody knows
// what has been done about it.
func (d *decider) onCreate() bool { return d.in.Policy.OnCreate && !d.in.Bootstrap }

// certainlyStale reports whether the pod started before the content that the source now holds existed.
func (d *decider) certainlyStale(pod Pod, f finding) bool {
	if d.onCreate() && !pod.FirstStart.IsZero() && !d.inherits(pod) && f.seen.Created.Sub(pod.FirstStart) > grain {
		return true
	}
	if d.in.Policy.OnAdoption == BaselineOnly {
		return false
	}
	if f.condition == appeared {
		// Containers do not start without a required source, so these have read one that is gone.
		return !pod.LastStart.IsZero() && f.seen.Created.Sub(pod.LastStart) > grain
	}
	start := pod.FirstStart
	if start.IsZero() || d.inherits(pod) {
		return false
	}
	if _, taken := d.in.Taken[f.use.Source]; d.in.Bootstrap && !taken {
		return f.seen.NotBefore.Sub(start) > grain
	}
	if !f.seen.NotBefore.IsZero() && start.Sub(f.seen.NotBefore) > backdating {
		return false
	}
	return f.seen.Created.Before(start) && f.seen.Changed.Sub(start) > grain
}

// inherits reports whether the pod carries the value for the present content.
func (d *decider) inherits(pod Pod) bool {
	value, ok := stands(pod.Value)
	return ok && value == content(d.in.Key, d.findings)
}

// answered reports whether the last restart was for the present content of everything that differs, and content never
// was another since.
func (d *decider) answered() bool {
	return d.differs() && !slices.ContainsFunc(d.findings, func(f finding) bool { return f.differs() && !f.record.Written })
}

// written reports whether the template carries that restart still.
func (d *decider) written() bool { return d.answered() && d.in.Workload.Value == d.entry.Value }
