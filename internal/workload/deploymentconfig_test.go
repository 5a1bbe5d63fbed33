package workload

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flux-reloader/reloader/internal/plan"
)

// configWeb is a DeploymentConfig whose rollout is through.
func configWeb(change ...func(*configObject)) *configObject {
	from := web()
	d := &configObject{ObjectMeta: metav1.ObjectMeta{
		Namespace: "apps", Name: "web", UID: "uid-config", ResourceVersion: "9", Generation: 5, CreationTimestamp: metav1.NewTime(clock),
	}}
	d.Spec.Template, _ = json.Marshal(from.Spec.Template)
	d.Spec.Replicas, d.Spec.Selector = 2, from.Spec.Selector.MatchLabels
	d.Spec.Triggers = []configTrigger{{Type: "ImageChange"}, {Type: "ConfigChange"}}
	d.Status.ObservedGeneration, d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.LatestVersion = 5, 2, 2, 1
	for _, c := range change {
		c(d)
	}
	return d
}

// It is observed as the Deployment of the same template is.
func TestObserveDeploymentConfig(t *testing.T) {
	want, got := observeDeployment(web(), observer(t)), observeDeploymentConfig(configWeb(), observer(t))
	want.Kind, want.APIVersion, want.UID, want.ResourceVersion = "DeploymentConfig", "apps.openshift.io/v1", "uid-config", "9"
	want.Generation, want.ObservedGeneration, want.Progress = 5, 5, got.Progress
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

func TestDeploymentConfigStates(t *testing.T) {
	type state struct {
		Held            string
		Rolling, Barred bool
	}
	const noTrigger = "spec.triggers has no ConfigChange, so that nothing rolls out a new template"
	for name, tc := range map[string]struct {
		change func(*configObject)
		want   state
	}{
		"complete":          {func(*configObject) {}, state{}},
		"not yet seen":      {func(d *configObject) { d.Generation++ }, state{Rolling: true}},
		"new pods missing":  {func(d *configObject) { d.Status.UpdatedReplicas = 1 }, state{Rolling: true}},
		"old pods are left": {func(d *configObject) { d.Status.Replicas = 3 }, state{Rolling: true}},
		"paused":            {func(d *configObject) { d.Spec.Paused, d.Spec.Triggers = true, nil }, state{Held: plan.HeldPaused}},
		"no trigger":        {func(d *configObject) { d.Spec.Triggers = nil }, state{Held: noTrigger, Barred: true}},
		"another trigger":   {func(d *configObject) { d.Spec.Triggers = d.Spec.Triggers[:1] }, state{Held: noTrigger, Barred: true}},
		"for tests":         {func(d *configObject) { d.Spec.Test = true }, state{Held: "spec.test is true, so that there are pods only during a rollout", Barred: true}},
	} {
		w := observeDeploymentConfig(configWeb(tc.change), observer(t))
		if diff := cmp.Diff(tc.want, state{w.Held, w.Rolling, w.Barred}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Its pods belong to ReplicationControllers, the present of which has the greatest number.
func TestPodsOfADeploymentConfig(t *testing.T) {
	d := configWeb()
	controller := func(name, number string) *corev1.ReplicationController {
		rc := &corev1.ReplicationController{ObjectMeta: replicaSet(name, "", clock, web()).ObjectMeta}
		rc.Annotations = map[string]string{configVersionAnnotation: number}
		rc.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(d, openshiftVersion().WithKind(deploymentConfigKind))}
		return rc
	}
	of := func(name string, rc *corev1.ReplicationController) *corev1.Pod {
		p := pod(name, clock, nil)
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(rc, corev1.SchemeGroupVersion.WithKind("ReplicationController"))}
		return p
	}
	former, present := controller("web-9", "9"), controller("web-10", "10")
	s := newStore(t, d, former, present, of("former", former), of("present", present), pod("nobodys", clock, nil))
	kind := deploymentConfig()
	owner := Owner{Namespace: "apps", UID: d.UID, Selector: labels.SelectorFromSet(kind.Selector(d).MatchLabels)}
	pods, err := s.pods(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	revisions, err := kind.Revisions(t.Context(), s.options.Reader, owner)
	if err != nil {
		t.Fatal(err)
	}
	live, err := s.Live(t.Context(), observeDeploymentConfig(d, observer(t)).Workload)
	if err != nil {
		t.Fatal(err)
	}
	want := []plan.Pod{{Name: "former", Created: clock}, {Name: "present", Created: clock, Current: true}}
	if diff := cmp.Diff(want, rollout(live, pods, revisions).Pods); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(d, d.DeepCopyObject()); diff != "" {
		t.Errorf("copy (-original +copy):\n%s", diff)
	}
}
