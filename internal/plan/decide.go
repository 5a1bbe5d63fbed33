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
	token, problems := token(in.Workload)
	pause, invalid := in.Pause.period(in.Workload)
	problems = append(problems, invalid...)
	if in.Workload.Generation < in.Written {
		return Decision{Verdict: Restarting, Entry: in.Entry, After: lookAgain, Problems: problems,
			Message: "waiting for the restart to show in the cache"}
	}
	d := &decider{in: in, now: in.Now, pause: pause}
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
		d.entry = d.in.Entry.Clone()
		d.entry.AbsentSince = time.Time{}
		unthrottle(d.entry, d.now)
		if d.entry.PausedSince.After(d.now) {
			d.entry.PausedSince = d.now // by the clock of another replica
		}
		d.began = d.entry.PausedSince
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

// inherit goes by the record of the object that was there before.
func (d *decider) inherit() {
	d.entry = d.in.Predecessor.Clone()
	d.entry.UID, d.entry.Template, d.entry.AbsentSince = d.in.Workload.UID, digest.Digest{}, time.Time{}
}

// inspect compares every source and notes differences in the record.
func (d *decider) inspect() {
	for _, use := range d.in.Selection.Uses {
		record, recorded := d.entry.Sources[use.Source]
		f := compare(d.in.Key, d.now.Sub(d.in.Began), use, d.in.Sources[use.Source], record, recorded)
		if d.in.Policy.OnDelete && f.condition == missing && record.Present {
			f.condition, f.event = vanished, Deleted
		}
		if d.in.Workload.hasRuns() && f.condition == appeared && d.onCreate() {
			f.condition, f.event = changed, Created
			f.record = ledger.Source{Present: true, Scope: use.Scope, Diverged: longAgo()}
		}
		d.findings = append(d.findings, f)
	}
	for i := range d.findings {
		if f := &d.findings[i]; f.differs() {
			f.record = diverged(*f)
		}
	}
	d.adopt()
	for _, f := range d.findings {
		if f.differs() {
			d.entry.Sources[f.use.Source] = f.record
		}
	}
}

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
	if requested {
		e.Token, d.request = d.request, ""
	}
	if e.PendingSince.IsZero() {
		e.PendingSince = d.now // its rollout is not known to be through
	}
	d.adoptFor(written)
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

// sight enters sources met for the first time (design, rule 2). It asks for the pods only if one of them could be
// certainly stale, and makes those that are a difference.
func (d *decider) sight() *Decision {
	var suspects []int
	for i, f := range d.findings {
		switch f.condition {
		case first, appeared:
			d.entered = true
			if d.behind || d.mayBeStale(f) {
				suspects = append(suspects, i)
				continue
			}
		case missing:
			if _, recorded := d.entry.Sources[f.use.Source]; recorded {
				continue
			}
			d.entered = true
		default:
			continue
		}
		d.enter(f, false)
	}
	if len(suspects) == 0 {
		return nil
	}
	if d.rolling() || d.holds() || d.behind || d.request != "" {
		for _, i := range suspects {
			d.enter(d.findings[i], true)
		}
		return nil
	}
	return d.judge(suspects)
}

// judge looks at the pods for sources that may be newer than them.
func (d *decider) judge(suspects []int) *Decision {
	if d.in.Rollout == nil {
		return &Decision{NeedsRollout: true}
	}
	if again := d.unsettled(); again != nil {
		return again
	}
	for _, i := range suspects {
		f := &d.findings[i]
		if !slices.ContainsFunc(d.in.Rollout.Pods, func(p Pod) bool { return d.certainlyStale(p, *f) }) {
			d.enter(*f, false)
			continue
		}
		// The record says that the content the pods run with is not known: nothing equals the zero digest.
		f.condition, f.record = changed, ledger.Source{Present: true, Scope: f.use.Scope, Diverged: longAgo()}
		f.record = diverged(*f)
		d.entry.Sources[f.use.Source] = f.record
	}
	return nil
}

// enter records a source as it is now. Keys that an equal record had beyond the present scope stay in it until the
// rollout that dropped them is proven.
func (d *decider) enter(f finding, provisional bool) {
	if f.condition == first && f.equal {
		f.use.Scope = f.record.Scope.Union(f.use.Scope)
		f.shown = d.in.Key.Scoped(f.use.Source, f.use.Scope, f.seen.Content)
	}
	record := entered(f)
	record.Provisional = provisional
	d.entry.Sources[f.use.Source] = record
}

func (d *decider) differs() bool { return slices.ContainsFunc(d.findings, finding.differs) }

// changes are the differences, sorted by source.
func (d *decider) changes() []Change {
	var changes []Change
	for _, f := range d.findings {
		if !f.differs() {
			continue
		}
		if d.onCreate() && f.record.Digest.IsZero() && f.seen.Changed.Equal(f.seen.Created) {
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

// holds reports whether restarts are held, and will happen when that ends. A workload that is only observed is judged as any
// other, until it would be restarted.
func (d *decider) holds() bool { return d.in.Hold != nil && d.in.Hold.Verdict != Observed }

// held reports a hold from outside (rule 1). Differences are remembered all the same.
func (d *decider) held() *Decision {
	if d.in.Hold == nil {
		return nil
	}
	if !d.holds() && d.differs() { // what is only observed may be over
		if decision := d.freshAlready(); decision != nil && (decision.NeedsRollout || decision.Verdict == AlreadyFresh || decision.Verdict == InSync) {
			return decision
		}
	}
	decision := d.pending(d.in.Hold.Verdict, d.in.Hold.Message, d.in.Hold.For)
	return &decision
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

// overwritten looks into a template that does not carry the value it was given (rule 3): the work of an undo, or of
// whoever else owns the template.
func (d *decider) overwritten() *Decision {
	w := d.in.Workload
	if w.Value == d.entry.Value || !d.answered() {
		return nil
	}
	if d.in.Rollout == nil {
		return &Decision{NeedsRollout: true}
	}
	if again := d.unsettled(); again != nil {
		return again
	}
	if d.allFresh() || d.bornAfter() {
		return nil
	}
	decision := d.pending(RolledBack, "the template of the last restart was taken back while old pods are active", recheck)
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
	decision.Message = Describe(decision.Changes)
	decision.Write = d.write()
	decision.Adoption = d.adoption()
	if d.in.Workload.hasRuns() {
		decision.Handled = d.present()
	}
	if d.request != "" {
		decision.Requested, decision.Adoption = d.request, false
		decision.Message = describeRequest(d.request)
		if len(decision.Changes) > 0 {
			decision.Message += "; " + Describe(decision.Changes)
		}
	}
	return decision
}

// adoption reports whether every difference is one of content that was stale at first sight.
func (d *decider) adoption() bool {
	for _, f := range d.findings {
		if f.differs() && !f.record.Digest.IsZero() {
			return false
		}
	}
	return true
}
