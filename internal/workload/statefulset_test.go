package workload

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// database is a StatefulSet whose rollout is through.
func database(change ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	from := web()
	s := &appsv1.StatefulSet{
		ObjectMeta: from.ObjectMeta,
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To(int32(3)), Selector: from.Spec.Selector, Template: from.Spec.Template,
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType},
		},
		Status: appsv1.StatefulSetStatus{
			ObservedGeneration: 3, Replicas: 3, UpdatedReplicas: 3, CurrentReplicas: 3, ReadyReplicas: 3, AvailableReplicas: 3,
		},
	}
	s.Name, s.UID = "database", "uid-database"
	for _, c := range change {
		c(s)
	}
	return s
}

// partition holds back the pods with lesser ordinals.
func partition(n int32) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To(n)}
	}
}

func TestObserveStatefulSet(t *testing.T) {
	s := database(func(s *appsv1.StatefulSet) {
		s.Annotations = map[string]string{v1alpha1.AutoAnnotation: "true", "a": "b"}
		s.Spec.Template.Annotations = map[string]string{v1alpha1.ConfigDigestAnnotation: "value"}
	})
	got := observeStatefulSet(s, Observer{Key: testKey(t)})
	if got.Template.IsZero() || got.Progress == "" {
		t.Error("the template has no digest, or the rollout no progress")
	}
	want := plan.Workload{
		Workload:   ledger.Workload{Kind: "StatefulSet", Namespace: "apps", Name: "database"},
		APIVersion: "apps/v1", UID: "uid-database", ResourceVersion: "7", Generation: 3, ObservedGeneration: 3, Created: clock,
		Annotations:         map[string]string{v1alpha1.AutoAnnotation: "true"},
		TemplateAnnotations: map[string]string{v1alpha1.ConfigDigestAnnotation: "value"},
		Uses: []reference.Use{{
			Source: reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "password"}, Scope: reference.Scope{All: true},
			Container: "app",
		}},
		Container: "app",
		Template:  got.Template, Value: "value", Replicas: 3, Progress: got.Progress,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

// What counts as rolling is revisions, not readiness: a pod that fails because its configuration is stale must not hold
// back the restart that heals it.
func TestStatefulSetRolling(t *testing.T) {
	tests := map[string]struct {
		change   func(*appsv1.StatefulSet)
		rolling  bool
		replicas int32
	}{
		"complete":                       {func(*appsv1.StatefulSet) {}, false, 3},
		"not yet seen by its controller": {func(s *appsv1.StatefulSet) { s.Generation = 4 }, true, 3},
		"new pods are missing":           {func(s *appsv1.StatefulSet) { s.Status.UpdatedReplicas = 2 }, true, 3},
		"new pods are missing, and no old ones are left": {
			func(s *appsv1.StatefulSet) { s.Status.Replicas, s.Status.UpdatedReplicas = 2, 2 }, true, 3,
		},
		"old pods are left": {func(s *appsv1.StatefulSet) { s.Status.Replicas = 4 }, true, 3},
		"pods are not ready": {
			func(s *appsv1.StatefulSet) { s.Status.ReadyReplicas, s.Status.AvailableReplicas = 0, 0 }, false, 3,
		},
		"a rollout that is not recorded as the current revision": {
			func(s *appsv1.StatefulSet) { s.Status.CurrentReplicas = 0 }, false, 3,
		},
		"scaled to zero": {func(s *appsv1.StatefulSet) {
			s.Spec.Replicas = ptr.To(int32(0))
			s.Status = appsv1.StatefulSetStatus{ObservedGeneration: 3}
		}, false, 0},
		"scaled to zero, with a pod left of another revision": {func(s *appsv1.StatefulSet) {
			s.Spec.Replicas = ptr.To(int32(0))
			s.Status = appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: 1}
		}, true, 0},
		"one by default": {func(s *appsv1.StatefulSet) {
			s.Spec.Replicas = nil
			s.Status = appsv1.StatefulSetStatus{ObservedGeneration: 3}
		}, true, 1},
		"one by default, and it is there": {func(s *appsv1.StatefulSet) {
			s.Spec.Replicas = nil
			s.Status = appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: 1, UpdatedReplicas: 1}
		}, false, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := observeStatefulSet(database(test.change), Observer{Key: testKey(t)})
			if got.Rolling != test.rolling || got.Replicas != test.replicas || got.Held != "" {
				t.Errorf("rolling %t, replicas %d, held by %q; want %t, %d, nothing", got.Rolling, got.Replicas, got.Held, test.rolling, test.replicas)
			}
		})
	}
}

func TestStatefulSetHeld(t *testing.T) {
	onDelete := func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType }
	tests := map[string]struct {
		change []func(*appsv1.StatefulSet)
		want   string
	}{
		"rolling update":                   {nil, ""},
		"without a strategy":               {[]func(*appsv1.StatefulSet){func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.Type = "" }}, ""},
		"no partition":                     {[]func(*appsv1.StatefulSet){partition(0)}, ""},
		"a strategy that says nothing":     {[]func(*appsv1.StatefulSet){partition(0), withoutPartition}, ""},
		"a partition":                      {[]func(*appsv1.StatefulSet){partition(2)}, "spec.updateStrategy.rollingUpdate.partition is 2"},
		"a partition above all":            {[]func(*appsv1.StatefulSet){partition(9)}, "spec.updateStrategy.rollingUpdate.partition is 9"},
		"on delete":                        {[]func(*appsv1.StatefulSet){onDelete}, "spec.updateStrategy is OnDelete"},
		"on delete, with a partition left": {[]func(*appsv1.StatefulSet){onDelete, partition(2)}, "spec.updateStrategy is OnDelete"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := observeStatefulSet(database(test.change...), Observer{Key: testKey(t)}).Held; got != test.want {
				t.Errorf("held by %q, want %q", got, test.want)
			}
		})
	}
}

func withoutPartition(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = nil }

// A partition and OnDelete do not change what rolling means: pods of the old revision are left.
func TestStatefulSetHeldInMidRollout(t *testing.T) {
	s := database(partition(2), func(s *appsv1.StatefulSet) { s.Status.UpdatedReplicas = 1 })
	if got := observeStatefulSet(s, Observer{Key: testKey(t)}); !got.Rolling || got.Held == "" {
		t.Errorf("rolling %t, held by %q", got.Rolling, got.Held)
	}
}

// Progress moves with every step of a rollout, and with nothing else.
func TestStatefulSetProgress(t *testing.T) {
	key := testKey(t)
	before := observeStatefulSet(database(), Observer{Key: key}).Progress
	for name, step := range map[string]func(*appsv1.StatefulSet){
		"observed": func(s *appsv1.StatefulSet) { s.Status.ObservedGeneration++ },
		"replicas": func(s *appsv1.StatefulSet) { s.Status.Replicas-- },
		"updated":  func(s *appsv1.StatefulSet) { s.Status.UpdatedReplicas-- },
		"ready":    func(s *appsv1.StatefulSet) { s.Status.ReadyReplicas-- },
	} {
		if observeStatefulSet(database(step), Observer{Key: key}).Progress == before {
			t.Errorf("%s: no progress", name)
		}
	}
	other := database(func(s *appsv1.StatefulSet) { s.ResourceVersion, s.Labels = "8", map[string]string{"a": "b"} })
	if observeStatefulSet(other, Observer{Key: key}).Progress != before {
		t.Error("a label is no progress")
	}
}

func TestSelectorsOfSets(t *testing.T) {
	want := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	if diff := cmp.Diff(want, statefulSet().Selector(database())); diff != "" {
		t.Errorf("of a StatefulSet (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, daemonSet().Selector(agent())); diff != "" {
		t.Errorf("of a DaemonSet (-want +got):\n%s", diff)
	}
}
