package controller

import (
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
// that governs them. Nothing in it may not be forgotten: a new leader looks at every workload anew.
type policies struct {
	feed *feed[policy.Name]
	now  func() time.Time

	mu sync.Mutex
	by map[policy.Name]*round
	// of is the policy that governed each workload when it was last looked at.
	of map[ledger.Workload]policy.Name
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
	// shadowed is by which other policies how many selected workloads are governed.
	shadowed map[policy.Name]int
	tally    *policy.Tally

	// written is the policy as it was written last, and when: the cache may show an older one.
	written   *v1alpha1.ReloadPolicy
	writtenAt time.Time
	// told is the reason of the Ready condition that was told last.
	told string
}

func newPolicies(feed *feed[policy.Name], now func() time.Time) *policies {
	return &policies{feed: feed, now: now, by: map[policy.Name]*round{}, of: map[ledger.Workload]policy.Name{}}
}

// note takes down what was decided about a workload, and by which policy it is governed; nil for none.
func (p *policies) note(w ledger.Workload, governing *policy.Policy, o policy.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before, was := p.of[w]; was && (governing == nil || governing.Name != before) {
		p.leaves(w, before)
	}
	p.seen(w)
	if governing == nil {
		return
	}
	p.of[w] = governing.Name
	if r := p.by[governing.Name]; r != nil && r.tally.Note(w, o, p.now()) {
		p.changed(governing.Name, r)
	}
}

// gone takes down that a workload does not exist any more.
func (p *policies) gone(w ledger.Workload) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before, was := p.of[w]; was {
		p.leaves(w, before)
	}
	p.seen(w)
}

// restarted takes down a restart of a workload and its cause.
func (p *policies) restarted(w ledger.Workload, governing *policy.Policy, cause string) {
	if governing == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.by[governing.Name]; r != nil {
		r.tally.Restarted(w, cause, p.now())
		p.changed(governing.Name, r)
	}
}

func (p *policies) leaves(w ledger.Workload, name policy.Name) {
	delete(p.of, w)
	if r := p.by[name]; r != nil && r.tally.Drop(w) {
		p.changed(name, r)
	}
}

// seen ends the wait of every round for a workload.
func (p *policies) seen(w ledger.Workload) {
	for name, r := range p.by {
		if !r.awaited[w] {
			continue
		}
		if delete(r.awaited, w); len(r.awaited) == 0 {
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
		r = &round{uid: object.UID, tally: policy.NewTally(object.Status.History)}
		p.by[name] = r
	}
	return r
}

// forget drops a policy that is gone, and returns the workloads that it governed.
func (p *policies) forget(name policy.Name) []ledger.Workload {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.by, name)
	var governed []ledger.Workload
	for w, by := range p.of {
		if by == name {
			delete(p.of, w)
			governed = append(governed, w)
		}
	}
	return governed
}

// begin starts a round: these workloads are awaited. It returns all that have to be looked at, with those that the policy
// governed before.
func (p *policies) begin(r *round, of policy.Name, awaited map[ledger.Workload]bool, shadowed map[policy.Name]int) []ledger.Workload {
	p.mu.Lock()
	defer p.mu.Unlock()
	look := make([]ledger.Workload, 0, len(awaited))
	for w := range awaited {
		look = append(look, w)
	}
	for _, w := range r.tally.Workloads() {
		if !awaited[w] && p.of[w] == of {
			look = append(look, w)
		}
	}
	r.awaited, r.shadowed = awaited, shadowed
	return look
}

// observed is what a round has come to.
type observed struct {
	counts   v1alpha1.WorkloadCounts
	awaited  int
	shadowed map[policy.Name]int
	failure  string
}

// write sets the parts of a status that tell of workloads.
func (p *policies) write(r *round, status *v1alpha1.ReloadPolicyStatus) observed {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.tally.Write(status)
	o := observed{counts: r.tally.Counts(), awaited: len(r.awaited), shadowed: r.shadowed}
	if i := slices.IndexFunc(status.Pending, func(w v1alpha1.PendingWorkload) bool { return w.Reason == v1alpha1.RestartFailedReason }); i >= 0 {
		w := status.Pending[i]
		o.failure = w.Workload.Kind + "/" + w.Workload.Namespace + "/" + w.Workload.Name + ": " + w.Message
	}
	return o
}

// stored takes down what was written.
func (p *policies) stored(r *round, object *v1alpha1.ReloadPolicy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.written, r.writtenAt = object, p.now()
}

// latest is the policy as it is known: what the cache shows, or what was written after that.
func (r *round) latest(object *v1alpha1.ReloadPolicy) *v1alpha1.ReloadPolicy {
	if r.written == nil {
		return object
	}
	order, err := resourceversion.CompareResourceVersion(object.ResourceVersion, r.written.ResourceVersion)
	if err != nil || order >= 0 {
		return object
	}
	return r.written.DeepCopy()
}
