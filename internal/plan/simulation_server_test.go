package plan_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

var (
	more       = reference.Source{Kind: reference.ConfigMap, Namespace: "apps", Name: "more"}
	simSources = []reference.Source{app, more, tls}

	// simUses is what templates use: a template names one of them.
	simUses = [][]reference.Use{
		{{Source: app, Scope: reference.Keys("a")}, {Source: tls, Scope: all}},
		{{Source: app, Scope: all}, {Source: tls, Scope: all}},
		{{Source: tls, Scope: all}},
		{{Source: app, Scope: reference.Keys("a", "b"), Optional: true}, {Source: tls, Scope: reference.Keys("a")}},
		{{Source: app, Scope: all}, {Source: more, Scope: all, Optional: true}},
		{{Source: more, Scope: all}, {Source: tls, Scope: all, Optional: true}},
	}
)

// apiSource is one version of a Secret or ConfigMap. It never changes.
type apiSource struct {
	name    reference.Source
	uid     types.UID
	version int
	created time.Time
	data    map[string]string
	content digest.Content
	label   int
	fields  []apiFields
	// written is when this version came to be, changes for each key the number of the write that changed or removed it.
	written time.Time
	changes map[string]int
}

// apiFields is an entry of managed fields: which keys of the data a manager owns, and when it last took any field.
type apiFields struct {
	manager string
	apply   bool
	root    bool
	keys    map[string]bool
	at      time.Time
}

// changed is what the managed fields tell of the last write of the data.
func (o *apiSource) changed() (at time.Time, manager string) {
	for _, f := range o.fields {
		switch {
		case !f.root && len(f.keys) == 0:
		case f.at.After(at):
			at, manager = f.at, f.manager
		case f.at.Equal(at) && f.manager != manager:
			manager = ""
		}
	}
	return at, manager
}

// apiTemplate is a pod template, as far as it matters.
type apiTemplate struct {
	image int
	uses  int
	value string
}

// apiWorkload is one version of a workload. It never changes.
type apiWorkload struct {
	ledger.Workload
	uid        types.UID
	version    int
	generation int64
	created    time.Time
	out        bool   // opted out
	token      string // of a restart that somebody asks for
	period     string // that restarts are put off
	template   apiTemplate
	replicas   int
	paused     bool
	recreate   bool
	onDelete   bool
	partition  int
	manager    string
	applied    time.Time // when the manager last wrote

	observed                int64
	desired, total, updated int
	ready                   int
}

// held says, as the adapters do, why a new template is not rolled out.
func (w *apiWorkload) held() string {
	switch {
	case w.Kind == "Deployment" && w.paused:
		return plan.HeldPaused
	case w.Kind != "Deployment" && w.onDelete:
		return "spec.updateStrategy is OnDelete"
	case w.Kind == "StatefulSet" && w.partition > 0:
		return "partition"
	}
	return ""
}

// observe is what the adapters make of a workload.
func (v *server) observe(w *apiWorkload) plan.Workload {
	o := plan.Workload{
		Workload: w.Workload, UID: w.uid, ResourceVersion: itoa(w.version),
		Generation: w.generation, ObservedGeneration: w.observed, Created: w.created,
		Uses: simUses[w.template.uses], Template: v.templateDigest(w.template), Value: w.template.value, Manager: w.manager, Applied: w.applied,
		Replicas: int32(w.replicas), Held: w.held(),
		Rolling:  w.observed < w.generation || w.updated < w.replicas || w.total > w.updated,
		Progress: fmt.Sprint(w.observed, w.total, w.updated, w.ready),
	}
	o.Annotations = map[string]string{}
	if w.token != "" {
		o.Annotations[v1alpha1.RestartRequestedAtAnnotation] = w.token
	}
	if w.period != "" {
		o.Annotations[v1alpha1.PausePeriodAnnotation] = w.period
	}
	if w.Kind == "DaemonSet" {
		o.Replicas = int32(w.desired)
		o.Rolling = w.observed < w.generation || w.updated < w.desired
	}
	return o
}

func (v *server) templateDigest(t apiTemplate) digest.Digest {
	d, known := v.digests[t]
	if !known {
		d = v.key.Bytes("template", []byte(fmt.Sprint(t)))
		v.digests[t] = d
	}
	return d
}

// server is the API server: every write gives a new version and is told to those who watch, and times have a grain of
// a second.
type server struct {
	*simulation
	key      digest.Key
	version  int
	changes  int
	objects  int
	sources  map[reference.Source]*apiSource
	lastOf   map[reference.Source]*apiSource // also of those that were deleted
	versions map[int]*apiSource
	history  map[reference.Source][]*apiSource
	wl       map[ledger.Workload]*apiWorkload
	names    []ledger.Workload
	parts    map[types.UID]*parts
	digests  map[apiTemplate]digest.Digest
	contents map[string]digest.Content
}

func (v *server) next() int {
	v.version++
	return v.version
}

func (v *server) newUID() types.UID {
	v.objects++
	return types.UID("uid-" + itoa(v.objects))
}

// put writes a source: by server-side apply, or by an Update. Both leave an object alone that is as it is to be.
func (v *server) put(name reference.Source, manager string, apply bool, data map[string]string, label int) {
	old := v.sources[name]
	o := &apiSource{name: name, data: data, label: label, written: v.now}
	if old == nil {
		o.uid, o.created = v.newUID(), v.stamp()
		o.fields = []apiFields{{manager: manager, apply: apply, root: true, keys: keySet(data), at: v.stamp()}}
	} else {
		sameData := maps.Equal(old.data, data)
		if sameData && old.label == label {
			return
		}
		o.uid, o.created = old.uid, old.created
		o.fields = v.manage(old, o, manager, apply)
	}
	o.version, o.content, o.changes = v.next(), v.digestOf(name, data), v.count(name, data)
	v.versions[o.version] = o
	v.sources[name], v.lastOf[name] = o, o
	v.history[name] = append(v.history[name], o)
	at, by := o.changed()
	v.note("%s writes %s: %v label %d, apply %t (version %d, changed %s by %s)",
		manager, name, data, label, apply, o.version, at.Format(time.TimeOnly), by)
	v.tellSource(name, o)
}

// count numbers the change of each key. A source that was deleted in between is compared to what it held before.
func (v *server) count(name reference.Source, data map[string]string) map[string]int {
	before, changes := map[string]string{}, map[string]int{}
	if last := v.lastOf[name]; last != nil {
		before, changes = last.data, maps.Clone(last.changes)
	}
	v.changes++
	for _, keys := range []map[string]string{before, data} {
		for k := range keys {
			if a, had := before[k]; !had || a != data[k] {
				changes[k] = v.changes
			} else if _, has := data[k]; !has {
				changes[k] = v.changes
			}
		}
	}
	return changes
}

func keySet(data map[string]string) map[string]bool {
	set := make(map[string]bool, len(data))
	for k := range data {
		set[k] = true
	}
	return set
}

// manage keeps account of who owns which fields. The time of an Update is only noted if it takes a field: not if it
// removes a key.
func (v *server) manage(old, o *apiSource, manager string, apply bool) []apiFields {
	took := old.label != o.label
	fields := make([]apiFields, 0, len(old.fields)+1)
	self := -1
	for _, f := range old.fields {
		f.keys = maps.Clone(f.keys)
		maps.DeleteFunc(f.keys, func(k string, _ bool) bool { _, kept := o.data[k]; return !kept })
		if f.manager == manager && f.apply == apply {
			self = len(fields)
		}
		fields = append(fields, f)
	}
	if self < 0 {
		self = len(fields)
		fields = append(fields, apiFields{manager: manager, apply: apply, keys: map[string]bool{}, at: v.stamp()})
	}
	for k, value := range o.data {
		if before, had := old.data[k]; !had || before != value {
			took = true
			for i := range fields {
				delete(fields[i].keys, k)
			}
			fields[self].keys[k] = true
		} else if apply {
			fields[self].keys[k] = true
		}
	}
	if took || apply {
		fields[self].at = v.stamp()
	}
	return fields
}

func (v *server) digestOf(name reference.Source, data map[string]string) digest.Content {
	id := name.String() + fmt.Sprint(data)
	content, known := v.contents[id]
	if !known {
		content = v.key.Content(name, nil, data)
		v.contents[id] = content
	}
	return content
}

func (v *server) remove(name reference.Source) {
	if v.sources[name] == nil {
		return
	}
	v.note("%s is deleted", name)
	v.next()
	delete(v.sources, name)
	v.history[name] = append(v.history[name], &apiSource{name: name, written: v.now})
	v.tellSource(name, nil)
}

// readAt is what a source held at that time; nil if it was absent.
func (v *server) readAt(name reference.Source, at time.Time) *apiSource {
	for _, o := range slices.Backward(v.history[name]) {
		if !o.written.After(at) {
			if o.version == 0 {
				return nil
			}
			return o
		}
	}
	return nil
}

// lastHeld is what a source held last before that time, if it was away then; nil otherwise.
func (v *server) lastHeld(name reference.Source, at time.Time) *apiSource {
	var last *apiSource
	away := false
	for _, o := range v.history[name] {
		if o.written.After(at) {
			break
		}
		if away = o.version == 0; !away {
			last = o
		}
	}
	if !away {
		return nil
	}
	return last
}

// heldSince reports whether a source held such content at that time, or has since.
func (v *server) heldSince(name reference.Source, at time.Time, such func(o *apiSource) bool) bool {
	versions := v.history[name]
	for i, o := range versions {
		over := i+1 < len(versions) && versions[i+1].written.Before(at)
		if !over && o.version > 0 && such(o) {
			return true
		}
	}
	return false
}

// edit writes a workload's spec.
func (v *server) edit(name ledger.Workload, who string, change func(w *apiWorkload)) {
	old := v.wl[name]
	if old == nil {
		return
	}
	w := *old
	change(&w)
	if w == *old {
		return
	}
	if who == w.manager {
		w.applied = v.stamp()
	}
	w.generation++
	w.version = v.next()
	v.wl[name] = &w
	v.note("%s writes %s: %s (version %d, generation %d)", who, name.Short(), lazy(w.spec), w.version, w.generation)
	v.oracle.edited(old, &w, who)
	v.tellWorkload(name, &w)
	v.kick(w.uid)
}

func (w *apiWorkload) spec() string {
	value := w.template.value
	if len(value) > 8 {
		value = value[len(value)-8:]
	}
	return fmt.Sprintf("image %d uses %d value %q, %d replicas, held %q, out %t, token %q",
		w.template.image, w.template.uses, value, w.replicas, w.held(), w.out, w.token)
}

// report writes a workload's status.
func (v *server) report(name ledger.Workload, w apiWorkload) {
	old := v.wl[name]
	if w == *old {
		return
	}
	w.version = v.next()
	v.wl[name] = &w
	v.note("%s: generation %d of %d, %d of %d pods updated, %d ready (version %d)",
		name.Short(), w.observed, w.generation, w.updated, w.total, w.ready, w.version)
	v.tellWorkload(name, &w)
}

// make creates a workload, with what another left behind that was deleted without its pods.
func (v *server) make(w apiWorkload, left *parts) {
	w.uid, w.created, w.version, w.generation = v.newUID(), v.stamp(), v.next(), 1
	if w.applied = (time.Time{}); w.manager != "" {
		w.applied = w.created
	}
	v.note("%s is made as %s: %s", w.Workload, w.uid, lazy(w.spec))
	v.wl[w.Workload] = &w
	if !slices.Contains(v.names, w.Workload) {
		v.names = append(v.names, w.Workload)
	}
	p := &parts{name: w.Workload}
	if left != nil {
		p.revisions, p.pods, p.made = left.revisions, left.pods, left.made
		left.revisions, left.pods = nil, nil
		for _, pod := range p.pods {
			pod.uid = w.uid
		}
	}
	v.parts[w.uid] = p
	v.tellWorkload(w.Workload, &w)
	v.kick(w.uid)
}

func (v *server) unmake(name ledger.Workload, orphan bool) {
	w := v.wl[name]
	if w == nil {
		return
	}
	v.note("%s is deleted, pods stay: %t", name, orphan)
	v.next()
	delete(v.wl, name)
	v.tellWorkload(name, nil)
	if orphan {
		return
	}
	for _, p := range slices.Clone(v.parts[w.uid].pods) {
		v.after(v.between(100, 3000), func() { v.terminate(p) })
	}
}

// apply is Reloader's server-side apply of a template value. It answers with the workload, or with conflict or gone.
func (v *server) apply(name ledger.Workload, uid types.UID, version, value string) (*apiWorkload, error) {
	w := v.wl[name]
	switch {
	case w == nil || w.uid != uid:
		return nil, errSimGone
	case !v.faults.blindWrites && version != itoa(w.version):
		return nil, errSimConflict
	}
	v.edit(name, "flux-reloader", func(w *apiWorkload) { w.template.value = value })
	return v.wl[name], nil
}

// readPods are the active pods of a workload.
func (v *server) readPods(uid types.UID) []plan.Pod {
	var pods []plan.Pod
	for _, p := range v.parts[uid].pods {
		if p.terminating {
			continue
		}
		pods = append(pods, plan.Pod{
			Name: p.name, Created: p.created, Value: p.revision.template.value, FirstStart: p.firstStart(), LastStart: p.lastStart(),
		})
	}
	return pods
}

// present is the revision with the greatest number; nil if there is none.
func (v *server) present(uid types.UID) *revision {
	revisions := v.parts[uid].revisions
	if len(revisions) == 0 {
		return nil
	}
	return slices.MaxFunc(revisions, func(a, b *revision) int { return cmp.Compare(a.number, b.number) })
}
