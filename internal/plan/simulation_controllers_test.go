package plan_test

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
)

// parts is what belongs to a workload: its revisions and pods, of every revision.
type parts struct {
	name      ledger.Workload
	revisions []*revision
	pods      []*apiPod
	made      int
	kicked    bool
}

// revision is a ReplicaSet or a ControllerRevision. Want is how many pods a ReplicaSet keeps.
type revision struct {
	template apiTemplate
	created  time.Time
	number   int
	want     int
}

type apiPod struct {
	name        string
	uid         types.UID // of the workload
	ordinal     int
	revision    *revision
	created     time.Time
	terminating bool
	ready       bool
	lag         time.Duration
	// early pods read what their volumes held when they were mounted, others what there is when a container starts.
	early      bool
	mounted    map[reference.Source]*apiSource
	containers []container
}

// container has started at a time and read what its pod's sources held.
type container struct {
	started time.Time
	read    map[reference.Source]*apiSource
}

func (p *apiPod) firstStart() time.Time {
	var first time.Time
	for _, c := range p.containers {
		if !c.started.IsZero() && (first.IsZero() || c.started.Before(first)) {
			first = c.started
		}
	}
	return first
}

func (p *apiPod) lastStart() time.Time {
	var last time.Time
	for _, c := range p.containers {
		if c.started.IsZero() {
			return time.Time{}
		}
		if c.started.After(last) {
			last = c.started
		}
	}
	return last
}

// reads are what a pod has read of a source, or is to.
func (p *apiPod) reads(name reference.Source) []*apiSource {
	var reads []*apiSource
	for _, c := range append([]container{{read: p.mounted}}, p.containers...) {
		if o := c.read[name]; o != nil {
			reads = append(reads, o)
		}
	}
	return reads
}

// kick lets a workload's controller look at it soon.
func (v *server) kick(uid types.UID) {
	p := v.parts[uid]
	if p.kicked {
		return
	}
	p.kicked = true
	delay := v.between(1, 50)
	if v.chance(5) {
		delay = v.between(100, 3000)
	}
	v.after(delay, func() {
		p.kicked = false
		if w := v.wl[p.name]; w != nil && w.uid == uid {
			v.sync(*w, p)
		}
	})
}

// sync is one turn of a workload's controller.
func (v *server) sync(w apiWorkload, p *parts) {
	changed := false
	switch w.Kind {
	case "Deployment":
		changed = v.syncDeployment(w, p)
	default:
		changed = v.syncSet(w, p)
	}
	w.observed, w.desired = w.generation, w.replicas
	w.total, w.updated, w.ready = 0, 0, 0
	for _, pod := range p.pods {
		if pod.terminating {
			continue
		}
		w.total++
		if pod.revision.template == w.template {
			w.updated++
		}
		if pod.ready {
			w.ready++
		}
	}
	v.report(p.name, w)
	if changed {
		v.kick(w.uid)
	}
}

// revise finds the template's revision, or makes it; one that returns gets a new number.
func (v *server) revise(w apiWorkload, p *parts) *revision {
	number := 0
	for _, r := range p.revisions {
		number = max(number, r.number)
	}
	for _, r := range p.revisions {
		if r.template == w.template {
			if r.number < number {
				r.number = number + 1
				v.note("%s: revision of %s returns as %d", w.Short(), r.created.Format(time.TimeOnly), r.number)
			}
			return r
		}
	}
	r := &revision{template: w.template, created: v.stamp(), number: number + 1}
	v.note("%s: revision %d", w.Short(), r.number)
	p.revisions = append(p.revisions, r)
	return r
}

func (v *server) syncDeployment(w apiWorkload, p *parts) bool {
	if !w.paused {
		v.roll(w, p, v.revise(w, p))
	}
	changed := false
	for _, r := range p.revisions {
		changed = v.keepReplicas(w, p, r) || changed
	}
	return changed
}

// roll decides how many pods each revision is to have: one more than asked for while it rolls, none fewer ready.
func (v *server) roll(w apiWorkload, p *parts, present *revision) {
	sum, ready, old := p.counts(present)
	most := w.replicas + 1
	if w.recreate {
		most = w.replicas
	}
	for _, r := range p.revisions {
		for r != present && r.want > 0 && (w.recreate || sum > most || ready > w.replicas || v.unready(p, r)) {
			r.want, sum, ready = r.want-1, sum-1, ready-1
		}
	}
	switch {
	case w.recreate && old > 0:
	case sum < most && present.want < w.replicas:
		present.want++
	case present.want > w.replicas:
		present.want = w.replicas
	}
}

// counts are how many pods all revisions are to have, and how many pods are ready, or of other revisions.
func (p *parts) counts(present *revision) (sum, ready, old int) {
	for _, r := range p.revisions {
		sum += r.want
	}
	for _, pod := range p.pods {
		if pod.ready && !pod.terminating {
			ready++
		}
		if pod.revision != present {
			old++
		}
	}
	return sum, ready, old
}

// unready reports whether a revision keeps pods that are not ready.
func (v *server) unready(p *parts, r *revision) bool {
	kept := 0
	unready := false
	for _, pod := range p.pods {
		if pod.revision == r && !pod.terminating {
			kept++
			unready = unready || !pod.ready
		}
	}
	return unready && kept >= r.want
}

// keepReplicas is a ReplicaSet's controller: also an old one replaces pods that it loses.
func (v *server) keepReplicas(w apiWorkload, p *parts, r *revision) bool {
	var mine []*apiPod
	for _, pod := range p.pods {
		if pod.revision == r && !pod.terminating {
			mine = append(mine, pod)
		}
	}
	slices.SortStableFunc(mine, func(a, b *apiPod) int { // unready ones go first
		switch {
		case a.ready == b.ready:
			return 0
		case b.ready:
			return -1
		}
		return 1
	})
	switch {
	case len(mine) < r.want:
		v.create(w.uid, p, r, 0)
	case len(mine) > r.want:
		v.terminate(mine[0])
	default:
		return r.template == w.template && r.want < w.replicas && !w.recreate && !w.paused && v.unfinished(w, p)
	}
	return true
}

// unfinished reports whether another pod may be made at once.
func (v *server) unfinished(w apiWorkload, p *parts) bool {
	sum, _, _ := p.counts(nil)
	return sum < w.replicas+1
}

// syncSet is the controller of a StatefulSet or DaemonSet: one pod for each number, one replaced at a time.
func (v *server) syncSet(w apiWorkload, p *parts) bool {
	present := v.revise(w, p)
	taken := map[int]bool{}
	busy := false
	for _, pod := range p.pods {
		taken[pod.ordinal] = true
		busy = busy || pod.terminating || !pod.ready && pod.revision == present
		if !pod.terminating && pod.ordinal >= w.replicas {
			v.terminate(pod)
			if w.Kind == "StatefulSet" {
				return true
			}
		}
	}
	for i := range w.replicas {
		if !taken[i] {
			v.create(w.uid, p, v.setRevision(w, p, present, i), i)
			return true
		}
	}
	old := oldest(p, present)
	if old == nil || busy || w.onDelete || w.Kind == "StatefulSet" && old.ordinal < w.partition {
		return false
	}
	v.terminate(old)
	return true
}

// oldest is the pod to replace next: of those of other revisions, the one with the greatest number.
func oldest(p *parts, present *revision) *apiPod {
	var old *apiPod
	for _, pod := range p.pods {
		if !pod.terminating && pod.revision != present && (old == nil || pod.ordinal > old.ordinal) {
			old = pod
		}
	}
	return old
}

// setRevision is the revision of a pod that is made: in a StatefulSet's rollout, it may be the old one.
func (v *server) setRevision(w apiWorkload, p *parts, present *revision, ordinal int) *revision {
	if w.Kind != "StatefulSet" || w.onDelete || len(p.revisions) < 2 {
		return present
	}
	var other *revision
	for _, pod := range p.pods {
		if pod.revision != present && !pod.terminating {
			other = pod.revision
		}
	}
	if other != nil && (ordinal < w.partition || v.chance(30)) {
		return other
	}
	return present
}

func (v *server) create(uid types.UID, p *parts, r *revision, ordinal int) {
	p.made++
	pod := &apiPod{
		name: p.name.Name + "-" + itoa(p.made), uid: uid, ordinal: ordinal, revision: r, created: v.stamp(),
		lag: v.between(0, 40), early: v.chance(50), containers: make([]container, 1+v.r.Intn(2)),
	}
	v.note("pod %s of revision %d", pod.name, r.number)
	p.pods = append(p.pods, pod)
	v.after(v.startDelay(), func() { v.mount(pod) })
}

// startDelay is how long a pod takes to be scheduled and admitted. It is longer than what a kubelet sees of sources lags.
func (v *server) startDelay() time.Duration {
	if v.chance(10) {
		return v.between(2000, 60000)
	}
	return v.between(50, 1500)
}

// terminate deletes a pod: it is gone after a while.
func (v *server) terminate(pod *apiPod) {
	if pod.terminating {
		return
	}
	v.note("pod %s ends", pod.name)
	pod.terminating = true
	v.after(v.between(10, 5000), func() {
		p := v.parts[pod.uid]
		p.pods = slices.DeleteFunc(p.pods, func(other *apiPod) bool { return other == pod })
		v.kick(pod.uid)
	})
	v.kick(pod.uid)
}

// mount is the kubelet's first step: volumes are mounted once all sources that are required are there.
func (v *server) mount(pod *apiPod) {
	if pod.terminating {
		return
	}
	read, ok := v.read(pod)
	if !ok {
		v.after(v.between(500, 20000), func() { v.mount(pod) })
		return
	}
	pod.mounted = read
	delay := v.between(5, 800)
	if v.chance(15) { // images are pulled
		delay = v.between(1000, 40000)
	}
	v.after(delay, func() { v.start(pod, 0, pod.early) })
}

// read is what a pod's sources hold, as the kubelet sees them. It is false if a required one is absent.
func (v *server) read(pod *apiPod) (map[reference.Source]*apiSource, bool) {
	read := map[reference.Source]*apiSource{}
	for _, use := range simUses[pod.revision.template.uses] {
		o := v.readAt(use.Source, v.now.Add(-pod.lag))
		if o == nil && !use.Optional {
			return nil, false
		}
		read[use.Source] = o
	}
	return read, true
}

// start starts a container, and the next one after it.
func (v *server) start(pod *apiPod, i int, early bool) {
	if pod.terminating {
		return
	}
	read, ok := pod.mounted, true
	if !early {
		read, ok = v.read(pod)
	}
	if !ok {
		v.after(v.between(500, 20000), func() { v.start(pod, i, early) })
		return
	}
	pod.containers[i] = container{started: v.stamp(), read: read}
	v.note("pod %s: container %d started, read %s", pod.name, i, lazy(func() string { return describeRead(read) }))
	if i+1 < len(pod.containers) && pod.containers[i+1].started.IsZero() {
		v.after(v.between(0, 3000), func() { v.start(pod, i+1, early) })
		return
	}
	v.after(v.between(0, 5000), func() {
		if !pod.terminating && !pod.lastStart().IsZero() {
			pod.ready = true
			v.kick(pod.uid)
		}
	})
}

func describeRead(read map[reference.Source]*apiSource) string {
	text := ""
	for _, name := range simSources {
		if o, used := read[name]; used && o == nil {
			text += name.Name + " absent "
		} else if used {
			text += fmt.Sprintf("%s %v ", name.Name, o.data)
		}
	}
	return text
}

// crashContainer ends a container; the kubelet starts it again.
func (v *server) crashContainer(pod *apiPod, i int) {
	if pod.containers[i].started.IsZero() {
		return
	}
	v.note("pod %s: container %d ends", pod.name, i)
	pod.ready = false
	if v.chance(50) { // it waits to be started again
		pod.containers[i].started = time.Time{}
		pod.containers[i].read = nil
	}
	v.kick(pod.uid)
	v.after(v.between(10, 20000), func() { v.start(pod, i, false) })
}
