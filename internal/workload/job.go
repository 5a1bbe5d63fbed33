package workload

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/plan"
)

const jobKind = "Job"

// job is made again under its name: neither its template nor what it has done can be changed.
func job() Kind {
	return Kind{
		Version: batchv1.SchemeGroupVersion, Resource: "jobs", Name: jobKind,
		New:     func() client.Object { return &batchv1.Job{} },
		Observe: observeJob,
		Runs: func(_ context.Context, _ client.Reader, live client.Object) ([]plan.Run, error) {
			return []plan.Run{jobRun(live.(*batchv1.Job))}, nil
		},
		Restart: replaceJob,
		// What owns it would make another, or count it twice; and there may be very many.
		Skip: func(o client.Object) bool { return metav1.GetControllerOfNoCopy(o) != nil },
	}
}

func observeJob(o client.Object, by Observer) plan.Workload {
	j := o.(*batchv1.Job)
	w := describe(batchv1.SchemeGroupVersion, jobKind, &j.ObjectMeta, &j.Spec.Template, by)
	w.Restarts, w.ObservedGeneration = plan.ByReplacement, j.Generation
	if ptr.Deref(j.Spec.Suspend, false) {
		w.Held = plan.HeldSuspended
	}
	return w
}

// jobRun is a Job as a run.
func jobRun(job *batchv1.Job) plan.Run {
	run := plan.Run{
		Name: job.Name, Began: job.CreationTimestamp.UTC(), Value: job.Spec.Template.Annotations[v1alpha1.ConfigDigestAnnotation],
	}
	for _, condition := range job.Status.Conditions {
		switch condition.Type {
		case batchv1.JobComplete, batchv1.JobFailed:
			if condition.Status == corev1.ConditionTrue {
				run.Ended = endOf(job, condition)
			}
		case batchv1.JobSuspended:
			// A suspended Job has no pods. Those that it has now were made after it was resumed last.
			if start := job.Status.StartTime; start != nil && condition.Status == corev1.ConditionFalse {
				run.Began = start.UTC()
			}
		}
	}
	return run
}

func endOf(job *batchv1.Job, condition batchv1.JobCondition) time.Time {
	if job.Status.CompletionTime != nil {
		return job.Status.CompletionTime.UTC()
	}
	return condition.LastTransitionTime.UTC()
}

// liveObject reads a workload with every field that the API server has of it, also those that are unknown here. Errors are
// ErrGone, or the API server's.
func (s *Store) liveObject(ctx context.Context, w plan.Workload, kind schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(kind)
	err := s.options.Reader.Get(ctx, client.ObjectKey{Namespace: w.Namespace, Name: w.Name}, live)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("restarting %s: %w: %w", w.Workload, ErrGone, err)
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", w.Workload, err)
	case live.GetUID() != w.UID, live.GetDeletionTimestamp() != nil:
		return nil, fmt.Errorf("restarting %s: %w", w.Workload, ErrGone)
	}
	return live, nil
}

// writeTemplate writes what a restart writes to the pod template of an object, a new Job or what was read live.
func writeTemplate(object *unstructured.Unstructured, write plan.Write) error {
	annotations := map[string]string{v1alpha1.ConfigDigestAnnotation: write.Value}
	if write.ReloadedFrom != "" {
		annotations[v1alpha1.LastReloadedFromAnnotation] = write.ReloadedFrom
	}
	for key, value := range annotations {
		if err := unstructured.SetNestedField(object.Object, value, "spec", "template", "metadata", "annotations", key); err != nil {
			return fmt.Errorf("annotating the pod template: %w", err)
		}
	}
	if len(write.Variables) == 0 {
		return nil
	}
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(object.Object, path...)
	if err != nil {
		return fmt.Errorf("reading the containers: %w", err)
	}
	for _, container := range containers {
		if c, ok := container.(map[string]any); ok {
			setVariables(c, write.Variables)
		}
	}
	if err := unstructured.SetNestedSlice(object.Object, containers, path...); err != nil {
		return fmt.Errorf("setting variables: %w", err)
	}
	return nil
}

// setVariables sets the variables of this container, and removes those whose value is empty.
func setVariables(container map[string]any, variables []plan.Variable) {
	for _, v := range variables {
		if v.Container != container["name"] {
			continue
		}
		env, _ := container["env"].([]any)
		var others []any
		for _, of := range env {
			if e, ok := of.(map[string]any); !ok || e["name"] != v.Name {
				others = append(others, of)
			}
		}
		if v.Value != "" {
			others = append(others, map[string]any{"name": v.Name, "value": v.Value})
		}
		container["env"] = others
	}
}
