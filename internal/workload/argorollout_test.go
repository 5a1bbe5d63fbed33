package workload

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/selection"
)

// argoWeb is a Rollout of Argo's whose last rollout is through.
func argoWeb(change ...func(*argoObject)) *argoObject {
	d := web()
	template, _ := json.Marshal(d.Spec.Template)
	r := &argoObject{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "apps", Name: "web", UID: "uid-rollout", ResourceVersion: "9", Generation: 5, CreationTimestamp: metav1.NewTime(clock),
		},
		Spec: argoSpec{Replicas: ptr.To(int32(2)), Selector: d.Spec.Selector, Template: template},
		Status: argoStatus{
			ObservedGeneration: "5", Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 2, CurrentPodHash: "abc",
		},
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func byRestart(r *argoObject) {
	r.Annotations = map[string]string{v1alpha1.RolloutStrategyAnnotation: "restart"}
}

// restartedAt is a restart by age of that value, which Argo has carried out up to done.
func restartedAt(value string, at, restartAt, done time.Time) func(*argoObject) {
	return func(r *argoObject) {
		byRestart(r)
		r.Annotations[v1alpha1.RestartedAnnotation] = value + "@" + at.Format(time.RFC3339)
		if r.Spec.RestartAt = nil; !restartAt.IsZero() {
			r.Spec.RestartAt = ptr.To(metav1.NewTime(restartAt))
		}
		if !done.IsZero() {
			r.Status.RestartedAt = ptr.To(metav1.NewTime(done))
		}
	}
}

func refersTo(version, kind string) func(*argoObject) {
	return func(r *argoObject) {
		r.Spec.Template, r.Spec.Selector = nil, nil
		r.Spec.WorkloadRef = &argoRef{APIVersion: version, Kind: kind, Name: "web"}
		r.Status.WorkloadObservedGeneration = "3"
	}
}

func observer(t *testing.T) Observer {
	t.Helper()
	return Observer{Key: testKey(t), Annotations: selection.Defaults().Annotations.OnWorkloads()}
}

// It is observed as the Deployment of the same template is.
func TestObserveArgoRollout(t *testing.T) {
	d, r := observeDeployment(web(), observer(t)), observeArgoRollout(argoWeb(), observer(t))
	want := d
	want.Kind, want.APIVersion, want.UID, want.ResourceVersion = "Rollout", "argoproj.io/v1alpha1", "uid-rollout", "9"
	want.Generation, want.ObservedGeneration, want.Progress, want.Barred = 5, 5, r.Progress, true
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

func TestArgoRolloutStates(t *testing.T) {
	at := func(seconds int) time.Time { return clock.Add(time.Duration(seconds) * time.Second) }
	type state struct {
		Held, Unseen, Value string
		Rolling, Barred     bool
		Restarts            plan.Way
	}
	for name, tc := range map[string]struct {
		change func(*argoObject)
		want   state
	}{
		"complete":           {func(*argoObject) {}, state{Barred: true}},
		"not yet seen":       {func(r *argoObject) { r.Generation++ }, state{Rolling: true, Barred: true}},
		"seen by another":    {func(r *argoObject) { r.Status.ObservedGeneration = "a5b6" }, state{Rolling: true, Barred: true}},
		"new pods missing":   {func(r *argoObject) { r.Status.UpdatedReplicas = 1 }, state{Rolling: true, Barred: true}},
		"old pods are left":  {func(r *argoObject) { r.Status.Replicas = 3 }, state{Rolling: true, Barred: true}},
		"pods are not ready": {func(r *argoObject) { r.Status.ReadyReplicas = 0 }, state{Barred: true}},
		"paused":             {func(r *argoObject) { r.Spec.Paused = true }, state{Held: plan.HeldPaused, Barred: true}},
		"aborted":            {func(r *argoObject) { r.Status.Abort = true }, state{Held: "the rollout was aborted", Barred: true}},
		"at a step": {
			func(r *argoObject) { r.Status.PauseConditions = []argoPauseReason{{Reason: "BlueGreenPause"}} },
			state{Held: "the rollout is paused: BlueGreenPause", Barred: true},
		},
		"by its controller": {func(r *argoObject) { r.Status.ControllerPause = true }, state{Held: "the rollout is paused by its controller", Barred: true}},
		"no template":       {func(r *argoObject) { r.Spec.Template = nil }, state{Unseen: "there is no pod template", Barred: true}},
		"an unreadable template": {
			func(r *argoObject) { r.Spec.Template = rawTemplate(`{"spec":{"containers":"s3cret"}}`) },
			state{Unseen: "the pod template cannot be read", Barred: true},
		},
		"another kind": {
			refersTo("apps/v1", "ReplicaSet"), state{Unseen: "spec.workloadRef names a ReplicaSet of apps/v1, whose pod template is not watched", Barred: true},
		},
		"restart, never":              {byRestart, state{Restarts: plan.ByAge}},
		"restart, aborted":            {func(r *argoObject) { byRestart(r); r.Status.Abort = true }, state{Held: "the rollout was aborted", Restarts: plan.ByAge}},
		"restart, under way":          {restartedAt("v", at(5), at(5), time.Time{}), state{Value: "v", Rolling: true, Restarts: plan.ByAge}},
		"restart, the last one":       {restartedAt("v", at(5), at(5), at(1)), state{Value: "v", Rolling: true, Restarts: plan.ByAge}},
		"restart, through":            {restartedAt("v", at(5), at(5), at(5)), state{Value: "v", Restarts: plan.ByAge}},
		"restart, and somebody's":     {restartedAt("v", at(5), at(900), at(5)), state{Value: "v", Restarts: plan.ByAge}},
		"restart, taken back":         {restartedAt("v", at(5), time.Time{}, time.Time{}), state{Restarts: plan.ByAge}},
		"restart, to an earlier time": {restartedAt("v", at(5), at(4), time.Time{}), state{Restarts: plan.ByAge}},
		"restart, with nonsense": {func(r *argoObject) {
			restartedAt("v", at(5), at(5), at(5))(r)
			r.Annotations[v1alpha1.RestartedAnnotation] = "v@soon"
		}, state{Restarts: plan.ByAge}},
	} {
		t.Run(name, func(t *testing.T) {
			w := observeArgoRollout(argoWeb(tc.change), observer(t))
			got := state{w.Held, w.Unseen, w.Value, w.Rolling, w.Barred, w.Restarts}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestArgoStrategyIsChecked(t *testing.T) {
	w := observeArgoRollout(argoWeb(func(r *argoObject) {
		r.Annotations = map[string]string{v1alpha1.RolloutStrategyAnnotation: "Restart"}
	}), observer(t))
	if len(w.Problems) != 1 || !strings.Contains(w.Problems[0].String(), `reloader.stakater.com/rollout-strategy: invalid value "Restart"`) || w.Restarts != plan.ByRollout {
		t.Errorf("%+v", w)
	}
}

// Somebody's restart gives the Rollout other pods, as another template does.
func TestRestartAtIsPartOfTheTemplate(t *testing.T) {
	digests := map[string]bool{}
	for _, at := range []time.Time{{}, clock, clock.Add(time.Second)} {
		w := observeArgoRollout(argoWeb(func(r *argoObject) {
			if !at.IsZero() {
				r.Spec.RestartAt = ptr.To(metav1.NewTime(at))
			}
		}), observer(t))
		digests[w.Template.String()] = true
	}
	if len(digests) != 3 {
		t.Errorf("%d digests", len(digests))
	}
}

// A pod has the value of a restart by age if it is not older than that.
func TestPodsOfARestartByAge(t *testing.T) {
	r := argoWeb(restartedAt("v", clock.Add(time.Minute), clock.Add(time.Minute), time.Time{}))
	rs := replicaSet("only", "1", clock, web())
	rs.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(r, argoVersion().WithKind(argoRolloutKind))}
	rs.Annotations = map[string]string{argoRevisionAnnotation: "1"}
	inherited := pod("inherited", clock, rs)
	inherited.Annotations = map[string]string{v1alpha1.ConfigDigestAnnotation: "before"}
	s := newStore(t, r, rs, inherited, pod("old", clock.Add(59*time.Second), rs), pod("new", clock.Add(time.Minute), rs))
	for name, tc := range map[string]struct {
		live *argoObject
		want string
	}{
		"restart":    {r, "inherited=before new=v old="},
		"taken back": {argoWeb(restartedAt("v", clock.Add(time.Minute), time.Time{}, time.Time{})), "inherited=before new= old="},
	} {
		owner := Owner{Namespace: "apps", UID: r.UID, Selector: labels.SelectorFromSet(r.Spec.Selector.MatchLabels)}
		pods, err := s.pods(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		revisions, err := argoRollout().Revisions(t.Context(), s.options.Reader, owner)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range rollout(observeArgoRollout(tc.live, observer(t)), pods, revisions).Pods {
			got = append(got, p.Name+"="+p.Value)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// A Rollout and the Deployment that has its template are one workload.
func TestLiveRolloutOfADeployment(t *testing.T) {
	d := web(func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = map[string]string{v1alpha1.ConfigDigestAnnotation: "value"}
		d.Annotations = map[string]string{v1alpha1.AutoAnnotation: "true", v1alpha1.RestartRequestedAtAnnotation: "1"}
	})
	name := observeArgoRollout(argoWeb(), observer(t)).Workload
	template := observeDeployment(d, observer(t))
	joined := func(w plan.Workload) bool {
		of := &plan.Object{Workload: template.Workload, UID: "uid-web", ResourceVersion: "7", Generation: 3}
		return w.UID == "uid-rollout" && w.ResourceVersion == "9" && cmp.Equal(w.TemplateOf, of) &&
			w.Value == "value" && cmp.Equal(w.Uses, template.Uses) && w.Container == "app" && w.Replicas == 2 && w.Unseen == ""
	}
	for title, tc := range map[string]struct {
		change func(*argoObject)
		check  func(w plan.Workload) bool
	}{
		"joined": {func(*argoObject) {}, joined},
		"what selects is the Deployment's": {func(*argoObject) {}, func(w plan.Workload) bool {
			return cmp.Equal(w.Annotations, map[string]string{v1alpha1.AutoAnnotation: "true"})
		}},
		"unless it says something itself": {func(r *argoObject) {
			r.Annotations = map[string]string{v1alpha1.SecretReloadAnnotation: "a"}
		}, func(w plan.Workload) bool {
			return cmp.Equal(w.Annotations, map[string]string{v1alpha1.SecretReloadAnnotation: "a"})
		}},
		"restarted by age": {restartedAt("v", clock, clock, clock), func(w plan.Workload) bool {
			return w.Value == "v" && w.Restarts == plan.ByAge && w.Template != template.Template
		}},
		"of another name": {func(r *argoObject) { r.Spec.WorkloadRef.Name = "nobody" }, func(w plan.Workload) bool {
			return w.TemplateOf == nil && strings.Contains(w.Unseen, "Deployment/nobody, which is not there")
		}},
	} {
		s := newStore(t, d, argoWeb(refersTo("apps/v1", "Deployment"), tc.change))
		live, err := s.Live(t.Context(), name)
		if err != nil || !tc.check(live) {
			t.Errorf("%s: %v\n%+v", title, err, live)
		}
	}
}

// Neither generation may hide that the other was not observed.
func TestGenerationsOfARolloutOfADeployment(t *testing.T) {
	d := observeDeployment(web(), observer(t))
	s := newStore(t)
	for observed, rolling := range map[int64]bool{3: false, 2: true} {
		w := s.joined(observeArgoRollout(argoWeb(refersTo("apps/v1", "Deployment")), s.observer), templateRef{observed: observed}, d)
		if w.Generation != 8 || w.ObservedGeneration != 5+observed || w.Rolling != rolling {
			t.Errorf("observed %d: %+v", observed, w)
		}
	}
}

// patched notes a patch, and answers with an object.
type patched struct {
	client.Writer
	answer client.Object
	of     client.Object
	kind   types.PatchType
	body   map[string]any
	err    error
}

func (p *patched) Patch(_ context.Context, object client.Object, patch client.Patch, _ ...client.PatchOption) error {
	p.of, p.kind = object, patch.Type()
	data, err := patch.Data(object)
	if err != nil {
		return err
	}
	if p.err != nil {
		return p.err
	}
	switch into := object.(type) {
	case *argoObject:
		*into = *p.answer.(*argoObject)
	case *appsv1.Deployment:
		*into = *p.answer.(*appsv1.Deployment)
	case *configObject:
		*into = *p.answer.(*configObject)
	}
	p.body = nil
	return json.Unmarshal(data, &p.body)
}

// A restart by age is one merge of the time and its mark, and touches no template.
func TestRestartByAgeRequest(t *testing.T) {
	s := newStore(t)
	at := clock.Add(time.Hour)
	by := &patched{answer: argoWeb(restartedAt("value", at, at, time.Time{}), func(r *argoObject) { r.Generation++ })}
	w := observeArgoRollout(argoWeb(byRestart), s.observer)
	after, err := s.Restart(t.Context(), Actor{Writer: by}, w, plan.Write{Value: "value", RestartAt: at})
	if err != nil || after.Value != "value" || after.Generation != 6 {
		t.Fatalf("%v: %+v", err, after)
	}
	stamp := "2026-05-04T13:00:00Z"
	want := map[string]any{
		"metadata": map[string]any{
			"uid": "uid-rollout", "resourceVersion": "9", "annotations": map[string]any{v1alpha1.RestartedAnnotation: "value@" + stamp},
		},
		"spec": map[string]any{"restartAt": stamp},
	}
	if diff := cmp.Diff(want, by.body); diff != "" || by.kind != types.MergePatchType {
		t.Errorf("%s (-want +got):\n%s", by.kind, diff)
	}
	by.answer = argoWeb(byRestart)
	if _, err := s.Restart(t.Context(), Actor{Writer: by}, w, plan.Write{Value: "value", RestartAt: at}); !errors.Is(err, ErrStripped) {
		t.Errorf("stripped: %v", err)
	}
}

// The template is written where it is, and in the version that was decided on.
func TestRestartOfWhatARolloutRefersTo(t *testing.T) {
	s := newStore(t)
	by := &patched{answer: web(func(d *appsv1.Deployment) {
		d.Generation = 4
		d.Spec.Template.Annotations = map[string]string{v1alpha1.ConfigDigestAnnotation: "value"}
	})}
	w := s.joined(observeArgoRollout(argoWeb(refersTo("apps/v1", "Deployment")), s.observer), templateRef{name: "web", observed: 3}, observeDeployment(web(), s.observer))
	after, err := s.Restart(t.Context(), Actor{Writer: by}, w, plan.Write{Value: "value"})
	if err != nil || after.Value != "value" || after.Generation != w.Generation+1 || after.Workload != w.Workload {
		t.Fatalf("%v: %+v", err, after)
	}
	want := map[string]any{"name": "web", "namespace": "apps", "uid": "uid-web", "resourceVersion": "7"}
	if diff := cmp.Diff(want, by.body["metadata"]); diff != "" || by.kind != types.ApplyPatchType || by.body["kind"] != "Deployment" {
		t.Errorf("%s of %v (-want +got):\n%s", by.kind, by.body["kind"], diff)
	}
}

// Variables are merged into the containers as they are live, and only if they are what was decided on.
func TestVariablesOfCustomResources(t *testing.T) {
	r := argoWeb()
	s := newStore(t, r)
	w, err := s.Live(t.Context(), observeArgoRollout(r, s.observer).Workload)
	if err != nil {
		t.Fatal(err)
	}
	by := &patched{answer: argoWeb(func(r *argoObject) {
		r.Spec.Template = rawTemplate(`{"metadata":{"annotations":{"` + v1alpha1.ConfigDigestAnnotation + `":"value"}}}`)
	})}
	write := plan.Write{Value: "value", Variables: []plan.Variable{{Container: "app", Name: "ONE", Value: "1"}}}
	if _, err := s.Restart(t.Context(), Actor{Writer: by}, w, write); err != nil {
		t.Fatal(err)
	}
	template := by.body["spec"].(map[string]any)["template"].(map[string]any)
	container := template["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
	if by.kind != types.MergePatchType || container["image"] != "web:1" || container["envFrom"] == nil ||
		!cmp.Equal(container["env"], []any{map[string]any{"name": "ONE", "value": "1"}}) {
		t.Errorf("%s: %v", by.kind, template)
	}
	w.ResourceVersion = "another"
	if _, err := s.Restart(t.Context(), Actor{Writer: by}, w, write); !errors.Is(err, ErrConflict) {
		t.Errorf("of another version: %v", err)
	}
}

// What was copied changes apart from what it was copied from.
func TestCopiesOfCustomResources(t *testing.T) {
	r := argoWeb(refersTo("apps/v1", "Deployment"), restartedAt("v", clock, clock, clock), func(r *argoObject) {
		r.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		r.Spec.Template = rawTemplate(`{}`)
		r.Status.PauseConditions, r.Status.CurrentStepIndex = []argoPauseReason{{Reason: "x"}}, ptr.To(int32(1))
	})
	c := r.DeepCopyObject().(*argoObject)
	if diff := cmp.Diff(r, c); diff != "" {
		t.Fatalf("(-original +copy):\n%s", diff)
	}
	*c.Spec.Replicas, c.Spec.Template[0], c.Spec.Selector.MatchLabels["a"], c.Spec.WorkloadRef.Name = 9, 'x', "c", "other"
	c.Status.PauseConditions[0].Reason, *c.Status.CurrentStepIndex, c.Annotations["x"] = "y", 9, "y"
	if *r.Spec.Replicas == 9 || r.Spec.Template[0] == 'x' || r.Spec.Selector.MatchLabels["a"] == "c" || r.Spec.WorkloadRef.Name == "other" ||
		r.Status.PauseConditions[0].Reason == "y" || *r.Status.CurrentStepIndex == 9 || r.Annotations["x"] == "y" {
		t.Errorf("%+v", r)
	}
}
