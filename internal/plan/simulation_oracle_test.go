package plan_test

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// oracle knows what every pod has read, and what restarted workloads have been restarted for.
type oracle struct {
	*simulation
	// views are the numbers of the last change of each source that a workload's last restart knew of.
	views map[types.UID]map[reference.Source]int
	// forgiven workloads may be restarted once more for a change: their ledger was lost.
	forgiven map[types.UID]bool
	// applied is the value that the last restart wrote.
	applied map[types.UID]string
	// granted counts the restarts of a workload for each token by which somebody asked for one; those of a leader that does
	// not know that another leads are there, and do not count.
	granted map[types.UID]map[string]int
	// ever are the same by name: what takes a workload's place, around its pods, takes over its record.
	ever map[ledger.Workload]map[string]bool
	// tookBack are workloads of which somebody removed a value of ours, edits when somebody changed the template last.
	tookBack map[types.UID]bool
	edits    map[types.UID]time.Time
	// reshaped are those whose template came to show other sources, or other keys, since their last restart for all of
	// them, or since a leader last looked at what an old cache shows of it: of one that is absent then, only the digest of
	// other keys is known.
	reshaped map[types.UID]bool
	// assumed is content that was taken at first sight as what a pod runs with.
	assumed map[*apiPod]map[reference.Source][]digest.Content
	// noted is until when all that a leader saw is on record, unlooked when sources were not looked at for a workload: it
	// was opted out, or its template did not show them.
	noted    time.Time
	unlooked map[types.UID]map[reference.Source]period
	restarts int
	adopted  int
	last     time.Time
}

func newOracle(s *simulation) *oracle {
	return &oracle{
		simulation: s, views: map[types.UID]map[reference.Source]int{}, forgiven: map[types.UID]bool{},
		applied: map[types.UID]string{}, granted: map[types.UID]map[string]int{}, ever: map[ledger.Workload]map[string]bool{},
		tookBack: map[types.UID]bool{}, edits: map[types.UID]time.Time{}, reshaped: map[types.UID]bool{},
		assumed:  map[*apiPod]map[reference.Source][]digest.Content{},
		unlooked: map[types.UID]map[reference.Source]period{},
	}
}

// period is a stretch of time; one without an end goes on.
type period struct{ start, end time.Time }

// looksAt notes which sources are not looked at any more, or are again.
func (o *oracle) looksAt(old, w *apiWorkload) {
	looks := func(w *apiWorkload, name reference.Source) bool {
		return !w.out && slices.ContainsFunc(simUses[w.template.uses], func(u reference.Use) bool { return u.Source == name })
	}
	for _, name := range simSources {
		before, after := looks(old, name), looks(w, name)
		last := o.unlooked[w.uid][name]
		switch {
		case before == after:
			continue
		case after:
			last.end = o.now
		case last.end.IsZero() || last.end.Before(o.noted):
			last = period{start: o.now.Add(-o.onRecord())} // what was seen just before may not be on record either
		default:
			last.end = time.Time{} // what was seen between the two may not be on record
		}
		if o.unlooked[w.uid] == nil {
			o.unlooked[w.uid] = map[reference.Source]period{}
		}
		o.unlooked[w.uid][name] = last
	}
}

// notedFor is until when all that was seen of a source is on record of a workload.
func (o *oracle) notedFor(uid types.UID, name reference.Source) time.Time {
	unlooked, known := o.unlooked[uid][name]
	if known && unlooked.start.Before(o.noted) && (unlooked.end.IsZero() || unlooked.end.After(o.noted)) {
		return unlooked.start
	}
	return o.noted
}

func (o *oracle) edited(old, w *apiWorkload, who string) {
	o.looksAt(old, w)
	if who == "flux-reloader" || old.template == w.template {
		return
	}
	o.edits[w.uid] = o.stamp()
	if old.template.value != w.template.value {
		o.tookBack[w.uid] = true
	}
	if old.template.uses != w.template.uses {
		o.reshaped[w.uid] = true
	}
}

// recorded notes what is taken at first sight as what pods run with.
func (o *oracle) recorded(p *process, in plan.Input, e *ledger.Entry) {
	o.adopts(in, e)
	o.looksBack(p, in, e)
	if granted := o.ever[e.Workload][e.Token]; in.Entry != nil && in.Entry.Token != e.Token && !granted && p == o.leader {
		o.fail("request lost", "%s counts as restarted for %q, and was not", e.Workload.Short(), e.Token)
	}
	for source, now := range e.Sources {
		if !now.Present || now.Provisional || !now.Diverged.IsZero() {
			continue
		}
		known := scopeOnRecord(in.Entry, source)
		if known.Equal(now.Scope) {
			continue
		}
		if p == o.leader { // what another takes down is not kept
			o.enters(in, source)
		}
		for _, pod := range p.server.parts[in.Workload.UID].pods {
			o.assumeAnew(pod, source, in.Sources[source].Content, known)
		}
	}
	if p == o.leader {
		o.proven(in, e)
	}
}

// looksBack notes that a leader looked at what an old cache shows of a template.
func (o *oracle) looksBack(p *process, in plan.Input, e *ledger.Entry) {
	if live := o.server.wl[e.Workload]; p == o.leader && live != nil && !shows(live.template, in.Selection.Uses) {
		o.reshaped[e.UID] = true
	}
}

// scopeOnRecord is of which keys it is known what pods run with.
func scopeOnRecord(e *ledger.Entry, name reference.Source) reference.Scope {
	if e == nil || !e.Sources[name].Present || e.Sources[name].Provisional {
		return reference.Scope{}
	}
	return e.Sources[name].Scope
}

// enters notes the last change of a source when it is met for the first time: a restart is for a later one.
func (o *oracle) enters(in plan.Input, source reference.Source) {
	uid := in.Workload.UID
	if _, known := o.views[uid][source]; known {
		return
	}
	for _, use := range in.Selection.Uses {
		if use.Source != source {
			continue
		}
		if o.views[uid] == nil {
			o.views[uid] = map[reference.Source]int{}
		}
		o.views[uid][source] = o.view(in, use)
	}
}

// assumeAnew notes that a pod is taken to run with the content, but for keys of which it is known what it runs with, or was taken to.
func (o *oracle) assumeAnew(pod *apiPod, name reference.Source, present digest.Content, known reference.Scope) {
	ran := slices.Clone(o.assumed[pod][name])
	for _, read := range pod.reads(name) {
		ran = append(ran, read.content)
	}
	if len(ran) == 0 {
		o.assume(pod, name, present)
	}
	for _, with := range ran {
		content := maps.Clone(present)
		for _, key := range with.Differing(present) {
			if old, had := with[key]; !known.Includes(key) {
				continue
			} else if delete(content, key); had {
				content[key] = old
			}
		}
		o.assume(pod, name, content)
	}
}

// adopts notes that a restart was found whose record was lost. If its value stands for other content than is there, it
// may happen again.
func (o *oracle) adopts(in plan.Input, e *ledger.Entry) {
	unexplained := func(s ledger.Source) bool { return !s.Diverged.IsZero() && !s.Written }
	if in.Entry != nil && in.Entry.Value != e.Value && e.Value == in.Workload.Value &&
		slices.ContainsFunc(slices.Collect(maps.Values(e.Sources)), unexplained) {
		o.forgiven[in.Workload.UID] = true
	}
}

// notes is called when a leader ends or stands still: what it saw is on record by now, but for the last of it. One that
// did not lead for long enough stored nothing.
func (o *oracle) notes(p *process) {
	if stored := o.now.Add(-o.onRecord()); stored.After(p.awake) {
		o.noted = stored
	}
}

// forgets is called at the end of a leader, and when the next one begins. Content that left and returned shortly before is a
// known limit: that it was another may not be on record yet, and the next leader need not have seen it. So is what left and
// returned while it was not looked at, for a workload that was opted out or did not show it.
func (o *oracle) forgets() {
	for _, name := range simSources {
		for uid, parts := range o.server.parts {
			o.overlook(parts, name, o.notedFor(uid, name))
		}
	}
}

// misses is called when the watch of sources is lost, and when a list makes up for it. Content that left and returned in events that
// were still on their way is the same known limit.
func (o *oracle) misses(p *process) {
	for _, name := range simSources {
		if last := p.raw[name]; last != nil && last != o.server.sources[name] {
			for _, parts := range o.server.parts {
				o.overlook(parts, name, last.written)
			}
		}
	}
}

// overlook takes pods that read what came since and left again to run with what returned.
func (o *oracle) overlook(parts *parts, name reference.Source, since time.Time) {
	back := o.returned(name, since)
	for _, pod := range parts.pods {
		for _, read := range pod.reads(name) {
			if len(back) > 0 && read.written.After(since) {
				o.assume(pod, name, brought(read.content, back, o.server.sources[name].content))
			}
		}
	}
}

// brought is content with the present of some keys.
func brought(content digest.Content, keys map[string]bool, present digest.Content) digest.Content {
	content = maps.Clone(content)
	for key := range keys {
		delete(content, key)
		if d, holds := present[key]; holds {
			content[key] = d
		}
	}
	return content
}

// returned are the keys that were another, or there, since that time and are now what they were. What was away counts as what it
// held last.
func (o *oracle) returned(name reference.Source, since time.Time) map[string]bool {
	keys, back := map[string]bool{}, map[string]bool{}
	present := o.server.sources[name]
	if present == nil {
		return nil
	}
	o.server.heldSince(name, since, func(v *apiSource) bool {
		maps.Copy(keys, keySet(v.data))
		return false
	})
	before := o.server.lastHeld(name, since)
	for key := range keys {
		value, holds := present.data[key]
		had, left := false, false
		if before != nil {
			other, held := before.data[key]
			had = held == holds && other == value
		}
		o.server.heldSince(name, since, func(v *apiSource) bool {
			if other, held := v.data[key]; held != holds || other != value {
				left = had
			} else if had = true; left {
				back[key] = true
			}
			return false
		})
	}
	return back
}

func (o *oracle) assume(pod *apiPod, name reference.Source, content digest.Content) {
	if slices.ContainsFunc(o.assumed[pod][name], func(c digest.Content) bool { return maps.Equal(c, content) }) {
		return
	}
	if o.assumed[pod] == nil {
		o.assumed[pod] = map[reference.Source][]digest.Content{}
	}
	o.assumed[pod][name] = append(o.assumed[pod][name], content)
}

// proven checks, when content is recorded as what every pod runs with, that no pod runs with older content.
func (o *oracle) proven(in plan.Input, e *ledger.Entry) {
	if !e.ProvenAt.Equal(in.Now) || !e.PendingSince.IsZero() || e.Template != in.Workload.Template {
		return
	}
	seen := map[reference.Source]*apiSource{}
	for _, use := range in.Selection.Uses {
		if was := in.Sources[use.Source]; was.State == plan.Present {
			seen[use.Source] = o.server.versions[atoi(was.ResourceVersion)]
		}
	}
	for _, pod := range o.server.parts[in.Workload.UID].pods {
		if what := o.stale(in.Selection.Uses, seen, pod, true); what != "" && !pod.terminating {
			o.fail("missed", "%s is taken to run with the present content, but %s", in.Workload.Short(), what)
		}
	}
}

// view is the number of the last change within what a use shows. A source that is absent shows what was decided on last.
func (o *oracle) view(in plan.Input, use reference.Use) int {
	seen := in.Sources[use.Source]
	version := o.server.versions[atoi(seen.ResourceVersion)]
	if seen.State != plan.Present && in.Entry != nil {
		version = o.server.versions[atoi(in.Entry.Sources[use.Source].ResourceVersion)]
	}
	last := 0
	if version != nil {
		for key, change := range version.changes {
			if use.Scope.Includes(key) {
				last = max(last, change)
			}
		}
	}
	return last
}

// restarted checks that there was a cause.
func (o *oracle) restarted(p *process, in plan.Input, d plan.Decision, before, after *apiWorkload) {
	w := in.Workload
	if before.template == after.template {
		return // a replay that changed nothing
	}
	o.restarts++
	o.last = o.now
	o.note("process %d restarted %s: %s", p.id, w.Short(), d.Message)
	asked := d.Requested != ""
	if asked {
		o.grants(p, in, d.Requested)
	}
	if o.tookBack[w.UID] = o.leader != p; o.leader != p {
		return // it does not know yet, which is a known limit; to its successor, its value takes another back
	}
	_, again := o.views[w.UID]
	views, cause := o.causes(in)
	cause = cause || asked
	switch {
	case slices.ContainsFunc(d.Changes, func(c plan.Change) bool { return d.Entry.Sources[c.Source].Digest.IsZero() }):
		// Stale at first sight, by its time: a write of labels may have moved that.
		o.adopted++
	case again && !cause && !o.excused(in):
		o.fail("no cause", "%s was restarted again for the same change: %s", w.Short(), d.Message)
	case !asked:
		o.needed(in, d, before)
	}
	delete(o.forgiven, w.UID)
	o.views[w.UID], o.applied[w.UID] = views, after.template.value
	if shows(after.template, in.Selection.Uses) && allPresent(in) {
		delete(o.reshaped, w.UID)
	}
}

// causes are the numbers of the last changes that are known, and whether any is later than what the last restart knew of.
func (o *oracle) causes(in plan.Input) (views map[reference.Source]int, later bool) {
	views = map[reference.Source]int{}
	for _, use := range in.Selection.Uses {
		known, seen := o.views[in.Workload.UID][use.Source]
		if seen && in.Sources[use.Source].State != plan.Present {
			views[use.Source] = known // absence is no change; what it holds when it is made again may be
			continue
		}
		views[use.Source] = o.view(in, use)
		later = later || !seen || views[use.Source] > known
	}
	return views, later
}

// grants counts a restart that somebody asked for: there is one a token.
func (o *oracle) grants(p *process, in plan.Input, token string) {
	w := in.Workload
	if o.granted[w.UID] == nil {
		o.granted[w.UID] = map[string]int{}
	}
	if o.ever[w.Workload] == nil {
		o.ever[w.Workload] = map[string]bool{}
	}
	o.ever[w.Workload][token] = true
	times := o.granted[w.UID][token]
	if o.leader == p {
		times++
	}
	if o.granted[w.UID][token] = times; times > 1 && o.leader == p && !o.excused(in) {
		o.fail("asked once", "%s was restarted again for %q", w.Short(), token)
	}
}

// excused says whether a workload may be restarted twice for one change: the ledger was lost, or the record of the first
// restart was, and somebody took its value out of the template before another process came; or the template shows other
// sources since, so that its value stands for nothing that is known.
func (o *oracle) excused(in plan.Input) bool {
	uid := in.Workload.UID
	unknown := in.Entry == nil || in.Entry.Value != o.applied[uid] && in.Workload.Value != o.applied[uid]
	return o.forgiven[uid] || unknown || o.reshaped[uid]
}

// needed checks that pods, or a rollout under way, do not bring the present content without a restart, where times tell.
func (o *oracle) needed(in plan.Input, d plan.Decision, before *apiWorkload) {
	var last time.Time
	for _, c := range d.Changes {
		seen := in.Sources[c.Source]
		truly, _ := o.server.versions[atoi(seen.ResourceVersion)].changed()
		if seen.Timing != plan.Exact || seen.Changed.Before(truly) {
			return
		}
		if seen.Changed.After(last) {
			last = seen.Changed
		}
	}
	w := in.Workload
	older := func(p plan.Pod) bool { return p.Created.Sub(last) <= time.Second }
	if in.Rollout != nil && len(in.Rollout.Pods) > 0 && !slices.ContainsFunc(in.Rollout.Pods, older) {
		o.fail("not needed", "%s was restarted although all pods are newer than the change: %s", w.Short(), d.Message)
	}
	returned := slices.ContainsFunc(o.server.parts[w.UID].revisions, func(r *revision) bool {
		return r.template == before.template && r.created.Sub(last) <= time.Second
	})
	if o.edits[w.UID].Sub(last) > time.Second && !returned && w.Held == "" && in.Now.Sub(in.Progressed) < 10*time.Minute {
		o.fail("not needed", "%s was restarted although somebody rolls it out since the change: %s", w.Short(), d.Message)
	}
}

// check looks at everything once nothing happens any more.
func (o *oracle) check() {
	leader := o.leader
	if leader == nil {
		o.fail("no leader", "nobody leads at rest")
		return
	}
	if !o.last.IsZero() && o.now.Sub(o.last) < time.Hour {
		o.fail("livelock", "restarts do not end")
	}
	for _, name := range o.server.names {
		if w := o.server.wl[name]; w != nil && !w.out {
			o.checkWorkload(leader, w)
		}
	}
}

func (o *oracle) checkWorkload(leader *process, w *apiWorkload) {
	verdict, message := plan.Verdict("none"), ""
	if t := leader.tracks[w.Workload]; t != nil {
		verdict, message = t.verdict, t.message
	}
	var stale string
	for _, pod := range o.server.parts[w.uid].pods {
		if what := o.stale(simUses[w.template.uses], o.server.sources, pod, false); what != "" && !pod.terminating {
			stale = what
		}
	}
	if (verdict == plan.InSync || verdict == plan.AlreadyFresh || verdict == plan.Baseline) && stale != "" {
		o.fail("missed", "%s is %s (%s), but %s", w.Short(), verdict, message, stale)
	}
	if e := leader.book.get(w.uid); w.token != "" && e.Token != w.token && verdict != plan.Waiting && w.held() != plan.HeldPaused {
		o.fail("request lost", "%s is %s at rest (%s), and was not restarted for %q", w.Short(), verdict, message, w.token)
	}
	if !o.explains(w, verdict) {
		o.fail("wrong report", "%s is %s at rest (%s); stale: %q", w.Short(), verdict, message, stale)
	}
}

// explains reports whether there is a reason for the verdict.
func (o *oracle) explains(w *apiWorkload, verdict plan.Verdict) bool {
	switch verdict {
	case plan.InSync, plan.AlreadyFresh, plan.Baseline:
		return true
	case plan.RolledBack:
		return o.tookBack[w.uid]
	case plan.Waiting:
		return o.waits(w)
	case plan.Paused:
		return w.held() != ""
	case plan.Restarting:
		return w.held() != "" || o.server.observe(w).Rolling
	default:
		return false
	}
}

func (o *oracle) waits(w *apiWorkload) bool {
	return slices.ContainsFunc(simUses[w.template.uses], func(u reference.Use) bool {
		return !u.Optional && o.server.sources[u.Source] == nil
	})
}

// stale says what a pod runs with that is not present any more, of what the template still shows. Only older content counts
// where what is present was seen some time ago.
func (o *oracle) stale(uses []reference.Use, sources map[reference.Source]*apiSource, pod *apiPod, ago bool) string {
	for _, use := range uses {
		present := sources[use.Source]
		for _, c := range pod.containers {
			read := c.read[use.Source]
			if present == nil || read == nil || c.started.IsZero() || ago && read.version >= present.version {
				continue
			}
			scope := use.Scope
			for _, own := range simUses[pod.revision.template.uses] {
				if own.Source == use.Source {
					scope = shared(scope, own.Scope)
				}
			}
			want := o.server.key.Scoped(use.Source, scope, present.content)
			same := func(c digest.Content) bool { return o.server.key.Scoped(use.Source, scope, c) == want }
			if !same(read.content) && !slices.ContainsFunc(o.assumed[pod][use.Source], same) {
				return "pod " + pod.name + " runs with " + describeRead(c.read)
			}
		}
	}
	return ""
}

// shared is what two scopes have in common; the scopes of the simulation have no patterns.
func shared(a, b reference.Scope) reference.Scope {
	switch {
	case a.All:
		return b
	case b.All:
		return a
	}
	return reference.Keys(slices.DeleteFunc(slices.Clone(a.Keys), func(key string) bool { return !b.Includes(key) })...)
}

// shows reports whether a template shows just that.
func shows(t apiTemplate, uses []reference.Use) bool {
	return slices.EqualFunc(uses, simUses[t.uses], func(a, b reference.Use) bool {
		return a.Source == b.Source && a.Optional == b.Optional && a.Scope.Equal(b.Scope)
	})
}

func allPresent(in plan.Input) bool {
	return !slices.ContainsFunc(in.Selection.Uses, func(u reference.Use) bool { return in.Sources[u.Source].State != plan.Present })
}
