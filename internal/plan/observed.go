package plan

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

// Workload is what is observed of a workload: enough to decide, never the object itself.
type Workload struct {
	ledger.Workload

	// APIVersion as in the API, "apps/v1".
	APIVersion      string
	UID             types.UID
	ResourceVersion string
	// Generation counts changes of the spec; ObservedGeneration is the one that its controller has acted on.
	Generation         int64
	ObservedGeneration int64
	Created            time.Time

	// Annotations and TemplateAnnotations hold only Reloader's own keys.
	Annotations         map[string]string
	TemplateAnnotations map[string]string
	// Uses are the sources that pods of the template use.
	Uses []reference.Use
	// StakaterHashes are what Stakater Reloader has left in the template, by source; nil if it has left nothing.
	StakaterHashes map[reference.Source]string
	// Owners are the Flux objects that apply the workload, as its labels say; nil if there are none.
	Owners []Owner
	// Container is the name of the template's first container.
	Container string
	// Template is the keyed digest of the pod template.
	Template digest.Digest
	// Value is the template's config digest annotation.
	Value string
	// Manager is the Flux or Helm field manager that applies the template, Applied when it last changed something of the
	// workload, by the API server's clock; empty and zero if there is none.
	Manager string
	Applied time.Time

	// TemplateOf is the object that has the pod template, where that is another than the workload; nil if it is the
	// workload's own. Both are one then: Generation counts the changes of either, and Owners apply either.
	TemplateOf *Object
	// Unseen says why the pod template is not known, so that nothing can be said of what pods use; empty if it is.
	Unseen string

	// Problems are annotations that the kind reads itself, and whose values make no sense.
	Problems []selection.Problem

	// Restarts is how a restart gives the workload new pods.
	Restarts Way
	// RestartAt is the time that pods have to be younger than; only with ByAge, zero for none.
	RestartAt time.Time
	// Alone is true if no run may begin while another is active; only with ByRun.
	Alone bool

	// Replicas is the number of pods asked for; zero for a workload that has runs.
	Replicas int32
	// Rolling is true while pods of another revision than the template's exist, or some of its own are still missing,
	// or its controller has not acted on the last change. Availability is no part of it: a pod that fails because its
	// configuration is stale must not hold back the restart that heals it.
	Rolling bool
	// Held says why a new template would not be rolled out, "spec.paused"; empty if it would.
	Held string
	// Barred is whether no template may be written while a rollout is held or under way: it would begin anew what goes in
	// steps, or take up again what somebody has ended, or nothing would ever roll it out.
	Barred bool
	// Progress changes whenever the rollout moves.
	Progress string
}

// Way is how a restart gives a workload new pods.
type Way int

const (
	// ByRollout replaces pods that run all the time. When they are replaced, they prove what they run with.
	ByRollout Way = iota
	// ByRun starts one more run, as a CronJob does. Runs end by themselves: there is no rollout to follow and no pod to
	// replace. Content counts as handled when a run was started for it, or began after it by itself.
	ByRun
	// ByReplacement makes the workload again, as a Job has to be: it is its own run.
	ByReplacement
	// ByAge has the pods replaced that are older than a time, under the template that they have, as an Argo Rollout does.
	// Pods carry the value that was written with the time, once they are younger.
	ByAge
)

// hasRuns reports whether the workload starts pods to an end, instead of keeping them.
func (w Workload) hasRuns() bool { return w.Restarts == ByRun || w.Restarts == ByReplacement }

// Object is one version of an object beside the workload.
type Object struct {
	ledger.Workload
	UID             types.UID
	ResourceVersion string
	Generation      int64
}

// Owner names a Flux object that applies others.
type Owner struct {
	Kind      string
	Namespace string
	Name      string
}

// String is "Kustomization/flux-system/apps".
func (o Owner) String() string { return o.Kind + "/" + o.Namespace + "/" + o.Name }

// Apply is what the API server tells of who applies an object.
type Apply struct {
	// Manager is the Flux or Helm field manager that does; empty if there is none.
	Manager string
	// At is when it last changed something of the object, by the API server's clock; zero if unknown.
	At time.Time
}

// AppliesInOrder reports whether a field manager is Flux's or Helm's. These apply configuration before workloads, and
// those before Flux's own objects.
func AppliesInOrder(manager string) bool {
	switch manager {
	case "kustomize-controller", "helm-controller", "helm":
		return true
	}
	return false
}

// State tells whether a source exists.
type State int

const (
	// Unknown means that the source's namespace is not watched, or not yet.
	Unknown State = iota
	// Absent means that there is no such object.
	Absent
	// Present means that there is.
	Present
)

// Timing says what a source's Changed is worth as evidence.
type Timing int

const (
	// Listed content was met in a list: Changed is the time that the object's managed fields give, which does not move
	// when a key is removed, and does for a label-only write.
	Listed Timing = iota
	// Exact content was seen to change in a watch event that moved Changed.
	Exact
	// Inexact content was seen to change in a watch event that left Changed where it was.
	Inexact
)

// Source is what is observed of a source: digests, never data.
type Source struct {
	State           State
	UID             types.UID
	ResourceVersion string
	Immutable       bool
	Created         time.Time
	Content         digest.Content
	// Changed is the time of the last change of the data by the API server's clock, in whole seconds; zero if unknown.
	Changed time.Time
	Timing  Timing
	// Listed is what the managed fields gave for Changed when the object, as it was then, was met in a list: until that time content may
	// have been another that nobody saw, also if it is as it was seen before. Zero if all was watched, or they gave nothing.
	Listed time.Time
	// Manager is the field manager that wrote the data last; empty if unknown.
	Manager string
	// NotBefore and NotAfter are the validity of the certificate in tls.crt; zero without one.
	NotBefore time.Time
	NotAfter  time.Time
	// SeenAt is when this content was first seen, on the controller's clock.
	SeenAt time.Time
	// Live is true if it was seen in a watch event right after it was written.
	Live bool
	// Turns are the changes of content that this process saw, oldest first. The oldest are merged.
	Turns []Turn
	// Copies are what pods hold of it, by their names, if each has a copy. Then Content is that of the copy that was made or
	// changed last, Changed is when one was last changed in place, and Turns are such changes. It is never Live: whose pods they
	// are has to be asked for.
	Copies map[string]Copy
}

// Turn is a change of a source's content, as it was seen. With the resourceVersion of a record it tells that content was
// another since, also if it has returned.
type Turn struct {
	// After is the resourceVersion that was seen last with the content before: what came has a greater one.
	After string
	// Since is a lower bound, by the API server's clock, of when the content before was left; zero if unknown.
	Since time.Time
	// Keys changed, were added or removed: each with the resourceVersion that was seen last before it did.
	Keys map[string]string
	// Any is such a version for every key that there may be, where too many changed to keep them apart.
	Any string
	// Merged turns are several.
	Merged bool
}

const (
	// maxTurns is how many turns are kept. Few pass between two looks at a workload, and while a rollout goes on.
	maxTurns = 8
	// maxTurnKeys bounds what a source is worth whose keys have ever new names.
	maxTurnKeys = 64
)

// Turned is the turns of a source once its content is another than what was known of it before. There are none where
// versions began anew, in a cluster that was restored from a backup: they could not be told from later ones.
func (s Source) Turned(known Source) []Turn {
	if order, err := resourceversion.CompareResourceVersion(known.ResourceVersion, s.ResourceVersion); err != nil || order >= 0 {
		return nil
	}
	turn := Turn{After: known.ResourceVersion, Since: known.Changed, Keys: map[string]string{}}
	for _, key := range known.Content.Differing(s.Content) {
		turn.Keys[key] = turn.After
	}
	if s.Timing == Exact {
		turn.Since = s.Changed
	}
	turns := append(slices.Clone(known.Turns), turn.bounded())
	if len(turns) > maxTurns {
		turns = slices.Replace(turns, 0, 2, turns[0].merged(turns[1]))
	}
	return turns
}

// merged is this turn and the next as one. Each key keeps its version: a key that changes often must not make another, that
// changed once, look changed again.
func (t Turn) merged(next Turn) Turn {
	keys := maps.Clone(t.Keys)
	maps.Copy(keys, next.Keys)
	return Turn{After: next.After, Since: t.Since, Keys: keys, Any: cmp.Or(next.Any, t.Any), Merged: true}.bounded()
}

func (t Turn) bounded() Turn {
	if len(t.Keys) > maxTurnKeys {
		t.Keys, t.Any = map[string]string{}, t.After
	}
	return t
}

// turnsAfter are the turns of what the scope shows after a record of that version was made.
func (s Source) turnsAfter(version string, scope reference.Scope) []Turn {
	later := func(than string) bool {
		order, err := resourceversion.CompareResourceVersion(than, version)
		return err == nil && order >= 0
	}
	var turns []Turn
	for _, turn := range s.Turns {
		shown := later(turn.Any)
		for key, after := range turn.Keys {
			shown = shown || scope.Includes(key) && later(after)
		}
		if shown {
			turns = append(turns, turn)
		}
	}
	return turns
}

// Rollout is what the API server says of a workload's pods when asked, read after one another: pods, then the workload.
type Rollout struct {
	Workload Workload
	// Born is when the workload's present revision was created; zero if there is none yet.
	Born time.Time
	// Pods are the active pods of every revision: not terminating, not failed, not succeeded.
	Pods []Pod
	// Runs are what a workload that has no rollout has started, in any order: also those that have ended, as far as the
	// API server still has them.
	Runs []Run
}

// Run is a Job that a CronJob has started, or a Job as its own run.
type Run struct {
	Name string
	// Began is a lower bound of when its first pod was created.
	Began time.Time
	// Ended is when its last pod had ended; zero while it is active.
	Ended time.Time
	// Value is the config digest annotation that its pods inherit.
	Value string
}

// Pod is an active pod of a workload.
type Pod struct {
	Name    string
	UID     types.UID
	Created time.Time
	// Current is true if the pod belongs to the workload's present revision.
	Current bool
	// Value is the config digest annotation that the pod inherited.
	Value string
	// FirstStart is the earliest start of a container, init containers included; zero if none has started.
	FirstStart time.Time
	// LastStart is the latest start of a container, init containers aside; zero if one has not started.
	LastStart time.Time
}
