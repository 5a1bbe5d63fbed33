package controller

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/runtime/patch"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// store writes a status that is another than before, in one request, and takes over the version that this made. The objects
// are converted because the patcher writes the conditions of a typed object in a request of their own: whoever looks in
// between would see a policy that is ready for a generation that it has not observed.
func (r *PolicyReconciler) store(ctx context.Context, round *round, before, object *v1alpha1.ReloadPolicy) error {
	if equality.Semantic.DeepEqual(before.Status, object.Status) {
		return nil
	}
	from, err := patch.ToUnstructured(before)
	if err != nil {
		return fmt.Errorf("converting it: %w", err)
	}
	to, err := patch.ToUnstructured(object)
	if err != nil {
		return fmt.Errorf("converting it: %w", err)
	}
	writer := &versionNoting{Client: r.client}
	err = patch.NewSerialPatcher(from, writer).Patch(ctx, to, patch.WithFieldOwner(statusManager))
	if err != nil {
		r.policies.stored(round, nil)
		return err
	}
	object.ResourceVersion = writer.version
	r.policies.stored(round, object)
	return nil
}

// versionNoting is a client that notes which version the last write of a status made. The patcher keeps it to itself.
type versionNoting struct {
	client.Client
	version string
}

// Status implements client.StatusClient.
func (c *versionNoting) Status() client.SubResourceWriter {
	return versionNotingWriter{SubResourceWriter: c.Client.Status(), version: &c.version}
}

type versionNotingWriter struct {
	client.SubResourceWriter
	version *string
}

// Patch implements client.SubResourceWriter.
func (w versionNotingWriter) Patch(ctx context.Context, object client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
	err := w.SubResourceWriter.Patch(ctx, object, patch, options...)
	*w.version = object.GetResourceVersion()
	return err
}
