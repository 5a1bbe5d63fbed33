package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/internal/registry"
)

const (
	deploymentName = registry.Name
	appLabel       = registry.Label
)

func (d *demo) deployment(ctx context.Context) (*appsv1.Deployment, error) {
	deployment := &appsv1.Deployment{}
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: deploymentName}, deployment); err != nil {
		return nil, fmt.Errorf("reading the Deployment: %w", err)
	}
	return deployment, nil
}

// templateValue is what Reloader writes for a restart.
func templateValue(deployment *appsv1.Deployment) string {
	return deployment.Spec.Template.Annotations[v1alpha1.ConfigDigestAnnotation]
}

// annotate opts the Deployment in, as `kubectl annotate` does.
func (d *demo) annotate(ctx context.Context) error {
	deployment, err := d.deployment(ctx)
	if err != nil {
		return err
	}
	before := client.MergeFrom(deployment.DeepCopy())
	if deployment.Annotations == nil {
		deployment.Annotations = map[string]string{}
	}
	deployment.Annotations[v1alpha1.AutoAnnotation] = "true"
	if err := d.client.Patch(ctx, deployment, before, client.FieldOwner("kubectl-annotate")); err != nil {
		return fmt.Errorf("annotating the Deployment: %w", err)
	}
	return nil
}

// pod returns the only pod of the registry. A pod that ends counts: the registry has one or none.
func (d *demo) pod(ctx context.Context) (*corev1.Pod, error) {
	pods := &corev1.PodList{}
	if err := d.client.List(ctx, pods, client.InNamespace(namespace), client.MatchingLabels{appLabel: deploymentName}); err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	if len(pods.Items) != 1 {
		return nil, fmt.Errorf("listing pods: there are %d", len(pods.Items))
	}
	return &pods.Items[0], nil
}

// rolledOut waits until the registry's only pod is that of the present template, and ready.
func (d *demo) rolledOut(ctx context.Context) error {
	return until(ctx, "the registry is rolled out", patience, func(ctx context.Context) (bool, string, error) {
		deployment, err := d.deployment(ctx)
		if err != nil {
			return false, "", err
		}
		pod, err := d.pod(ctx)
		if err != nil {
			return false, "", err
		}
		status := deployment.Status
		seen := fmt.Sprintf("generation %d of %d observed, %d updated, %d available; %s", status.ObservedGeneration,
			deployment.Generation, status.UpdatedReplicas, status.AvailableReplicas, describePod(pod))
		return status.ObservedGeneration == deployment.Generation && status.UpdatedReplicas == 1 && status.Replicas == 1 &&
			status.AvailableReplicas == 1 && pod.DeletionTimestamp == nil, seen, nil
	})
}

// describePod says how a pod is, with the reason of a container that does not run.
func describePod(pod *corev1.Pod) string {
	text := "pod " + pod.Name + " " + string(pod.Status.Phase)
	if pod.DeletionTimestamp != nil {
		text += ", ending"
	}
	for _, status := range pod.Status.ContainerStatuses {
		switch {
		case status.State.Waiting != nil:
			text += ", waiting: " + status.State.Waiting.Reason + " " + status.State.Waiting.Message
		case status.State.Terminated != nil:
			text += fmt.Sprintf(", ended with status %d: %s", status.State.Terminated.ExitCode, status.State.Terminated.Reason)
		}
	}
	return text
}

// replacePod deletes the registry's pod and waits for the next one. This is no restart of Reloader's.
func (d *demo) replacePod(ctx context.Context) error {
	pod, err := d.pod(ctx)
	if err != nil {
		return err
	}
	if err := d.client.Delete(ctx, pod); err != nil {
		return fmt.Errorf("deleting the pod: %w", err)
	}
	err = until(ctx, "the pod ends", patience, func(ctx context.Context) (bool, string, error) {
		err := d.client.Get(ctx, client.ObjectKeyFromObject(pod), pod)
		return client.IgnoreNotFound(err) == nil && err != nil, describePod(pod), client.IgnoreNotFound(err)
	})
	if err != nil {
		return err
	}
	return d.rolledOut(ctx)
}

// runsFor waits until the registry's container has run for some time.
func (d *demo) runsFor(ctx context.Context, age time.Duration) error {
	return until(ctx, "the container runs for "+age.String(), patience, func(ctx context.Context) (bool, string, error) {
		pod, err := d.pod(ctx)
		if err != nil {
			return false, "", err
		}
		for _, status := range pod.Status.ContainerStatuses {
			if status.State.Running != nil {
				runs := time.Since(status.State.Running.StartedAt.Time)
				return runs >= age, runs.String(), nil
			}
		}
		return false, describePod(pod), nil
	})
}

// onDisk waits until the kubelet has written the Secret's certificate of that serial number to the pod's volume.
func (d *demo) onDisk(ctx context.Context, want string) error {
	pod, err := d.pod(ctx)
	if err != nil {
		return err
	}
	// The kubelet has its root folder below the cluster's.
	pattern := filepath.Join(d.cluster.Dir(), "*", "pods", string(pod.UID), "volumes", "kubernetes.io~secret", "tls", "tls.crt")
	return until(ctx, "the new certificate is on the pod's disk", patience, func(context.Context) (bool, string, error) {
		certificate, err := readCertificate(pattern)
		if err != nil {
			return false, "", err
		}
		return serial(certificate) == want, "serial " + serial(certificate), nil
	})
}

// registryLog returns the last lines of the registry's output, if there is any.
func (d *demo) registryLog(ctx context.Context) string {
	pods, err := kubernetes.NewForConfig(d.cluster.Config())
	if err != nil {
		return ""
	}
	pod, err := d.pod(ctx)
	if err != nil {
		return err.Error()
	}
	log, err := pods.CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil {
		return describePod(pod)
	}
	return lastLines(string(log))
}
