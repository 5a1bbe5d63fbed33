package workload

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

const (
	cronJobKind = "CronJob"

	// instantiateAnnotation marks a Job that somebody made from a CronJob, as kubectl marks it.
	instantiateAnnotation = "cronjob.kubernetes.io/instantiate"
	// nameDigits bounds the names of such Jobs: a CronJob's may have 52 characters, a Job's 63.
	nameDigits = 8
)

var (
	errNoTemplate = errors.New("there is no spec.jobTemplate")
	errOthersJob  = errors.New("a Job of the name is there already, and somebody else's")
)

// cronJob is restarted by one more Job. Its template is not written: the Jobs to come read what there is then.
func cronJob() Kind {
	return Kind{
		Version: batchv1.SchemeGroupVersion, Resource: "cronjobs", Name: cronJobKind,
		New:     func() client.Object { return &batchv1.CronJob{} },
		Observe: observeCronJob,
		Runs:    cronJobRuns,
		Restart: runCronJob,
	}
}

func observeCronJob(o client.Object, by Observer) plan.Workload {
	c := o.(*batchv1.CronJob)
	w := describe(batchv1.SchemeGroupVersion, cronJobKind, &c.ObjectMeta, &c.Spec.JobTemplate.Spec.Template, by)
	w.Restarts, w.ObservedGeneration = plan.ByRun, c.Generation
	// Replace says, as Forbid does, that no two run beside each other. To end one that runs is up to the schedule.
	w.Alone = c.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent || c.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent
	if ptr.Deref(c.Spec.Suspend, false) {
		w.Held = plan.HeldSuspended
	}
	return w
}

// cronJobRuns are the Jobs that the CronJob owns, those of others included that were made from it. A CronJob's status
// names only those that its schedule has made, and a Job's labels need not be those of the present template.
func cronJobRuns(ctx context.Context, reader client.Reader, live client.Object) ([]plan.Run, error) {
	owner := Owner{Namespace: live.GetNamespace(), UID: live.GetUID()}
	var runs []plan.Run
	next := ""
	for {
		page := &batchv1.JobList{}
		if err := reader.List(ctx, page, client.InNamespace(owner.Namespace), client.Limit(pageSize), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("listing Jobs: %w", err)
		}
		for i := range page.Items {
			if owner.controls(&page.Items[i]) {
				runs = append(runs, jobRun(&page.Items[i]))
			}
		}
		if next = page.Continue; next == "" {
			return runs, nil
		}
	}
}

// runs asks the API server for a workload that has runs, and for these. One that begins in between is among
// them.
func (s *Store) runs(ctx context.Context, kind Kind, name ledger.Workload) (*plan.Rollout, error) {
	live := kind.New()
	if err := s.options.Reader.Get(ctx, client.ObjectKey{Namespace: name.Namespace, Name: name.Name}, live); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	runs, err := kind.Runs(ctx, s.options.Reader, live)
	if err != nil {
		return nil, err
	}
	return &plan.Rollout{Workload: kind.Observe(live, s.observer), Runs: runs}, nil
}

// runCronJob makes a Job whose name follows from the change: made again, be it after a crash, it is there already.
func runCronJob(ctx context.Context, s *Store, by Actor, w plan.Workload, write plan.Write) (plan.Workload, error) {
	live, err := s.liveObject(ctx, w, batchv1.SchemeGroupVersion.WithKind(cronJobKind))
	if err != nil {
		return plan.Workload{}, err
	}
	if live.GetGeneration() != w.Generation {
		return plan.Workload{}, fmt.Errorf("restarting %s: %w", w.Workload, ErrConflict)
	}
	job, err := jobOf(live, write)
	if err != nil {
		return plan.Workload{}, fmt.Errorf("making a Job of %s: %w", w.Workload, err)
	}
	made := job.DeepCopy()
	err = by.Writer.Create(ctx, made, client.FieldOwner(v1alpha1.FieldManager))
	if apierrors.IsAlreadyExists(err) {
		err = s.expectRun(ctx, job, w)
	}
	if err != nil {
		return plan.Workload{}, fmt.Errorf("making a Job of %s: %w", w.Workload, err)
	}
	return w, nil
}

// expectRun checks that the Job that is there is the one to be made.
func (s *Store) expectRun(ctx context.Context, job *unstructured.Unstructured, w plan.Workload) error {
	there := &batchv1.Job{}
	if err := s.options.Reader.Get(ctx, client.ObjectKeyFromObject(job), there); err != nil {
		return fmt.Errorf("reading the Job %s: %w", job.GetName(), err)
	}
	value := job.GetAnnotations()[v1alpha1.ConfigDigestAnnotation]
	if !(Owner{UID: w.UID}).controls(there) || there.Annotations[v1alpha1.ConfigDigestAnnotation] != value {
		return fmt.Errorf("%s: %w", job.GetName(), errOthersJob)
	}
	return nil
}

// jobOf is the Job that a change makes of a CronJob, as kubectl would make it: owned as the schedule's Jobs are, so that
// it is cleaned up with them, and not in the way of the CronJob's deletion, which takes rights on its finalizers.
func jobOf(cronJob *unstructured.Unstructured, write plan.Write) (*unstructured.Unstructured, error) {
	template, found, err := unstructured.NestedMap(cronJob.Object, "spec", "jobTemplate")
	if err != nil || !found {
		return nil, errors.Join(errNoTemplate, err)
	}
	job := &unstructured.Unstructured{Object: map[string]any{"spec": template["spec"]}}
	job.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind(jobKind))
	job.SetNamespace(cronJob.GetNamespace())
	job.SetName(runName(cronJob.GetName(), write.Value))
	from := &unstructured.Unstructured{Object: template}
	job.SetLabels(from.GetLabels())
	annotations := from.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[instantiateAnnotation] = "manual"
	annotations[v1alpha1.ConfigDigestAnnotation] = write.Value
	job.SetAnnotations(annotations)
	job.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: batchv1.SchemeGroupVersion.String(), Kind: cronJobKind, Name: cronJob.GetName(), UID: cronJob.GetUID(),
		Controller: ptr.To(true),
	}})
	return job, writeTemplate(job, write)
}

// runName is the name of the Job that a value makes. The letter keeps it apart from those of the schedule, which end in
// digits.
func runName(cronJob, value string) string {
	sum := sha256.Sum256([]byte(value))
	return cronJob + "-r" + hex.EncodeToString(sum[:])[:nameDigits]
}
