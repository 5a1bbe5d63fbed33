package plan

import (
	"bytes"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/internal/digest"
)

// Each pod has a copy of what it mounts of a SecretProviderClass, made before it starts and changed in place when the driver
// finds something newer, one pod after another. So what a pod runs with is not a matter of times that have to be compared to
// those of an object: its own copy tells. A pod is stale when its copy was changed after it had started. What new pods mount is
// no change for others, be it newer, or made for each pod alone.

// Copy is what a pod holds of a source of which each pod has a copy.
type Copy struct {
	// Pod is the UID of the pod that has it; empty if unknown.
	Pod types.UID
	// Content is what it holds: a digest for each object.
	Content digest.Content
	// Made is when the copy was first made, for this pod or for one of the same name before it.
	Made time.Time
	// Changed is when the content was changed in place, by the API server's clock; zero if it is as it was made.
	Changed time.Time
}

// stale reports whether the copy was changed after the pod had started. A copy that is there before the pod was another's,
// of the same name: it was changed to be this one's.
func (c Copy) stale(pod Pod) bool {
	if c.Changed.IsZero() || pod.FirstStart.IsZero() || c.Pod != "" && c.Pod != pod.UID {
		return false
	}
	if c.Made.Before(pod.Created) {
		return c.Changed.Sub(pod.FirstStart) > grain
	}
	return pod.FirstStart.Sub(c.Changed) <= grain // a tie counts: content in place is rarely changed but by a rotation
}

// compareCopies compares what pods hold of a source to the record of what they held. It differs if a copy was changed in place
// since; what was only made since is taken over without a word.
func (f *finding) compareCopies() {
	f.turns = f.seen.turnsAfter(f.record.ResourceVersion, f.use.Scope)
	f.equal = f.proof == f.record.Digest
	inPlace := f.seen.Changed.After(f.record.Changed)
	another := !f.record.Diverged.IsZero() || len(f.turns) > 0
	switch {
	case f.equal && another && f.copies == 1:
		f.condition = returned // all hold what they held when that was recorded
	case another, inPlace && (!f.equal || f.copies > 1): // of several kinds, one pod may have come to hold another's
		keys, known := f.record.ChangedKeys(f.seen.Content, f.use.Scope)
		f.condition, f.keys, f.spreads = changed, keys, known && len(keys) == 0
	case f.record.Provisional:
		f.condition = first
	default:
		f.condition = same
	}
}

// held is the digest of what all pods hold of a source, and how many kinds of that there are. Who holds what does not count.
func (s Source) held(key digest.Key, f finding) (digest.Digest, int) {
	var contents [][]byte
	for _, c := range s.Copies {
		d := key.Scoped(f.use.Source, f.use.Scope, c.Content)
		contents = append(contents, d[:])
	}
	slices.SortFunc(contents, bytes.Compare)
	contents = slices.CompactFunc(contents, bytes.Equal)
	return key.Bytes("copies", contents...), len(contents)
}

func (f finding) copied() bool { return f.use.Source.Kind.Copied() }

// without reports whether the workload's own pods tell nothing of a source of copies: because they do not use it, because
// they are not asked, or because they end by themselves. Then the first pod that holds something new stands for all, and the
// others that come to hold it are no change.
func (d *decider) without(f finding) bool {
	return f.copied() && (f.use.Container == "" || d.in.Policy.Tell || d.in.Workload.hasRuns())
}

// freshCopy is freshFor of a source of copies.
func (d *decider) freshCopy(pod Pod, f finding) bool {
	switch {
	case f.condition == returned && !f.record.Provisional && before(pod, f.record.Diverged):
		return true
	case d.without(f):
		return f.record.Written && pod.Value == d.entry.Value || f.seen.Changed.IsZero() || pod.Created.Sub(f.seen.Changed) > grain
	case pod.Name == "": // what stands for a revision
		return !slices.ContainsFunc(d.in.Rollout.Pods, func(p Pod) bool { return p.Current && f.stale(p) })
	default:
		return !f.stale(pod)
	}
}

// stale reports whether what the pod holds was changed after it had started, and since the record was made: what is on record
// is dealt with.
func (f finding) stale(pod Pod) bool {
	c := f.seen.Copies[pod.Name]
	return (f.record.Provisional || c.Changed.After(f.record.Changed)) && c.stale(pod)
}

// mayHoldStale is mayBeStale of a source of copies.
func (d *decider) mayHoldStale(f finding) bool {
	if d.in.Policy.OnAdoption == BaselineOnly || d.in.Policy.Tell {
		return false
	}
	if current, taken := d.in.Taken[f.use.Source]; d.in.Bootstrap && (!taken || current) {
		return false
	}
	return f.seen.Changed.After(d.in.Workload.Created)
}

// staleAtSight is certainlyStale, also of a source of copies.
func (d *decider) staleAtSight(pod Pod, f finding) bool {
	if f.copied() {
		return f.seen.Copies[pod.Name].stale(pod)
	}
	return d.certainlyStale(pod, f)
}

// rotated reports whether copies were seen to change in place since the last decision: maybe those of pods that a restart made.
func (d *decider) rotated() bool {
	return slices.ContainsFunc(d.findings, func(f finding) bool { return f.differs() && f.own && len(f.turns) > 0 })
}

// overtaken reports whether a pod that carries the last value holds a copy that was changed since: what that restart was
// for is not all there is.
func (d *decider) overtaken() bool {
	return slices.ContainsFunc(d.findings, func(f finding) bool {
		return f.differs() && f.own && slices.ContainsFunc(d.in.Rollout.Pods, func(p Pod) bool {
			return p.Value == d.entry.Value && f.stale(p)
		})
	})
}
