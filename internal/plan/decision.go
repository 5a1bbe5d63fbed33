package plan

import (
	"strings"
	"time"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

// Verdict is the outcome of a decision. Its values are used as metric labels and in conditions.
type Verdict string

const (
	// NotSelected workloads did not opt in.
	NotSelected Verdict = "NotSelected"
	// Suspended workloads are held by their ReloadPolicy.
	Suspended Verdict = "Suspended"
	// Observed workloads need a restart, and their ReloadPolicy only wants to know.
	Observed Verdict = "Observed"
	// OwnerSuspended workloads are held by a suspended Flux object.
	OwnerSuspended Verdict = "OwnerSuspended"
	// OwnerReconciling workloads wait for the Flux object that applies them to finish.
	OwnerReconciling Verdict = "OwnerReconciling"
	// Waiting workloads use a required source that does not exist, or that cannot be seen yet.
	Waiting Verdict = "Waiting"
	// Baseline means that a workload, or a source of it, was met for the first time and its content was taken as what
	// the pods run with.
	Baseline Verdict = "Baseline"
	// InSync workloads run with the present content.
	InSync Verdict = "InSync"
	// AlreadyFresh means that something else replaced the pods since the change.
	AlreadyFresh Verdict = "AlreadyFresh"
	// RolledBack means that somebody took back the template that a restart wrote while old pods were active. It is
	// reported, and held until content changes or somebody asks for a restart.
	RolledBack Verdict = "RolledBack"
	// Settling restarts wait for more changes.
	Settling Verdict = "Settling"
	// Throttled restarts wait because this workload was restarted often, asks for a pause before each restart, or many are
	// restarted by adoption.
	Throttled Verdict = "Throttled"
	// Restarting workloads roll out.
	Restarting Verdict = "Restarting"
	// Paused workloads would not roll out a new template.
	Paused Verdict = "Paused"
	// Restart means that the template is to be written now.
	Restart Verdict = "Restart"
	// Tell means that somebody else is to be told now, who restarts.
	Tell Verdict = "Tell"
)

// Adoption says what happens to pods that are already stale when Reloader first meets them.
type Adoption string

const (
	// RestartStale restarts them if they are certainly stale.
	RestartStale Adoption = "RestartStale"
	// BaselineOnly takes what they run with as current.
	BaselineOnly Adoption = "Baseline"
)

// Policy is how restarts of the workload are to happen.
type Policy struct {
	// SettleQuiet is how long no source must have changed before a restart, SettleMax how long that may hold it back.
	SettleQuiet time.Duration
	SettleMax   time.Duration
	OnAdoption  Adoption
	// Strategy is what a restart writes; Annotations if it is empty.
	Strategy Strategy
	// OnCreate and OnDelete are whether a source that appears, or goes away, restarts the workload.
	OnCreate bool
	OnDelete bool
	// Tell is whether changes are told to somebody else instead of restarting the workload.
	Tell bool
}

// Hold is a reason from outside the workload to restart it later.
type Hold struct {
	// Verdict is Suspended, Observed, OwnerSuspended or OwnerReconciling.
	Verdict Verdict
	// Message names what holds it.
	Message string
	// For is when to look again; zero if a change of what holds it will say so.
	For time.Duration
}

// Input is everything a decision depends on.
type Input struct {
	Now       time.Time
	Key       digest.Key
	Workload  Workload
	Selection selection.Result
	// Sources holds what is observed of every source in Selection.Uses.
	Sources map[reference.Source]Source
	// Entry is the workload's record; nil at first sight.
	Entry *ledger.Entry
	// Predecessor is the record of another object that had the workload's name before; nil if there was none.
	Predecessor *ledger.Entry
	// Rollout is what the API server says of the pods; nil unless an earlier decision asked for it.
	Rollout *Rollout
	Hold    *Hold
	// Pause names the annotations by which a Deployment asks for a pause.
	Pause PauseAnnotations
	// OwnerApply is who applies the nearest of the workload's owners; zero if nobody is known to.
	OwnerApply Apply
	Policy     Policy

	// Began is when this process began to decide, on the controller's clock.
	Began time.Time
	// Bootstrap is true for workloads met while there was no ledger at all: only a certificate proves a pod stale.
	Bootstrap bool
	// Taken says of each source for which Stakater Reloader has left a hash in the template whether that is the hash of the
	// present content. It counts only with Bootstrap.
	Taken map[reference.Source]bool
	// AdoptionReady is whether the rate of restarts by adoption allows one now.
	AdoptionReady bool
	// SettlingSince is when the workload began to wait for more changes, on the controller's clock; zero if it does not.
	SettlingSince time.Time
	// Unpersisted is true while the record of the last restart is not stored yet.
	Unpersisted bool
	// Written is the generation that the last restart led to, as far as this process knows. A workload of a lesser one
	// comes from a cache that lags behind.
	Written int64
	// Progressed is when the workload's rollout was last seen to move, on the controller's clock.
	Progressed time.Time
	// Look is true if somebody asks to look at the pods now, whatever is remembered of them. It is no cause to restart.
	Look bool
}

// Event is what happened to a source, as messages name it.
type Event string

const (
	// Changed sources have other content.
	Changed Event = "changed"
	// Created sources were not there before.
	Created Event = "created"
	// Deleted sources are not there any more.
	Deleted Event = "deleted"
)

// Change is a source whose content differs from what pods run with.
type Change struct {
	Source reference.Source
	// Event is what happened to it.
	Event Event
	// Keys that changed, sorted; empty if they are not known.
	Keys []string
	// SeenAt is when the change was first seen, on the controller's clock.
	SeenAt time.Time
}

// String says what changed, "Secret/registry-tls changed (tls.crt, tls.key)". Of many keys, the first are named.
func (c Change) String() string {
	const most = 5
	keys := strings.Join(c.Keys[:min(most, len(c.Keys))], ", ")
	switch {
	case len(c.Keys) == 0:
		return c.Source.String() + " " + string(c.Event)
	case len(c.Keys) > most:
		keys += ", …"
	}
	return c.Source.String() + " " + string(c.Event) + " (" + keys + ")"
}

// Describe joins changes for a message: what changed, sorted by source.
func Describe(changes []Change) string {
	parts := make([]string, len(changes))
	for i, c := range changes {
		parts[i] = c.String()
	}
	return strings.Join(parts, ", ")
}

// Recovered is a restart that was written and not recorded, because of a crash, say, and which is known by its value. Who wrote it
// may not have come to tell of it.
type Recovered struct {
	// Value is what was written to the template.
	Value string
	// Changes and Message say why, as if the restart were decided on now.
	Changes []Change
	Message string
	// Since is a time that it was written after: what was noted before is of another. Zero if none is known.
	Since time.Time
}

// Decision is what to do about a workload.
type Decision struct {
	Verdict Verdict
	// Changes are the differences between sources and pods, sorted by source.
	Changes []Change
	// Message says why, in words that stay the same while nothing changes.
	Message string
	// Replaced are the sources that differ although their data could not change: objects that were immutable, and made
	// again. A kubelet goes on serving what it holds of such an object while any pod on its node uses it, so that even a
	// pod that is newer than the change may not have the present content. Only with Restart and AlreadyFresh.
	Replaced []reference.Source
	// Entry is the record to keep; nil to keep none.
	Entry *ledger.Entry
	// Write is what to write to the template, only with Restart; but for its mark. With Tell, its value marks what is told.
	Write
	// Handled is what the record says of the sources once the restart is done; only with Restart of a workload that has
	// runs. That of others is proven by their pods.
	Handled map[reference.Source]ledger.Source
	// Requested is the token of the restart request that the restart handles, content or not, or that waits.
	Requested string
	// Recovered is the restart that this decision has recognised; nil for none, and if its cause is not known.
	// It is known once: who records Entry tells of it, also if the pods cannot be asked for.
	Recovered *Recovered
	// Told is the record to keep once somebody was told; only with Tell.
	Told *ledger.Entry
	// Problems are annotations that the decision ignores because their values make no sense.
	Problems []selection.Problem
	// LeftPaused is since when, as its annotation says it, Stakater Reloader has left the workload paused. Nothing rolls out
	// until somebody resumes it: spec.paused is not ours. Empty if it has not.
	LeftPaused string
	// Adoption is true if the restart heals pods that were stale at first sight.
	Adoption bool
	// After is when to look again at the latest; zero if only an event can change the decision.
	After time.Duration
	// NeedsRollout is true if the decision cannot be made without Rollout. Only Entry counts then: it holds what was seen,
	// to be kept if the pods cannot be asked for.
	NeedsRollout bool
}
