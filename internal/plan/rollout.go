package plan

import (
	"maps"
	"slices"
	"time"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
)

// freshAlready finds out whether pods run with the new content without our doing (rule 6), and whether a restart that
// was written is through.
func (d *decider) freshAlready() *Decision {
	written := d.written()
	if written && d.in.Rollout == nil && d.in.Workload.Rolling && d.in.Workload.Held == "" && !d.rotated() {
		// What the cache shows is enough to know that it is not through.
		return d.underWay()
	}
	switch {
	case written:
	case !d.mustAsk():
		return nil
	case d.adoption() && !d.in.AdoptionReady:
		return d.spread() // before the pods are asked for: many may wait
	}
	if d.in.Rollout == nil {
		return &Decision{NeedsRollout: true}
	}
	if again := d.unsettled(); again != nil {
		return again
	}
	return d.judgePods(written && !d.overtaken())
}

// judgePods decides by the pods where they do. Written is whether the template carries the value for the present content.
func (d *decider) judgePods(written bool) *Decision {
	live, pods, fresh := d.in.Rollout.Workload, d.in.Rollout.Pods, d.allFresh()
	switch {
	case live.Replicas == 0 && len(pods) == 0, fresh && (!live.Rolling || live.Held != ""):
		// A rollout that is held ends when somebody ends it: what its pods prove counts now.
		return d.through(written)
	case fresh, live.Rolling && live.Held == "" && d.bornAfter() && !d.stalled():
		return d.underWay()
	case live.Held != "" && d.bornAfter():
		decision := d.pending(Paused, "the template is newer than the change, but not rolled out: "+live.Held, recheck)
		return &decision
	case written && live.Held != "":
		decision := d.pending(Paused, "the template is written, but not rolled out: "+live.Held, recheck)
		return &decision
	case written:
		decision := d.pending(Restarting, "the template is written, old pods are still active", recheck)
		return &decision
	}
	return nil
}

func (d *decider) underWay() *Decision {
	decision := d.pending(Restarting, "a rollout that brings the present content is under way", recheck)
	return &decision
}

// through records that all pods are fresh: by our doing, since nothing had to be done, or by somebody else's.
func (d *decider) through(written bool) *Decision {
	others := !written && slices.ContainsFunc(d.findings, func(f finding) bool { return f.condition == changed && !f.copied() })
	hidden := d.hidden()
	d.prove()
	maps.Copy(d.entry.Sources, hidden)
	decision := Decision{Verdict: InSync, Message: "pods run with the present content", Entry: d.entry}
	if others {
		decision.Verdict, decision.Message = AlreadyFresh, "all pods are newer than the change"
	}
	return &decision
}

// hidden are the records of what a paused Deployment's template shows no more, sources or keys of them. Pods run with another
// template, and somebody may undo the change before the pause ends: then nothing is rolled out, and what they read is not known to
// be what there is.
func (d *decider) hidden() map[reference.Source]ledger.Source {
	live := d.in.Rollout.Workload
	if live.Held != HeldPaused || !live.Rolling || len(d.in.Rollout.Pods) == 0 {
		return nil
	}
	hidden := maps.Clone(d.entry.Sources)
	for _, f := range d.findings {
		if f.use.Scope.Union(f.record.Scope).Equal(f.use.Scope) {
			delete(hidden, f.use.Source)
		}
	}
	return hidden
}

// mustAsk reports whether the pods' age has to be asked for. They are known to be older than a change that was seen as
// it happened, on a revision that had been proven well before and not been left since: not even for a restart that was
// taken back. What another leader proved, it proved before this one began, whatever its clock said.
func (d *decider) mustAsk() bool {
	w, e := d.in.Workload, d.entry
	if d.in.Rollout != nil || w.Value != e.Value {
		return true // somebody else's template lacks the last value, or took a restart back
	}
	if e.Template != w.Template || w.Generation != w.ObservedGeneration || w.Rolling || w.Replicas == 0 {
		return true
	}
	if !e.PendingSince.IsZero() && d.now.Sub(e.PendingSince) > steady {
		return true
	}
	return slices.ContainsFunc(d.findings, func(f finding) bool {
		return f.differs() && (f.condition == returned || !f.seen.Live ||
			f.seen.SeenAt.Sub(latest(e.ProvenAt, d.in.Began)) < steady || d.now.Sub(f.seen.SeenAt) > steady)
	})
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

// again is when to ask again for what is not there yet: soon, then less and less often. Pods may never come, of a new Deployment
// that is paused or where there is no quota for them; if they do, the workload's status changes. That a run ends may change nothing.
func (d *decider) again() time.Duration {
	since := d.entry.PendingSince
	switch {
	case !since.IsZero():
	case d.in.Workload.hasRuns():
		since = d.now
	default:
		since = d.in.Progressed
	}
	return min(recheck, max(lookAgain, d.now.Sub(since)/2))
}
