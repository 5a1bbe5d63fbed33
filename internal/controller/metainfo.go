package controller

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	metaInfoName  = "reloader-meta-info"
	metaInfoLabel = "reloader.stakater.com/meta-info"
)

// metaInfo writes the ConfigMap by which Stakater Reloader says what it is, once in the life of each replica.
type metaInfo struct{ reloader *Reloader }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (m metaInfo) NeedLeaderElection() bool { return false }

// Start tries until it is written. It holds up nothing.
func (m metaInfo) Start(ctx context.Context) error {
	r := m.reloader
	_ = wait.PollUntilContextCancel(ctx, tryAgain, true, func(ctx context.Context) (bool, error) {
		err := m.write(ctx)
		if err != nil && ctx.Err() == nil {
			r.log.Error(err, "trying again")
		}
		return err == nil, nil
	}) // its error is that the context has ended
	return nil
}

func (m metaInfo) write(ctx context.Context) error {
	r := m.reloader
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": metaInfoName, "namespace": r.options.Namespace, "labels": map[string]any{metaInfoLabel: "reloader"},
		},
		"data": map[string]any{},
	}}
	for key, value := range r.options.MetaInfo {
		if err := unstructured.SetNestedField(object.Object, value, "data", key); err != nil {
			return fmt.Errorf("making ConfigMap %s: %w", metaInfoName, err)
		}
	}
	err := r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(statusManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("writing ConfigMap %s: %w", metaInfoName, err)
	}
	return nil
}
