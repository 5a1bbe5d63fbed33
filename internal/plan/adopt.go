package plan

import (
	"slices"
	"time"
)

// adopt takes a live value that follows from the recorded one as ours: the mark of a restart whose record a crash lost,
// and with it whether that was the one that is asked for.
// It comes before every rule, so that what is held is held under the value that the pods inherit. If the value stands for
// what there is now, it was written for all that differs. If not, what equals the record may have been another then, and
// pods may run with that; unless the cache only lags behind what another leader knew.
func (d *decider) adopt() {
	live, e := d.in.Workload.Value, d.entry
	lost, requested := d.lost()
	if !lost {
		return
	}
	value, _ := stands(live)
	written := value == content(d.in.Key, d.findings)
	if !written && d.now.Sub(d.in.Began) < catchUp {
		d.behind = true
		return
	}
	e.Value, d.adopted, e.PausedSince = live, true, time.Time{}
	token := ""
	if requested {
		token = d.request
		e.Token, d.request = d.request, ""
	}
	if e.PendingSince.IsZero() {
		e.PendingSince = d.now // its rollout is not known to be through
	}
	d.noteRecovered(token, written)
	d.adoptFor(written)
}

// noteRecovered notes what the adopted value was written for, if that is known: a request, and what differs. That is so if the value
// stands for what there is now. Where pods have copies of a source, any new pod may have brought another since, which is no
// reason to doubt the rest.
func (d *decider) noteRecovered(token string, written bool) {
	changes := d.changes()
	if !written {
		if !slices.ContainsFunc(d.findings, finding.copied) {
			return
		}
		changes = slices.DeleteFunc(changes, func(c Change) bool { return c.Source.Kind.Copied() })
	}
	if message := because(token, changes); message != "" {
		d.recovered = &Recovered{Value: d.entry.Value, Changes: changes, Message: message, Since: d.recoveredSince()}
	}
}

// recoveredSince is a time that the adopted value was written after: its workload had been proven, and what differs had
// changed.
func (d *decider) recoveredSince() time.Time {
	since := d.entry.ProvenAt
	for _, f := range d.findings {
		if f.differs() && f.timed {
			since = latest(since, f.since)
		}
	}
	return since
}

// adoptFor notes what the adopted value says of each source. Written is whether it stands for what there is now.
func (d *decider) adoptFor(written bool) {
	for i := range d.findings {
		f := &d.findings[i]
		if f.condition == same && !written {
			f.condition = returned
			f.record = diverged(*f)
		}
		if f.differs() {
			f.record.Written = written && !f.record.Turned
		}
	}
}

// lost reports whether the live value is one whose record was lost, and whether it is that of the restart that is asked for.
func (d *decider) lost() (lost, requested bool) {
	live, e := d.in.Workload.Value, d.entry
	unknown := slices.ContainsFunc(d.findings, func(f finding) bool { return f.condition == unseen })
	if d.in.Entry == nil && !d.inherited || live == e.Value || unknown {
		return false, false
	}
	requested = d.request != "" && follows(d.in.Key, live, e.Value, d.request)
	return requested || follows(d.in.Key, live, e.Value, e.Token), requested
}
