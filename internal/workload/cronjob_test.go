package workload

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

func nightly(shapes ...func(*batchv1.CronJob)) *batchv1.CronJob {
	c := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "nightly", UID: "uid-nightly", Generation: 3},
		Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"note": "kept"}},
			Spec: batchv1.JobSpec{BackoffLimit: ptr.To(int32(2)), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{
					Name: "app", Image: "app:1", Env: []corev1.EnvVar{{Name: "OLD", Value: "1"}, {Name: "KEPT", Value: "2"}},
					EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "password"}}}},
				}},
			}}},
		}},
	}
	for _, shape := range shapes {
		shape(c)
	}
	return c
}

func observeNightly(t *testing.T, shapes ...func(*batchv1.CronJob)) plan.Workload {
	t.Helper()
	return observeCronJob(nightly(shapes...), Observer{Key: testKey(t)})
}

func TestObserveCronJob(t *testing.T) {
	w := observeNightly(t)
	if w.Restarts != plan.ByRun || w.Alone || w.Held != "" || w.Generation != 3 || w.ObservedGeneration != 3 || w.Replicas != 0 || w.Rolling {
		t.Errorf("observed %+v", w)
	}
	if len(w.Uses) != 1 || w.Uses[0].Source != (reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "password"}) {
		t.Errorf("uses %v", w.Uses)
	}
	if w := observeNightly(t, func(c *batchv1.CronJob) { c.Spec.Suspend = ptr.To(true) }); w.Held != plan.HeldSuspended {
		t.Errorf("suspended, and held by %q", w.Held)
	}
	for policy, alone := range map[batchv1.ConcurrencyPolicy]bool{
		batchv1.AllowConcurrent: false, batchv1.ForbidConcurrent: true, batchv1.ReplaceConcurrent: true,
	} {
		if w := observeNightly(t, func(c *batchv1.CronJob) { c.Spec.ConcurrencyPolicy = policy }); w.Alone != alone {
			t.Errorf("%s: alone %t, want %t", policy, w.Alone, alone)
		}
	}
}

// job is a Job of the CronJob's that was created at this second.
func jobAt(name string, second int, shapes ...func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "apps", Name: name, CreationTimestamp: metav1.Unix(int64(second), 0),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Name: "nightly", UID: "uid-nightly", Controller: ptr.To(true)}},
	}}
	for _, shape := range shapes {
		shape(j)
	}
	return j
}

func condition(of batchv1.JobConditionType, status corev1.ConditionStatus, second int) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: of, Status: status, LastTransitionTime: metav1.Unix(int64(second), 0)})
	}
}

func second(n int64) time.Time { return time.Unix(n, 0).UTC() }

func TestRunsOfACronJob(t *testing.T) {
	s := newStore(t, nightly(),
		jobAt("active", 10), jobAt("failing", 10, condition(batchv1.JobFailureTarget, corev1.ConditionTrue, 11)),
		jobAt("failed", 20, condition(batchv1.JobFailed, corev1.ConditionTrue, 25)),
		jobAt("complete", 30, condition(batchv1.JobComplete, corev1.ConditionTrue, 36), func(j *batchv1.Job) {
			j.Status.CompletionTime = ptr.To(metav1.Unix(35, 0))
			j.Spec.Template.Annotations = map[string]string{v1alpha1.ConfigDigestAnnotation: "value"}
		}),
		jobAt("resumed", 40, condition(batchv1.JobSuspended, corev1.ConditionFalse, 44), func(j *batchv1.Job) {
			j.Status.StartTime = ptr.To(metav1.Unix(44, 0))
		}),
		jobAt("another's", 50, func(j *batchv1.Job) { j.OwnerReferences[0].UID = "uid-other" }),
		jobAt("nobody's", 50, func(j *batchv1.Job) { j.OwnerReferences = nil }),
	)
	rollout, err := s.Rollout(t.Context(), ledger.Workload{Kind: "CronJob", Namespace: "apps", Name: "nightly"})
	if err != nil {
		t.Fatal(err)
	}
	want := []plan.Run{
		{Name: "active", Began: second(10)}, {Name: "complete", Began: second(30), Ended: second(35), Value: "value"},
		{Name: "failed", Began: second(20), Ended: second(25)}, {Name: "failing", Began: second(10)}, {Name: "resumed", Began: second(44)},
	}
	if diff := cmp.Diff(want, rollout.Runs); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	if rollout.Workload.Generation != 3 || rollout.Workload.Restarts != plan.ByRun {
		t.Errorf("workload %+v", rollout.Workload)
	}
}

func TestACronJobIsRestartedByAJob(t *testing.T) {
	s := newStore(t, nightly())
	write := plan.Write{
		Value: "value", ReloadedFrom: "{}",
		Variables: []plan.Variable{{Container: "app", Name: "NEW", Value: "3"}, {Container: "app", Name: "OLD"}, {Container: "other", Name: "NO", Value: "4"}},
	}
	for range 2 { // the second finds the first
		if after, err := s.Restart(t.Context(), Actor{}, observeNightly(t), write); err != nil || after.Workload.Name != "nightly" {
			t.Fatalf("afterwards %+v, %v", after, err)
		}
	}
	jobs := &batchv1.JobList{}
	if err := s.options.Reader.List(t.Context(), jobs); err != nil || len(jobs.Items) != 1 {
		t.Fatalf("%d Jobs, %v", len(jobs.Items), err)
	}
	job := jobs.Items[0]
	if !strings.HasPrefix(job.Name, "nightly-r") || len(job.Name) > len("nightly")+11 {
		t.Errorf("name %q", job.Name)
	}
	want := nightly().Spec.JobTemplate.Spec
	want.Template.Annotations = map[string]string{v1alpha1.ConfigDigestAnnotation: "value", v1alpha1.LastReloadedFromAnnotation: "{}"}
	want.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "KEPT", Value: "2"}, {Name: "NEW", Value: "3"}}
	if diff := cmp.Diff(want, job.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	metadata := []any{job.Labels, job.Annotations, job.OwnerReferences}
	wanted := []any{
		map[string]string{"a": "b"},
		map[string]string{"note": "kept", "cronjob.kubernetes.io/instantiate": "manual", v1alpha1.ConfigDigestAnnotation: "value"},
		[]metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Name: "nightly", UID: "uid-nightly", Controller: ptr.To(true)}},
	}
	if diff := cmp.Diff(wanted, metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
}

func TestACronJobIsNotRestarted(t *testing.T) {
	name := runName("nightly", "value")
	for what, test := range map[string]struct {
		there []client.Object
		want  error
	}{
		"gone":       {nil, ErrGone},
		"another":    {[]client.Object{nightly(func(c *batchv1.CronJob) { c.UID = "uid-other" })}, ErrGone},
		"edited":     {[]client.Object{nightly(func(c *batchv1.CronJob) { c.Generation++ })}, ErrConflict},
		"their Job":  {[]client.Object{nightly(), jobAt(name, 1, func(j *batchv1.Job) { j.OwnerReferences = nil })}, errOthersJob},
		"for others": {[]client.Object{nightly(), jobAt(name, 1)}, errOthersJob},
	} {
		t.Run(what, func(t *testing.T) {
			s := newStore(t, test.there...)
			if _, err := s.Restart(t.Context(), Actor{}, observeNightly(t), plan.Write{Value: "value"}); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestKindsThatAreIgnored(t *testing.T) {
	for _, kind := range Kinds("CronJob", "Job") {
		if kind.Name == "CronJob" || kind.Name == "Job" {
			t.Errorf("%s is not ignored", kind.Name)
		}
	}
}
