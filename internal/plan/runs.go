package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Workloads that have runs, CronJobs and Jobs, have nothing to roll out: content is on record as handled when a run was
// started for it. What their pods prove is asked of the newest run only, and never that it is fresh by our doing.

// decideRun goes through the rules for a workload that has runs, in their order; the first that applies decides.
func (d *decider) decideRun() Decision {
	for _, rule := range []func() *Decision{
		d.sight, d.held, d.required, d.recognised, d.nothingToRun, d.unasked, d.gates, d.ran,
	} {
		if decision := rule(); decision != nil {
			return *decision
		}
	}
	return d.restart()
}

// replacement reports whether the workload is what a restart has made in another's place, and takes over its record. One
// that somebody else made is met for the first time: it has read what there was when it was made.
func (d *decider) replacement() bool {
	w, before := d.in.Workload, d.in.Predecessor
	if before == nil || w.Value == "" {
		return false
	}
	asked, _ := token(w)
	if w.Value != before.Value && !follows(d.in.Key, w.Value, before.Value, before.Token) &&
		!follows(d.in.Key, w.Value, before.Value, asked) {
		return false
	}
	d.inherit()
	d.inherited = true
	return true
}

// recognised ends a restart whose record was lost: what it made stands for what there is now.
func (d *decider) recognised() *Decision {
	if !d.adopted || !d.answered() {
		return nil
	}
	return d.handled(InSync, d.entry.Value, "a run has been started for the present content")
}

// nothingToRun is the end where nothing differs and nobody asks.
func (d *decider) nothingToRun() *Decision {
	if d.request != "" {
		return nil
	}
	return d.synced()
}

// unasked lets changes settle, unless somebody asks for a run now.
func (d *decider) unasked() *Decision {
	if d.request != "" {
		return nil
	}
	return d.settled()
}

// ran looks at the runs, last of all: one that began after the change serves as well as one of ours, and is not there
// twice after a crash; and one that is active may have to end first.
func (d *decider) ran() *Decision {
	if d.in.Rollout == nil {
		return &Decision{NeedsRollout: true}
	}
	if again := d.unsettled(); again != nil {
		return again
	}
	if value, started := d.started(); started {
		return d.handled(InSync, value, "a run has been started for the present content")
	}
	if d.request == "" && slices.ContainsFunc(d.newest(), func(r Run) bool { return d.fresh(r.pod()) }) {
		return d.handled(AlreadyFresh, d.value(), "the last run is newer than the change")
	}
	if active := d.active(); d.in.Workload.Alone && len(active) > 0 {
		message := fmt.Sprintf("no run may begin beside another: waiting for %s to end", strings.Join(active, ", "))
		decision := d.pending(Paused, message, d.again())
		return &decision
	}
	return nil
}

// handled records the present content as what a run has been started for. The value moves on with it, so that none that a
// run may carry returns.
func (d *decider) handled(verdict Verdict, value, message string) *Decision {
	d.entry.Value, d.entry.Token = value, cmp.Or(d.request, d.entry.Token)
	d.prove()
	return &Decision{Verdict: verdict, Message: message, Entry: d.entry}
}

// started returns the value of a run of ours for what there is now, if only its record is missing. One for content counts
// among the newest only: what there is now may have been there before.
func (d *decider) started() (value string, found bool) {
	if d.in.Workload.Restarts != ByRun {
		return "", false // what stands in another's place was recognised as such
	}
	runs := d.newest()
	if d.request != "" {
		runs = d.in.Rollout.Runs
	}
	values := successors(d.in.Key, d.entry.Value, content(d.in.Key, d.findings), cmp.Or(d.request, d.entry.Token))
	i := slices.IndexFunc(runs, func(r Run) bool { return slices.Contains(values, r.Value) })
	if i < 0 {
		return "", false
	}
	return runs[i].Value, true
}

// newest are the runs that began last, within the same second.
func (d *decider) newest() []Run {
	var last time.Time
	for _, run := range d.in.Rollout.Runs {
		last = latest(last, run.Began)
	}
	return slices.DeleteFunc(slices.Clone(d.in.Rollout.Runs), func(r Run) bool { return r.Began.Before(last) })
}

// active are the names of the runs that have not ended, sorted.
func (d *decider) active() []string {
	var names []string
	for _, run := range d.in.Rollout.Runs {
		if run.Ended.IsZero() {
			names = append(names, run.Name)
		}
	}
	slices.Sort(names)
	return names
}

// pod is the run as evidence: its pods were created after it began, and may be, as long as it has not ended.
func (r Run) pod() Pod {
	return Pod{Name: r.Name, Created: r.Began, FirstStart: r.Began, LastStart: r.Ended, Value: r.Value}
}
