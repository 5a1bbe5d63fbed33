package workload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

// A Job is replaced in steps, so that it is never lost: a dry run shows whether the API server would accept the new one, its
// manifest is stored, the former Job is deleted, and when that is gone, with its pods, the new one is made. After a crash,
// the next process goes on from there.

// replaceJob begins to replace a Job. It is through when Resume says so.
func replaceJob(ctx context.Context, s *Store, by Actor, w plan.Workload, write plan.Write) (plan.Workload, error) {
	live, err := s.liveObject(ctx, w, batchv1.SchemeGroupVersion.WithKind(jobKind))
	if err != nil {
		return plan.Workload{}, err
	}
	if live.GetResourceVersion() != w.ResourceVersion {
		return plan.Workload{}, fmt.Errorf("restarting %s: %w", w.Workload, ErrConflict)
	}
	manifest := manifestOf(live)
	if err := writeTemplate(manifest, write); err != nil {
		return plan.Workload{}, fmt.Errorf("restarting %s: %w", w.Workload, err)
	}
	if err := try(ctx, by, manifest); err != nil {
		return plan.Workload{}, fmt.Errorf("trying to make %s again: %w", w.Workload, err)
	}
	r := replacement{
		Workload: w.Workload, UID: w.UID, ResourceVersion: w.ResourceVersion, Value: write.Value, Account: by.Account,
		Manifest: manifest,
	}
	if err := s.options.State.save(ctx, r); err != nil {
		return plan.Workload{}, fmt.Errorf("storing what %s is made again from: %w", w.Workload, err)
	}
	s.note(r)
	return s.proceed(ctx, by, r)
}

// try asks the API server, under another name, whether it would take the manifest. Nothing is stored.
func try(ctx context.Context, by Actor, manifest *unstructured.Unstructured) error {
	probe := manifest.DeepCopy()
	probe.SetGenerateName(probe.GetName() + "-")
	probe.SetName("")
	return by.Writer.Create(ctx, probe, client.DryRunAll, client.FieldOwner(v1alpha1.FieldManager))
}

// Replacing reports whether a replacement of the workload has begun and is not finished.
func (s *Store) Replacing(name ledger.Workload) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, found := s.replacements[name]
	return found
}

// Replacements names the workloads whose replacement has begun.
func (s *Store) Replacements() []ledger.Workload {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.replacements))
}

// LoadReplacements reads what a process before has begun.
func (s *Store) LoadReplacements(ctx context.Context) error {
	list, err := s.options.State.load(ctx, s.options.Log)
	for _, r := range list {
		s.note(r)
	}
	return err
}

func (s *Store) note(r replacement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replacements[r.Workload] = r
}

// Resume goes on with the replacement of a workload, with the rights of whoever began it. It returns the workload that was
// made, also along with ErrStripped. Other errors are ErrUnfinished while there is more to do; ErrGone if somebody else has
// made another or deleted the namespace, and ErrConflict if the former one changed before it was deleted, which both end the
// replacement; and the API server's, after which it is to be called again if Replacing still reports true.
func (s *Store) Resume(ctx context.Context, name ledger.Workload, actor func(account string) (Actor, error)) (plan.Workload, error) {
	s.mu.Lock()
	r, found := s.replacements[name]
	s.mu.Unlock()
	if !found {
		return plan.Workload{}, fmt.Errorf("restarting %s: %w", name, ErrGone)
	}
	by, err := actor(r.Account)
	if err != nil {
		return plan.Workload{}, err
	}
	if by.Writer == nil {
		by.Writer = s.options.Writer
	}
	return s.proceed(ctx, by, r)
}

// proceed takes the next step.
func (s *Store) proceed(ctx context.Context, by Actor, r replacement) (plan.Workload, error) {
	live := &batchv1.Job{}
	err := s.options.Reader.Get(ctx, client.ObjectKey{Namespace: r.Workload.Namespace, Name: r.Workload.Name}, live)
	switch {
	case apierrors.IsNotFound(err):
		return s.remake(ctx, by, r)
	case err != nil:
		return plan.Workload{}, fmt.Errorf("reading %s: %w", r.Workload, err)
	case live.UID != r.UID:
		return s.end(ctx, r, observeJob(live, s.observer))
	case live.DeletionTimestamp != nil:
		return plan.Workload{}, fmt.Errorf("waiting for the end of %s: %w", r.Workload, ErrUnfinished)
	case live.ResourceVersion != r.ResourceVersion:
		return plan.Workload{}, s.abandon(ctx, r, ErrConflict) // nobody can delete that version any more
	}
	return plan.Workload{}, s.remove(ctx, by, r)
}

// remove deletes the former object and then its pods, in the foreground: it is gone when they are, so that no pod of the
// new one runs beside them.
func (s *Store) remove(ctx context.Context, by Actor, r replacement) error {
	former := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: r.Workload.Namespace, Name: r.Workload.Name}}
	err := by.Writer.Delete(ctx, former, client.PropagationPolicy(metav1.DeletePropagationForeground),
		client.Preconditions{UID: &r.UID, ResourceVersion: &r.ResourceVersion})
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return fmt.Errorf("waiting for the end of %s: %w", r.Workload, ErrUnfinished)
	case apierrors.IsConflict(err):
		return s.abandon(ctx, r, ErrConflict)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err): // it was refused, and nothing has happened
		return s.abandon(ctx, r, err)
	default:
		return fmt.Errorf("deleting %s: %w", r.Workload, err)
	}
}

// namespaceGone reports whether the API server says so. A webhook may answer alike of something else, and be asked again.
func namespaceGone(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil &&
		status.Status().Details.Kind == "namespaces"
}

// remake makes the new object.
func (s *Store) remake(ctx context.Context, by Actor, r replacement) (plan.Workload, error) {
	manifest := r.Manifest.DeepCopy()
	err := by.Writer.Create(ctx, manifest, client.FieldOwner(v1alpha1.FieldManager))
	switch {
	case apierrors.IsAlreadyExists(err):
		return plan.Workload{}, fmt.Errorf("making %s again: %w", r.Workload, ErrUnfinished) // see whose it is
	case namespaceGone(err): // one that is made later under its name is another
		return plan.Workload{}, s.abandon(ctx, r, fmt.Errorf("%w: %w", ErrGone, err))
	case err != nil:
		return plan.Workload{}, fmt.Errorf("making %s again: %w", r.Workload, err)
	}
	made := &batchv1.Job{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(manifest.Object, made); err != nil {
		return plan.Workload{}, fmt.Errorf("making %s again: reading the answer: %w", r.Workload, err)
	}
	after, err := s.end(ctx, r, observeJob(made, s.observer))
	if errors.Is(err, ErrGone) { // by another value: it was made by us all the same
		return after, fmt.Errorf("restarting %s: %w", r.Workload, ErrStripped)
	}
	return after, err
}

// end forgets a replacement whose workload is there again. The error is ErrGone if somebody else has made it.
func (s *Store) end(ctx context.Context, r replacement, after plan.Workload) (plan.Workload, error) {
	var err error
	if after.Value != r.Value {
		err = ErrGone
	}
	if err = s.abandon(ctx, r, err); err != nil {
		return after, err
	}
	return after, nil
}

// abandon forgets a replacement and returns why, or that it cannot be forgotten yet.
func (s *Store) abandon(ctx context.Context, r replacement, why error) error {
	if err := s.options.State.forget(ctx, r); err != nil {
		return fmt.Errorf("ending the restart of %s: %w", r.Workload, err)
	}
	s.mu.Lock()
	delete(s.replacements, r.Workload)
	s.mu.Unlock()
	if why == nil {
		return nil
	}
	return fmt.Errorf("restarting %s: %w", r.Workload, why)
}

// manifestOf is what to make a Job again from: all that its user has set, and nothing that stands for the one object that
// it was. It is what kubectl replace --force leaves.
func manifestOf(live *unstructured.Unstructured) *unstructured.Unstructured {
	m := live.DeepCopy()
	delete(m.Object, "status")
	metadata, _ := m.Object["metadata"].(map[string]any)
	for field := range metadata {
		if !slices.Contains([]string{"namespace", "name", "labels", "annotations", "ownerReferences", "finalizers"}, field) {
			delete(metadata, field)
		}
	}
	unstructured.RemoveNestedField(m.Object, "metadata", "annotations", "batch.kubernetes.io/job-tracking")
	if manual, _, _ := unstructured.NestedBool(m.Object, "spec", "manualSelector"); manual {
		return m
	}
	unstructured.RemoveNestedField(m.Object, "spec", "selector")
	for _, label := range []string{
		"controller-uid", "job-name", batchv1.ControllerUidLabel, batchv1.JobNameLabel,
	} {
		unstructured.RemoveNestedField(m.Object, "metadata", "labels", label)
		unstructured.RemoveNestedField(m.Object, "spec", "template", "metadata", "labels", label)
	}
	return m
}
