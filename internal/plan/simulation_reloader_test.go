package plan_test

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

var (
	errSimConflict = errors.New("conflict")
	errSimGone     = errors.New("gone")
	errSimLost     = errors.New("no answer")
)

func itoa(n int) string { return strconv.Itoa(n) }

// process is one replica of Reloader. It does what internal/controller does, a request at a time; each answer is an
// event of its own, and the process may end before it comes.
type process struct {
	*simulation
	caches
	id    int
	alive bool
	// until thaw it does nothing, and does not know. It is overdue if it loses its lease by that.
	thaw    time.Time
	overdue bool
	skew    time.Duration
	leading bool
	began   time.Time
	awake   time.Time // it has led, without standing still, since
	book    *book
	work    map[ledger.Workload]*job
	tracks  map[ledger.Workload]*simTrack
	boot    map[ledger.Workload]bool
	tokens  time.Time // adoption: paid for up to here
}

// job is a workload in the queue.
type job struct {
	queued, running, dirty bool
	failures               int
	wait                   time.Time
}

// simTrack is what the controller remembers of a workload beyond the ledger.
type simTrack struct {
	uid        types.UID
	written    int64
	conflicts  int
	progress   string
	progressed time.Time
	settling   time.Time
	verdict    plan.Verdict
	message    string
}

// after plans what the process does. While it is frozen, it comes late, in its order.
func (p *process) after(d time.Duration, do func()) {
	var awake func()
	awake = func() {
		if wait := p.thaw.Sub(p.now); wait >= 0 {
			p.simulation.after(wait+1, awake)
			return
		}
		do()
	}
	p.simulation.after(d, awake)
}

func (p *process) clock() time.Time { return p.now.Add(p.skew) }

func (p *process) enqueue(name ledger.Workload) {
	if !p.leading {
		return
	}
	j := p.work[name]
	if j == nil {
		j = &job{}
		p.work[name] = j
	}
	switch {
	case j.running:
		j.dirty = true
	case !j.queued:
		j.queued = true
		delay := p.between(0, 5)
		if p.chance(p.slow) {
			delay = p.between(5, 1000)
		}
		p.after(delay, func() {
			if p.alive && p.leading {
				j.queued, j.running, j.dirty = false, true, false
				p.reconcile(name)
			}
		})
	}
}

// again looks at a workload once more after a while. Of several times, the first counts.
func (p *process) again(name ledger.Workload, d time.Duration) {
	j := p.work[name]
	at := p.now.Add(d)
	if !j.wait.IsZero() && !at.Before(j.wait) {
		return
	}
	j.wait = at
	p.after(d, func() {
		if j.wait.Equal(at) {
			j.wait = time.Time{}
			if p.alive {
				p.enqueue(name)
			}
		}
	})
}

// done ends a reconcile.
func (p *process) done(name ledger.Workload, after time.Duration, err error) {
	j := p.work[name]
	j.running = false
	if err != nil {
		p.note("process %d: %s: %v", p.id, name.Short(), err)
		j.failures++
		p.again(name, min(15*time.Minute, 750*time.Millisecond<<min(j.failures-1, 12)))
	} else if j.failures = 0; after > 0 {
		p.again(name, after)
	}
	if j.dirty {
		p.enqueue(name)
	}
}

// call is a request. It, or its answer, may be lost; it takes effect even if the process ends meanwhile.
func (p *process) call(what string, do func() error, then func(err error)) {
	answer := func(err error) {
		p.after(p.between(1, 8), func() {
			if p.alive && !p.mayCrash(what) {
				then(err)
			}
		})
	}
	if p.mayCrash("before " + what) {
		return
	}
	delay := p.between(1, 8)
	if p.chance(p.slow) {
		delay = p.between(50, 2500)
	}
	p.after(delay, func() {
		if p.chance(p.lossy) {
			p.note("process %d: %s is lost", p.id, what)
			answer(errSimLost)
			return
		}
		err := do()
		if p.chance(p.lossy) {
			p.note("process %d: the answer to %s is lost", p.id, what)
			err = errSimLost
		}
		answer(err)
	})
}

// mayCrash ends the process at this step, sometimes.
func (p *process) mayCrash(where string) bool {
	if p.r.Intn(1000) >= p.crashy {
		return false
	}
	p.crash(p, where)
	return true
}

func (p *process) track(w plan.Workload) *simTrack {
	t, ok := p.tracks[w.Workload]
	if !ok || t.uid != w.UID {
		t = &simTrack{uid: w.UID}
		p.tracks[w.Workload] = t
	}
	return t
}

func (t *simTrack) observe(w plan.Workload, now time.Time) {
	if t.progress != w.Progress || t.progressed.IsZero() {
		t.progress, t.progressed = w.Progress, now
	}
}

func (p *process) reconcile(name ledger.Workload) {
	kept := p.workloads[name]
	if kept == nil {
		p.gone(name)
		return
	}
	w := p.server.observe(kept)
	t := p.track(w)
	if t.conflicts < 3 {
		p.consider(w, kept.out, t)
		return
	}
	var live *apiWorkload
	p.call("live read", func() error { live = p.server.wl[name]; return nil }, func(err error) {
		switch {
		case err != nil:
			p.done(name, 0, err)
		case live == nil || live.uid != w.UID:
			p.done(name, 10*time.Second, nil)
		default:
			p.consider(p.server.observe(live), live.out, t)
		}
	})
}

func (p *process) gone(name ledger.Workload) {
	delete(p.tracks, name)
	p.entered(name)
	if e := p.book.named(name); e != nil {
		p.markGone(e)
	}
	p.done(name, 0, nil)
}

func (p *process) markGone(e *ledger.Entry) {
	if e.AbsentSince.IsZero() {
		e = e.Clone()
		e.AbsentSince = p.clock()
		p.book.put(e)
	}
}

// entered notes that a workload that was there when the ledger was made has been looked at.
func (p *process) entered(name ledger.Workload) {
	if p.boot[name] {
		if delete(p.boot, name); len(p.boot) == 0 {
			p.book.endBootstrap()
		}
	}
}

func (p *process) input(w plan.Workload, out bool, t *simTrack) plan.Input {
	now := p.clock()
	t.observe(w, now)
	in := plan.Input{
		Now: now, Key: p.server.key, Workload: w, Policy: plan.Policy{
			SettleQuiet: 2 * time.Second, SettleMax: 30 * time.Second, OnAdoption: plan.RestartStale,
		},
		Selection: selection.Result{Selected: !out, Uses: w.Uses}, Sources: map[reference.Source]plan.Source{},
		Entry: p.book.get(w.UID), Bootstrap: p.boot[w.Workload], AdoptionReady: !p.tokens.After(now),
		Unpersisted: !p.book.persisted(w.UID), Written: t.written, Progressed: t.progressed, SettlingSince: t.settling,
		Began: p.began, Pause: plan.PauseAnnotations{Period: v1alpha1.PausePeriodAnnotation},
	}
	for _, use := range w.Uses {
		observed, found := p.states[use.Source]
		if !found {
			observed = plan.Source{State: plan.Absent}
		}
		in.Sources[use.Source] = observed
	}
	if in.Entry == nil && !out {
		in.Predecessor = p.book.named(w.Workload)
	}
	if p.held[w.Workload] {
		in.Hold = &plan.Hold{Verdict: plan.OwnerSuspended, Message: "held"}
	}
	return in
}

// consider decides, with the pods if they are asked for.
func (p *process) consider(w plan.Workload, out bool, t *simTrack) {
	in := p.input(w, out, t)
	d := plan.Decide(in)
	if !d.NeedsRollout {
		p.act(in, t, d)
		return
	}
	p.askRollout(w, func(rollout *plan.Rollout, err error) {
		if err != nil {
			p.record(in, d.Entry)
		}
		switch {
		case errors.Is(err, errSimGone):
			p.done(w.Workload, 10*time.Second, nil)
			return
		case err != nil:
			p.done(w.Workload, 0, err)
			return
		}
		in.Rollout = rollout
		d = plan.Decide(in)
		if d.NeedsRollout {
			p.fail("undecided", "%s asks for the pods although it has them", w.Workload)
		}
		p.act(in, t, d)
	})
}

// askRollout reads pods, then revisions, then the workload.
func (p *process) askRollout(w plan.Workload, then func(*plan.Rollout, error)) {
	r := &plan.Rollout{}
	var owners []apiTemplate
	listPods := func() error {
		r.Pods = p.server.readPods(w.UID)
		for _, pod := range p.server.parts[w.UID].pods {
			if !pod.terminating {
				owners = append(owners, pod.revision.template)
			}
		}
		return nil
	}
	listRevisions := func() error {
		if present := p.server.present(w.UID); present != nil {
			r.Born = present.created
			for i := range r.Pods {
				r.Pods[i].Current = owners[i] == present.template
			}
		}
		return nil
	}
	read := func() error {
		live := p.server.wl[w.Workload]
		if live == nil {
			return errSimGone
		}
		r.Workload = p.server.observe(live)
		return nil
	}
	p.call("list of pods", listPods, func(err error) {
		if err != nil {
			then(nil, err)
			return
		}
		p.call("list of revisions", listRevisions, func(err error) {
			if err != nil {
				then(nil, err)
				return
			}
			p.call("read of the workload", read, func(err error) { then(r, err) })
		})
	})
}

func (p *process) act(in plan.Input, t *simTrack, d plan.Decision) {
	w := in.Workload
	if d.Verdict != plan.Settling {
		t.settling = time.Time{}
	} else if t.settling.IsZero() {
		t.settling = in.Now
	}
	if t.verdict != d.Verdict || t.message != d.Message {
		t.verdict, t.message = d.Verdict, d.Message
		p.note("process %d: %s: %s, %s %s", p.id, w.Short(), d.Verdict, d.Message, plan.Describe(d.Changes))
	}
	end := func(after time.Duration, err error) {
		if err == nil && in.Predecessor != nil {
			p.markGone(in.Predecessor)
		}
		if entry := p.book.get(w.UID); err == nil && (!in.Selection.Selected ||
			entry != nil && entry.Complete(reference.Sources(in.Selection.Uses))) {
			p.entered(w.Workload)
		}
		p.done(w.Workload, after, err)
	}
	if d.Verdict == plan.Restart {
		p.restart(in, t, d, end)
		return
	}
	t.conflicts = 0
	p.record(in, d.Entry)
	switch {
	case d.Verdict == plan.NotSelected:
		end(0, nil)
	case d.After > 0:
		end(d.After, nil)
	case d.Verdict == plan.Waiting:
		end(30*time.Second, nil)
	default:
		end(10*time.Minute, nil)
	}
}

func (p *process) record(in plan.Input, e *ledger.Entry) {
	if e != nil {
		p.oracle.recorded(p, in, e)
		p.book.put(e)
	}
}

func (p *process) restart(in plan.Input, t *simTrack, d plan.Decision, end func(time.Duration, error)) {
	w, now := in.Workload, p.clock()
	if d.Adoption {
		if p.tokens.After(now) {
			p.record(in, d.Entry)
			end(2*time.Second, nil)
			return
		}
		p.tokens = now.Add(time.Second)
	}
	if p.faults.repeatValues {
		d.Value = repeated(in, d.Value)
	}
	if p.faults.recordFirst {
		p.record(in, plan.Restarted(d, now))
	}
	if rival := p.rivals[w.Workload]; rival != nil {
		delete(p.rivals, w.Workload)
		p.simulation.after(p.between(0, 10), rival)
	}
	var after *apiWorkload
	apply := func() (err error) {
		before := p.server.wl[w.Workload]
		after, err = p.server.apply(w.Workload, w.UID, w.ResourceVersion, d.Value)
		if err == nil {
			p.oracle.restarted(p, in, d, before, after)
		}
		return err
	}
	p.call("restart of "+w.Short(), apply, func(err error) {
		switch {
		case err == nil:
			t.conflicts, t.written = 0, after.generation
			t.observe(p.server.observe(after), now)
			if p.faults.forgetTokens {
				d.Requested = ""
			}
			p.record(in, plan.Restarted(d, now))
			end(10*time.Minute, nil)
		case errors.Is(err, errSimGone):
			end(10*time.Second, nil)
		case errors.Is(err, errSimConflict):
			t.conflicts++
			if !p.faults.recordFirst {
				p.record(in, d.Entry)
			}
			end(min(2*time.Second, 20*time.Millisecond<<min(t.conflicts, 10)), nil)
		default:
			if !p.faults.recordFirst {
				p.record(in, d.Entry)
			}
			end(0, fmt.Errorf("restarting: %w", err))
		}
	})
}

// repeated is a value that depends on the content alone.
func repeated(in plan.Input, value string) string {
	content := value[:len(value)-9]
	chain := in.Key.Bytes("repeat", []byte(content)).String()
	return content + "-" + chain[:8]
}
