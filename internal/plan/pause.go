package plan

import (
	"time"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/selection"
)

// PauseAnnotations are the names of the annotations by which a Deployment has its restarts put off; empty for none.
type PauseAnnotations struct {
	// Period is how long.
	Period string
	// At is since when: written when a period begins, and taken away when it ends. Stakater Reloader pauses a Deployment
	// beside.
	At string
}

// grace is how long after its time Stakater Reloader may still come to resume a Deployment.
const grace = time.Minute

// period is the pause that a Deployment asks for; zero, and a problem, if its annotation cannot be read. Other kinds cannot
// ask for one.
func (a PauseAnnotations) period(w Workload) (time.Duration, []selection.Problem) {
	value, asked := w.Annotations[a.Period]
	if !asked || a.Period == "" || w.Kind != "Deployment" {
		return 0, nil
	}
	period, err := time.ParseDuration(value)
	if err != nil || period < 0 {
		return 0, []selection.Problem{{Annotation: a.Period, Value: value, Detail: `is ignored: want a duration such as "5m"`}}
	}
	return period, nil
}

// leftPaused is since when a Deployment is paused that Stakater Reloader paused and is not there to resume; empty for any
// other. One that its user paused lacks the annotation, or has our own.
func (a PauseAnnotations) leftPaused(w Workload, own string, period time.Duration, now time.Time) string {
	value := w.Annotations[a.At]
	if w.Kind != "Deployment" || w.Held != HeldPaused || a.At == "" {
		return ""
	}
	if value == own {
		return ""
	}
	if since, err := time.Parse(time.RFC3339, value); err == nil && since.Add(period+grace).After(now) {
		return ""
	}
	return value
}

// paused holds a restart back until the workload's pause period is over, so that whatever changes until then is in it. The
// first change begins the period, and later ones do not extend it. It comes before the pods are asked for: what they run
// with counts at its end. Who paused the rollout is waited for first, and the period goes on meanwhile.
func (d *decider) paused() *Decision {
	if d.pause == 0 || d.written() {
		return nil
	}
	if d.entry.PausedSince.IsZero() {
		d.entry.PausedSince = d.now
	}
	end := d.entry.PausedSince.Add(d.pause)
	if !end.After(d.now) || d.in.Workload.Held == HeldPaused {
		return nil
	}
	d.puttingOff = true
	decision := d.pending(Throttled, "waiting for the end of the pause period at "+stamp(end), end.Sub(d.now))
	return &decision
}

// mark is what to do about the annotation that says since when a restart is put off. Whose it is, its value tells: what
// others wrote, Stakater Reloader or a manifest, stays until a period begins, and is not fought over. The record keeps the
// time until the annotation is seen to be gone, whatever became of the request that was to take it away.
func (d *decider) mark(verdict Verdict) *Mark {
	w, e := d.in.Workload, d.entry
	live, key := w.Annotations[d.in.Pause.At], d.in.Pause.At
	switch {
	case key == "":
		return nil
	case d.puttingOff && live != stamp(e.PausedSince):
		return &Mark{Annotation: key, Value: stamp(e.PausedSince)}
	case live == "":
		return nil
	case verdict == Restart && live == stamp(e.PausedSince):
		return &Mark{Annotation: key}
	case e.PausedSince.IsZero() && live == stamp(d.began):
		e.PausedSince = d.began
		return &Mark{Annotation: key}
	}
	return nil
}

// stamp is a time as the annotation has it; empty for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// unmark takes the annotation away from a workload that has opted out meanwhile.
func (a PauseAnnotations) unmark(w Workload, entry *ledger.Entry) *Mark {
	if entry == nil || entry.PausedSince.IsZero() || a.At == "" || w.Annotations[a.At] != stamp(entry.PausedSince) {
		return nil
	}
	return &Mark{Annotation: a.At}
}
