package policy

import (
	"cmp"
	"slices"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

// State is how a workload stands to what its sources hold.
type State int

const (
	// Unselected workloads are governed by the policy and have not opted in.
	Unselected State = iota
	// InSync workloads run with the present content.
	InSync
	// Pending workloads need a restart and have not had it yet.
	Pending
	// Restarting workloads are rolled out.
	Restarting
	// Failed workloads could not be restarted, or their rollout does not move.
	Failed
)

// Outcome is what was decided about a workload last.
type Outcome struct {
	State State
	// Reason and Message say why the workload waits, Changes what differs; for those that are pending.
	Reason  string
	Message string
	Changes []string
	// Since is when the difference was first seen, Until when the workload is looked at again; zero if not known.
	Since time.Time
	Until time.Time
}

// OutcomeOf is the outcome that a decision comes to. A workload is looked at again at until; zero if only an event says when.
func OutcomeOf(selected bool, d plan.Decision, until time.Time) Outcome {
	switch {
	case !selected:
		return Outcome{State: Unselected}
	case d.Verdict == plan.InSync, d.Verdict == plan.AlreadyFresh, d.Verdict == plan.Baseline, d.Verdict == plan.Tell:
		return Outcome{State: InSync}
	case d.Verdict == plan.Restart, d.Verdict == plan.Restarting:
		return Outcome{State: Restarting}
	case len(d.Changes) == 0 && d.Requested == "" && d.Verdict != plan.Waiting:
		return Outcome{State: InSync} // held, and nothing to hold
	}
	o := Outcome{State: Pending, Reason: string(d.Verdict), Message: d.Message, Until: until}
	if d.Entry != nil {
		o.Since = d.Entry.PendingSince
	}
	for _, change := range d.Changes[:min(len(d.Changes), v1alpha1.MaxPendingChanges)] {
		o.Changes = append(o.Changes, cut(change.String(), v1alpha1.MaxChangeLength))
	}
	return o
}

// cut shortens a text to that many characters.
func cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// equal reports whether two outcomes look the same in a status. When a workload is looked at again moves with every look.
func (o Outcome) equal(other Outcome) bool {
	return o.State == other.State && o.Reason == other.Reason && o.Message == other.Message &&
		o.Since.Equal(other.Since) && slices.Equal(o.Changes, other.Changes)
}

// waits reports whether the workload needs a restart and has not had it.
func (o Outcome) waits() bool { return o.State == Pending || o.State == Failed }

// Tally is what became of the workloads that a policy governs. What it costs to note one does not depend on how many there
// are, but for those that wait.
type Tally struct {
	outcomes map[ledger.Workload]Outcome
	counts   v1alpha1.WorkloadCounts
	// waiting are those that are pending or failed, the one that waits longest first.
	waiting []ledger.Workload
	// history is the latest restart first.
	history []v1alpha1.Restart
}

// NewTally begins with restarts that are on record.
func NewTally(history []v1alpha1.Restart) *Tally {
	return &Tally{outcomes: map[ledger.Workload]Outcome{}, history: slices.Clone(history)}
}

// Note notes what was decided about a workload, and reports whether that changes the status.
func (t *Tally) Note(w ledger.Workload, o Outcome, now time.Time) bool {
	before, known := t.outcomes[w]
	ended := before.State != InSync && o.State == InSync && t.rolledOut(w, now)
	if known && before.equal(o) {
		t.outcomes[w] = o
		return ended
	}
	t.remove(w, before, known)
	t.outcomes[w] = o
	t.count(o.State, 1)
	if o.waits() {
		at, _ := slices.BinarySearchFunc(t.waiting, w, t.compare)
		t.waiting = slices.Insert(t.waiting, at, w)
	}
	return true
}

// Drop forgets a workload that is gone, or that another policy governs, and reports whether that changes the status.
func (t *Tally) Drop(w ledger.Workload) bool {
	before, known := t.outcomes[w]
	t.remove(w, before, known)
	delete(t.outcomes, w)
	return known && before.State != Unselected
}

// Restarted notes a restart and its cause.
func (t *Tally) Restarted(w ledger.Workload, cause string, at time.Time) {
	restart := v1alpha1.Restart{
		Workload: referenceTo(w), Cause: cut(cause, v1alpha1.MaxMessageLength), At: metav1.NewTime(at.Truncate(time.Second)),
	}
	t.history = slices.Insert(t.history, 0, restart)
	t.history = t.history[:min(len(t.history), v1alpha1.MaxHistory)]
}

// Recovered notes a restart that another process wrote after since, unless that came to note it: then the latest restart of
// the workload is this one.
func (t *Tally) Recovered(w ledger.Workload, cause string, since, at time.Time) {
	i := slices.IndexFunc(t.history, func(r v1alpha1.Restart) bool { return r.Workload == referenceTo(w) })
	if i >= 0 {
		r := t.history[i]
		before := r.At.Time.Before(since.Truncate(time.Second)) || r.RolloutDuration != nil
		if !before && r.Cause == cut(cause, v1alpha1.MaxMessageLength) {
			return
		}
	}
	t.Restarted(w, cause, at)
}

// rolledOut notes that all pods of a workload run with what it was restarted for.
func (t *Tally) rolledOut(w ledger.Workload, now time.Time) bool {
	for i := range t.history {
		restart := &t.history[i]
		if restart.Workload != referenceTo(w) {
			continue
		}
		if restart.RolloutDuration != nil {
			return false
		}
		restart.RolloutDuration = &metav1.Duration{Duration: max(0, now.Sub(restart.At.Time).Round(time.Second))}
		return true
	}
	return false
}

func (t *Tally) remove(w ledger.Workload, before Outcome, known bool) {
	if !known {
		return
	}
	t.count(before.State, -1)
	if before.waits() {
		if at, found := slices.BinarySearchFunc(t.waiting, w, t.compare); found {
			t.waiting = slices.Delete(t.waiting, at, at+1)
		}
	}
}

// compare orders workloads that wait, by what was noted of them.
func (t *Tally) compare(a, b ledger.Workload) int {
	return cmp.Or(
		t.outcomes[a].Since.Compare(t.outcomes[b].Since),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind),
	)
}

func (t *Tally) count(s State, by int32) {
	c := &t.counts
	if s != Unselected {
		c.Selected += by
	}
	switch s {
	case InSync:
		c.InSync += by
	case Pending:
		c.Pending += by
	case Restarting:
		c.Restarting += by
	case Failed:
		c.Failed += by
	case Unselected:
	}
}

// Failure is the workload that could not be restarted for longest, and why; empty if there is none.
func (t *Tally) Failure() (w ledger.Workload, message string) {
	if t.counts.Failed == 0 {
		return w, ""
	}
	i := slices.IndexFunc(t.waiting, func(w ledger.Workload) bool { return t.outcomes[w].State == Failed })
	w = t.waiting[i]
	return w, cut(t.outcomes[w].Message, v1alpha1.MaxMessageLength)
}

// Counts are the numbers of workloads.
func (t *Tally) Counts() v1alpha1.WorkloadCounts { return t.counts }

// Write sets the parts of a status that tell of workloads.
func (t *Tally) Write(status *v1alpha1.ReloadPolicyStatus) {
	counts := t.counts
	status.Workloads, status.Pending, status.History = &counts, nil, slices.Clone(t.history)
	for _, w := range t.waiting[:min(len(t.waiting), v1alpha1.MaxPending)] {
		o := t.outcomes[w]
		pending := v1alpha1.PendingWorkload{
			Workload: referenceTo(w), Reason: o.Reason, Message: cut(o.Message, v1alpha1.MaxMessageLength), Changes: o.Changes,
		}
		if !o.Since.IsZero() {
			pending.Since = metav1.NewTime(o.Since.Truncate(time.Second))
		}
		if !o.Until.IsZero() {
			until := metav1.NewTime(o.Until.Truncate(time.Second))
			pending.Until = &until
		}
		status.Pending = append(status.Pending, pending)
	}
}

func referenceTo(w ledger.Workload) v1alpha1.WorkloadReference {
	return v1alpha1.WorkloadReference{Kind: w.Kind, Namespace: w.Namespace, Name: w.Name}
}
