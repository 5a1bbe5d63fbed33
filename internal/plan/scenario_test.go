package plan_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

var (
	all = reference.Scope{All: true}
	tls = reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "tls"}
	app = reference.Source{Kind: reference.ConfigMap, Namespace: "apps", Name: "app"}
)

// at is a time in whole seconds after noon; the controller starts at 0.
func at(seconds int) time.Time {
	return time.Date(2026, time.March, 1, 12, 0, seconds, 0, time.UTC)
}

// scenario is a small world around one workload. Its methods change what happens in it and advance what the controller
// remembers; each decision is checked to change nothing and to be repeatable.
type scenario struct {
	t    testing.TB
	in   plan.Input
	pods []plan.Pod
	// runs are what a workload that has no rollout has started.
	runs []plan.Run
	born time.Time
	// live changes the live workload from the cached one.
	live func(w *plan.Workload)
	// asked is whether the last decision needed the pods.
	asked     bool
	decision  plan.Decision
	templates byte
	// version is the last of a source.
	version int
	// fast leaves out the checks of purity, for walks of many thousand decisions.
	fast bool
}

// newScenario is a Deployment of one pod, half an hour old, that mounts all of the Secret tls, an hour old. Nothing is
// recorded of it yet.
func newScenario(t testing.TB) *scenario {
	t.Helper()
	key, err := digest.NewKey(bytes.Repeat([]byte{1}, digest.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	s := &scenario{t: t, born: at(-1800), templates: 1, pods: []plan.Pod{pod(-1800)}}
	s.in = plan.Input{
		Now: at(0), Key: key,
		Workload: plan.Workload{
			Workload: ledger.Workload{Kind: "Deployment", Namespace: "apps", Name: "registry"}, UID: "uid",
			Generation: 1, ObservedGeneration: 1, Created: at(-1800), Template: digest.Digest{1},
			Manager: "kustomize-controller", Replicas: 1,
		},
		Selection:     selection.Result{Selected: true},
		Sources:       map[reference.Source]plan.Source{},
		Policy:        plan.Policy{SettleQuiet: 2 * time.Second, SettleMax: 30 * time.Second, OnAdoption: plan.RestartStale},
		AdoptionReady: true,
		Progressed:    at(0),
	}
	s.uses(tls, all).made(tls, -3600, "crt", "A")
	return s
}

// pod is a pod of the present revision that was created at this second, and whose containers started a second later.
func pod(created int) plan.Pod {
	return plan.Pod{Created: at(created), Current: true, FirstStart: at(created + 1), LastStart: at(created + 1)}
}

func (s *scenario) uses(source reference.Source, scope reference.Scope) *scenario {
	return s.use(reference.Use{Source: source, Scope: scope})
}

func (s *scenario) usesOptional(source reference.Source, scope reference.Scope) *scenario {
	return s.use(reference.Use{Source: source, Scope: scope, Optional: true})
}

// use replaces the use of that source, or adds it.
func (s *scenario) use(use reference.Use) *scenario {
	uses := slices.DeleteFunc(s.in.Selection.Uses, func(u reference.Use) bool { return u.Source == use.Source })
	uses = append(uses, use)
	s.in.Selection.Uses = uses
	slices.SortFunc(uses, func(a, b reference.Use) int { return a.Source.Compare(b.Source) })
	if _, seen := s.in.Sources[use.Source]; !seen {
		s.in.Sources[use.Source] = plan.Source{State: plan.Absent}
	}
	return s
}

// edit changes what is observed of a source.
func (s *scenario) edit(source reference.Source, change func(o *plan.Source)) *scenario {
	observed := s.in.Sources[source]
	change(&observed)
	s.in.Sources[source] = observed
	return s
}

func (s *scenario) content(source reference.Source, keyValue []string) digest.Content {
	text := map[string]string{}
	for i := 0; i < len(keyValue); i += 2 {
		text[keyValue[i]] = keyValue[i+1]
	}
	return s.in.Key.Content(source, nil, text)
}

// made is a source that was created with this content at that second, and met in a list.
func (s *scenario) made(source reference.Source, created int, keyValue ...string) *scenario {
	s.in.Sources[source] = plan.Source{
		State: plan.Present, Content: s.content(source, keyValue), Created: at(created), Changed: at(created),
		Manager: "kustomize-controller", SeenAt: at(-1000), ResourceVersion: s.next(),
	}
	return s
}

// wrote is a change of content, seen now as it happens.
func (s *scenario) wrote(source reference.Source, keyValue ...string) *scenario {
	return s.edit(source, func(o *plan.Source) {
		known := *o
		o.Content, o.Changed, o.Timing, o.SeenAt, o.Live = s.content(source, keyValue), s.in.Now, plan.Exact, s.in.Now, true
		o.ResourceVersion = s.next()
		o.Turns = o.Turned(known)
	})
}

// next is the version of the next write of a source.
func (s *scenario) next() string {
	s.version++
	return fmt.Sprint(1000 + s.version)
}

// met is a change of content at that second, met in a list when the controller came back long ago enough to have settled.
func (s *scenario) met(source reference.Source, changed int, keyValue ...string) *scenario {
	return s.edit(source, func(o *plan.Source) {
		o.Content, o.Changed, o.Timing, o.SeenAt, o.Live = s.content(source, keyValue), at(changed), plan.Listed, s.in.Now.Add(-time.Minute), false
		o.ResourceVersion, o.Turns = s.next(), nil
	})
}

func (s *scenario) deleted(source reference.Source) *scenario {
	s.in.Sources[source] = plan.Source{State: plan.Absent}
	return s
}

// remade is a source that is created now, seen as it happens.
func (s *scenario) remade(source reference.Source, keyValue ...string) *scenario {
	s.in.Sources[source] = plan.Source{
		State: plan.Present, Created: s.in.Now, Manager: "kustomize-controller", UID: "new", Content: s.content(source, keyValue),
	}
	s.wrote(source, keyValue...)
	return s.edit(source, func(o *plan.Source) { o.Turns = nil })
}

func (s *scenario) later(seconds int) *scenario {
	s.in.Now = s.in.Now.Add(time.Duration(seconds) * time.Second)
	return s
}

func (s *scenario) hasPods(pods ...plan.Pod) *scenario {
	s.pods = pods
	return s
}

func (s *scenario) held(verdict plan.Verdict) *scenario {
	s.in.Hold = &plan.Hold{Verdict: verdict, Message: "held", For: 5 * time.Minute}
	return s
}

func (s *scenario) resumed() *scenario {
	s.in.Hold = nil
	return s
}

// proven lets the controller meet the workload and take what it runs with, ten minutes before whatever comes next.
func (s *scenario) proven() *scenario {
	s.t.Helper()
	if d := s.decide(); d.Verdict != plan.Baseline || d.Entry.Template != s.in.Workload.Template {
		s.t.Fatalf("%s: not proven", d.Verdict)
	}
	return s.later(600)
}

// template is somebody's change of the template, now: its rollout begins.
func (s *scenario) template() *scenario {
	s.templates++
	w := &s.in.Workload
	w.Template, w.Rolling = digest.Digest{s.templates}, true
	w.Generation++
	w.ObservedGeneration++
	s.born, s.in.Progressed = s.in.Now, s.in.Now
	for i := range s.pods {
		s.pods[i].Current = false
	}
	return s
}

// restarted carries out the last decision, now, and its rollout begins.
func (s *scenario) restarted() *scenario {
	s.t.Helper()
	if s.decision.Verdict != plan.Restart {
		s.t.Fatalf("%s: nothing to carry out", s.decision.Verdict)
	}
	s.template()
	s.in.Workload.Value = s.decision.Value
	s.in.Entry = plan.Restarted(s.decision, s.in.Now)
	s.in.Written = s.in.Workload.Generation
	return s
}

// rolledOut ends a rollout, now: all pods are new.
func (s *scenario) rolledOut() *scenario {
	s.in.Workload.Rolling = false
	return s.hasPods(s.newPod())
}

// newPod is a pod of the present template, created now.
func (s *scenario) newPod() plan.Pod {
	return plan.Pod{
		Created: s.in.Now, Current: true, Value: s.in.Workload.Value,
		FirstStart: s.in.Now.Add(time.Second), LastStart: s.in.Now.Add(time.Second),
	}
}

// decide decides as a caller does, with the pods once they are asked for, and keeps the record.
func (s *scenario) decide() plan.Decision {
	s.t.Helper()
	s.in.Rollout, s.asked = nil, false
	d := s.pure()
	if d.NeedsRollout {
		s.asked = true
		live := s.in.Workload
		if s.live != nil {
			s.live(&live)
		}
		s.in.Rollout = &plan.Rollout{Workload: live, Born: s.born, Pods: s.pods, Runs: s.runs}
		if d = s.pure(); d.NeedsRollout {
			s.t.Fatal("asks for the pods although it has them")
		}
	}
	s.in.Entry, s.decision = d.Entry, d
	switch { // as the controller remembers it
	case d.Verdict != plan.Settling:
		s.in.SettlingSince = time.Time{}
	case s.in.SettlingSince.IsZero():
		s.in.SettlingSince = s.in.Now
	}
	return d
}

// pure decides twice and checks that nothing of the input changed and that the decision is the same.
func (s *scenario) pure() plan.Decision {
	s.t.Helper()
	if s.fast {
		return plan.Decide(s.in)
	}
	before := deepCopy(s.in)
	first, second := plan.Decide(s.in), plan.Decide(deepCopy(s.in))
	if diff := cmp.Diff(before, s.in); diff != "" {
		s.t.Fatalf("Decide changed its input: (-before +after)\n%s", diff)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		s.t.Fatalf("Decide decides differently: (-first +second)\n%s", diff)
	}
	return first
}

func deepCopy(in plan.Input) plan.Input {
	in.Selection.Uses = slices.Clone(in.Selection.Uses)
	in.Sources = maps.Clone(in.Sources)
	for source, o := range in.Sources {
		o.Content = maps.Clone(o.Content)
		in.Sources[source] = o
	}
	in.Entry, in.Predecessor = deepCopyEntry(in.Entry), deepCopyEntry(in.Predecessor)
	if in.Rollout != nil {
		rollout := *in.Rollout
		rollout.Pods, rollout.Runs = slices.Clone(rollout.Pods), slices.Clone(rollout.Runs)
		in.Rollout = &rollout
	}
	if in.Hold != nil {
		hold := *in.Hold
		in.Hold = &hold
	}
	return in
}

func deepCopyEntry(e *ledger.Entry) *ledger.Entry {
	c := e.Clone()
	if c == nil {
		return nil
	}
	for source, r := range c.Sources {
		r.Tags, r.Scope.Keys, r.Scope.Globs = maps.Clone(r.Tags), slices.Clone(r.Scope.Keys), slices.Clone(r.Scope.Globs)
		c.Sources[source] = r
	}
	return c
}

// outcome is what tables expect of a decision.
type outcome struct {
	Verdict plan.Verdict
	// Changes as a message names them.
	Changes string
	// Asked is whether the pods had to be asked for.
	Asked bool
}

func (s *scenario) outcome() outcome {
	return outcome{Verdict: s.decision.Verdict, Changes: plan.Describe(s.decision.Changes), Asked: s.asked}
}

// table is a list of scenarios and what the decision at the end of each is to be.
type table []struct {
	name   string
	reason string
	given  func(s *scenario)
	want   outcome
}

func (cases table) run(t *testing.T) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := newScenario(t)
			tc.given(s)
			s.decide()
			if diff := cmp.Diff(tc.want, s.outcome()); diff != "" {
				t.Errorf("%s: (-want +got)\n%s\n%s", tc.reason, diff, s.decision.Message)
			}
		})
	}
}
