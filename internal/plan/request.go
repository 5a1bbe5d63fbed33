package plan

import (
	"fmt"
	"strings"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/selection"
)

const (
	// maxToken bounds a restart request in bytes: it is kept in the ledger, and told to people.
	maxToken = 253
	// shownToken is how much is told of one that is longer.
	shownToken = 32
)

// token is the restart request that a workload carries; empty if there is none, or none that can be taken for one, which
// is a problem then.
func token(w Workload) (string, []selection.Problem) {
	value := w.Annotations[v1alpha1.RestartRequestedAtAnnotation]
	if len(value) <= maxToken {
		return value, nil
	}
	return "", []selection.Problem{{
		Annotation: v1alpha1.RestartRequestedAtAnnotation,
		Value:      strings.ToValidUTF8(value[:shownToken], "") + "…",
		Detail:     fmt.Sprintf("is ignored: want at most %d bytes", maxToken),
	}}
}

// describeRequest names a restart request for a message. The token is somebody's input.
func describeRequest(token string) string { return fmt.Sprintf("restart requested at %q", token) }

// because says why a workload is restarted: a token asks for it, content changed, or both.
func because(token string, changes []Change) string {
	switch {
	case token == "":
		return Describe(changes)
	case len(changes) == 0:
		return describeRequest(token)
	default:
		return describeRequest(token) + "; " + Describe(changes)
	}
}

// meet compares the request to the one that was handled last. At first sight there is no telling whether it was: it is
// taken as handled, so that a lost ledger is no storm. One that was taken away keeps its place: it is none if it returns.
func (d *decider) meet(token string) {
	switch {
	case d.isNew:
		d.entry.Token = token
	case token != d.entry.Token:
		d.request = token
	}
}

// requested restarts because somebody asks for it, whatever content says, and now: there is nothing to settle or to
// spread, and no rollout to wait for. What forbids any restart forbids this one.
func (d *decider) requested() *Decision {
	if d.request == "" {
		return nil
	}
	if decision := d.gates(); decision != nil {
		return decision
	}
	decision := d.restart()
	return &decision
}

// rollingOut follows a restart while nothing differs: one that was requested, or whose cause is gone. It is through when
// all pods carry its value.
func (d *decider) rollingOut() *Decision {
	if d.differs() || d.entry.PendingSince.IsZero() || !d.ours() {
		return nil
	}
	w := d.in.Workload
	switch {
	case d.in.Rollout == nil && w.Rolling && w.Held == "":
		return d.underWay()
	case d.in.Rollout == nil:
		return &Decision{NeedsRollout: true}
	}
	if again := d.unsettled(); again != nil {
		return again
	}
	return d.judgePods(true)
}

// looked asks for the pods if somebody wants them to be looked at, although what is in memory may do.
func (d *decider) looked() *Decision {
	if !d.in.Look || d.in.Rollout != nil {
		return nil
	}
	return &Decision{NeedsRollout: true}
}
