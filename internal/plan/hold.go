package plan

// holds reports whether restarts are held, and will happen when that ends. A workload that is only observed is judged as any
// other, until it would be restarted.
func (d *decider) holds() bool { return d.in.Hold != nil && d.in.Hold.Verdict != Observed }

// held reports a hold from outside (rule 1). Differences are remembered all the same.
func (d *decider) held() *Decision {
	if d.in.Hold == nil {
		return nil
	}
	if !d.holds() && d.differs() { // what is only observed may be over
		if decision := d.freshAlready(); decision != nil && (decision.NeedsRollout || decision.Verdict == AlreadyFresh || decision.Verdict == InSync) {
			return decision
		}
	}
	decision := d.pending(d.in.Hold.Verdict, d.in.Hold.Message, d.in.Hold.For)
	return &decision
}
