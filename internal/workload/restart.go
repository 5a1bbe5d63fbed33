package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

var (
	// ErrConflict means that the workload is not, or no longer, what was decided on: decide again.
	ErrConflict = errors.New("the workload has changed")
	// ErrGone means that the workload was deleted, or is another by the same name.
	ErrGone = errors.New("the workload is gone")
	// ErrUnfinished means that the restart has begun, and takes another step: see Resume.
	ErrUnfinished = errors.New("the restart is not finished")
	// ErrStripped means that the API server accepted the restart and left it out, as a mutating webhook may do.
	ErrStripped = errors.New("the restart annotation was removed on its way in")
)

// Live reads a workload from the API server.
func (s *Store) Live(ctx context.Context, name ledger.Workload) (plan.Workload, error) {
	kind, err := s.kind(name)
	if err != nil {
		return plan.Workload{}, err
	}
	object := kind.New()
	err = s.options.Reader.Get(ctx, client.ObjectKey{Namespace: name.Namespace, Name: name.Name}, object)
	switch {
	case apimeta.IsNoMatchError(err):
		return plan.Workload{}, fmt.Errorf("reading %s: %w: %w", name, ErrKind, err)
	case err != nil:
		return plan.Workload{}, fmt.Errorf("reading %s: %w", name, err)
	}
	return s.liveWhole(ctx, kind.Observe(object, s.observer), refers(kind, object))
}

// Restart restarts a workload as its kind is restarted, on the condition that the workload is still the object and the
// version that was decided on: neither is a deleted one made again, nor somebody's last change missed. To do it again does
// nothing more. It returns the workload as it is afterwards, with ErrStripped too. Errors are ErrConflict, ErrGone,
// ErrStripped, ErrUnfinished or the API server's.
func (s *Store) Restart(ctx context.Context, by Actor, w plan.Workload, write plan.Write) (plan.Workload, error) {
	kind, err := s.kind(w.Workload)
	if err != nil {
		return plan.Workload{}, err
	}
	if by.Writer == nil {
		by.Writer = s.options.Writer
	}
	if kind.Restart != nil {
		return kind.Restart(ctx, s, by, w, write)
	}
	return s.patch(ctx, kind, by, w, write)
}

// patch writes to the pod template in one request.
func (s *Store) patch(ctx context.Context, kind Kind, by Actor, w plan.Workload, write plan.Write) (plan.Workload, error) {
	var patch client.Patch
	var options []client.PatchOption
	var err error
	if kind.Optional && len(write.Variables) > 0 {
		patch, err = s.mergeOfVariables(ctx, kind, w, write)
	} else {
		patch, options, err = restartPatch(kind, w, write)
	}
	if err != nil {
		return plan.Workload{}, fmt.Errorf("preparing the restart of %s: %w", w.Workload, err)
	}
	object := kind.New()
	object.SetNamespace(w.Namespace)
	object.SetName(w.Name)
	err = by.Writer.Patch(ctx, object, patch, append(options, client.FieldOwner(v1alpha1.FieldManager))...)
	if err := explain(err); err != nil {
		return plan.Workload{}, fmt.Errorf("restarting %s: %w", w.Workload, err)
	}
	after := kind.Observe(object, s.observer)
	if after.Value != write.Value {
		return after, fmt.Errorf("restarting %s: %w", w.Workload, ErrStripped)
	}
	return after, nil
}

// Mark writes an annotation of the workload itself, or takes it away, under the conditions of Restart, whose errors it
// returns.
func (s *Store) Mark(ctx context.Context, by Actor, w plan.Workload, mark plan.Mark) error {
	kind, err := s.kind(w.Workload)
	if err != nil {
		return err
	}
	metadata := metadataOf(w)
	delete(metadata, "name")
	delete(metadata, "namespace")
	metadata["annotations"] = marked(mark)
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("encoding the annotation of %s: %w", w.Workload, err)
	}
	object := kind.New()
	object.SetNamespace(w.Namespace)
	object.SetName(w.Name)
	if by.Writer == nil {
		by.Writer = s.options.Writer
	}
	err = by.Writer.Patch(ctx, object, client.RawPatch(types.MergePatchType, body), client.FieldOwner(v1alpha1.FieldManager))
	if err := explain(err); err != nil {
		return fmt.Errorf("annotating %s: %w", w.Workload, err)
	}
	return nil
}

// explain says what an answer of the API server means for the decision.
func explain(err error) error {
	switch {
	case apierrors.IsConflict(err):
		return fmt.Errorf("%w: %w", ErrConflict, err)
	case apierrors.IsNotFound(err), otherUID(err):
		return fmt.Errorf("%w: %w", ErrGone, err)
	default:
		return err
	}
}

// metadataOf names the very object and version that was decided on.
func metadataOf(w plan.Workload) map[string]any {
	return map[string]any{"name": w.Name, "namespace": w.Namespace, "uid": w.UID, "resourceVersion": w.ResourceVersion}
}

// marked is a mark as a merge of annotations.
func marked(mark plan.Mark) map[string]any {
	if mark.Value == "" {
		return map[string]any{mark.Annotation: nil}
	}
	return map[string]any{mark.Annotation: mark.Value}
}

// restartPatch is a server-side apply of annotations, or one strategic merge where there are variables or a mark to write:
// an apply cannot merge variables into a container's list without owning that container, nor remove what a merge has
// written. Both are built by hand, as a typed struct would own its zero fields.
func restartPatch(kind Kind, w plan.Workload, write plan.Write) (client.Patch, []client.PatchOption, error) {
	annotations := map[string]string{v1alpha1.ConfigDigestAnnotation: write.Value}
	if write.ReloadedFrom != "" {
		annotations[v1alpha1.LastReloadedFromAnnotation] = write.ReloadedFrom
	}
	template := map[string]any{"metadata": map[string]any{"annotations": annotations}}
	if len(write.Variables) > 0 {
		template["spec"] = map[string]any{"containers": containers(write.Variables)}
	}
	metadata := metadataOf(w)
	if write.Mark != nil {
		metadata["annotations"] = marked(*write.Mark)
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": kind.Version.String(),
		"kind":       kind.Name,
		"metadata":   metadata,
		"spec":       map[string]any{"template": template},
	})
	if len(write.Variables) > 0 || write.Mark != nil {
		return client.RawPatch(types.StrategicMergePatchType, body), nil, err
	}
	return client.RawPatch(types.ApplyPatchType, body), []client.PatchOption{client.ForceOwnership}, err
}

// mergeOfVariables is the restart as a plain merge: only the core's kinds take strategic ones. So all containers are written
// as they are live, on the condition that they still are.
func (s *Store) mergeOfVariables(ctx context.Context, kind Kind, w plan.Workload, write plan.Write) (client.Patch, error) {
	live, err := s.liveObject(ctx, w, kind.Version.WithKind(kind.Name))
	if err != nil {
		return nil, err
	}
	if live.GetResourceVersion() != w.ResourceVersion {
		return nil, ErrConflict
	}
	if err := writeTemplate(live, write); err != nil {
		return nil, err
	}
	// writeTemplate has found both in order.
	annotations, _, _ := unstructured.NestedMap(live.Object, "spec", "template", "metadata", "annotations")
	containers, _, _ := unstructured.NestedSlice(live.Object, "spec", "template", "spec", "containers")
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": w.UID, "resourceVersion": w.ResourceVersion},
		"spec": map[string]any{"template": map[string]any{
			"metadata": map[string]any{"annotations": annotations}, "spec": map[string]any{"containers": containers},
		}},
	})
	return client.RawPatch(types.MergePatchType, body), err
}

// containers are the variables as a strategic merge writes them, container by container. Variables whose value is empty are
// removed.
func containers(variables []plan.Variable) []any {
	var list []any
	for i, v := range variables {
		if slices.ContainsFunc(variables[:i], func(other plan.Variable) bool { return other.Container == v.Container }) {
			continue
		}
		var env []any
		for _, of := range variables {
			switch {
			case of.Container != v.Container:
			case of.Value == "":
				env = append(env, map[string]any{"name": of.Name, "$patch": "delete"})
			default:
				env = append(env, map[string]any{"name": of.Name, "value": of.Value})
			}
		}
		list = append(list, map[string]any{"name": v.Container, "env": env})
	}
	return list
}

// otherUID recognises the answer to an apply that names the uid of a deleted object: the field cannot be changed.
func otherUID(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	for _, cause := range status.Status().Details.Causes {
		if cause.Field == "metadata.uid" {
			return true
		}
	}
	return false
}
