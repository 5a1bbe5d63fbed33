package plan_test

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"time"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/reference"
)

// actor is everybody but Reloader, for one step. What it does depends on its own chance alone.
type actor struct {
	*simulation
	r *rand.Rand
}

// act does one thing.
func (a *actor) act() {
	if a.seen() && !a.optedOut() {
		a.looked = a.now
	}
	total := 0
	for _, deed := range simDeeds {
		total += deed.weight
	}
	n := a.r.Intn(total)
	for _, deed := range simDeeds {
		if n -= deed.weight; n < 0 {
			deed.do(a)
			return
		}
	}
}

var simDeeds = []struct {
	weight int
	do     func(a *actor)
}{
	{30, (*actor).write},
	{8, (*actor).label},
	{5, (*actor).removeKey},
	{10, (*actor).gitops},
	{4, (*actor).deploy},
	{3, (*actor).strip},
	{4, func(a *actor) { a.undo(a.workload()) }},
	{10, (*actor).evict},
	{4, (*actor).crashContainer},
	{3, (*actor).scale},
	{3, (*actor).pause},
	{2, (*actor).opt},
	{3, (*actor).putOff},
	{4, (*actor).request},
	{6, (*actor).hold},
	{4, (*actor).removeSource},
	{1, (*actor).recreate},
	{8, (*actor).tie},
	{6, (*actor).flip},
	{5, (*actor).race},
	{5, (*actor).shed},
	{4, (*actor).interrupt},
	{6, (*actor).endProcess},
	{3, (*actor).freeze},
	{1, (*actor).loseLedger},
}

func (a *actor) source() reference.Source { return simSources[a.r.Intn(len(simSources))] }

func (a *actor) workload() ledger.Workload { return a.server.names[a.r.Intn(len(a.server.names))] }

func (a *actor) pod() *apiPod {
	w := a.server.wl[a.workload()]
	if w == nil {
		return nil
	}
	pods := a.server.parts[w.uid].pods
	if len(pods) == 0 {
		return nil
	}
	return pods[a.r.Intn(len(pods))]
}

// seen reports whether a leader sees every change of sources. What comes and goes while nobody looks is a known limit,
// so that content does not return then.
func (a *actor) seen() bool {
	return a.leader != nil && !a.leader.sourceIn.cut && a.leader.book != nil && !a.leader.overdue
}

// value is a new value for a key: often one that has been there before. It is none that a source had since nobody looks.
func (a *actor) value() string {
	value := string(rune('A' + a.r.Intn(3)))
	if a.quiet || a.optedOut() || a.unseen(value) {
		a.fresh++
		return fmt.Sprint(a.fresh)
	}
	return value
}

// optedOut reports whether a workload is not looked at: what comes and goes meanwhile is not noted.
func (a *actor) optedOut() bool {
	return slices.ContainsFunc(a.server.names, func(name ledger.Workload) bool { return a.server.wl[name] != nil && a.server.wl[name].out })
}

// unseen reports whether a source held the value since nobody looks, or so shortly before that it may not be on record.
func (a *actor) unseen(value string) bool {
	if a.seen() {
		return false
	}
	return slices.ContainsFunc(simSources, func(name reference.Source) bool {
		return a.server.heldSince(name, a.looked.Add(-a.onRecord()), func(o *apiSource) bool {
			return slices.Contains(slices.Collect(maps.Values(o.data)), value)
		})
	})
}

func (a *actor) manager(name reference.Source) (manager string, apply bool) {
	switch {
	case name == tls:
		return "cert-manager", a.r.Intn(2) == 0
	case a.r.Intn(3) == 0:
		return "kubectl", false
	}
	return "kustomize-controller", true
}

func (a *actor) write() {
	name := a.source()
	manager, apply := a.manager(name)
	a.fresh++
	data := map[string]string{"a": fmt.Sprint(a.fresh)} // an object that is made again never held it
	if old := a.server.sources[name]; old != nil {
		data = maps.Clone(old.data)
		data[[]string{"a", "a", "b", "c"}[a.r.Intn(4)]] = a.value()
	}
	if manager == "kustomize-controller" && !a.mayApply() {
		return
	}
	a.server.put(name, manager, apply, data, a.labelOf(name))
}

func (a *actor) labelOf(name reference.Source) int {
	if o := a.server.sources[name]; o != nil {
		return o.label
	}
	return 0
}

// mayApply keeps GitOps applies apart: one takes longer than the grain of time stamps. That two objects of one manager
// are applied within a second, but not by one apply, is a known limit.
func (a *actor) mayApply() bool {
	if a.now.Sub(a.applied) < 5*time.Second {
		return false
	}
	a.applied = a.now
	return true
}

// label writes labels alone; the data's manager moves its time by that.
func (a *actor) label() {
	name := a.source()
	if o := a.server.sources[name]; o != nil {
		manager, apply := a.manager(name)
		if a.r.Intn(3) == 0 {
			manager, apply = "labeller", false
		}
		a.server.put(name, manager, apply, o.data, o.label+1)
	}
}

// removeKey removes a key, or several and changes another.
func (a *actor) removeKey() {
	name := a.source()
	o := a.server.sources[name]
	if o == nil {
		return
	}
	data := maps.Clone(o.data)
	delete(data, []string{"b", "c", "a"}[a.r.Intn(3)])
	if len(data) == 0 || !a.seen() && a.r.Intn(2) == 0 {
		data["a"] = a.value()
	}
	if !a.seen() && !maps.Equal(data, o.data) { // content that never was
		data[slices.Min(slices.Collect(maps.Keys(data)))] = a.value()
	}
	manager, apply := a.manager(name)
	if manager == "kustomize-controller" && !a.mayApply() {
		return
	}
	a.server.put(name, manager, apply || a.forgets(), data, o.label)
}

// forgets reports whether a removal may not be noted, or not for good: a key that comes and goes then leaves no trace if
// it goes by an Update.
func (a *actor) forgets() bool { return !a.seen() || a.late > 0 || a.crashy > 0 }

// gitops applies configuration, then the workload, as Flux does.
func (a *actor) gitops() {
	if !a.mayApply() {
		return
	}
	name, source := a.workload(), []reference.Source{app, more}[a.r.Intn(2)]
	a.fresh++
	data := map[string]string{"a": fmt.Sprint(a.fresh)} // an object that is made again never held it
	if old := a.server.sources[source]; old != nil {
		data = maps.Clone(old.data)
		data["a"] = a.value()
	}
	a.server.put(source, "kustomize-controller", true, data, a.labelOf(source))
	change := a.templateChange()
	a.after(time.Duration(a.r.Intn(300))*time.Millisecond, func() { a.server.edit(name, "kustomize-controller", change) })
}

func (a *actor) templateChange() func(w *apiWorkload) {
	n, uses := a.r.Intn(4), a.r.Intn(len(simUses))
	a.images++
	image := a.images
	return func(w *apiWorkload) {
		switch n {
		case 0:
			w.template.uses = uses
		case 1:
			w.template.image = image % 3
		default:
			w.template.image = image
		}
	}
}

// tie makes new pods, and changes what they read within about a second.
func (a *actor) tie() {
	w := a.server.wl[a.workload()]
	if w == nil {
		return
	}
	if a.r.Intn(2) == 0 {
		a.server.edit(w.Workload, "kubectl", a.templateChange())
	} else if pods := a.server.parts[w.uid].pods; len(pods) > 0 {
		a.server.terminate(pods[a.r.Intn(len(pods))])
	}
	uses := simUses[w.template.uses]
	name := uses[a.r.Intn(len(uses))].Source
	a.after(time.Duration(20+a.r.Intn(2500))*time.Millisecond, func() { a.set(name, a.value()) })
}

// flip changes a source and changes it back, with new pods in between or not.
func (a *actor) flip() {
	name := a.source()
	old := a.server.sources[name]
	if old == nil || !a.seen() {
		return
	}
	pod, wait := a.pod(), time.Duration(100+a.r.Intn(8000))*time.Millisecond
	if a.r.Intn(3) == 0 { // the leader sees both at once
		a.simulation.freeze(a.leader, wait+time.Second)
	}
	a.set(name, a.value())
	if a.r.Intn(2) == 0 && pod != nil {
		a.after(wait/8, func() { a.server.terminate(pod) })
	}
	a.after(wait, func() {
		if o := a.server.sources[name]; o != nil && o.uid == old.uid && a.seen() && !a.quiet && !a.optedOut() {
			a.set(name, old.data["a"])
		}
	})
}

// race changes a source, and the template just when Reloader is about to write it: a rollout, an undo.
func (a *actor) race() {
	w := a.server.wl[a.workload()]
	if w == nil {
		return
	}
	name, change, undo := w.Workload, a.templateChange(), a.r.Intn(3) == 0
	a.rivals[name] = func() {
		if undo {
			a.undo(name)
		} else {
			a.server.edit(name, "kubectl", change)
		}
	}
	uses := simUses[w.template.uses]
	a.set(uses[a.r.Intn(len(uses))].Source, a.value())
}

// shed changes a key, makes a new pod, and removes another key by an Update, which moves no time.
func (a *actor) shed() {
	name, pod := a.source(), a.pod()
	old := a.server.sources[name]
	if old == nil || len(old.data) < 2 {
		return
	}
	wait := time.Duration(1500+a.r.Intn(6000)) * time.Millisecond
	a.set(name, a.value())
	if pod != nil {
		a.after(wait/4, func() { a.server.terminate(pod) })
	}
	a.after(wait, func() {
		if o := a.server.sources[name]; o != nil && len(o.data) > 1 {
			data := maps.Clone(o.data)
			delete(data, slices.Max(slices.Collect(maps.Keys(data))))
			if !a.seen() { // content that never was
				a.fresh++
				data["a"] = fmt.Sprint(a.fresh)
			}
			a.server.put(name, "cert-manager", a.forgets(), data, o.label)
		}
	})
}

// set gives a source's main key a value.
func (a *actor) set(name reference.Source, value string) {
	old := a.server.sources[name]
	if old == nil {
		return
	}
	data := maps.Clone(old.data)
	if data["a"] = value; value == "" {
		delete(data, "a")
	}
	manager, apply := "cert-manager", a.r.Intn(2) == 0
	a.server.put(name, manager, apply, data, old.label)
}

// deploy changes a template and leaves our annotation alone.
func (a *actor) deploy() { a.server.edit(a.workload(), "kubectl", a.templateChange()) }

// strip is somebody who writes back a template without our annotation, some time after every change that he sees.
func (a *actor) strip() {
	name := a.workload()
	times, wait := 1+a.r.Intn(3), time.Duration(a.r.Intn(20000))*time.Millisecond
	var again func()
	again = func() {
		a.server.edit(name, "operator", func(w *apiWorkload) { w.template.value = "" })
		if times--; times > 0 {
			a.after(wait, again)
		}
	}
	a.after(wait/4, again)
}

func (a *actor) undo(name ledger.Workload) {
	w := a.server.wl[name]
	if w == nil {
		return
	}
	revisions := slices.Clone(a.server.parts[w.uid].revisions)
	slices.SortFunc(revisions, func(x, y *revision) int { return y.number - x.number })
	if len(revisions) > 1 {
		a.server.edit(w.Workload, "undo", func(w *apiWorkload) { w.template = revisions[1].template })
	}
}

func (a *actor) evict() {
	if pod := a.pod(); pod != nil {
		a.server.terminate(pod)
	}
}

func (a *actor) crashContainer() {
	if pod := a.pod(); pod != nil && !pod.terminating {
		a.server.crashContainer(pod, a.r.Intn(len(pod.containers)))
	}
}

func (a *actor) scale() {
	n := a.r.Intn(4)
	a.server.edit(a.workload(), "kubectl", func(w *apiWorkload) { w.replicas = n })
}

func (a *actor) pause() {
	partition := a.r.Intn(2)
	a.server.edit(a.workload(), "kubectl", func(w *apiWorkload) {
		switch {
		case w.Kind == "Deployment":
			w.paused = !w.paused
		case w.Kind == "StatefulSet" && !w.onDelete:
			w.partition = partition
		default:
			w.onDelete = !w.onDelete
		}
	})
}

// putOff asks for a pause period before restarts, or does not any more.
func (a *actor) putOff() {
	period := []string{"", "30s", "10m"}[a.r.Intn(3)]
	a.server.edit(a.workload(), "kubectl", func(w *apiWorkload) { w.period = period })
}

func (a *actor) opt() {
	a.server.edit(a.workload(), "kubectl", func(w *apiWorkload) { w.out = !w.out })
}

// request asks for a restart by a new token, takes the token away, or puts it back. A token is left alone while the record
// of its restart is not stored: should that be lost, nobody could tell by the value what it was written for.
func (a *actor) request() {
	w := a.server.wl[a.workload()]
	if w == nil {
		return
	}
	a.fresh++
	token, wait := "token-"+itoa(a.fresh), time.Duration(a.r.Intn(20000))*time.Millisecond
	if a.r.Intn(3) > 0 {
		a.ask(w.Workload, token)
		return
	}
	old := w.token
	a.ask(w.Workload, "")
	a.after(wait, func() {
		if a.asked[w.Workload] == old { // of those before, nobody knows any more whether they were handled
			a.ask(w.Workload, old)
		}
	})
}

func (a *actor) ask(name ledger.Workload, token string) {
	w := a.server.wl[name]
	if w == nil {
		return
	}
	if _, granted := a.oracle.granted[w.uid][w.token]; granted && !a.shelf.handled(w.uid, w.token) {
		return
	}
	if token != "" {
		a.asked[name] = token
	}
	a.server.edit(name, "kubectl", func(w *apiWorkload) { w.token = token })
}

func (a *actor) hold() { a.setHeld(a.workload(), a.r.Intn(2) == 0) }

// removeSource deletes a source, and mostly makes it again: with what it held only if it held nothing else shortly
// before, since that would not be seen to have been another, which is a known limit.
func (a *actor) removeSource() {
	name := a.source()
	old := a.server.sources[name]
	if old == nil || !a.mayApply() {
		return
	}
	data := maps.Clone(old.data)
	another := func(o *apiSource) bool { return !maps.Equal(o.data, old.data) }
	if a.r.Intn(3) > 0 || a.server.heldSince(name, a.now.Add(-20*time.Minute), another) {
		a.fresh++
		data["a"] = fmt.Sprint(a.fresh)
	}
	a.server.remove(name)
	if a.r.Intn(5) > 0 {
		wait := []int{0, 10, 900, 3000, 60000}[a.r.Intn(5)]
		manager, apply := a.manager(name)
		a.after(time.Duration(wait)*time.Millisecond, func() {
			if manager == "kustomize-controller" && wait > 0 && !a.mayApply() {
				manager, apply = "kubectl", false
			}
			if a.server.sources[name] == nil {
				a.server.put(name, manager, apply, data, 0)
			}
		})
	}
}

// recreate deletes a workload and makes it again, sometimes around its pods.
func (a *actor) recreate() {
	name := a.workload()
	old := a.server.wl[name]
	if old == nil {
		return
	}
	orphan := a.r.Intn(2) == 0 && old.Kind == "Deployment"
	a.server.unmake(name, orphan)
	wait, value := []int{100, 3000, 60000}[a.r.Intn(3)], a.r.Intn(2) == 0
	var again func()
	again = func() {
		switch {
		case a.server.wl[name] != nil:
			return
		case old.manager != "" && !a.mayApply():
			a.after(5*time.Second, again)
			return
		}
		w := *old
		w.observed, w.total, w.updated, w.ready, w.desired = 0, 0, 0, 0, 0
		if !value {
			w.template.value = ""
		}
		var left *parts
		if orphan {
			left = a.server.parts[old.uid]
		}
		a.server.make(w, left)
		a.oracle.tookBack[a.server.wl[name].uid] = a.oracle.tookBack[old.uid] || old.template.value != "" && !value
	}
	a.after(time.Duration(wait)*time.Millisecond, again)
}

func (a *actor) interrupt() {
	if p := a.processes[a.r.Intn(len(a.processes))]; p.alive {
		p.interrupt(a.r.Intn(2) == 0)
	}
}

func (a *actor) endProcess() {
	var alive []*process
	for _, p := range a.processes {
		if p.alive {
			alive = append(alive, p)
		}
	}
	if len(alive) == 0 {
		return
	}
	if p := alive[a.r.Intn(len(alive))]; a.r.Intn(2) == 0 {
		a.crash(p, "killed")
	} else {
		a.stop(p)
	}
}

func (a *actor) freeze() {
	lasts := []int{1000, 10000, 20000, 60000, 300000}[a.r.Intn(5)]
	if a.leader != nil {
		a.simulation.freeze(a.leader, time.Duration(lasts+a.r.Intn(lasts))*time.Millisecond)
	}
}

// loseLedger deletes the ledger while nobody leads.
func (a *actor) loseLedger() {
	if a.leader == nil && a.losable {
		a.note("the ledger is lost")
		a.shelf.exists, a.shelf.bootstrap = false, false
		clear(a.shelf.entries)
		for _, name := range a.server.names {
			if w := a.server.wl[name]; w != nil {
				a.oracle.forgiven[w.uid] = true
				delete(a.oracle.granted, w.uid)
			}
		}
	}
}
