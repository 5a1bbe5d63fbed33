package source

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/watch"
)

// grain is the resolution of the API server's time stamps.
const grain = time.Second

// copies are what pods hold of SecretProviderClasses, by class. The API need not be installed: it is picked up when it
// appears, and what was known goes with it.
type copies struct {
	options Options

	mu sync.Mutex
	// asked is whether the API server has said if it serves them, served what it said last, for the log.
	asked, served bool
	classes       map[reference.Source]*class
}

// class is what is known of the copies of one class.
type class struct {
	// held are the copies, by the names of the objects that tell of them.
	held map[string]*mounted
	// last is the one that the driver wrote last; nil if it has to be looked for.
	last *mounted
	// version is the greatest resourceVersion of them that was seen.
	version string
	turns   []plan.Turn
	// seenAt is when a copy was last seen to change in place, or to be the first.
	seenAt time.Time
	// observed is what a decision is told, as long as nothing changes.
	observed *plan.Source
}

// watchClasses prepares the watches of classes and of what pods hold of them.
func (s *Store) watchClasses() error {
	scheme := csiScheme()
	codec := runtime.NewParameterCodec(scheme)
	s.copies = &copies{options: s.options, classes: map[reference.Source]*class{}}
	for _, of := range []struct {
		kind, resource string
		keep           func(any) any
		served         func(bool)
		handler        watch.Handler
	}{
		{string(reference.SecretProviderClass), classResource, keepClass(s.options.Selection.Annotations, s.options.Labels), func(bool) {}, classHandler{s}},
		{podStatusKind, podStatusResource, keepMounted(s.options.Key), s.copies.setServed, s.copies},
	} {
		client, err := s.options.ClientFor(csiVersion().WithKind(of.kind), scheme)
		if err != nil {
			return fmt.Errorf("preparing sources of kind %s: %w", of.kind, err)
		}
		informers, err := watch.New(s.options.Log, s.options.Scope, watch.Resource{
			Name: of.resource, Client: client, Codec: codec, Object: &podStatus{}, Keep: of.keep, Served: of.served, Indexers: byNamespace(),
			Optional: true,
		}, of.handler)
		if err != nil {
			return fmt.Errorf("preparing sources of kind %s: %w", of.kind, err)
		}
		s.Group[of.kind] = informers
	}
	return nil
}

// observe returns what is known of a class now: nothing unless a pod holds something of it.
func (s *Store) observe(source reference.Source) plan.Source {
	if s.copies == nil || s.Group[podStatusKind].Absent(source.Namespace) {
		return plan.Source{State: plan.Absent}
	}
	for _, kind := range []string{string(reference.SecretProviderClass), podStatusKind} {
		if _, _, known := s.Group[kind].Get(source.Namespace, source.Name); !known {
			return plan.Source{State: plan.Unknown}
		}
	}
	return s.copies.get(source)
}

func (c *copies) get(source reference.Source) plan.Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.classes[source]
	if of == nil {
		return plan.Source{State: plan.Absent}
	}
	if of.observed == nil {
		of.observed = of.observe()
	}
	return *of.observed
}

// names are the classes of a namespace of which pods hold something.
func (c *copies) names(namespace string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for source := range c.classes {
		if source.Namespace == namespace {
			names = append(names, source.Name)
		}
	}
	return names
}

func (of *class) observe() *plan.Source {
	o := &plan.Source{
		State: plan.Present, ResourceVersion: of.version, Turns: of.turns, SeenAt: of.seenAt, Copies: make(map[string]plan.Copy, len(of.held)),
	}
	for _, m := range of.held {
		o.Copies[m.pod] = m.copied
		if m.copied.Changed.After(o.Changed) {
			o.Changed = m.copied.Changed
		}
	}
	o.Content = of.newest().copied.Content
	return o
}

// newest is the copy that the driver wrote last, for which it asks the store each time; nil if there is none. A class may have
// thousands: they are looked through only if the newest is gone.
func (of *class) newest() *mounted {
	if of.last == nil {
		for _, m := range of.held {
			if of.last == nil || m.newer(of.last) {
				of.last = m
			}
		}
	}
	return of.last
}

func (m *mounted) newer(than *mounted) bool {
	return m.at.After(than.at) || m.at.Equal(than.at) && later(m.version, than.version)
}

func later(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order > 0
}

// put keeps a copy.
func (of *class) put(m *mounted) {
	newest := of.newest()
	of.held[m.name], of.observed = m, nil
	switch {
	case newest == nil || m.newer(newest):
		of.last = m
	case newest.name == m.name:
		of.last = nil
	}
	if of.version == "" || later(m.version, of.version) {
		of.version = m.version
	}
}

// Added implements watch.Handler. A copy that is made concerns nobody, unless it is something new to be recorded.
func (c *copies) Added(kept any, origin watch.Origin) {
	if m, ok := kept.(*mounted); ok && c.add(m) {
		c.options.Changed(m.source, origin == watch.Initial)
	}
}

func (c *copies) add(m *mounted) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.classes[m.source]
	if of == nil {
		of = &class{held: map[string]*mounted{}, seenAt: c.options.Now()}
		c.classes[m.source] = of
	}
	news = len(of.held) == 0 || !maps.Equal(of.newest().copied.Content, m.copied.Content)
	of.put(m)
	return news || !m.copied.Changed.IsZero()
}

// Updated implements watch.Handler. What the driver writes without another content moves no time.
func (c *copies) Updated(before, after any, origin watch.Origin) {
	older, ok := before.(*mounted)
	newer, isMounted := after.(*mounted)
	switch {
	case !ok || !isMounted:
	case older.source != newer.source:
		c.Deleted(older)
		c.Added(newer, origin)
	case c.change(newer, origin):
		c.options.Changed(newer.source, false)
	}
}

// change replaces a copy and reports whether it was changed in place.
func (c *copies) change(newer *mounted, origin watch.Origin) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.classes[newer.source]
	if of == nil || of.held[newer.name] == nil {
		return false // not possible: it was added
	}
	older := of.held[newer.name]
	m := *newer
	switch {
	case older.copied.Pod != m.copied.Pod && origin != watch.Watched: // another pod of the same name, and nobody saw what came when
		of.seenAt = c.options.Now()
		of.put(&m)
		return !m.copied.Changed.IsZero()
	case maps.Equal(older.copied.Content, m.copied.Content):
		m.copied.Changed, m.at = older.copied.Changed, older.at
		of.put(&m)
		return false
	case older.copied.Pod != m.copied.Pod: // for it, it was made
		m.copied.Made, m.copied.Changed = m.at, time.Time{}
		of.put(&m)
		return false
	}
	if origin == watch.Watched && !m.at.After(older.at) {
		m.at = c.options.Now() // by our own clock, without the API server's
		if m.copied.Changed.After(m.copied.Made) {
			m.at = older.at.Add(grain) // the API server's, that has not moved: what it tells next has to be later
		}
	}
	m.copied.Changed = m.at
	of.seenAt = c.options.Now()
	known := plan.Source{ResourceVersion: of.version, Content: older.copied.Content, Turns: of.turns}
	if !later(m.version, known.ResourceVersion) {
		known.ResourceVersion = older.version // events of a list come in any order
	}
	of.turns = plan.Source{ResourceVersion: m.version, Content: m.copied.Content, Changed: m.at, Timing: plan.Exact}.Turned(known)
	of.put(&m)
	return true
}

// Deleted implements watch.Handler. It goes with its pod.
func (c *copies) Deleted(kept any) {
	m, ok := kept.(*mounted)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.classes[m.source]
	if of == nil {
		return
	}
	if of.last != nil && of.last.name == m.name {
		of.last = nil
	}
	delete(of.held, m.name)
	of.observed = nil
	if len(of.held) == 0 {
		delete(c.classes, m.source)
	}
}

// setServed notes whether the API server serves what the driver tells, and says so.
func (c *copies) setServed(served bool) {
	c.mu.Lock()
	known, changes := c.asked, c.served != served
	c.asked, c.served = true, served
	var classes []reference.Source
	for source := range c.classes {
		classes = append(classes, source)
	}
	c.mu.Unlock()
	switch {
	case known && !changes:
		return
	case served:
		c.options.Log.Info("SecretProviderClassPodStatuses are served: what the CSI driver changes in pods restarts their workloads")
	default:
		c.options.Log.Info("SecretProviderClassPodStatuses are not served: nothing restarts for SecretProviderClasses until they are")
	}
	for _, source := range classes {
		c.options.Changed(source, false)
	}
}
