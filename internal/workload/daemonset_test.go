package workload

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// agent is a DaemonSet whose rollout is through.
func agent(change ...func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	from := web()
	d := &appsv1.DaemonSet{
		ObjectMeta: from.ObjectMeta,
		Spec: appsv1.DaemonSetSpec{
			Selector: from.Spec.Selector, Template: from.Spec.Template,
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType},
		},
		Status: appsv1.DaemonSetStatus{
			ObservedGeneration: 3, DesiredNumberScheduled: 4, CurrentNumberScheduled: 4, UpdatedNumberScheduled: 4,
			NumberReady: 4, NumberAvailable: 4,
		},
	}
	d.Name, d.UID = "agent", "uid-agent"
	for _, c := range change {
		c(d)
	}
	return d
}

func TestObserveDaemonSet(t *testing.T) {
	d := agent(func(d *appsv1.DaemonSet) {
		d.Annotations = map[string]string{v1alpha1.AutoAnnotation: "true", "a": "b"}
		d.Spec.Template.Annotations = map[string]string{v1alpha1.ConfigDigestAnnotation: "value"}
	})
	got := observeDaemonSet(d, Observer{Key: testKey(t)})
	if got.Template.IsZero() || got.Progress == "" {
		t.Error("the template has no digest, or the rollout no progress")
	}
	want := plan.Workload{
		Workload:   ledger.Workload{Kind: "DaemonSet", Namespace: "apps", Name: "agent"},
		APIVersion: "apps/v1", UID: "uid-agent", ResourceVersion: "7", Generation: 3, ObservedGeneration: 3, Created: clock,
		Annotations:         map[string]string{v1alpha1.AutoAnnotation: "true"},
		TemplateAnnotations: map[string]string{v1alpha1.ConfigDigestAnnotation: "value"},
		Uses: []reference.Use{{
			Source: reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "password"}, Scope: reference.Scope{All: true},
			Container: "app",
		}},
		Container: "app",
		Template:  got.Template, Value: "value", Replicas: 4, Progress: got.Progress,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

// A node counts as updated by its oldest pod, so a surge rolls until the old pods are gone.
func TestDaemonSetRolling(t *testing.T) {
	surge := func(d *appsv1.DaemonSet) {
		d.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{
			MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0)),
		}
	}
	tests := map[string]struct {
		change  func(*appsv1.DaemonSet)
		rolling bool
		pods    int32
		held    string
	}{
		"complete":                       {func(*appsv1.DaemonSet) {}, false, 4, ""},
		"not yet seen by its controller": {func(d *appsv1.DaemonSet) { d.Generation = 4 }, true, 4, ""},
		"old pods are left":              {func(d *appsv1.DaemonSet) { d.Status.UpdatedNumberScheduled = 3 }, true, 4, ""},
		"pods are missing": {func(d *appsv1.DaemonSet) {
			d.Status.CurrentNumberScheduled, d.Status.UpdatedNumberScheduled = 3, 3
		}, true, 4, ""},
		"pods are not ready": {func(d *appsv1.DaemonSet) {
			d.Status.NumberReady, d.Status.NumberAvailable, d.Status.NumberUnavailable = 0, 0, 4
		}, false, 4, ""},
		"a pod where none belongs": {func(d *appsv1.DaemonSet) { d.Status.NumberMisscheduled = 1 }, false, 4, ""},
		"in mid-surge": {func(d *appsv1.DaemonSet) {
			surge(d)
			d.Status.UpdatedNumberScheduled = 3
		}, true, 4, ""},
		"after a surge": {surge, false, 4, ""},
		"on no node": {func(d *appsv1.DaemonSet) {
			d.Status = appsv1.DaemonSetStatus{ObservedGeneration: 3}
		}, false, 0, ""},
		"just made": {func(d *appsv1.DaemonSet) {
			d.Generation, d.Status = 1, appsv1.DaemonSetStatus{}
		}, true, 0, ""},
		"on delete": {func(d *appsv1.DaemonSet) {
			d.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
		}, false, 4, "spec.updateStrategy is OnDelete"},
		"on delete, old pods are left": {func(d *appsv1.DaemonSet) {
			d.Spec.UpdateStrategy.Type, d.Status.UpdatedNumberScheduled = appsv1.OnDeleteDaemonSetStrategyType, 0
		}, true, 4, "spec.updateStrategy is OnDelete"},
		"without a strategy": {func(d *appsv1.DaemonSet) { d.Spec.UpdateStrategy.Type = "" }, false, 4, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := observeDaemonSet(agent(test.change), Observer{Key: testKey(t)})
			if got.Rolling != test.rolling || got.Replicas != test.pods || got.Held != test.held {
				t.Errorf("rolling %t, pods %d, held by %q; want %t, %d, %q", got.Rolling, got.Replicas, got.Held, test.rolling, test.pods, test.held)
			}
		})
	}
}

// Progress moves with every step of a rollout, and with nothing else.
func TestDaemonSetProgress(t *testing.T) {
	key := testKey(t)
	before := observeDaemonSet(agent(), Observer{Key: key}).Progress
	for name, step := range map[string]func(*appsv1.DaemonSet){
		"observed": func(d *appsv1.DaemonSet) { d.Status.ObservedGeneration++ },
		"current":  func(d *appsv1.DaemonSet) { d.Status.CurrentNumberScheduled-- },
		"updated":  func(d *appsv1.DaemonSet) { d.Status.UpdatedNumberScheduled-- },
		"ready":    func(d *appsv1.DaemonSet) { d.Status.NumberReady-- },
	} {
		if observeDaemonSet(agent(step), Observer{Key: key}).Progress == before {
			t.Errorf("%s: no progress", name)
		}
	}
	other := agent(func(d *appsv1.DaemonSet) { d.ResourceVersion, d.Labels = "8", map[string]string{"a": "b"} })
	if observeDaemonSet(other, Observer{Key: key}).Progress != before {
		t.Error("a label is no progress")
	}
}
