package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/selection"
)

const (
	argoRolloutKind = "Rollout"

	// argoRevisionAnnotation is how Argo's controller numbers ReplicaSets.
	argoRevisionAnnotation = "rollout.argoproj.io/revision"

	strategyRestart = "restart"
	strategyRollout = "rollout"
)

func argoVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: "argoproj.io", Version: "v1alpha1"}
}

// argoRollout is restarted by its template, or that of the Deployment it refers to, or by the age of its pods.
func argoRollout() Kind {
	return Kind{
		Version: argoVersion(), Resource: "rollouts", Name: argoRolloutKind, Optional: true,
		New:       func() client.Object { return &argoObject{} },
		Observe:   observeArgoRollout,
		Selector:  func(o client.Object) *metav1.LabelSelector { return o.(*argoObject).Spec.Selector },
		Revisions: replicaSets(argoRevisionAnnotation),
		Refers:    argoRefers,
		Restart:   restartArgoRollout,
	}
}

// argoObject is the part of a Rollout that is read.
type argoObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   argoSpec   `json:"spec,omitempty"`
	Status argoStatus `json:"status,omitempty"`
}

type argoSpec struct {
	Replicas    *int32                `json:"replicas,omitempty"`
	Selector    *metav1.LabelSelector `json:"selector,omitempty"`
	Template    rawTemplate           `json:"template,omitempty"`
	WorkloadRef *argoRef              `json:"workloadRef,omitempty"`
	Paused      bool                  `json:"paused,omitempty"`
	RestartAt   *metav1.Time          `json:"restartAt,omitempty"`
}

type argoRef struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Name       string `json:"name,omitempty"`
}

// argoStatus has generations as text.
type argoStatus struct {
	ObservedGeneration         string `json:"observedGeneration,omitempty"`
	WorkloadObservedGeneration string `json:"workloadObservedGeneration,omitempty"`

	Replicas          int32  `json:"replicas,omitempty"`
	UpdatedReplicas   int32  `json:"updatedReplicas,omitempty"`
	ReadyReplicas     int32  `json:"readyReplicas,omitempty"`
	AvailableReplicas int32  `json:"availableReplicas,omitempty"`
	CurrentStepIndex  *int32 `json:"currentStepIndex,omitempty"`
	CurrentPodHash    string `json:"currentPodHash,omitempty"`

	Abort           bool              `json:"abort,omitempty"`
	ControllerPause bool              `json:"controllerPause,omitempty"`
	PauseConditions []argoPauseReason `json:"pauseConditions,omitempty"`
	RestartedAt     *metav1.Time      `json:"restartedAt,omitempty"`
}

type argoPauseReason struct {
	Reason string `json:"reason"`
}

// DeepCopyObject implements runtime.Object.
func (r *argoObject) DeepCopyObject() runtime.Object {
	c := *r
	c.ObjectMeta = *r.ObjectMeta.DeepCopy()
	c.Spec.Replicas = clone(r.Spec.Replicas)
	c.Spec.Selector = r.Spec.Selector.DeepCopy()
	c.Spec.Template = r.Spec.Template.deepCopy()
	c.Spec.WorkloadRef = clone(r.Spec.WorkloadRef)
	c.Spec.RestartAt = r.Spec.RestartAt.DeepCopy()
	c.Status.CurrentStepIndex = clone(r.Status.CurrentStepIndex)
	c.Status.PauseConditions = slices.Clone(r.Status.PauseConditions)
	c.Status.RestartedAt = r.Status.RestartedAt.DeepCopy()
	return &c
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return ptr.To(*p)
}

func observeArgoRollout(o client.Object, by Observer) plan.Workload {
	r := o.(*argoObject)
	template, unseen := &corev1.PodTemplateSpec{}, ""
	switch ref := r.Spec.WorkloadRef; {
	case ref == nil:
		template, unseen = r.Spec.Template.read()
	case argoRefers(r) == nil:
		unseen = fmt.Sprintf("spec.workloadRef names a %s of %s, whose pod template is not watched", ref.Kind, ref.APIVersion)
	}
	w := describe(argoVersion(), argoRolloutKind, &r.ObjectMeta, template, by)
	w.Unseen, w.RestartAt = unseen, timeOf(r.Spec.RestartAt)
	if !w.RestartAt.IsZero() { // it gives the workload other pods, as another template does
		w.Template = by.Key.Bytes("template", w.Template[:], []byte(w.RestartAt.Format(time.RFC3339)))
	}
	w.Replicas = ptr.Deref(r.Spec.Replicas, 1) // the API's default
	s := r.Status
	w.ObservedGeneration = number(s.ObservedGeneration)
	w.Rolling = w.ObservedGeneration < r.Generation || s.UpdatedReplicas < w.Replicas || s.Replicas > s.UpdatedReplicas
	w.Held = argoHeld(r)
	switch strategy := r.Annotations[v1alpha1.RolloutStrategyAnnotation]; strategy {
	case strategyRestart:
		byAge(&w, timeOf(s.RestartedAt))
	case "", strategyRollout:
		w.Barred = true
	default:
		w.Barred = true
		w.Problems = []selection.Problem{{
			Annotation: v1alpha1.RolloutStrategyAnnotation, Value: strategy, Detail: `is ignored: want "rollout" or "restart"`,
		}}
	}
	w.Progress = fmt.Sprint(s.ObservedGeneration, s.Replicas, s.UpdatedReplicas, s.ReadyReplicas, s.AvailableReplicas,
		ptr.Deref(s.CurrentStepIndex, 0), s.CurrentPodHash, timeOf(s.RestartedAt).Unix())
	return w
}

// argoHeld says what keeps a new template from being rolled out. Steps end by themselves, or by somebody's promotion; what
// was aborted stays so until somebody retries it.
func argoHeld(r *argoObject) string {
	s := r.Status
	switch {
	case r.Spec.Paused:
		return plan.HeldPaused
	case s.Abort:
		return "the rollout was aborted"
	case len(s.PauseConditions) > 0:
		return "the rollout is paused: " + s.PauseConditions[0].Reason
	case s.ControllerPause:
		return "the rollout is paused by its controller"
	}
	return ""
}

// byAge observes a Rollout that is restarted by spec.restartAt. Done is up to when it was. A restart of ours that somebody
// has taken back, by another time that is earlier, is none.
func byAge(w *plan.Workload, done time.Time) {
	w.Restarts = plan.ByAge
	value, since, marked := restartMark(*w)
	if !marked || w.RestartAt.Before(since) {
		return
	}
	w.Value = value
	w.Rolling = w.Rolling || !w.RestartAt.After(since) && !done.Equal(w.RestartAt)
}

// restartMark is the value of the last restart by age, and which pods have it: those that are not older than since.
func restartMark(w plan.Workload) (value string, since time.Time, found bool) {
	value, text, found := strings.Cut(w.Annotations[v1alpha1.RestartedAnnotation], "@")
	if !found {
		return "", time.Time{}, false
	}
	since, err := time.Parse(time.RFC3339, text)
	return value, since, err == nil
}

// byMark reports whether a pod has the value of the workload's last restart by age, since it is not older.
func byMark(w plan.Workload, pod plan.Pod) bool {
	value, since, marked := restartMark(w)
	return w.Restarts == plan.ByAge && marked && value == w.Value && !pod.Created.Before(since)
}

// argoRefers is the Deployment whose template a Rollout takes. Argo knows other kinds as well, which are not watched here.
func argoRefers(o client.Object) *templateRef {
	r := o.(*argoObject)
	ref := r.Spec.WorkloadRef
	if ref == nil || ref.Kind != deploymentKind || !strings.HasPrefix(ref.APIVersion, "apps/") {
		return nil
	}
	return &templateRef{name: ref.Name, observed: number(r.Status.WorkloadObservedGeneration), selects: r.Spec.Selector != nil}
}

// restartArgoRollout writes spec.restartAt, or to the template where that is.
func restartArgoRollout(ctx context.Context, s *Store, by Actor, w plan.Workload, write plan.Write) (plan.Workload, error) {
	switch {
	case w.Restarts == plan.ByAge:
		return s.restartByAge(ctx, by, w, write)
	case w.TemplateOf == nil:
		return s.patch(ctx, argoRollout(), by, w, write)
	}
	of := *w.TemplateOf
	after, err := s.patch(ctx, deployment(), by, plan.Workload{Workload: of.Workload, UID: of.UID, ResourceVersion: of.ResourceVersion}, write)
	w.Value = after.Value
	w.Generation += after.Generation - of.Generation
	return w, err
}

// restartByAge has the pods replaced that are older than a time. It is a merge: an apply would take away what a restart by
// the template has applied before, which is a rollout.
func (s *Store) restartByAge(ctx context.Context, by Actor, w plan.Workload, write plan.Write) (plan.Workload, error) {
	at := write.RestartAt.UTC().Format(time.RFC3339)
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid": w.UID, "resourceVersion": w.ResourceVersion,
			"annotations": map[string]any{v1alpha1.RestartedAnnotation: write.Value + "@" + at},
		},
		"spec": map[string]any{"restartAt": at},
	})
	if err != nil {
		return plan.Workload{}, fmt.Errorf("encoding the restart of %s: %w", w.Workload, err)
	}
	object := &argoObject{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name}}
	err = by.Writer.Patch(ctx, object, client.RawPatch(types.MergePatchType, body), client.FieldOwner(v1alpha1.FieldManager))
	if err := explain(err); err != nil {
		return plan.Workload{}, fmt.Errorf("restarting %s: %w", w.Workload, err)
	}
	after := observeArgoRollout(object, s.observer)
	if w.TemplateOf != nil {
		after.Generation += w.TemplateOf.Generation
	}
	if after.Value != write.Value {
		return after, fmt.Errorf("restarting %s: %w", w.Workload, ErrStripped)
	}
	return after, nil
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// number is zero for what is none: then nothing is known to be observed.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
