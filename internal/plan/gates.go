package plan

import (
	"fmt"
	"slices"
	"time"
)

// maxStall is how long a rollout that does not move holds back the next restart.
const maxStall = 15 * time.Minute

// freshAlready finds out whether pods run with the new content without our doing (rule 6), and whether a restart that
// was written is through.
func (d *decider) freshAlready() *Decision {
	if d.written(d.content) && d.in.Workload.Rolling && d.in.Workload.Held == "" {
		// What the cache shows is enough to know that it is not through.
		decision := d.pending(Restarting, "a rollout that brings the present content is under way", recheck)
		return &decision
	}
	if !d.mustAsk() {
		return nil
	}
	if d.in.Rollout == nil {
		return &Decision{NeedsRollout: true}
	}
	if again := d.unsettled(); again != nil {
		return again
	}
	live := d.in.Rollout.Workload
	switch fresh := d.allFresh(); {
	case live.Replicas == 0 && len(d.in.Rollout.Pods) == 0, fresh && !live.Rolling:
		known := d.written(d.content) || !slices.ContainsFunc(d.findings, func(f finding) bool { return f.condition == changed })
		d.prove()
		decision := Decision{Verdict: AlreadyFresh, Message: "all pods are newer than the change", Entry: d.entry}
		if known {
			decision.Verdict, decision.Message = InSync, "pods run with the present content"
		}
		return &decision
	case fresh, live.Rolling && live.Held == "" && d.bornAfter() && !d.stalled():
		decision := d.pending(Restarting, "a rollout that brings the present content is under way", recheck)
		return &decision
	case d.written(d.content):
		decision := d.pending(Restarting, "the template is written, old pods are still active", recheck)
		if live.Held != "" {
			decision.Verdict, decision.Message = Paused, "the template is written, but not rolled out: "+live.Held
		}
		return &decision
	}
	return nil
}

// mustAsk reports whether the pods' age has to be asked for. They are known to be older than a change that was seen as
// it happened, on a revision that had been proven well before.
func (d *decider) mustAsk() bool {
	w, e := d.in.Workload, d.entry
	if e.Template != w.Template || w.Generation != w.ObservedGeneration || w.Rolling || w.Replicas == 0 {
		return true
	}
	for _, f := range d.findings {
		if !f.differs() {
			continue
		}
		if f.condition == returned || !f.seen.Live || f.seen.SeenAt.Sub(e.ProvenAt) < steady || d.now.Sub(f.seen.SeenAt) > steady {
			return true
		}
	}
	return false
}

// unsettled asks to look again while what the API server says of the workload is older, or newer, than what is decided
// on, or while its controller has yet to act.
func (d *decider) unsettled() *Decision {
	live, w := d.in.Rollout.Workload, d.in.Workload
	var message string
	switch {
	case live.Generation != w.Generation || live.Template != w.Template:
		message = "waiting for the cache to show the workload's last change"
	case live.Replicas == 0 && len(d.in.Rollout.Pods) == 0:
		return nil
	case live.ObservedGeneration < live.Generation:
		message = "waiting for the workload's controller to act on its last change"
	case len(d.in.Rollout.Pods) == 0:
		message = "waiting for pods"
	default:
		return nil
	}
	decision := d.pending(Restarting, message, d.again())
	return &decision
}

// again is when to ask again for what is not there yet: soon, then less and less often.
func (d *decider) again() time.Duration {
	if d.entry.PendingSince.IsZero() {
		return lookAgain
	}
	return min(recheck, max(lookAgain, d.now.Sub(d.entry.PendingSince)/2))
}

// settled holds a restart back until changes stop coming (rule 7). It comes before the pods are asked for, so that they
// are asked for once.
func (d *decider) settled() *Decision {
	wait := d.settling()
	if wait == 0 {
		return nil
	}
	decision := d.pending(Settling, "waiting for more changes", wait)
	return &decision
}

// gates are the other reasons to restart later (rule 7), in their order.
func (d *decider) gates() *Decision {
	var decision Decision
	w := d.in.Workload
	switch {
	case d.written(d.content):
		decision = d.pending(Restarting, "the template is written", recheck)
	case throttled(d.entry, d.now) > 0:
		decision = d.pending(Throttled, "restarted often: waiting", throttled(d.entry, d.now))
	case d.adoption() && !d.in.AdoptionReady:
		decision = d.pending(Throttled, "restarts at first sight are spread", lookAgain)
	case d.in.Unpersisted, d.adopted():
		decision = d.pending(Throttled, "waiting for the record of the last restart to be stored", lookAgain)
	case d.ours() && w.Rolling && w.Held == "" && !d.stalled():
		decision = d.pending(Restarting, "waiting for the last restart's rollout", d.untilStalled())
	case w.Held == HeldPaused:
		decision = d.pending(Paused, fmt.Sprintf("not restarted: %s is true", w.Held), 0)
	default:
		return nil
	}
	return &decision
}

// adopted reports whether a restart without a record was found in this very decision: it is not on record yet.
func (d *decider) adopted() bool { return d.in.Entry != nil && d.in.Entry.Value != d.entry.Value }

// HeldPaused is the reason in Workload.Held that forbids writing the template: its user paused it.
const HeldPaused = "spec.paused"

// settling is how much longer to wait for more changes: until no source has changed for a while, but not for ever.
func (d *decider) settling() time.Duration {
	var last time.Time
	for _, f := range d.findings {
		if f.seen.SeenAt.After(last) {
			last = f.seen.SeenAt
		}
	}
	wait := last.Add(d.in.Policy.SettleQuiet).Sub(d.now)
	if since := d.entry.PendingSince; !since.IsZero() {
		wait = min(wait, since.Add(d.in.Policy.SettleMax).Sub(d.now))
	}
	return max(0, wait)
}

// ours reports whether the template carries the last restart and that has not been proven.
func (d *decider) ours() bool {
	return d.entry.Value != "" && d.in.Workload.Value == d.entry.Value && d.entry.Template != d.in.Workload.Template
}

func (d *decider) stalled() bool { return d.untilStalled() <= 0 }

func (d *decider) untilStalled() time.Duration { return d.in.Progressed.Add(maxStall).Sub(d.now) }
