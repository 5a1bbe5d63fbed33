package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

// writer answers a patch with an error, or with an object that carries a value.
type writer struct {
	client.Writer
	err   error
	value string

	kind    types.PatchType
	body    []byte
	options client.PatchOptions
}

func (w *writer) Patch(_ context.Context, object client.Object, patch client.Patch, options ...client.PatchOption) error {
	w.kind = patch.Type()
	w.options = client.PatchOptions{}
	w.options.ApplyOptions(options)
	var err error
	if w.body, err = patch.Data(object); err != nil {
		return err
	}
	answer := web(func(d *appsv1.Deployment) {
		d.Generation++
		if w.value != "" {
			d.Spec.Template.Annotations = map[string]string{v1alpha1.ConfigDigestAnnotation: w.value}
		}
	})
	answer.DeepCopyInto(object.(*appsv1.Deployment))
	return w.err
}

func deployments() schema.GroupResource {
	return schema.GroupResource{Group: appsv1.GroupName, Resource: "deployments"}
}

// uidError is what the API server answers to an apply that names the uid of an object that is gone.
func uidError() error {
	return apierrors.NewInvalid(appsv1.SchemeGroupVersion.WithKind("Deployment").GroupKind(), "web", field.ErrorList{
		field.Invalid(field.NewPath("metadata", "uid"), "uid-1", "field is immutable"),
	})
}

func TestRestartRequest(t *testing.T) {
	metadata := map[string]any{"annotations": map[string]any{
		v1alpha1.ConfigDigestAnnotation: "value", v1alpha1.LastReloadedFromAnnotation: "{}",
	}}
	for name, test := range map[string]struct {
		variables []plan.Variable
		mark      *plan.Mark
		kind      types.PatchType
		template  map[string]any
	}{
		"annotations": {nil, nil, types.ApplyPatchType, map[string]any{"metadata": metadata}},
		"variables": {
			[]plan.Variable{
				{Container: "app", Name: "ONE", Value: "1"}, {Container: "proxy", Name: "TWO", Value: "2"}, {Container: "app", Name: "GONE"},
			},
			nil,
			types.StrategicMergePatchType,
			map[string]any{"metadata": metadata, "spec": map[string]any{"containers": []any{
				map[string]any{"name": "app", "env": []any{
					map[string]any{"name": "ONE", "value": "1"}, map[string]any{"name": "GONE", "$patch": "delete"},
				}},
				map[string]any{"name": "proxy", "env": []any{map[string]any{"name": "TWO", "value": "2"}}},
			}}},
		},
		"mark": {nil, &plan.Mark{Annotation: "since"}, types.StrategicMergePatchType, map[string]any{"metadata": metadata}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			w := &writer{value: "value"}
			s.options.Writer = w
			write := plan.Write{Value: "value", ReloadedFrom: "{}", Variables: test.variables, Mark: test.mark}
			after, err := s.Restart(t.Context(), Actor{}, observeDeployment(web(), Observer{Key: testKey(t)}), write)
			if err != nil {
				t.Fatal(err)
			}
			if after.Value != "value" || after.Generation != 4 {
				t.Errorf("afterwards %+v", after)
			}
			forced := w.options.Force != nil && *w.options.Force
			if w.kind != test.kind || w.options.FieldManager != v1alpha1.FieldManager || forced != (test.kind == types.ApplyPatchType) {
				t.Errorf("%s with %+v", w.kind, w.options)
			}
			var body map[string]any
			if err := json.Unmarshal(w.body, &body); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{
				"apiVersion": "apps/v1", "kind": "Deployment",
				"metadata": map[string]any{"namespace": "apps", "name": "web", "uid": "uid-web", "resourceVersion": "7"},
				"spec":     map[string]any{"template": test.template},
			}
			if test.mark != nil {
				want["metadata"].(map[string]any)["annotations"] = map[string]any{"since": nil}
			}
			if diff := cmp.Diff(want, body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

// A mark is written to the very object and version that was decided on, and to nothing else of it.
func TestMark(t *testing.T) {
	for value, want := range map[string]any{"now": "now", "": nil} {
		s := newStore(t)
		w := &writer{}
		s.options.Writer = w
		observed := observeDeployment(web(), Observer{Key: testKey(t)})
		if err := s.Mark(t.Context(), Actor{}, observed, plan.Mark{Annotation: "since", Value: value}); err != nil {
			t.Fatal(err)
		}
		if w.kind != types.MergePatchType || w.options.FieldManager != v1alpha1.FieldManager {
			t.Errorf("%s with %+v", w.kind, w.options)
		}
		var body map[string]any
		if err := json.Unmarshal(w.body, &body); err != nil {
			t.Fatal(err)
		}
		wanted := map[string]any{"metadata": map[string]any{
			"uid": "uid-web", "resourceVersion": "7", "annotations": map[string]any{"since": want},
		}}
		if diff := cmp.Diff(wanted, body); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
		w.err = apierrors.NewConflict(deployments(), "web", errors.New("changed"))
		if err := s.Mark(t.Context(), Actor{}, observed, plan.Mark{Annotation: "since"}); !errors.Is(err, ErrConflict) {
			t.Errorf("%v, want a conflict", err)
		}
	}
}

func TestRestartErrors(t *testing.T) {
	refused := apierrors.NewForbidden(deployments(), "web", errors.New("no"))
	tests := map[string]struct {
		err   error
		value string
		want  error
		never error
	}{
		"conflict":           {err: apierrors.NewConflict(deployments(), "web", errors.New("moved")), want: ErrConflict},
		"not found":          {err: apierrors.NewNotFound(deployments(), "web"), want: ErrGone},
		"another uid":        {err: uidError(), want: ErrGone},
		"stripped":           {value: "", want: ErrStripped},
		"another value":      {value: "other", want: ErrStripped},
		"refused":            {err: refused, want: refused, never: ErrGone},
		"invalid altogether": {err: apierrors.NewInvalid(schema.GroupKind{Kind: "Deployment"}, "web", nil), never: ErrGone},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.options.Writer = &writer{err: test.err, value: test.value}
			after, err := s.Restart(t.Context(), Actor{}, observeDeployment(web(), Observer{Key: testKey(t)}), plan.Write{Value: "value"})
			if err == nil || test.want != nil && !errors.Is(err, test.want) || test.never != nil && errors.Is(err, test.never) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if errors.Is(err, ErrStripped) && after.Generation != 4 {
				t.Errorf("the workload afterwards is %+v", after)
			}
		})
	}
	other := observeDeployment(web(), Observer{Key: testKey(t)})
	other.Workload = ledger.Workload{Kind: "Widget", Namespace: "apps", Name: "web"}
	if _, err := newStore(t).Restart(t.Context(), Actor{}, other, plan.Write{Value: "value"}); !errors.Is(err, ErrKind) {
		t.Errorf("error %v, want %v", err, ErrKind)
	}
}

func TestOtherUID(t *testing.T) {
	elsewhere := apierrors.NewInvalid(schema.GroupKind{Kind: "Deployment"}, "web", field.ErrorList{
		field.Invalid(field.NewPath("spec", "replicas"), -1, "negative"),
	})
	bare := &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonInvalid}}
	tests := map[string]struct {
		err  error
		want bool
	}{
		"nothing":           {nil, false},
		"an uid":            {uidError(), true},
		"a wrapped one":     {fmt.Errorf("patching: %w", uidError()), true},
		"another field":     {elsewhere, false},
		"no details":        {bare, false},
		"another error":     {errors.New("metadata.uid"), false},
		"a missing object":  {apierrors.NewNotFound(deployments(), "web"), false},
		"a version's clash": {apierrors.NewConflict(deployments(), "web", errors.New("moved")), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := otherUID(test.err); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}
