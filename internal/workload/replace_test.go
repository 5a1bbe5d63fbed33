package workload

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

// generated are the labels by which a Job's controller finds its pods.
func generated() map[string]string {
	return map[string]string{
		"controller-uid": "uid-migrate", "job-name": "migrate",
		"batch.kubernetes.io/controller-uid": "uid-migrate", "batch.kubernetes.io/job-name": "migrate",
	}
}

func migration(shapes ...func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "apps", Name: "migrate", UID: "uid-migrate", Generation: 1, Labels: generated(),
			Annotations: map[string]string{v1alpha1.AutoAnnotation: "true", "batch.kubernetes.io/job-tracking": ""}, Finalizers: []string{"example.test/theirs"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "app", UID: "uid-app"}},
		},
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr.To(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"batch.kubernetes.io/controller-uid": "uid-migrate"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: generated()},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
			},
		},
		Status: batchv1.JobStatus{Succeeded: 1},
	}
	j.Labels["theirs"], j.Spec.Template.Labels["app"] = "kept", "migrate"
	for _, shape := range shapes {
		shape(j)
	}
	return j
}

func asUnstructured(t *testing.T, o runtime.Object) *unstructured.Unstructured {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: object}
}

func asJob(t *testing.T, u *unstructured.Unstructured) *batchv1.Job {
	t.Helper()
	j := &batchv1.Job{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, j); err != nil {
		t.Fatal(err)
	}
	return j
}

func TestManifestOfAJob(t *testing.T) {
	want := migration()
	want.UID, want.Generation, want.Status = "", 0, batchv1.JobStatus{}
	want.Labels, want.Annotations = map[string]string{"theirs": "kept"}, map[string]string{v1alpha1.AutoAnnotation: "true"}
	want.Spec.Selector, want.Spec.Template.Labels = nil, map[string]string{"app": "migrate"}
	live := asUnstructured(t, migration(func(j *batchv1.Job) { j.ResourceVersion = "7" }))
	if err := unstructured.SetNestedField(live.Object, int64(1)<<60, "spec", "unknown"); err != nil {
		t.Fatal(err)
	}
	manifest := manifestOf(live)
	if diff := cmp.Diff(want, asJob(t, manifest)); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if n, _, _ := unstructured.NestedInt64(manifest.Object, "spec", "unknown"); n != 1<<60 {
		t.Errorf("a field of a later version: %d", n)
	}
	manual := migration(func(j *batchv1.Job) { j.Spec.ManualSelector = ptr.To(true) })
	got := asJob(t, manifestOf(asUnstructured(t, manual)))
	if diff := cmp.Diff(manual.Spec, got.Spec); diff != "" {
		t.Errorf("with a selector of its own (-want +got):\n%s", diff)
	}
}

func TestJobsOfOthersAreSkipped(t *testing.T) {
	for name, skipped := range map[string]bool{"migrate": false, "nightly-1": true} {
		j := migration(func(j *batchv1.Job) { j.Name = name })
		if skipped {
			j.OwnerReferences[0].Controller = ptr.To(true)
		}
		if got := job().Skip(j); got != skipped {
			t.Errorf("%s: skipped %t", name, got)
		}
	}
}

// replacing is a store over an API server that refuses what it is told to, in the middle of a replacement.
type replacing struct {
	*Store
	t      *testing.T
	api    client.WithWatch
	refuse map[string]error
	asked  []string
}

func newReplacing(t *testing.T, objects ...client.Object) *replacing {
	t.Helper()
	r := &replacing{t: t, refuse: map[string]error{}}
	ask := func(what string) error {
		r.asked = append(r.asked, what)
		return r.refuse[what]
	}
	r.api = fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objects...).Build()
	c := interceptor.NewClient(r.api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			what := "create"
			if (&client.CreateOptions{}).ApplyOptions(options).DryRun != nil {
				what = "try"
			}
			if _, ok := o.(*corev1.Secret); ok {
				what = "store"
			}
			if err := ask(what); err != nil || what == "try" {
				return err
			}
			if o.GetUID() == "" && what == "create" {
				o.SetUID("uid-new")
			}
			return c.Create(ctx, o, options...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			if err := ask("delete"); err != nil {
				return err
			}
			return c.Delete(ctx, o, options...)
		},
	})
	r.Store = newStore(t)
	r.options.Reader, r.options.Writer = c, c
	r.options.State = State{Client: c, Namespace: "reloader"}
	return r
}

// live is the Job as it is there; nil for none.
func (r *replacing) live() *batchv1.Job {
	r.t.Helper()
	j := &batchv1.Job{}
	err := r.api.Get(r.t.Context(), client.ObjectKey{Namespace: "apps", Name: "migrate"}, j)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return j
}

func (r *replacing) begin() error {
	r.t.Helper()
	_, err := r.Restart(r.t.Context(), Actor{}, observeJob(r.live(), r.observer), plan.Write{Value: "value"})
	return err
}

func (r *replacing) resume() (plan.Workload, error) {
	return r.Resume(r.t.Context(), ledger.Workload{Kind: "Job", Namespace: "apps", Name: "migrate"},
		func(string) (Actor, error) { return Actor{}, nil })
}

func (r *replacing) expectReplacing(want bool) {
	r.t.Helper()
	stored, err := r.options.State.load(r.t.Context(), logr.Discard())
	if err != nil || (len(stored) > 0) != want || (len(r.Replacements()) > 0) != want {
		r.t.Errorf("replacing %v, stored %d (%v), want %t", r.Replacements(), len(stored), err, want)
	}
}

// plain is a Job that is gone as soon as it is deleted.
func plain(j *batchv1.Job) { j.Finalizers = nil }

func TestAJobIsReplaced(t *testing.T) {
	r := newReplacing(t, migration(plain))
	if err := r.begin(); !errors.Is(err, ErrUnfinished) {
		t.Fatalf("begun: %v", err)
	}
	r.expectReplacing(true)
	if r.live() != nil {
		t.Fatal("it is still there")
	}
	after, err := r.resume()
	if err != nil || after.UID != "uid-new" || after.Value != "value" {
		t.Fatalf("resumed: %+v, %v", after, err)
	}
	r.expectReplacing(false)
	if diff := cmp.Diff([]string{"try", "store", "delete", "create"}, r.asked); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if live := r.live(); live == nil || live.Labels["theirs"] != "kept" || live.Spec.Template.Annotations[v1alpha1.ConfigDigestAnnotation] != "value" {
		t.Errorf("made %+v", live)
	}
}

// Whoever comes later goes on from what is stored.
func TestAReplacementSurvivesItsProcess(t *testing.T) {
	r := newReplacing(t, migration(plain))
	if err := r.begin(); !errors.Is(err, ErrUnfinished) {
		t.Fatalf("begun: %v", err)
	}
	clear(r.replacements)
	if err := r.LoadReplacements(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.expectReplacing(true)
	r.refuse["create"] = errors.New("no answer")
	if _, err := r.resume(); err == nil || r.live() != nil {
		t.Fatalf("made, error %v", err)
	}
	r.expectReplacing(true)
	delete(r.refuse, "create")
	if _, err := r.resume(); err != nil || r.live() == nil {
		t.Fatalf("not made: %v", err)
	}
	r.expectReplacing(false)

	t.Log("another instance's are its own")
	other := r.options.State
	other.Instance = "other"
	if err := r.options.State.save(t.Context(), replacement{UID: "uid"}); err != nil {
		t.Fatal(err)
	}
	if list, err := other.load(t.Context(), logr.Discard()); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// Nothing is deleted before it is certain that it can be made again, and on record from what.
func TestNoJobIsDeletedTooEarly(t *testing.T) {
	refused := apierrors.NewForbidden(schema.GroupResource{Group: "batch", Resource: "jobs"}, "migrate", errors.New("no"))
	for _, step := range []string{"try", "store", "delete"} {
		t.Run(step, func(t *testing.T) {
			r := newReplacing(t, migration(plain))
			r.refuse[step] = refused
			if err := r.begin(); !errors.Is(err, refused) {
				t.Errorf("error %v", err)
			}
			if r.live() == nil || strings.Join(r.asked, " ") != strings.Join([]string{"try", "store", "delete"}[:len(r.asked)], " ") {
				t.Errorf("steps %q", r.asked)
			}
			r.expectReplacing(false)
		})
	}
}

func TestAReplacementThatIsOvertaken(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(r *replacing)
		want    error
		// goes on is whether it is still to be finished.
		goesOn bool
	}{
		"it waits for the former one's end": {func(*replacing) {}, ErrUnfinished, true},
		"somebody has made another": {func(r *replacing) {
			live := r.live()
			live.Finalizers = nil
			must(r.t, r.api.Update(r.t.Context(), live))
			must(r.t, r.api.Create(r.t.Context(), migration(plain, func(j *batchv1.Job) { j.UID = "uid-theirs" })))
		}, ErrGone, false},
		"we have made it before": {func(r *replacing) {
			live := r.live()
			live.Finalizers = nil
			must(r.t, r.api.Update(r.t.Context(), live))
			must(r.t, r.api.Create(r.t.Context(), migration(plain, func(j *batchv1.Job) {
				j.UID, j.Spec.Template.Annotations = "uid-ours", map[string]string{v1alpha1.ConfigDigestAnnotation: "value"}
			})))
		}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplacing(t, migration())
			if err := r.begin(); !errors.Is(err, ErrUnfinished) {
				t.Fatalf("begun: %v", err)
			}
			test.happens(r)
			if _, err := r.resume(); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			r.expectReplacing(test.goesOn)
		})
	}
	t.Run("edited before it is deleted", func(t *testing.T) {
		r := newReplacing(t, migration(plain))
		r.refuse["delete"] = errors.New("no answer")
		if err := r.begin(); err == nil || errors.Is(err, ErrUnfinished) {
			t.Fatalf("begun: %v", err)
		}
		r.expectReplacing(true)
		live := r.live()
		live.Labels["theirs"] = "edited"
		must(t, r.api.Update(t.Context(), live))
		delete(r.refuse, "delete")
		if _, err := r.resume(); !errors.Is(err, ErrConflict) || r.live() == nil {
			t.Errorf("error %v", err)
		}
		r.expectReplacing(false)
	})
	t.Run("its namespace is deleted", func(t *testing.T) {
		r := newReplacing(t, migration(plain))
		if err := r.begin(); !errors.Is(err, ErrUnfinished) {
			t.Fatalf("begun: %v", err)
		}
		ending := apierrors.NewForbidden(schema.GroupResource{Group: "batch", Resource: "jobs"}, "migrate", errors.New("the namespace is being terminated"))
		r.refuse["create"] = ending
		if _, err := r.resume(); !errors.Is(err, ending) {
			t.Errorf("error %v", err)
		}
		r.expectReplacing(true)
		ending = apierrors.NewNotFound(schema.GroupResource{Resource: "queues"}, "asked for by a webhook")
		r.refuse["create"] = ending
		if _, err := r.resume(); !errors.Is(err, ending) {
			t.Errorf("error %v", err)
		}
		r.expectReplacing(true)
		r.refuse["create"] = apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "apps")
		if _, err := r.resume(); !errors.Is(err, ErrGone) {
			t.Errorf("error %v, want %v", err, ErrGone)
		}
		r.expectReplacing(false)
	})
	t.Run("edited before it begins", func(t *testing.T) {
		r := newReplacing(t, migration(plain))
		w := observeJob(r.live(), r.observer)
		w.ResourceVersion = "1"
		if _, err := r.Restart(t.Context(), Actor{}, w, plan.Write{Value: "value"}); !errors.Is(err, ErrConflict) || len(r.asked) > 0 {
			t.Errorf("error %v, steps %q", err, r.asked)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDecodeReplacement(t *testing.T) {
	r := replacement{UID: "uid", Value: "value", Manifest: asUnstructured(t, migration())}
	r.Manifest.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("Job"))
	encoded, err := r.encode()
	must(t, err)
	got, err := decodeReplacement(encoded)
	if diff := cmp.Diff(r, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, text := range [][]byte{nil, []byte("text"), encoded[:len(encoded)/2]} {
		if _, err := decodeReplacement(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}
