package controller

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/policy"
)

// statusEvery is how often the status of one policy is written at most, whatever happens to its workloads.
const statusEvery = time.Second

// policies carries what becomes of workloads from those who reconcile them to the one who writes the status of the policy
// that governs them. All of it may be lost: a new leader looks at every workload anew.
type policies struct {
	feed *feed[policy.Name]
	now  func() time.Time

	mu sync.Mutex
	by map[policy.Name]*round
	// early are restarts under policies whose first round has not begun: workloads may be looked at before.
	early map[policy.Name][]func(*policy.Tally)
	// of is what governed each workload when it was last looked at.
	of map[ledger.Workload]standing
}

// standing is by which policy a workload is governed, and which others select it.
type standing struct {
	governing policy.Name
	shadowed  []policy.Name
}

// round is the comparison of everything that one policy selects, and what came of it.
type round struct {
	uid types.UID
	// generation and request are the policy's that the round was begun for.
	generation int64
	request    string
	// next is when another is due.
	next time.Time
	// awaited are the workloads that have not been looked at since it was begun.
	awaited map[ledger.Workload]bool
	// complete is whether all of them have been looked at once. Until then, the stored status tells more than the tally.
	complete bool
	// shadowed are the selected workloads that another policy governs, and which one.
	shadowed map[ledger.Workload]policy.Name
	tally    *policy.Tally

	// written is the policy with the status that was written last: the cache may show an older one. It is nil before the
	// first write, and after one whose outcome is not known. WrittenAt is when the last write was tried.
	written   *v1alpha1.ReloadPolicy
	writtenAt time.Time
	// told is what was told last of the Ready condition.
	told string
}

func newPolicies(feed *feed[policy.Name], now func() time.Time) *policies {
	return &policies{feed: feed, now: now, by: map[policy.Name]*round{}, early: map[policy.Name][]func(*policy.Tally){}, of: map[ledger.Workload]standing{}}
}

// note takes down what was decided about a workload, by which policy it is governed, nil for none, and which others
// select it.
func (p *policies) note(w ledger.Workload, governing *policy.Policy, shadowed []policy.Name, o policy.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var by policy.Name
	if governing != nil {
		by = governing.Name
	}
	p.stands(w, standing{by, shadowed})
	if r := p.by[by]; r != nil && r.tally.Note(w, o, p.now()) {
		p.changed(by, r)
	}
	p.seen(w)
}

// gone takes down that a workload does not exist any more.
func (p *policies) gone(w ledger.Workload) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stands(w, standing{})
	p.seen(w)
}

// unseen takes down that a workload cannot be looked at for now. Nobody waits for it.
func (p *policies) unseen(w ledger.Workload) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen(w)
}

// restarted takes down a restart of a workload and its cause.
func (p *policies) restarted(w ledger.Workload, governing *policy.Policy, cause string) {
	at := p.now()
	p.noteRestart(governing, func(t *policy.Tally) { t.Restarted(w, cause, at) })
}

// recovered takes down a restart that another process wrote, and may have taken down.
func (p *policies) recovered(w ledger.Workload, governing *policy.Policy, cause string, since time.Time) {
	at := p.now()
	p.noteRestart(governing, func(t *policy.Tally) { t.Recovered(w, cause, since, at) })
}

func (p *policies) noteRestart(governing *policy.Policy, note func(*policy.Tally)) {
	if governing == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.by[governing.Name]
	if r == nil {
		p.early[governing.Name] = append(p.early[governing.Name], note)
		return
	}
	note(r.tally)
	p.changed(governing.Name, r)
}

// stands takes down what a workload's policies are, also with those that it had before.
func (p *policies) stands(w ledger.Workload, now standing) {
	before := p.of[w]
	if r := p.by[before.governing]; r != nil && before.governing != now.governing && r.tally.Drop(w) {
		p.changed(before.governing, r)
	}
	for _, name := range before.shadowed {
		if r := p.by[name]; r != nil && !slices.Contains(now.shadowed, name) {
			delete(r.shadowed, w)
			p.changed(name, r)
		}
	}
	for _, name := range now.shadowed {
		if r := p.by[name]; r != nil && r.shadowed[w] != now.governing {
			r.shadowed[w] = now.governing
			p.changed(name, r)
		}
	}
	if now.governing == (policy.Name{}) {
		delete(p.of, w)
		return
	}
	p.of[w] = now
}

// seen ends the wait of every round for a workload.
func (p *policies) seen(w ledger.Workload) {
	for name, r := range p.by {
		if !r.awaited[w] {
			continue
		}
		if delete(r.awaited, w); len(r.awaited) == 0 {
			r.complete = true
			p.changed(name, r)
		}
	}
}

// changed has the status written, as soon as it may be. Many changes in the meantime make one write.
func (p *policies) changed(name policy.Name, r *round) {
	p.feed.later(name, max(0, r.writtenAt.Add(statusEvery).Sub(p.now())))
}

// round returns the policy's, a new one for an object that took another's place, with the restarts on its record.
func (p *policies) round(object *v1alpha1.ReloadPolicy) *round {
	name := policy.Name{Namespace: object.Namespace, Name: object.Name}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.by[name]
	if r == nil || r.uid != object.UID {
		r = &round{uid: object.UID, shadowed: map[ledger.Workload]policy.Name{}, tally: policy.NewTally(object.Status.History)}
		_, r.told = readyEvent(object)
		for _, note := range p.early[name] {
			note(r.tally)
		}
		delete(p.early, name)
		p.by[name] = r
	}
	return r
}

// forget drops a policy that is gone, and returns the workloads that it governed.
func (p *policies) forget(name policy.Name) []ledger.Workload {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.by, name)
	delete(p.early, name)
	var governed []ledger.Workload
	for w, s := range p.of {
		if s.governing == name {
			p.of[w] = standing{shadowed: s.shadowed} // who may take over
			governed = append(governed, w)
		}
	}
	return governed
}

// begin starts a round: these workloads are awaited. It returns all that have to be looked at, with those that the policy
// selected before.
func (p *policies) begin(r *round, of policy.Name, awaited map[ledger.Workload]bool) []ledger.Workload {
	p.mu.Lock()
	defer p.mu.Unlock()
	look := slices.Collect(maps.Keys(awaited))
	for w, s := range p.of { // also what another policy by this name governed
		if s.governing == of && !awaited[w] {
			look = append(look, w)
		}
	}
	for w := range r.shadowed {
		if !awaited[w] {
			look = append(look, w)
		}
	}
	r.awaited, r.complete = awaited, r.complete || len(awaited) == 0
	return look
}

// observed is what a round has come to.
type observed struct {
	counts v1alpha1.WorkloadCounts
	// complete is false before everything has been looked at once. Nothing else is known then.
	complete bool
	awaited  int
	// shadowed is by which other policies how many workloads are governed.
	shadowed map[policy.Name]int
	failure  string
}

// write sets the parts of a status that tell of workloads, once they are known.
func (p *policies) write(r *round, status *v1alpha1.ReloadPolicyStatus) observed {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !r.complete {
		return observed{awaited: len(r.awaited)}
	}
	r.tally.Write(status)
	o := observed{counts: r.tally.Counts(), complete: true, awaited: len(r.awaited), shadowed: map[policy.Name]int{}}
	for _, by := range r.shadowed {
		o.shadowed[by]++
	}
	if w, message := r.tally.Failure(); message != "" {
		o.failure = w.String() + ": " + message
	}
	return o
}

// stored takes down a policy as its status was written; nil if that is not known.
func (p *policies) stored(r *round, object *v1alpha1.ReloadPolicy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.written, r.writtenAt = object, p.now()
}

// latest gives a policy, as the cache shows it, the status that was written last, until the cache shows that or a later
// one: somebody else may have written since, and what is wrong with it is to be mended.
func (r *round) latest(object *v1alpha1.ReloadPolicy) {
	if r.written == nil {
		return
	}
	order, err := resourceversion.CompareResourceVersion(object.ResourceVersion, r.written.ResourceVersion)
	if err != nil || order >= 0 {
		return
	}
	object.ResourceVersion = r.written.ResourceVersion
	r.written.Status.DeepCopyInto(&object.Status)
}
