package plan

import (
	"slices"
	"strings"
	"time"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
)

const (
	// lookAgain is how soon a decision that waits for the API server's view to settle is made again.
	lookAgain = 2 * time.Second
	// recheck is how often a workload that only its pods can change is looked at: pods are not watched.
	recheck = 5 * time.Minute
	// unseenAgain is when to look again for a source that the API server does not let us see.
	unseenAgain = 10 * time.Second
	// steady is how long a revision must have been proven before a change for its pods to be known as older.
	steady = time.Minute
)

// Decide says what to do about a workload. It changes nothing, and the same input always gives the same decision.
func Decide(in Input) Decision {
	if !in.Selection.Selected {
		return Decision{Verdict: NotSelected, Entry: in.Entry, Message: "no annotation asks for restarts",
			Write: Write{Mark: in.Pause.unmark(in.Workload, in.Entry)}}
	}
	if in.Workload.Unseen != "" {
		return Decision{Verdict: Waiting, Entry: in.Entry, Message: in.Workload.Unseen}
	}
	token, problems := token(in.Workload)
	pause, invalid := in.Pause.period(in.Workload)
	problems = slices.Concat(problems, invalid, in.Workload.Problems)
	d := &decider{in: in, now: in.Now, pause: pause}
	if in.Workload.Generation < in.Written {
		return Decision{Verdict: Restarting, Entry: d.meanwhile(), After: lookAgain, Problems: problems,
			Message: "waiting for the restart to show in the cache"}
	}
	if d.open() {
		return Decision{NeedsRollout: true}
	}
	d.meet(token)
	d.inspect()
	decide := d.decide
	if in.Workload.hasRuns() && !in.Policy.Tell {
		decide = d.decideRun
	}
	decision := decide()
	decision.Recovered = d.recovered
	if !decision.NeedsRollout {
		decision.Mark = d.mark(decision.Verdict)
	}
	decision.Problems, decision.LeftPaused = problems, in.Pause.leftPaused(in.Workload, stamp(d.entry.PausedSince), pause, in.Now)
	if decision.Verdict == Restart || decision.Verdict == AlreadyFresh {
		decision.Replaced = d.replaced()
	}
	if decision.NeedsRollout {
		decision.Entry = d.entry // what was seen is worth a record, even if the pods cannot be asked for
	}
	return decision
}

// decider holds what one decision finds out on its way.
type decider struct {
	in       Input
	now      time.Time
	entry    *ledger.Entry
	isNew    bool
	findings []finding
	// adopted is set when the record of the last restart was lost: the live value is known as ours all the same.
	adopted bool
	// recovered is that restart, if its cause is known.
	recovered *Recovered
	// behind is set when the live value is ours and stands for content that the cache may not show yet.
	behind bool
	// entered is set when a source was met for the first time.
	entered bool
	// inherited is set when the workload goes by the record of the object in whose place it was made.
	inherited bool
	// request is the token of a restart that somebody asks for and that was not handled; empty if nobody does.
	request string
	// pause is how long a restart is put off; zero for not at all.
	pause time.Duration
	// began is when the record says that the pause period began; puttingOff is set while it lasts.
	began      time.Time
	puttingOff bool
}

// open picks the record to go by. It asks for the pods where the workload took another object's place: if pods of that
// time are still active, its record counts.
func (d *decider) open() (needsRollout bool) {
	w := d.in.Workload
	switch {
	case d.in.Entry != nil:
		d.resume(d.in.Entry)
		return false
	case w.hasRuns():
		if d.replacement() {
			return false
		}
	case d.in.Predecessor != nil:
		if d.in.Rollout == nil {
			return true
		}
		older := func(p Pod) bool { return p.Created.Before(w.Created) }
		if slices.ContainsFunc(d.in.Rollout.Pods, older) {
			d.inherit()
			return false
		}
	}
	d.isNew = true
	d.entry = &ledger.Entry{
		Workload: w.Workload, UID: w.UID, Value: w.Value, Sources: map[reference.Source]ledger.Source{},
	}
	return false
}

// resume goes by a record. Another replica may have made it, by a clock that is ahead.
func (d *decider) resume(record *ledger.Entry) {
	d.entry = record.Clone()
	d.entry.AbsentSince = time.Time{}
	unthrottle(d.entry, d.now)
	if d.entry.PausedSince.After(d.now) {
		d.entry.PausedSince = d.now
	}
	d.began = d.entry.PausedSince
}

// inherit goes by the record of the object that was there before.
func (d *decider) inherit() {
	d.resume(d.in.Predecessor)
	d.entry.UID, d.entry.Template = d.in.Workload.UID, digest.Digest{}
}

// meanwhile is the record with what is seen of sources while the cache does not show the last restart. Nothing is decided
// by it yet, but if this leader ends now, the next one may find that content has returned, and would not know that it left.
func (d *decider) meanwhile() *ledger.Entry {
	if d.in.Entry == nil {
		return nil
	}
	d.entry = d.in.Entry.Clone()
	d.compare()
	d.takeDown()
	return d.entry
}

// inspect compares every source and notes differences in the record.
func (d *decider) inspect() {
	d.compare()
	d.adopt()
	d.takeDown()
}

// compare finds out about every source how it differs from the record.
func (d *decider) compare() {
	for _, use := range d.in.Selection.Uses {
		record, recorded := d.entry.Sources[use.Source]
		f := compare(d.in.Key, d.now.Sub(d.in.Began), use, d.in.Sources[use.Source], record, recorded)
		if f.copied() {
			if f.own = !d.without(f); f.spreads && !f.own {
				f.condition = same
			}
		} else {
			d.comesAndGoes(&f)
		}
		d.findings = append(d.findings, f)
	}
	for i := range d.findings {
		if f := &d.findings[i]; f.differs() {
			f.record = diverged(*f)
		}
	}
}

// takeDown notes differences in the record.
func (d *decider) takeDown() {
	for _, f := range d.findings {
		if f.differs() {
			d.entry.Sources[f.use.Source] = f.record
		}
	}
}

// comesAndGoes makes a difference of a source that went away, or came, where the policy says so.
func (d *decider) comesAndGoes(f *finding) {
	switch {
	case d.in.Policy.OnDelete && f.condition == missing && f.record.Present:
		f.condition, f.event = vanished, Deleted
	case d.in.Workload.hasRuns() && f.condition == appeared && d.onCreate():
		f.condition, f.event = changed, Created
		f.record = ledger.Source{Present: true, Scope: f.use.Scope, Diverged: longAgo()}
	}
}

// decide goes through the rules in their order; the first that applies decides.
func (d *decider) decide() Decision {
	if d.in.Policy.Tell {
		return d.decideToTell()
	}
	for _, rule := range []func() *Decision{
		d.sight, d.held, d.required, d.looked, d.requested,
		d.overwritten, d.rollingOut, d.synced, d.settled, d.paused, d.freshAlready, d.gates,
	} {
		if decision := rule(); decision != nil {
			return *decision
		}
	}
	return d.restart()
}

func (d *decider) differs() bool { return slices.ContainsFunc(d.findings, finding.differs) }

// changes are the differences, sorted by source.
func (d *decider) changes() []Change {
	var changes []Change
	for _, f := range d.findings {
		if !f.differs() {
			continue
		}
		if d.onCreate() && f.record.Digest.IsZero() && f.seen.Changed.Equal(f.seen.Created) && !f.copied() {
			f.event = Created // what pods have of it is not known, and it is as it was made
		}
		changes = append(changes, f.change())
	}
	return changes
}

// replaced are the immutable objects that were made again with other content.
func (d *decider) replaced() []reference.Source {
	var sources []reference.Source
	for _, f := range d.findings {
		if f.replaced() {
			sources = append(sources, f.use.Source)
		}
	}
	return sources
}

// required withholds restarts while pods could not start (rule 2).
func (d *decider) required() *Decision {
	var absent, unknown []string
	for _, f := range d.findings {
		switch {
		case f.condition == unseen:
			unknown = append(unknown, f.use.Source.String())
		case f.condition == missing && !f.use.Optional:
			absent = append(absent, f.use.Source.String())
		}
	}
	var message string
	var after time.Duration
	switch {
	case d.behind:
		after = unseenAgain
		message = "the last restart was for content that is not seen yet"
	case len(unknown) > 0:
		after = unseenAgain
		message = "not seen, or not as it is now: " + strings.Join(unknown, ", ")
	case len(absent) > 0:
		message = "required but absent: " + strings.Join(absent, ", ")
	default:
		return nil
	}
	decision := d.pending(Waiting, message, after)
	return &decision
}

// synced is the end where nothing differs (rule 4).
func (d *decider) synced() *Decision {
	if d.differs() {
		return nil
	}
	if d.in.Look && d.in.Rollout != nil {
		if again := d.unsettled(); again != nil {
			return again
		}
	}
	d.entry.PendingSince, d.entry.PausedSince = time.Time{}, time.Time{}
	if !d.in.Workload.Rolling {
		d.prove()
	}
	decision := Decision{Verdict: InSync, Message: "pods run with the present content", Entry: d.entry}
	if d.rolling() {
		decision.After = d.untilStalled() // what is provisional is judged then, if the rollout gets stuck
	}
	if d.isNew || d.entered {
		decision.Verdict, decision.Message = Baseline, "present content taken as what the pods run with"
	}
	return &decision
}

// present is the present content as a record.
func (d *decider) present() map[reference.Source]ledger.Source {
	sources := make(map[reference.Source]ledger.Source, len(d.findings))
	for _, f := range d.findings {
		record := entered(f)
		// What was entered in this very decision, because the cache showed a rollout, is judged when the cache shows its end.
		record.Provisional = d.in.Workload.Rolling && d.entry.Sources[f.use.Source].Provisional
		sources[f.use.Source] = record
	}
	return sources
}

// prove records the present content and template as what every active pod runs with.
func (d *decider) prove() {
	proven := d.present()
	e, w := d.entry, d.in.Workload
	if e.Template != w.Template || !e.PendingSince.IsZero() || e.ProvenAt.IsZero() {
		e.ProvenAt = d.now
	}
	if !w.Rolling {
		e.Template = w.Template
	}
	e.Sources, e.PendingSince, e.PausedSince = proven, time.Time{}, time.Time{}
}

// pending is a decision that leaves differences where they are, and remembers since when.
func (d *decider) pending(verdict Verdict, message string, after time.Duration) Decision {
	changes := d.changes()
	if len(changes) > 0 && d.entry.PendingSince.IsZero() {
		d.entry.PendingSince = d.now
	}
	if d.request != "" {
		message += "; " + describeRequest(d.request)
	}
	return Decision{Verdict: verdict, Changes: changes, Message: message, Entry: d.entry, After: after, Requested: d.request}
}

// restart writes the value for the present content of all sources, also of those that do not differ.
func (d *decider) restart() Decision {
	for _, f := range d.findings {
		if record, entered := d.entry.Sources[f.use.Source]; entered && f.seen.State == Present {
			record.Pending = f.shown
			record.ResourceVersion = f.seen.ResourceVersion
			d.entry.Sources[f.use.Source] = record
		}
	}
	decision := d.pending(Restart, "", 0)
	decision.Message = because(d.request, decision.Changes)
	decision.Write = d.write()
	decision.Adoption = d.adoption()
	if d.in.Workload.hasRuns() {
		decision.Handled = d.present()
	}
	if d.request != "" {
		decision.Requested, decision.Adoption = d.request, false
	}
	return decision
}
