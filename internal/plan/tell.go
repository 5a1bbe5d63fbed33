package plan

// decideToTell goes through the rules for a workload that somebody else restarts: those that do not concern what is
// written, or pods.
func (d *decider) decideToTell() Decision {
	for _, rule := range []func() *Decision{d.sight, d.held, d.required, d.untold} {
		if decision := rule(); decision != nil {
			return *decision
		}
	}
	return d.tell()
}

// untold ends where nothing is to be told, or not yet. Pods do not matter: whoever is told sees to them.
func (d *decider) untold() *Decision {
	if d.request != "" {
		return nil
	}
	if decision := d.synced(); decision != nil {
		return decision
	}
	wait := d.settling()
	if wait == 0 {
		return nil
	}
	decision := d.pending(Settling, "waiting for more changes", wait)
	return &decision
}

// tell is the restart that somebody else makes. Once told, what there is now counts as what the pods run with; until then
// the difference stays, so that a change is told at least once.
func (d *decider) tell() Decision {
	decision := d.restart()
	decision.Verdict, decision.Adoption = Tell, false
	decision.Entry = d.entry.Clone()
	d.prove()
	if d.request != "" {
		d.entry.Token = d.request
	}
	decision.Told = d.entry
	return decision
}
