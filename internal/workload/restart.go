package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	if err := s.options.Reader.Get(ctx, client.ObjectKey{Namespace: name.Namespace, Name: name.Name}, object); err != nil {
		return plan.Workload{}, fmt.Errorf("reading %s: %w", name, err)
	}
	return kind.Observe(object, s.options.Key), nil
}

// Restart writes the value to the pod template in one server-side apply, on the condition that the workload is still the
// object and the version that was decided on: neither is a deleted one made again, nor somebody's last change missed.
// It returns the workload as it is afterwards, with ErrStripped too. Errors are ErrConflict, ErrGone, ErrStripped or the
// API server's.
func (s *Store) Restart(ctx context.Context, w plan.Workload, value string) (plan.Workload, error) {
	kind, err := s.kind(w.Workload)
	if err != nil {
		return plan.Workload{}, err
	}
	// Built by hand: a typed struct would own its zero fields.
	body, err := json.Marshal(map[string]any{
		"apiVersion": kind.Version.String(),
		"kind":       kind.Name,
		"metadata": map[string]any{
			"name": w.Name, "namespace": w.Namespace, "uid": w.UID, "resourceVersion": w.ResourceVersion,
		},
		"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
			"annotations": map[string]string{v1alpha1.ConfigDigestAnnotation: value},
		}}},
	})
	if err != nil {
		return plan.Workload{}, fmt.Errorf("encoding the restart of %s: %w", w.Workload, err)
	}
	object := kind.New()
	object.SetNamespace(w.Namespace)
	object.SetName(w.Name)
	err = s.options.Writer.Patch(ctx, object, client.RawPatch(types.ApplyPatchType, body),
		client.ForceOwnership, client.FieldOwner(v1alpha1.FieldManager))
	switch {
	case apierrors.IsConflict(err):
		return plan.Workload{}, fmt.Errorf("restarting %s: %w: %w", w.Workload, ErrConflict, err)
	case apierrors.IsNotFound(err), otherUID(err):
		return plan.Workload{}, fmt.Errorf("restarting %s: %w: %w", w.Workload, ErrGone, err)
	case err != nil:
		return plan.Workload{}, fmt.Errorf("restarting %s: %w", w.Workload, err)
	}
	after := kind.Observe(object, s.options.Key)
	if after.Value != value {
		return after, fmt.Errorf("restarting %s: %w", w.Workload, ErrStripped)
	}
	return after, nil
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
