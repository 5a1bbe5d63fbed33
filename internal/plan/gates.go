package plan

import (
	"fmt"
	"time"
)

// MaxStall is how long a rollout that does not move holds back the next restart.
const MaxStall = 15 * time.Minute

// settled holds a restart back until changes stop coming (rule 7). It comes before the pods are asked for, so that they
// are asked for once.
func (d *decider) settled() *Decision {
	wait := d.settling()
	if wait == 0 || d.written() {
		return nil
	}
	decision := d.pending(Settling, "waiting for more changes", wait)
	return &decision
}

// gates are the other reasons to restart later (rule 7), in their order. Some are none for who asks for a restart.
func (d *decider) gates() *Decision {
	var decision Decision
	asked := d.request != ""
	switch {
	case !asked && throttled(d.entry, d.now) > 0:
		decision = d.pending(Throttled, "restarted often: waiting", throttled(d.entry, d.now))
	case !asked && d.adoption() && !d.in.AdoptionReady:
		return d.spread()
	case d.in.Unpersisted, d.adopted:
		decision = d.pending(Throttled, "waiting for the record of the last restart to be stored", lookAgain)
	default:
		return d.untouchable(asked)
	}
	return &decision
}

// untouchable reports a rollout that is waited for, or that is held so that its template is not to be written. Who asks for
// a restart does not wait for one that is under way.
func (d *decider) untouchable(asked bool) *Decision {
	var decision Decision
	w := d.in.Workload
	switch {
	case !asked && d.ours() && d.rolling():
		decision = d.pending(Restarting, "waiting for the last restart's rollout", d.untilStalled())
	case !asked && w.Barred && d.rolling():
		decision = d.pending(Restarting, "waiting for the rollout that is under way", d.untilStalled())
	case w.Held == HeldPaused, w.Held != "" && w.hasRuns():
		decision = d.pending(Paused, fmt.Sprintf("not restarted: %s is true", w.Held), 0)
	case w.Held != "" && w.Barred:
		decision = d.pending(Paused, "not restarted: "+w.Held, 0)
	default:
		return nil
	}
	return &decision
}

const (
	// HeldPaused is the reason in Workload.Held that forbids writing the template: its user paused it.
	HeldPaused = "spec.paused"
	// HeldSuspended forbids a run: its user suspended the workload.
	HeldSuspended = "spec.suspend"
)

// spread holds a restart at first sight back until the rate of those allows it.
func (d *decider) spread() *Decision {
	decision := d.pending(Throttled, "restarts at first sight are spread", lookAgain)
	return &decision
}

// settling is how much longer to wait for more changes: until no source has changed for a while, but not for ever.
func (d *decider) settling() time.Duration {
	var last time.Time
	for _, f := range d.findings {
		if f.seen.SeenAt.After(last) {
			last = f.seen.SeenAt
		}
	}
	wait := last.Add(d.in.Policy.SettleQuiet).Sub(d.now)
	if since := d.in.SettlingSince; !since.IsZero() {
		wait = min(wait, since.Add(d.in.Policy.SettleMax).Sub(d.now))
	}
	return max(0, wait)
}

// ours reports whether the template carries the last restart and that has not been proven.
func (d *decider) ours() bool {
	return d.entry.Value != "" && d.in.Workload.Value == d.entry.Value && d.entry.Template != d.in.Workload.Template
}

// rolling reports whether a rollout is under way that can be waited for: it is not held, and it moves.
func (d *decider) rolling() bool {
	w := d.in.Workload
	return w.Rolling && w.Held == "" && !d.stalled()
}

func (d *decider) stalled() bool { return d.untilStalled() <= 0 }

func (d *decider) untilStalled() time.Duration { return d.in.Progressed.Add(MaxStall).Sub(d.now) }
