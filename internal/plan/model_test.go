package plan_test

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/flux-reloader/reloader/internal/plan"
)

// model is a cluster in which it is known what every pod has read: that of its source when it was created. It is driven
// at random, and the decisions are carried out. The two promises to keep: no change is missed, and nothing restarts
// that runs with the present content as far as time stamps of a second can tell.
type model struct {
	*scenario
	r *rand.Rand
	// content is what the source holds now, read what each pod has read, by the pod's name.
	content map[string]string
	read    map[string]map[string]string
	made    int
	up      bool
	// writes are the times of changes since the pods were last proven; vague is set if one of them is not exact.
	writes []time.Time
	vague  bool
	log    []string
}

func newModel(t testing.TB, seed int64) *model {
	t.Helper()
	m := &model{
		scenario: newScenario(t), r: rand.New(rand.NewSource(seed)), up: true,
		content: map[string]string{"crt": "A"}, read: map[string]map[string]string{},
	}
	m.in.Workload.Replicas = 2
	// Another manager than the workload's: ties within a second stay open.
	m.edit(tls, func(o *plan.Source) { o.Manager = "cert-manager" })
	m.hasPods(m.create(), m.create())
	for i := range m.pods {
		m.pods[i].Created, m.pods[i].FirstStart, m.pods[i].LastStart = at(-1800), at(-1799), at(-1799)
	}
	m.proven()
	m.fast = seed%10 > 0
	return m
}

func (m *model) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf("%s %s", m.in.Now.Format(time.TimeOnly), fmt.Sprintf(format, args...)))
}

// create is a new pod of the present template, which reads what the source holds.
func (m *model) create() plan.Pod {
	m.made++
	p := m.newPod()
	p.Name = fmt.Sprint(m.made)
	m.read[p.Name] = m.content
	return p
}

func keyValues(content map[string]string) []string {
	var list []string
	for key, value := range content {
		list = append(list, key, value)
	}
	return list
}

// write is a change of content. While the controller is down it is met in a list later; it is then content that never
// was, since what comes and goes entirely while no controller runs is a known limit.
func (m *model) write() {
	content := map[string]string{"crt": string(rune('A' + m.r.Intn(3)))}
	if !m.up {
		content["crt"] = fmt.Sprint(len(m.log))
	}
	if m.r.Intn(3) == 0 {
		content["extra"] = "1"
	}
	_, had := m.content["extra"]
	removed := had && len(content) == 1
	before := m.in.Sources[tls].Changed
	m.content = content
	m.note("content %v", content)
	m.wrote(tls, keyValues(content)...)
	m.writes = append(m.writes, m.in.Now)
	if removed && m.up && m.r.Intn(2) == 0 { // by an Update, which does not move the time
		m.vague = true
		m.edit(tls, func(o *plan.Source) { o.Changed, o.Timing = before, plan.Inexact })
	}
}

// label is a write of the data's manager that leaves the content alone, but moves the time.
func (m *model) label() {
	if !m.up {
		m.note("labels")
		m.edit(tls, func(o *plan.Source) { o.Changed = m.in.Now })
	}
}

// evict replaces a pod by a new one.
func (m *model) evict() {
	i := m.r.Intn(len(m.pods))
	m.pods[i] = m.create()
	m.note("evicted, read %v", m.read[m.pods[i].Name])
}

// roll moves a rollout by one pod.
func (m *model) roll() {
	i := slices.IndexFunc(m.pods, func(p plan.Pod) bool { return !p.Current })
	if i >= 0 {
		m.pods[i], m.in.Progressed = m.create(), m.in.Now
	}
	m.in.Workload.Rolling = slices.ContainsFunc(m.pods, func(p plan.Pod) bool { return !p.Current })
}

// user rolls out another template that keeps the annotation, as a server-side apply does.
func (m *model) user() {
	m.note("somebody's rollout")
	m.template()
}

// crash loses what the controller has in memory. When it is back, content is met in a list.
func (m *model) crash() {
	m.up = !m.up
	m.note("controller up: %t", m.up)
	if m.up {
		m.in.Written, m.vague = 0, true
		m.edit(tls, func(o *plan.Source) {
			if o.Live, o.SeenAt = false, m.in.Now; o.Timing == plan.Exact {
				o.Timing = plan.Listed
			}
		})
	}
}

func (m *model) toggleHold() {
	if m.in.Hold == nil {
		m.held(plan.OwnerSuspended)
	} else {
		m.resumed()
	}
	m.note("held: %t", m.in.Hold != nil)
}

// control decides and carries out. A crash may come between the write and its record.
func (m *model) control() {
	m.t.Helper()
	if !m.up {
		return
	}
	before := m.in.Entry
	switch d := m.decide(); d.Verdict {
	case plan.InSync, plan.AlreadyFresh:
		if d.Entry.Template == m.in.Workload.Template && d.Entry.ProvenAt.Equal(m.in.Now) {
			m.writes, m.vague = nil, false
		}
	case plan.Restart:
		m.note("%s", d.Message)
		if !m.justified() {
			m.report("restart without cause")
		}
		m.restarted()
		if m.r.Intn(10) == 0 {
			m.note("record lost")
			m.in.Entry = before
			m.crash()
		}
	}
}

// justified reports whether any pod runs with other content, or may by what can be known: a time that does not prove, a
// pod created between the first and the last change or within a second of them, or a change that was seen less than a
// minute ago, for which pods are not asked.
func (m *model) justified() bool {
	if m.vague || len(m.writes) == 0 || m.in.Now.Sub(m.in.Sources[tls].SeenAt) <= time.Minute {
		return true
	}
	first, last := m.writes[0].Add(-time.Second), m.writes[len(m.writes)-1].Add(time.Second)
	return slices.ContainsFunc(m.pods, func(p plan.Pod) bool {
		return m.stale(p) || !p.Created.Before(first) && !p.Created.After(last)
	})
}

func (m *model) stale(p plan.Pod) bool {
	return fmt.Sprint(m.read[p.Name]) != fmt.Sprint(m.content)
}

func (m *model) report(what string) {
	m.t.Helper()
	for _, line := range m.log {
		m.t.Log(line)
	}
	m.t.Fatalf("%s: at %s %s, %s; the source holds %v, pods %v", what, m.in.Now.Format(time.TimeOnly),
		m.decision.Verdict, m.decision.Message, m.content, m.pods)
}

func (m *model) step() {
	m.t.Helper()
	switch n := m.r.Intn(100); {
	case n < 12:
		m.write()
	case n < 20:
		m.evict()
	case n < 24:
		m.user()
	case n < 28:
		m.crash()
	case n < 34:
		m.toggleHold()
	case n < 36:
		m.label()
	case n < 60:
		m.roll()
	}
	m.control()
	m.later([]int{0, 0, 1, 1, 2, 5, 60, 600}[m.r.Intn(8)])
}

// rest lets everything come to its end: nothing is held, nothing changes any more.
func (m *model) rest() {
	m.t.Helper()
	if m.resumed(); !m.up {
		m.crash()
	}
	for range 20 {
		m.control()
		if !m.up {
			m.crash()
		}
		m.later(60)
		m.roll()
		m.roll()
		m.later(600)
	}
}

// TestNoChangeIsMissed drives the model, lets it rest, and compares what its pods have read with what there is to read.
func TestNoChangeIsMissed(t *testing.T) {
	for seed := range int64(1500) {
		m := newModel(t, seed)
		for range 60 {
			m.step()
		}
		m.rest()
		if slices.ContainsFunc(m.pods, m.stale) {
			m.report(fmt.Sprintf("seed %d: a change was missed", seed))
		}
		if m.decision.Verdict != plan.InSync {
			m.report(fmt.Sprintf("seed %d: not in sync at rest", seed))
		}
	}
}
