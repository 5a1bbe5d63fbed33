package controller

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/notify"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/workload"
)

// governing is the policy that governs a workload, nil for none, and those that it shadows. Known is false while that cannot
// be told, because a policy selects namespaces by labels that are not known.
func (w *watches) governing(of plan.Workload) (governing *policy.Policy, shadowed []policy.Name, known bool) {
	if !w.policies.Installed() {
		return nil, nil, true
	}
	asked := policy.Workload{Workload: of.Workload, APIVersion: of.APIVersion, Labels: w.workloads.Labels(of.Workload)}
	if w.namespaces != nil && w.policies.SelectsNamespaces() {
		if asked.NamespaceLabels, known = w.namespaces.Labels(of.Namespace); !known {
			return nil, nil, false
		}
	}
	governing, shadowed = w.policies.Governing(asked)
	return governing, shadowed, true
}

// selects says which sources restart a workload, by its annotations and by what governs it.
func (r *Reconciler) selects(w plan.Workload, known known, governing *policy.Policy) selection.Result {
	settings := r.options.Selection
	if governing != nil {
		settings = governing.Settings.Selection(settings)
	}
	result := selection.Read(settings, w.Annotations, w.TemplateAnnotations).Select(w.Namespace, w.Uses, known)
	if w.Restarts == plan.ByReplacement && !result.Asked {
		// A Job that is made again does its work again: only an annotation of the Job itself asks for that.
		return selection.Result{Problems: result.Problems}
	}
	if governing != nil {
		result.Uses = governing.Allow(result.Uses, known.Matches)
	}
	return result
}

// Matches implements policy.Matches.
func (k known) Matches(source reference.Source, selector labels.Selector) bool {
	observed := k.get(source)
	set, known := k.sources.Labels(source)
	return k.countsUnseen(source, observed, known) || selector.Matches(set)
}

// policyFor is how a workload is restarted: as its policy says, or else the flags.
func (r *Reconciler) policyFor(asked bool, governing *policy.Policy) plan.Policy {
	by := r.options.Policy
	if !asked {
		by.OnAdoption = plan.BaselineOnly // nobody asked for what pods run with to change at once
	}
	if governing != nil {
		return governing.Settings.Plan(by)
	}
	return by
}

// heldBy is what holds a workload: its policy, or else the Flux object that applies it.
func (r *Reconciler) heldBy(w plan.Workload, governing *policy.Policy, now time.Time) *plan.Hold {
	hold := r.holds.of(w, now)
	switch {
	case governing == nil:
		return hold
	case governing.Settings.Suspend:
		return &plan.Hold{Verdict: plan.Suspended, Message: "ReloadPolicy/" + governing.String() + " is suspended"}
	case hold != nil && hold.Verdict == plan.OwnerSuspended:
		return hold
	case governing.Settings.Observe:
		return &plan.Hold{Verdict: plan.Observed, Message: "ReloadPolicy/" + governing.String() + " only observes"}
	case governing.Settings.IgnoreOwner:
		return nil
	default:
		return hold
	}
}

// actorFor is who acts for a workload's policy: the ServiceAccount that it names, or else the default one, or else the
// controller itself.
func (r *Reconciler) actorFor(governing *policy.Policy) (workload.Actor, error) {
	if governing == nil {
		return workload.Actor{}, nil
	}
	account := governing.Settings.ServiceAccount
	if account == "" {
		account = r.options.DefaultServiceAccount
	}
	if account == "" {
		return workload.Actor{}, nil
	}
	return r.actor(governing.Namespace + "/" + account)
}

// actor is who acts as a ServiceAccount, "namespace/name"; if that is empty, the controller itself.
func (r *Reconciler) actor(account string) (workload.Actor, error) {
	namespace, name, named := strings.Cut(account, "/")
	if !named {
		return workload.Actor{}, nil
	}
	writer, err := r.accounts.writer(namespace, name)
	return workload.Actor{Account: account, Writer: writer}, err
}

// belongs is the object that is told, besides the workload, what happens to it: the Flux object that applies the workload,
// or else the policy that governs it; nil for neither.
func (r *Reconciler) belongs(w plan.Workload, t *track) *notify.Related {
	object, found := r.owners.Ref(w.Owners)
	if found && (object.Namespace == w.Namespace || !r.options.NoCrossNamespaceRefs) { // anybody may copy labels
		return &notify.Related{Object: object}
	}
	if t.governing == nil {
		return nil
	}
	governing, exists := r.policyStore.Get(t.governing.Name)
	if !exists {
		return nil
	}
	return &notify.Related{Object: policyReference(governing), Own: true}
}

// outcome is what a reconcile came to, for the status of the policy.
func (r *Reconciler) outcome(t *track, selected bool, d plan.Decision, err error, now time.Time) policy.Outcome {
	failed := policy.Outcome{State: policy.Failed, Reason: v1alpha1.RestartFailedReason, Since: now}
	if d.Entry != nil && !d.Entry.PendingSince.IsZero() {
		failed.Since = d.Entry.PendingSince
	}
	switch {
	case !selected:
	case (d.Verdict == plan.Restart || d.Verdict == plan.Tell) && t.failure != "":
		failed.Message = t.failure
		return failed
	case err != nil:
		failed.Message = explain(err)
		return failed
	case d.Verdict == plan.Restarting && now.Sub(t.progressed) > plan.MaxStall:
		failed.Message = "the rollout makes no progress: " + d.Message
		return failed
	}
	if d.Verdict == plan.Tell && t.telling {
		d.Verdict = plan.Restart // not accepted yet
	}
	var until time.Time
	if d.After > 0 {
		until = now.Add(d.After)
	}
	return policy.OutcomeOf(selected, d, until)
}
