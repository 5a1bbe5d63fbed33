package plan

import (
	"slices"

	"github.com/flux-reloader/reloader/internal/ledger"
)

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
		if !slices.ContainsFunc(d.in.Rollout.Pods, func(p Pod) bool { return d.staleAtSight(p, *f) }) {
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

// adoption reports whether every difference is one of content that was stale at first sight.
func (d *decider) adoption() bool {
	for _, f := range d.findings {
		if f.differs() && !f.record.Digest.IsZero() {
			return false
		}
	}
	return true
}
