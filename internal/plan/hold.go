package plan

// holds reports whether restarts are held, and will happen when that ends. A workload that is only observed is judged as any
// other, until it would be restarted.
func (d *decider) holds() bool { return d.in.Hold != nil && d.in.Hold.Verdict != Observed }

// held reports a hold from outside (rule 1). Differences are remembered all the same.
func (d *decider) held() *Decision {
	if d.in.Hold == nil {
		return nil
	}
	if d.required() == nil {
		for _, rule := range []func() *Decision{d.writtenBefore, d.observed} {
			if decision := rule(); decision != nil {
				return decision
			}
		}
	}
	decision := d.pending(d.in.Hold.Verdict, d.in.Hold.Message, d.in.Hold.For)
	return &decision
}

// writtenBefore goes on with a restart that was written before the hold began: nothing is left to hold of it.
func (d *decider) writtenBefore() *Decision {
	switch {
	case d.request != "", d.in.Workload.hasRuns():
		return nil
	case d.written():
		return d.freshAlready()
	default:
		return d.rollingOut()
	}
}

// observed finds out whether what is only observed is over.
func (d *decider) observed() *Decision {
	if d.holds() || !d.differs() {
		return nil
	}
	decision := d.freshAlready()
	if decision != nil && (decision.NeedsRollout || decision.Verdict == AlreadyFresh || decision.Verdict == InSync) {
		return decision
	}
	return nil
}
