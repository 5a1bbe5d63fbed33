package workload

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

// clock is a moment in whole seconds, as the API server stamps objects.
var clock = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func testKey(t *testing.T) digest.Key {
	t.Helper()
	key, err := digest.NewKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// web is a Deployment whose rollout is through.
func web(change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "apps", Name: "web", UID: "uid-web", ResourceVersion: "7", Generation: 3,
			CreationTimestamp: metav1.NewTime(clock),
		},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "app", Image: "web:1", EnvFrom: []corev1.EnvFromSource{{
						SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "password"}},
					}},
				}}},
			},
		},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 2},
	}
	for _, c := range change {
		c(d)
	}
	return d
}

func TestObserve(t *testing.T) {
	d := web(func(d *appsv1.Deployment) {
		d.Annotations = map[string]string{
			v1alpha1.AutoAnnotation:                            "true",
			"kubectl.kubernetes.io/last-applied-configuration": `{"spec":"with a clear-text-password"}`,
		}
		d.Spec.Template.Annotations = map[string]string{v1alpha1.ConfigDigestAnnotation: "value", "prometheus.io/scrape": "true"}
	})
	got := observeDeployment(d, Observer{Key: testKey(t)})
	if got.Template.IsZero() {
		t.Error("the template has no digest")
	}
	want := plan.Workload{
		Workload:   ledger.Workload{Kind: "Deployment", Namespace: "apps", Name: "web"},
		APIVersion: "apps/v1", UID: "uid-web", ResourceVersion: "7", Generation: 3, ObservedGeneration: 3, Created: clock,
		Annotations:         map[string]string{v1alpha1.AutoAnnotation: "true"},
		TemplateAnnotations: map[string]string{v1alpha1.ConfigDigestAnnotation: "value"},
		Uses: []reference.Use{{
			Source: reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "password"}, Scope: reference.Scope{All: true},
			Container: "app",
		}},
		Container: "app",
		Template:  got.Template, Value: "value", Replicas: 2, Progress: got.Progress,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
	if text := fmt.Sprintf("%+v", got); strings.Contains(text, "clear-text-password") {
		t.Errorf("what was last applied is kept: %s", text)
	}
}

// Of labels, a decision sees no more than whom they name, whatever kind of workload carries them.
func TestOwners(t *testing.T) {
	labelled := metav1.ObjectMeta{Labels: map[string]string{"owner": "apps"}}
	by := Observer{Owners: func(labels map[string]string) []plan.Owner { return []plan.Owner{{Name: labels["owner"]}} }}
	for kind, got := range map[string]plan.Workload{
		"Deployment":  observeDeployment(&appsv1.Deployment{ObjectMeta: labelled}, by),
		"StatefulSet": statefulSet().Observe(&appsv1.StatefulSet{ObjectMeta: labelled}, by),
		"DaemonSet":   daemonSet().Observe(&appsv1.DaemonSet{ObjectMeta: labelled}, by),
	} {
		if diff := cmp.Diff([]plan.Owner{{Name: "apps"}}, got.Owners); diff != "" {
			t.Errorf("%s: owners (-want +got):\n%s", kind, diff)
		}
	}
}

func TestOwnAnnotations(t *testing.T) {
	tests := map[string]struct{ from, want map[string]string }{
		"none":          {nil, nil},
		"only others'":  {map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}, nil},
		"Stakater's":    {map[string]string{"reloader.stakater.com/search": "1", "a": "b"}, map[string]string{"reloader.stakater.com/search": "1"}},
		"of a resource": {map[string]string{"secret.reloader.stakater.com/reload": "a"}, map[string]string{"secret.reloader.stakater.com/reload": "a"}},
		"ours":          {map[string]string{"reloader.contrib.fluxcd.io/x": "1"}, map[string]string{"reloader.contrib.fluxcd.io/x": "1"}},
		"a request for a restart": {
			map[string]string{v1alpha1.RestartRequestedAtAnnotation: "1"}, map[string]string{v1alpha1.RestartRequestedAtAnnotation: "1"},
		},
		"a request to look": {
			map[string]string{v1alpha1.ReconcileRequestAnnotation: "1"}, map[string]string{v1alpha1.ReconcileRequestAnnotation: "1"},
		},
		"another of Flux's": {map[string]string{"reconcile.fluxcd.io/forceAt": "1"}, nil},
		"one that ends like ours": {
			map[string]string{"not.reloader.contrib.fluxcd.io/x": "1"}, nil,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := len(test.from)
			if diff := cmp.Diff(test.want, (Observer{}).own(test.from)); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			if len(test.from) != before {
				t.Error("the object's own annotations were changed")
			}
		})
	}
}

func TestRolling(t *testing.T) {
	tests := map[string]struct {
		change func(*appsv1.Deployment)
		want   bool
	}{
		"complete": {func(*appsv1.Deployment) {}, false},
		"not yet seen by its controller": {
			func(d *appsv1.Deployment) { d.Generation = 4 }, true,
		},
		"new pods are missing": {func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 1 }, true},
		"old pods are left":    {func(d *appsv1.Deployment) { d.Status.Replicas = 3 }, true},
		"pods are not ready": {
			func(d *appsv1.Deployment) { d.Status.ReadyReplicas, d.Status.AvailableReplicas = 0, 0 }, false,
		},
		"scaled to zero": {func(d *appsv1.Deployment) {
			d.Spec.Replicas = ptr.To(int32(0))
			d.Status = appsv1.DeploymentStatus{ObservedGeneration: 3}
		}, false},
		"one by default": {func(d *appsv1.Deployment) {
			d.Spec.Replicas = nil
			d.Status = appsv1.DeploymentStatus{ObservedGeneration: 3}
		}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := observeDeployment(web(test.change), Observer{Key: testKey(t)}).Rolling; got != test.want {
				t.Errorf("rolling %t, want %t", got, test.want)
			}
		})
	}
}

func TestHeld(t *testing.T) {
	paused := web(func(d *appsv1.Deployment) { d.Spec.Paused = true })
	if got := observeDeployment(paused, Observer{Key: testKey(t)}).Held; got != plan.HeldPaused {
		t.Errorf("held by %q", got)
	}
	if got := observeDeployment(web(), Observer{Key: testKey(t)}).Held; got != "" {
		t.Errorf("held by %q", got)
	}
}

// Progress moves with every step of a rollout, and with nothing else.
func TestProgress(t *testing.T) {
	key := testKey(t)
	before := observeDeployment(web(), Observer{Key: key}).Progress
	for name, step := range map[string]func(*appsv1.Deployment){
		"observed":  func(d *appsv1.Deployment) { d.Status.ObservedGeneration++ },
		"replicas":  func(d *appsv1.Deployment) { d.Status.Replicas++ },
		"updated":   func(d *appsv1.Deployment) { d.Status.UpdatedReplicas-- },
		"ready":     func(d *appsv1.Deployment) { d.Status.ReadyReplicas-- },
		"available": func(d *appsv1.Deployment) { d.Status.AvailableReplicas-- },
	} {
		if observeDeployment(web(step), Observer{Key: key}).Progress == before {
			t.Errorf("%s: no progress", name)
		}
	}
	other := web(func(d *appsv1.Deployment) { d.ResourceVersion, d.Labels = "8", map[string]string{"a": "b"} })
	if observeDeployment(other, Observer{Key: key}).Progress != before {
		t.Error("a label is no progress")
	}
}

func TestTemplateDigest(t *testing.T) {
	key := testKey(t)
	before := observeDeployment(web(), Observer{Key: key}).Template
	if again := observeDeployment(web(), Observer{Key: key}).Template; again != before {
		t.Error("the same template has another digest")
	}
	for name, change := range map[string]func(*appsv1.Deployment){
		"image":      func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" },
		"annotation": func(d *appsv1.Deployment) { d.Spec.Template.Annotations = map[string]string{"a": "b"} },
	} {
		if observeDeployment(web(change), Observer{Key: key}).Template == before {
			t.Errorf("%s: the digest is the same", name)
		}
	}
	scaled := web(func(d *appsv1.Deployment) { d.Spec.Replicas, d.Labels = ptr.To(int32(9)), map[string]string{"a": "b"} })
	if observeDeployment(scaled, Observer{Key: key}).Template != before {
		t.Error("scaling changes no template")
	}
}

func TestApplier(t *testing.T) {
	entry := func(manager, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	const template = `{"f:spec":{"f:template":{}}}`
	tests := map[string]struct {
		fields []metav1.ManagedFieldsEntry
		want   string
	}{
		"nobody":                           {nil, ""},
		"a person":                         {[]metav1.ManagedFieldsEntry{entry("kubectl", template)}, ""},
		"kustomize-controller":             {[]metav1.ManagedFieldsEntry{entry("kubectl", template), entry("kustomize-controller", template)}, "kustomize-controller"},
		"helm-controller":                  {[]metav1.ManagedFieldsEntry{entry("helm-controller", template)}, "helm-controller"},
		"helm":                             {[]metav1.ManagedFieldsEntry{entry("helm", template)}, "helm"},
		"who applies something else of it": {[]metav1.ManagedFieldsEntry{entry("kustomize-controller", `{"f:metadata":{}}`)}, ""},
		"without fields":                   {[]metav1.ManagedFieldsEntry{{Manager: "helm"}}, ""},
		"with unreadable fields":           {[]metav1.ManagedFieldsEntry{entry("helm", `[`)}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got, applied := applier(test.fields); got != test.want || !applied.IsZero() {
				t.Errorf("%q at %s, want %q", got, applied, test.want)
			}
		})
	}
	at := metav1.NewTime(time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC))
	earlier := metav1.NewTime(at.Add(-time.Hour))
	timed := []metav1.ManagedFieldsEntry{entry("kubectl", template), entry("helm", template)}
	timed[0].Time, timed[1].Time = &earlier, &at
	if _, applied := applier(timed); !applied.Equal(at.Time) {
		t.Errorf("applied at %s, want %s", applied, at)
	}
}

// client-go transforms the objects of a streamed first list twice.
func TestKeepTwice(t *testing.T) {
	keep := keep(deployment(), selection.Defaults(), Observer{Key: testKey(t)})
	once := keep(web())
	if twice := keep(once); twice != once {
		t.Errorf("the second time gives %v, want %v", twice, once)
	}
	got := once.(*object).GetObjectMeta()
	if got.GetNamespace() != "apps" || got.GetName() != "web" || got.GetUID() != "uid-web" || got.GetResourceVersion() != "7" {
		t.Errorf("metadata %+v", got)
	}
}

func TestIndexBySource(t *testing.T) {
	kept := keep(deployment(), selection.Defaults(), Observer{Key: testKey(t)})(web())
	keys, err := indexBySource(kept)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Secret/apps/password"}, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if keys, err := indexBySource("foreign"); keys != nil || err != nil {
		t.Errorf("a foreign object: %v, %v", keys, err)
	}
}

// A workload is found by what its pods use, what it names, and what its patterns match.
func TestUsedBy(t *testing.T) {
	versions := map[string][]runtime.Object{}
	for _, version := range []string{"1", "2"} {
		d := web(func(d *appsv1.Deployment) {
			d.TypeMeta = metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}
			d.ResourceVersion = version
			d.Annotations = map[string]string{v1alpha1.ConfigMapReloadAnnotation: "named, team-[ab]"}
		})
		versions["deployments"] = append(versions["deployments"], d)
	}
	store := fill(t, versions)
	for source, want := range map[reference.Source][]ledger.Workload{
		{Kind: reference.Secret, Namespace: "apps", Name: "password"}:    {webName},
		{Kind: reference.ConfigMap, Namespace: "apps", Name: "named"}:    {webName},
		{Kind: reference.ConfigMap, Namespace: "apps", Name: "team-a"}:   {webName},
		{Kind: reference.ConfigMap, Namespace: "apps", Name: "team-c"}:   nil,
		{Kind: reference.ConfigMap, Namespace: "apps", Name: "password"}: nil,
		{Kind: reference.Secret, Namespace: "apps", Name: "team-a"}:      nil,
		{Kind: reference.ConfigMap, Namespace: "other", Name: "team-a"}:  nil,
	} {
		found := slices.Compact(store.UsedBy(source)) // to be found twice is as good: who asks keeps each once
		if diff := cmp.Diff(want, found, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", source.IndexKey(), diff)
		}
	}
}
