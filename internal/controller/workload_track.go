package controller

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/policy"
)

// track is what this process remembers of one workload beyond the ledger. All of it may be lost. A workload is reconciled
// by one worker at a time, so its track needs no lock.
type track struct {
	uid types.UID
	// template is the uid of the object that has the template, where that is another. If it is replaced, the track is new.
	template types.UID
	// written is the generation that the last restart led to.
	written int64
	// conflicts in a row.
	conflicts int
	// progress of the rollout and generation as last seen, and when either last moved.
	progress   string
	generation int64
	progressed time.Time
	// settling is when the workload began to wait for more changes; zero if it does not.
	settling time.Time
	// governing is the policy that governs the workload, as of the last look; nil for none. Shadowed are others that
	// select it.
	governing *policy.Policy
	shadowed  []policy.Name
	// looked is the last request to look at the pods that was followed, or was there when the track began.
	looked string
	// telling is whether a call of the webhook is under way for it.
	telling bool
	// verdict, message and the others are what was last reported, so that only changes are.
	verdict  plan.Verdict
	message  string
	held     string
	failure  string
	problems string
	paused   string
}

// track returns the workload's track, a new one for an object that took another's place.
func (r *Reconciler) track(w plan.Workload) *track {
	r.mu.Lock()
	defer r.mu.Unlock()
	var template types.UID
	if w.TemplateOf != nil {
		template = w.TemplateOf.UID
	}
	t, ok := r.tracks[w.Workload]
	if !ok || t.uid != w.UID || t.template != template {
		t = &track{uid: w.UID, template: template}
		t.look(w)
		r.tracks[w.Workload] = t
	}
	return t
}

func (t *track) observe(w plan.Workload, now time.Time) {
	if t.progress != w.Progress || t.generation != w.Generation || t.progressed.IsZero() {
		t.progress, t.generation, t.progressed = w.Progress, w.Generation, now
	}
}

// fails notes why a restart failed, as everybody may be told, and reports whether that is another reason than before.
func (t *track) fails(err error) (why string, anew bool) {
	why = explain(err)
	anew = t.failure != why
	t.failure = why
	return why, anew
}

// asked reports whether somebody asks, by a new value, to look at the workload's pods.
func (t *track) asked(w plan.Workload) bool {
	request := w.Annotations[v1alpha1.ReconcileRequestAnnotation]
	return request != "" && request != t.looked
}

// look notes that the pods were looked at if somebody asked for it.
func (t *track) look(w plan.Workload) {
	if t.asked(w) {
		t.looked = w.Annotations[v1alpha1.ReconcileRequestAnnotation]
	}
}

func (t *track) settle(verdict plan.Verdict, now time.Time) {
	switch {
	case verdict != plan.Settling:
		t.settling = time.Time{}
	case t.settling.IsZero():
		t.settling = now
	}
}

// beginBootstrap notes, if the ledger is new, which workloads there are.
func (r *Reconciler) beginBootstrap() {
	if !r.ledger.Bootstrapping() {
		return
	}
	for _, w := range r.workloads.All() {
		if r.ledger.Get(w.UID) == nil {
			r.bootstrap[w.Workload] = true
		}
	}
	if len(r.bootstrap) == 0 {
		r.ledger.EndBootstrap()
	}
}

func (r *Reconciler) bootstrapping(name ledger.Workload) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bootstrap[name]
}

// endBootstrap notes that a workload has been looked at; after the last one, the ledger counts as complete.
func (r *Reconciler) endBootstrap(name ledger.Workload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.bootstrap[name] {
		return
	}
	delete(r.bootstrap, name)
	if len(r.bootstrap) == 0 {
		r.ledger.EndBootstrap()
		r.takeover.end()
	}
}
