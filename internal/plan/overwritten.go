package plan

// overwritten looks into a template that does not carry the value it was given (rule 3): the work of an undo, or of
// whoever else owns the template.
func (d *decider) overwritten() *Decision {
	w := d.in.Workload
	if w.Value == d.entry.Value || !d.answered() {
		return nil
	}
	if d.in.Rollout == nil {
		return &Decision{NeedsRollout: true}
	}
	if again := d.unsettled(); again != nil {
		return again
	}
	if d.allFresh() || d.bornAfter() {
		return nil
	}
	decision := d.pending(RolledBack, "the template of the last restart was taken back while old pods are active", recheck)
	return &decision
}
