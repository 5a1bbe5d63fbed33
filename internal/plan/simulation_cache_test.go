package plan_test

import (
	"maps"
	"slices"
	"time"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// stream is one watch: events arrive in order and late, and not at all while it is cut.
type stream struct {
	last  time.Time
	cut   bool
	epoch int
}

// caches are what a process has seen of the API server, by two watches that lag behind independently. They hold sources
// with the evidence for their times, as internal/source does.
type caches struct {
	raw       map[reference.Source]*apiSource
	states    map[reference.Source]plan.Source
	former    map[reference.Source]plan.Source // SeenAt is when it went
	workloads map[ledger.Workload]*apiWorkload
	sourceIn  stream
	loadIn    stream
}

// deliver plans the arrival of an event.
func (p *process) deliver(in *stream, handle func()) {
	if in.cut {
		return
	}
	lag := p.between(1, 30)
	if p.chance(p.slow) {
		lag = p.between(50, 4000)
	}
	at := p.now.Add(lag)
	if at.Before(in.last) {
		at = in.last
	}
	in.last = at
	epoch := in.epoch
	p.after(at.Sub(p.now), func() {
		if p.alive && in.epoch == epoch {
			handle()
		}
	})
}

func (s *simulation) tellSource(name reference.Source, o *apiSource) {
	for _, p := range s.processes {
		if p.alive {
			p.deliver(&p.sourceIn, func() { p.sawSource(name, o, true) })
		}
	}
}

func (s *simulation) tellWorkload(name ledger.Workload, w *apiWorkload) {
	for _, p := range s.processes {
		if p.alive {
			p.deliver(&p.loadIn, func() { p.sawWorkload(name, w) })
		}
	}
}

// list fills the caches of a new process.
func (p *process) list() {
	for _, name := range simSources {
		if o := p.server.sources[name]; o != nil {
			p.raw[name] = o
			observed := p.observed(o)
			observed.Listed = observed.Changed
			if p.faults.digestTwice {
				observed.Content = p.server.digestOf(name, nil)
			}
			p.states[name] = observed
		}
	}
	for _, name := range p.server.names {
		if w := p.server.wl[name]; w != nil {
			p.workloads[name] = w
		}
	}
}

// interrupt cuts a watch; a list follows after a while.
func (p *process) interrupt(sources bool) {
	in := &p.loadIn
	if sources {
		in = &p.sourceIn
	}
	if in.cut {
		return
	}
	if sources {
		p.oracle.misses(p)
	}
	in.cut = true
	in.epoch++
	p.note("process %d: watch of sources %t is lost", p.id, sources)
	p.after(p.between(100, 50000), func() {
		if !p.alive {
			return
		}
		in.cut, in.last = false, p.now
		p.note("process %d: lists again, sources %t", p.id, sources)
		if sources {
			p.oracle.misses(p)
			p.relistSources()
			return
		}
		for _, name := range p.server.names {
			if p.workloads[name] != p.server.wl[name] {
				p.sawWorkload(name, p.server.wl[name])
			}
		}
	})
}

func (p *process) relistSources() {
	for _, name := range simSources {
		o, had := p.server.sources[name], p.raw[name]
		if o != had {
			p.sawSource(name, o, false)
		}
	}
}

func (p *process) observed(o *apiSource) plan.Source {
	at, manager := o.changed()
	return plan.Source{
		State: plan.Present, UID: o.uid, ResourceVersion: itoa(o.version), Created: o.created, Content: o.content,
		Changed: at, Manager: manager, SeenAt: p.clock(),
	}
}

func (p *process) live(observed plan.Source) bool {
	return !observed.Changed.IsZero() && p.clock().Sub(observed.Changed).Abs() <= 10*time.Second
}

// sawSource keeps what an event tells: as internal/source does.
func (p *process) sawSource(name reference.Source, o *apiSource, watched bool) {
	before := p.raw[name]
	if o == nil {
		was := p.states[name]
		was.SeenAt = p.clock()
		p.former[name] = was
		delete(p.raw, name)
		delete(p.states, name)
		p.sourceChanged(name)
		return
	}
	p.raw[name] = o
	observed := p.observed(o)
	known, had := p.states[name]
	if observed.Listed = known.Listed; !watched {
		observed.Listed = observed.Changed
	}
	switch {
	case !had:
		observed.Live = watched && p.live(observed)
		if was, known := p.former[name]; known && p.clock().Sub(was.SeenAt) <= 5*time.Minute {
			if observed.Turns = was.Turns; !maps.Equal(was.Content, observed.Content) {
				observed.Turns = observed.Turned(was)
			}
		}
	case maps.Equal(known.Content, observed.Content):
		observed.Changed, observed.Manager, observed.Timing = known.Changed, known.Manager, known.Timing
		observed.SeenAt, observed.Live, observed.Turns = known.SeenAt, known.Live, known.Turns
		p.states[name] = observed
		return
	default:
		p.time(&observed, before, watched)
		if !p.faults.noTurns {
			observed.Turns = observed.Turned(known)
		}
	}
	p.states[name] = observed
	p.sourceChanged(name)
}

func (p *process) time(observed *plan.Source, before *apiSource, watched bool) {
	was, _ := before.changed()
	switch moved := observed.Changed.After(was); {
	case !watched:
		observed.Timing = plan.Listed
	case moved:
		observed.Timing, observed.Live = plan.Exact, p.live(*observed)
	case p.faults.trustRemovals:
		observed.Timing = plan.Exact
	default:
		observed.Timing = plan.Inexact
	}
	if p.faults.tiesFresh && observed.Timing == plan.Exact {
		observed.Changed = observed.Changed.Add(-2 * time.Second)
	}
}

// sourceChanged wakes the workloads that use the source.
func (p *process) sourceChanged(name reference.Source) {
	p.note("process %d sees %s, %s", p.id, name, lazy(func() string { return describeState(p.states[name]) }))
	for _, w := range p.server.names {
		kept := p.workloads[w]
		if kept != nil && slices.ContainsFunc(simUses[kept.template.uses], func(u reference.Use) bool { return u.Source == name }) {
			p.enqueue(w)
		}
	}
}

func describeState(o plan.Source) string {
	if o.State != plan.Present {
		return "absent"
	}
	timing := [...]string{"listed", "exact", "inexact"}[o.Timing]
	return "version " + o.ResourceVersion + " " + timing + " " + o.Changed.Format(time.TimeOnly)
}

func (p *process) sawWorkload(name ledger.Workload, w *apiWorkload) {
	if w == nil {
		delete(p.workloads, name)
	} else {
		p.workloads[name] = w
	}
	p.enqueue(name)
}
