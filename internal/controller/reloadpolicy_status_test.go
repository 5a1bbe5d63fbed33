package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/jitter"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/policy"
)

func TestDescribe(t *testing.T) {
	anew := func(*v1alpha1.ReloadPolicy) {}
	known := func(o *v1alpha1.ReloadPolicy) {
		o.Status.ObservedGeneration = o.Generation
		conditions.MarkTrue(o, meta.ReadyCondition, meta.SucceededReason, "as it was")
	}
	requested := func(o *v1alpha1.ReloadPolicy) {
		known(o)
		o.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now"}
	}
	stalled := func(o *v1alpha1.ReloadPolicy) {
		known(o)
		conditions.MarkStalled(o, "InvalidSpec", "before")
		conditions.MarkFalse(o, meta.ReadyCondition, "InvalidSpec", "before")
	}
	failed := observed{complete: true, counts: v1alpha1.WorkloadCounts{Selected: 3, Failed: 1}, failure: "Deployment/apps/web: forbidden"}
	busyAndFailed := failed
	busyAndFailed.awaited = 2
	problems := []policy.Problem{{Reason: "InvalidSpec", Field: "spec.mode", Value: "Ask", Detail: "no"}, {Reason: "InvalidSpec", Field: "spec.optIn", Detail: "neither"}}
	for name, test := range map[string]struct {
		before   func(*v1alpha1.ReloadPolicy)
		seen     observed
		problems []policy.Problem
		want     []string
		progress bool
	}{
		"a new one that selects nothing": {anew, observed{complete: true}, nil, []string{"Ready=True Succeeded: governs 0 workloads"}, false},
		"a new one": {anew, observed{awaited: 3}, nil,
			[]string{"Reconciling=True Progressing: looking at the selected workloads", "Ready=Unknown Progressing: looking at the selected workloads"}, true},
		"looked at": {anew, observed{complete: true, counts: v1alpha1.WorkloadCounts{Selected: 1}}, nil, []string{"Ready=True Succeeded: governs 1 workload"}, false},
		"shadowed": {known, observed{complete: true, shadowed: map[policy.Name]int{appsPolicy("b"): 2, appsPolicy("a"): 1}}, nil,
			[]string{"Ready=True Succeeded: governs 0 workloads; shadowed by ReloadPolicy/apps/a for 1; shadowed by ReloadPolicy/apps/b for 2"}, false},
		"a new leader":      {known, observed{awaited: 3}, nil, []string{"Ready=True Succeeded: as it was"}, false},
		"the interval":      {known, observed{complete: true, awaited: 3}, nil, []string{"Ready=True Succeeded: governs 0 workloads"}, false},
		"somebody asks":     {requested, observed{complete: true, awaited: 1}, nil, []string{"Reconciling=True Progressing: looking at the selected workloads", "Ready=Unknown Progressing: looking at the selected workloads"}, true},
		"and has an answer": {requested, observed{complete: true}, nil, []string{"Ready=True Succeeded: governs 0 workloads"}, false},
		"restarts fail": {known, failed, nil,
			[]string{"Reconciling=True ProgressingWithRetry: 1 of 3 workloads could not be restarted: Deployment/apps/web: forbidden",
				"Ready=False RestartFailed: 1 of 3 workloads could not be restarted: Deployment/apps/web: forbidden"}, false},
		"restarts fail at the interval": {known, busyAndFailed, nil,
			[]string{"Reconciling=True ProgressingWithRetry: 1 of 3 workloads could not be restarted: Deployment/apps/web: forbidden",
				"Ready=False RestartFailed: 1 of 3 workloads could not be restarted: Deployment/apps/web: forbidden"}, false},
		"no sense": {known, observed{complete: true}, problems,
			[]string{`Stalled=True InvalidSpec: spec.mode: invalid value "Ask": no; spec.optIn: neither`, `Ready=False InvalidSpec: spec.mode: invalid value "Ask": no; spec.optIn: neither`}, false},
		"no sense, at once": {anew, observed{awaited: 7}, problems,
			[]string{`Stalled=True InvalidSpec: spec.mode: invalid value "Ask": no; spec.optIn: neither`, `Ready=False InvalidSpec: spec.mode: invalid value "Ask": no; spec.optIn: neither`}, false},
		"sense again": {stalled, observed{complete: true}, nil, []string{"Ready=True Succeeded: governs 0 workloads"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			object := appsObject("policy", "1")
			object.Generation, object.Status.ObservedGeneration = 2, -1
			test.before(object)
			describe(object, test.seen, test.problems)
			var got []string
			for _, c := range object.Status.Conditions {
				got = append(got, c.Type+"="+string(c.Status)+" "+c.Reason+": "+c.Message)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			if !test.progress && object.Status.ObservedGeneration != object.Generation {
				t.Errorf("observed generation %d", object.Status.ObservedGeneration)
			}
		})
	}
}

// What is told of a policy is told once: not when its workloads come and go, nor by the next leader.
func TestReadyEvent(t *testing.T) {
	said := func(change func(*v1alpha1.ReloadPolicy)) (text string, warning bool) {
		object := appsObject("policy", "1")
		change(object)
		event, text := readyEvent(object)
		return text, event != nil && event.Warning
	}
	is := func(status metav1.ConditionStatus, reason, message string) func(*v1alpha1.ReloadPolicy) {
		return func(o *v1alpha1.ReloadPolicy) {
			conditions.Set(o, &metav1.Condition{Type: meta.ReadyCondition, Status: status, Reason: reason, Message: message})
		}
	}
	stalled := func(message string) func(*v1alpha1.ReloadPolicy) {
		return func(o *v1alpha1.ReloadPolicy) {
			is("False", "InvalidSpec", message)(o)
			conditions.MarkStalled(o, "InvalidSpec", "%s", message)
		}
	}
	for name, test := range map[string]struct {
		one, other func(*v1alpha1.ReloadPolicy)
		same, warn bool
	}{
		"nothing yet, and work on it": {func(*v1alpha1.ReloadPolicy) {}, is("Unknown", "Progressing", ""), true, false},
		"ready":                       {is("Unknown", "Progressing", ""), is("True", "Succeeded", "governs 1 workload"), false, false},
		"another number of workloads": {is("True", "Succeeded", "governs 1 workload"), is("True", "Succeeded", "governs 2 workloads"), true, false},
		"a failure":                   {is("True", "Succeeded", ""), is("False", "RestartFailed", "web"), false, true},
		"another failure":             {is("False", "RestartFailed", "web"), is("False", "RestartFailed", "db"), true, true},
		"no sense":                    {is("True", "Succeeded", ""), stalled("spec.mode"), false, true},
		"no sense elsewhere":          {stalled("spec.mode"), stalled("spec.optIn"), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			one, _ := said(test.one)
			other, warn := said(test.other)
			if (one == other) != test.same || warn != test.warn {
				t.Errorf("%q and then %q, warning %t", one, other, warn)
			}
		})
	}
}

func TestDue(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	r := &round{generation: 1, request: "then", next: now.Add(time.Minute)}
	object := func(generation int64, request string) *v1alpha1.ReloadPolicy {
		o := appsObject("a", "1")
		o.Generation, o.Annotations = generation, map[string]string{meta.ReconcileRequestAnnotation: request}
		return o
	}
	for name, test := range map[string]struct {
		object *v1alpha1.ReloadPolicy
		at     time.Time
		want   bool
	}{
		"nothing new":          {object(1, "then"), now, false},
		"another spec":         {object(2, "then"), now, true},
		"somebody asks":        {object(1, "now"), now, true},
		"the interval is over": {object(1, "then"), now.Add(time.Minute), true},
	} {
		if got := due(r, test.object, test.at); got != test.want {
			t.Errorf("%s: due %t", name, got)
		}
	}
}

// Policies of one interval, all met at once, are not compared at once for ever.
func TestIntervalsAreJittered(t *testing.T) {
	jitter.SetGlobalIntervalJitter(0.1, nil)
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	object := appsObject("a", "1")
	object.Spec.Interval.Duration = 10 * time.Minute
	waits := map[time.Duration]bool{}
	for range 20 {
		r := &round{}
		r.begun(object, now)
		wait := r.next.Sub(now)
		if wait < 9*time.Minute || wait > 11*time.Minute {
			t.Errorf("waits %v", wait)
		}
		waits[wait] = true
	}
	if len(waits) == 1 {
		t.Errorf("always waits %v", waits)
	}
}

func TestShortened(t *testing.T) {
	if got := shortened("short"); got != "short" {
		t.Errorf("%q", got)
	}
	if got := []rune(shortened(strings.Repeat("ü", 2000))); len(got) != 1000 || got[999] != '…' {
		t.Errorf("%d characters", len(got))
	}
}
