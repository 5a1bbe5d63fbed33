package plan_test

import (
	"bytes"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// The simulation plays random schedules around Reloader in a small model of Kubernetes, in virtual time. A schedule
// follows from its seed alone. The oracle says what must hold.
//
//	go test ./internal/plan -run 'Simulation$' -seed 17                 one schedule, with its trace
//	go test ./internal/plan -run '^$' -bench Simulation -benchtime 10m  as many as fit in that time, from -seed on
//
// The second is faster with GOGC=400.
//
// What the actors leave out is said where they do.

var (
	simSeed  = flag.Uint64("seed", 0, "the seed of the only, or with -bench of the first, schedule of the simulation")
	simCount = flag.Int("schedules", 2000, "how many schedules of the simulation a test plays")
)

// faults are mistakes that the simulation must find.
type faults struct {
	// digestTwice digests what is met in a first list a second time, without its data.
	digestTwice bool
	// trustRemovals takes a change time that did not move as the time of a change.
	trustRemovals bool
	// tiesFresh takes pods of the second of a change as newer.
	tiesFresh bool
	// repeatValues writes the same value for the same content.
	repeatValues bool
	// blindWrites leaves out the version that was decided on.
	blindWrites bool
	// recordFirst records a restart before it is written.
	recordFirst bool
	// noTurns goes by what content is, not by what it was meanwhile.
	noTurns bool
	// forgetTokens records a restart that somebody asked for without the token.
	forgetTokens bool
}

// simulation is one schedule as it is played.
type simulation struct {
	simClock
	faults    faults
	server    *server
	oracle    *oracle
	processes []*process
	leader    *process
	shelf     shelf
	held      map[ledger.Workload]bool
	rivals    map[ledger.Workload]func() // write the template when Reloader is about to
	asked     map[ledger.Workload]string // the last token by which somebody asked for a restart
	failure   *simFailure

	// the kind of world: how often, in percent or of the crashes in a thousand, things go wrong.
	slow, lossy, crashy, late int
	losable, quiet, calm      bool
	fresh, images             int
	applied, looked           time.Time
}

// simFailure is a promise that was broken.
type simFailure struct{ kind, text string }

func (s *simulation) fail(kind, format string, args ...any) {
	if s.failure == nil {
		s.failure = &simFailure{kind, fmt.Sprintf(format, args...)}
		s.note("FAILURE: %s: %s", kind, s.failure.text)
	}
}

// simSteps are how many things others do in one schedule, simMost how much may happen before it counts as endless.
const (
	simSteps = 40
	simMost  = 100000
)

// play plays the schedule of a seed without the steps that are left out.
func play(seed uint64, f faults, without map[int]bool, tracing bool) *simulation {
	s := newSimulation(seed, f, tracing)
	r := simRand(seed ^ 0xabcdef)
	dense := r.Intn(3)
	gaps := [][]int{
		{0, 10, 100, 300, 900, 1000, 2000, 3000, 8000, 70000},
		{10, 900, 3000, 10000, 60000, 200000, 700000},
		{1000, 30000, 100000, 600000, 1000000, 3600000},
	}[dense]
	at := s.now.Add(20 * time.Minute)
	for i := range simSteps {
		gap := gaps[r.Intn(len(gaps))]
		at = at.Add(time.Duration(gap+r.Intn(gap/4+1)) * time.Millisecond)
		own := r.Uint64()
		if without[i] {
			continue
		}
		s.after(at.Sub(s.now), func() { (&actor{s, simRand(own)}).act() })
	}
	if s.until(at) {
		s.rest()
		if s.until(at.Add(150 * time.Minute)) {
			s.oracle.check()
		}
	}
	return s
}

func (s *simulation) until(at time.Time) bool {
	for s.failure == nil && s.now.Before(at) {
		if !s.run(s.now.Add(min(time.Minute, at.Sub(s.now))), simMost) {
			s.fail("livelock", "there is no end to it")
		}
	}
	return s.failure == nil
}

// newSimulation is a world with some workloads that have been running for a while.
func newSimulation(seed uint64, f faults, tracing bool) *simulation {
	s := &simulation{simClock: newSimClock(seed), faults: f, held: map[ledger.Workload]bool{}, rivals: map[ledger.Workload]func(){}}
	s.asked = map[ledger.Workload]string{}
	s.tracing = tracing
	s.shelf.entries = map[types.UID][]byte{}
	s.oracle = newOracle(s)
	key, err := digest.NewKey(bytes.Repeat([]byte{1}, digest.KeySize))
	if err != nil {
		s.fail("key", "%v", err)
	}
	s.server = &server{
		simulation: s, key: key, sources: map[reference.Source]*apiSource{}, lastOf: map[reference.Source]*apiSource{},
		versions: map[int]*apiSource{}, history: map[reference.Source][]*apiSource{},
		wl: map[ledger.Workload]*apiWorkload{}, parts: map[types.UID]*parts{}, digests: map[apiTemplate]digest.Digest{},
		contents: map[string]digest.Content{},
	}
	for _, name := range simSources {
		s.server.put(name, "kustomize-controller", true, map[string]string{"a": "A", "b": "A"}, 0)
	}
	s.now = s.now.Add(10 * time.Minute)
	for i := range 1 + s.r.Intn(2) {
		kind := []string{"Deployment", "Deployment", "StatefulSet", "DaemonSet"}[s.r.Intn(4)]
		s.server.make(apiWorkload{
			Workload: ledger.Workload{Kind: kind, Namespace: "apps", Name: "w" + itoa(i)}, replicas: 1 + s.r.Intn(3),
			template: apiTemplate{uses: s.r.Intn(len(simUses))}, recreate: s.chance(20),
			manager: []string{"", "kustomize-controller"}[s.r.Intn(2)],
		}, nil)
	}
	s.slow, s.lossy, s.crashy = []int{0, 2, 20}[s.r.Intn(3)], []int{0, 0, 2, 10}[s.r.Intn(4)], []int{0, 0, 5, 30}[s.r.Intn(4)]
	s.late, s.losable = []int{0, 5, 30}[s.r.Intn(3)], s.chance(15)
	s.quiet = s.chance(20)
	for range 1 + s.r.Intn(2) {
		s.after(s.between(0, 300000), s.startProcess)
	}
	return s
}

// startProcess starts a replica.
func (s *simulation) startProcess() {
	p := &process{
		simulation: s, id: len(s.processes) + 1, alive: true, work: map[ledger.Workload]*job{},
		tracks: map[ledger.Workload]*simTrack{}, boot: map[ledger.Workload]bool{},
		caches: caches{
			raw:       map[reference.Source]*apiSource{},
			workloads: map[ledger.Workload]*apiWorkload{},
		},
	}
	p.states, p.former = map[reference.Source]plan.Source{}, map[reference.Source]plan.Source{}
	p.skew = []time.Duration{0, s.between(-900, 900), s.between(-60000, 60000), s.between(-7200000, 7200000)}[s.r.Intn(4)]
	s.note("process %d starts, clock off by %s", p.id, p.skew)
	s.processes = append(s.processes, p)
	p.list()
	s.elect(s.between(10, 2000))
}

// elect lets a replica lead after a while if none does.
func (s *simulation) elect(wait time.Duration) {
	s.after(wait, func() {
		if s.leader != nil {
			return
		}
		for _, p := range s.processes {
			if p.alive && !p.leading {
				p.lead()
				return
			}
		}
	})
}

func (p *process) lead() {
	p.simulation.leader = p
	p.oracle.forgets()
	if err := p.openBook(); err != nil {
		p.fail("ledger", "%v", err)
		return
	}
	p.note("process %d leads with %d records", p.id, len(p.book.entries))
	p.leading, p.began, p.awake = true, p.clock(), p.now
	if p.book.bootstrap {
		for _, name := range p.server.names {
			if w := p.workloads[name]; w != nil && p.book.get(w.uid) == nil {
				p.boot[name] = true
			}
		}
		if len(p.boot) == 0 {
			p.book.endBootstrap()
		}
	}
	for _, name := range p.server.names {
		if p.workloads[name] != nil || p.book.named(name) != nil {
			p.enqueue(name)
		}
	}
}

// crash ends a replica at once.
func (s *simulation) crash(p *process, where string) {
	if !p.alive {
		return
	}
	s.note("process %d crashes: %s", p.id, where)
	s.end(p, s.between(500, 15000))
}

// freeze lets a leader stand still, as a process does whose machine has no time for it. If it is for long, another leads
// when it goes on, and for a moment it does not know.
func (s *simulation) freeze(p *process, lasts time.Duration) {
	const lease = 15 * time.Second
	s.note("process %d stands still for %s", p.id, lasts)
	if !p.thaw.Before(s.now) {
		return
	}
	s.oracle.notes(p)
	p.thaw = s.now.Add(lasts)
	p.awake = p.thaw
	if lasts < lease {
		return
	}
	p.overdue = true
	s.oracle.forgets()
	s.after(lease, func() {
		if s.leader == p {
			s.leader = nil
			s.elect(s.between(10, 2000))
		}
	})
	s.after(lasts+s.between(0, 2000), func() { s.crash(p, "its lease is lost") })
}

// stop ends a replica in good order: what is not stored yet is, and another leads at once.
func (s *simulation) stop(p *process) {
	s.note("process %d stops", p.id)
	if p.leading {
		p.book.flush(p.book.entries)
	}
	s.end(p, s.between(10, 2000))
}

func (s *simulation) end(p *process, lease time.Duration) {
	p.alive = false
	if s.leader == p {
		s.leader = nil
		s.oracle.notes(p)
		s.oracle.forgets()
		s.elect(lease)
	}
	wait := []time.Duration{s.between(500, 5000), s.between(500, 60000), s.between(60000, 1200000)}[s.r.Intn(3)]
	if s.calm {
		wait = time.Second
	}
	s.after(wait, s.startProcess)
}

// onRecord is how long it may take until the record of what a leader saw is stored.
func (s *simulation) onRecord() time.Duration {
	switch {
	case s.late > 0:
		return 2 * time.Minute
	case s.slow > 0 || s.lossy > 0:
		return 15 * time.Second
	}
	return time.Second
}

func (s *simulation) setHeld(name ledger.Workload, held bool) {
	if s.held[name] == held {
		return
	}
	s.held[name] = held
	s.note("%s is held: %t", name.Short(), held)
	if s.leader != nil {
		s.leader.enqueue(name)
	}
}

// rest ends all that goes wrong.
func (s *simulation) rest() {
	s.note("all is calm from now on")
	s.slow, s.lossy, s.crashy, s.late, s.calm = 0, 0, 0, 0, true
	for _, name := range s.server.names {
		s.setHeld(name, false)
	}
	if s.leader == nil {
		s.startProcess()
	}
}

func atoi(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

// shrink leaves out steps that a failure does not need.
func shrink(seed uint64, f faults, kind string) map[int]bool {
	without := map[int]bool{}
	for size := simSteps / 2; size > 0; size /= 2 {
		for from := 0; from < simSteps; from += size {
			try := map[int]bool{}
			for i := range simSteps {
				try[i] = without[i] || i >= from && i < from+size
			}
			if s := play(seed, f, try, false); s.failure != nil && s.failure.kind == kind {
				without = try
			}
		}
	}
	return without
}

// explain is the trace of a schedule that failed, with as few steps as it needs.
func explain(seed uint64, f faults) string {
	s := play(seed, f, nil, false)
	if s.failure != nil {
		s = play(seed, f, shrink(seed, f, s.failure.kind), true)
	} else {
		s = play(seed, f, nil, true)
	}
	return strings.Join(s.trace, "\n")
}

// TestSimulation plays schedules until one fails. With -seed, it plays that one and prints its trace.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		s := play(*simSeed, faults{}, nil, true)
		t.Log("\n" + strings.Join(s.trace, "\n"))
		if s.failure != nil {
			t.Errorf("seed %d: %s: %s; with as few steps as it needs:\n%s", *simSeed, s.failure.kind, s.failure.text, explain(*simSeed, faults{}))
		}
		return
	}
	restarts, changes, adopted := 0, 0, 0
	failed := map[string][]uint64{}
	for seed := range uint64(*simCount) {
		s := play(seed+1, faults{}, nil, false)
		restarts, changes, adopted = restarts+s.oracle.restarts, changes+s.server.changes, adopted+s.oracle.adopted
		if s.failure != nil {
			failed[s.failure.kind] = append(failed[s.failure.kind], seed+1)
		}
	}
	t.Logf("%d schedules, %d changes, %d restarts, %d of them at first sight", *simCount, changes, restarts, adopted)
	for kind, seeds := range failed {
		t.Errorf("%s: seeds %v; the first, with as few steps as it needs:\n%s", kind, seeds[:min(10, len(seeds))], explain(seeds[0], faults{}))
	}
}

// TestSimulationIsDeterministic because a seed that fails must fail again.
func TestSimulationIsDeterministic(t *testing.T) {
	for seed := range uint64(20) {
		first, second := play(seed+1, faults{}, nil, true), play(seed+1, faults{}, nil, true)
		if !slices.Equal(first.trace, second.trace) {
			t.Errorf("seed %d plays differently", seed+1)
		}
	}
}

// BenchmarkSimulation plays schedules, from -seed on, for as long as -benchtime says. It goes on after one that fails.
func BenchmarkSimulation(b *testing.B) {
	next := make(chan uint64, 1)
	next <- max(1, *simSeed)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			seed := <-next
			next <- seed + 1
			if s := play(seed, faults{}, nil, false); s.failure != nil {
				b.Errorf("seed %d: %s: %s", seed, s.failure.kind, s.failure.text)
			}
		}
	})
	b.Logf("%d schedules, the last of seed %d", b.N, <-next-1)
}
