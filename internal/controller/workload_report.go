package controller

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/flux-reloader/reloader/internal/notify"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/selection"
)

// report tells of a decision: metrics each time, logs and events when it is another than the last.
func (r *Reconciler) report(w plan.Workload, t *track, problems []selection.Problem, d plan.Decision) {
	r.metrics.decided(w.Workload, d.Verdict)
	switch d.Verdict {
	case plan.InSync, plan.AlreadyFresh, plan.Baseline, plan.NotSelected:
		t.failure = "" // its cause is gone: the same again is news
	}
	r.reportProblems(w, t, slices.Concat(problems, d.Problems))
	r.reportLeftPaused(w, t, d.LeftPaused)
	r.reportRecovered(w, t, d.Recovered)
	held := ""
	if d.Verdict == plan.OwnerSuspended || d.Verdict == plan.OwnerReconciling {
		held = plan.Describe(d.Changes)
	}
	if t.verdict == d.Verdict && t.message == d.Message && t.held == held {
		return
	}
	verdict := t.verdict
	t.verdict, t.message, t.held = d.Verdict, d.Message, held
	log := r.log.WithValues("workload", w.Workload.String(), "verdict", d.Verdict)
	switch d.Verdict {
	case plan.RolledBack:
		log.Info(d.Message, "changes", plan.Describe(d.Changes))
		if verdict != plan.RolledBack {
			message := w.Workload.Short() + ": " + d.Message + "; held until content changes or a restart is requested: " + plan.Describe(d.Changes)
			r.tell(w, t, d, warning(w, notify.ReasonRolledBack, message))
		}
	case plan.Restart, plan.Tell: // told when it is done
	case plan.AlreadyFresh:
		log.V(1).Info(d.Message, "changes", plan.Describe(d.Changes))
		r.reportReplaced(w, d)
	case plan.Waiting, plan.Paused, plan.Throttled:
		log.Info(d.Message, "changes", plan.Describe(d.Changes))
		r.reportUnable(w, t, d)
	default:
		if held != "" {
			log.Info(d.Message, "changes", held)
			return
		}
		log.V(1).Info(d.Message, "changes", plan.Describe(d.Changes))
	}
}

// reportUnable tells of a workload that its kind cannot restart as it is.
func (r *Reconciler) reportUnable(w plan.Workload, t *track, d plan.Decision) {
	unseen := d.Verdict == plan.Waiting && w.Unseen != ""
	if !unseen && (d.Verdict != plan.Paused || !w.Barred) {
		return
	}
	message := w.Short() + ": " + d.Message
	if len(d.Changes) > 0 {
		message += ": " + plan.Describe(d.Changes)
	}
	r.tell(w, t, d, warning(w, notify.ReasonNotRestarted, message))
}

// reportProblems names annotations that cannot be read, each once.
func (r *Reconciler) reportProblems(w plan.Workload, t *track, problems []selection.Problem) {
	texts := make([]string, len(problems))
	for i, p := range problems {
		texts[i] = p.String()
	}
	joined := strings.Join(texts, "; ")
	if joined == t.problems {
		return
	}
	if t.problems = joined; joined == "" {
		return
	}
	r.log.Info("invalid annotation", "workload", w.Workload.String(), "problem", joined)
	r.events.Send(warning(w, notify.ReasonInvalidAnnotation, joined))
}

// reportLeftPaused tells, once, of a Deployment that nobody will resume.
func (r *Reconciler) reportLeftPaused(w plan.Workload, t *track, since string) {
	if since == "" || since == t.paused {
		return
	}
	t.paused = since
	message := fmt.Sprintf("%s was paused by Stakater Reloader (annotation %s: %q) and not resumed: nothing rolls out until somebody "+
		"sets spec.paused to false and takes the annotation away", w.Short(), r.options.Selection.Annotations.PausedAt, since)
	r.log.Info(message, "workload", w.Workload.String())
	r.events.Send(warning(w, notify.ReasonLeftPaused, message))
}

func (r *Reconciler) reportRestart(w plan.Workload, t *track, d plan.Decision, now time.Time) {
	t.failure = ""
	r.metrics.restarted(w.Workload, d.Changes, now)
	r.policies.restarted(w.Workload, t.governing, d.Message)
	r.alerts.Send(notify.Alert{Text: "restarted " + w.Workload.String() + ": " + d.Message})
	r.log.Info("restarted", "workload", w.Workload.String(), "changes", d.Message, "value", d.Value)
	r.tell(w, t, d, reloaded(w, d.Message))
	r.reportReplaced(w, d)
}

// reportRecovered tells of a restart that another process wrote, and may have ended before it told of it: in the same words
// and with the same token, so that notification-controller tells nobody twice.
func (r *Reconciler) reportRecovered(w plan.Workload, t *track, restart *plan.Recovered) {
	if restart == nil {
		return
	}
	r.log.Info("restarted before, and not on record", "workload", w.Workload.String(), "changes", restart.Message, "value", restart.Value)
	r.policies.recovered(w.Workload, t.governing, restart.Message, restart.Since)
	r.tell(w, t, plan.Decision{Changes: restart.Changes, Write: plan.Write{Value: restart.Value}}, reloaded(w, restart.Message))
}

// reloaded is what is told of a restart.
func reloaded(w plan.Workload, message string) notify.Event {
	return notify.Event{Object: referenceTo(w), Reason: notify.ReasonReloaded, Message: "restarted " + w.Short() + ": " + message}
}

// reportReplaced warns of what new pods may not get although they are new.
func (r *Reconciler) reportReplaced(w plan.Workload, d plan.Decision) {
	if len(d.Replaced) == 0 {
		return
	}
	names := make([]string, len(d.Replaced))
	for i, source := range d.Replaced {
		names[i] = source.String()
	}
	message := "immutable, and made again with other content: " + strings.Join(names, ", ") +
		"; a kubelet goes on serving the former content while any pod on its node uses it"
	r.log.Info(message, "workload", w.Workload.String())
	r.events.Send(warning(w, notify.ReasonImmutableReplaced, message))
}

// reportFailure tells of a restart that failed, once for each kind of failure in a row.
func (r *Reconciler) reportFailure(w plan.Workload, t *track, d plan.Decision, err error) {
	if d.Verdict == plan.Restart {
		r.metrics.failed(w.Workload)
	}
	if why, anew := t.fails(err); anew {
		why = " not restarted: " + d.Message + ", but: " + why
		r.tell(w, t, d, warning(w, notify.ReasonReloadFail, w.Workload.Short()+why))
		r.alerts.Send(notify.Alert{Failed: true, Text: w.Workload.String() + why})
	}
}

// tell sends an event about a workload and to what it belongs to, once for each value of its template.
func (r *Reconciler) tell(w plan.Workload, t *track, d plan.Decision, event notify.Event) {
	if event.Related = r.belongs(w, t); event.Related != nil {
		if event.Related.Token = d.Value; event.Related.Token == "" && d.Entry != nil {
			event.Related.Token = d.Entry.Value
		}
		event.Related.Metadata = map[string]string{"workload": w.Workload.String(), "changes": plan.Describe(d.Changes)}
	}
	r.events.Send(event)
}

// explain is the text of an error that everybody may read. Where the API server calls an object invalid, it quotes values of
// it, which may be secret: then only the fields are named. An answer that names no fields is an admission policy's, in words
// that its author has chosen.
func explain(err error) string {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return withoutPort(err)
	}
	var fields []string
	for _, cause := range status.Status().Details.Causes {
		if cause.Field != "" {
			fields = append(fields, cause.Field)
		}
	}
	if len(fields) == 0 {
		return err.Error()
	}
	return "the workload is invalid: " + strings.Join(fields, ", ")
}

// withoutPort is an error without the address that a connection was made from: another each time, it would make another
// failure of the same one.
func withoutPort(err error) string {
	var network *net.OpError
	if !errors.As(err, &network) {
		return err.Error()
	}
	from := *network
	from.Source = nil
	return strings.Replace(err.Error(), network.Error(), from.Error(), 1)
}

func warning(w plan.Workload, reason, message string) notify.Event {
	return notify.Event{Object: referenceTo(w), Warning: true, Reason: reason, Message: message}
}

func referenceTo(w plan.Workload) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: w.APIVersion, Kind: w.Kind, Namespace: w.Namespace, Name: w.Name, UID: w.UID,
		ResourceVersion: w.ResourceVersion,
	}
}
