package main

import (
	"context"
	"crypto/rand"
	"fmt"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

const (
	// namespace holds the workloads and their sources, unrelated the other Secrets.
	namespace = "bench"
	unrelated = "unrelated"

	// shared is the ConfigMap that all workloads use.
	shared = "shared"
	// sourceKey is the key that sources have.
	sourceKey = "value"

	// creators is how many objects are created at once.
	creators = 16
)

// names of the workloads, of the controller's concern or not, and of the Secret or ConfigMap of their own.
func workloadName(i int) string { return fmt.Sprintf("web-%04d", i) }
func bareName(i int) string     { return fmt.Sprintf("bare-%04d", i) }

// load creates all objects and waits until the workloads run. As many workloads as there are single changes to time are
// not annotated: those are the bare client's.
func (b *bench) load(ctx context.Context, size int) error {
	for _, name := range []string{namespace, unrelated, controllerNamespace} {
		object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := b.clients.CoreV1().Namespaces().Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("making namespace %s: %w", name, err)
		}
	}
	progress("making %d Secrets of %d KiB that no workload uses", b.secrets, size>>10)
	if err := each(ctx, creators, b.secrets, func(ctx context.Context, i int) error { return b.makeUnrelated(ctx, i, size) }); err != nil {
		return err
	}
	progress("making %d Deployments with their sources", b.workloads+b.changes)
	if err := b.makeConfigMap(ctx, shared); err != nil {
		return err
	}
	if err := each(ctx, creators, b.workloads, b.makeWorkload); err != nil {
		return err
	}
	if err := each(ctx, creators, b.changes, func(ctx context.Context, i int) error {
		return b.makeDeployment(ctx, deployment(bareName(i), false))
	}); err != nil {
		return err
	}
	return b.awaitRollouts(ctx)
}

// each calls do for all numbers below count, so many at once.
func each(ctx context.Context, atOnce, count int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range count {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

func (b *bench) makeUnrelated(ctx context.Context, i, size int) error {
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("unrelated-%04d", i)}, Data: map[string][]byte{"data": data},
	}
	if _, err := b.clients.CoreV1().Secrets(unrelated).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making an unrelated Secret: %w", err)
	}
	return nil
}

// makeWorkload makes a Deployment and its own source: Secrets and ConfigMaps take turns.
func (b *bench) makeWorkload(ctx context.Context, i int) error {
	name := workloadName(i)
	d := deployment(name, true)
	container := &d.Spec.Template.Spec.Containers[0]
	own := corev1.LocalObjectReference{Name: name}
	container.EnvFrom = []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: shared}}},
	}
	if isSecret(i) {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{sourceKey: []byte(name)}}
		if _, err := b.clients.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("making a Secret: %w", err)
		}
		container.EnvFrom = append(container.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: own}})
	} else {
		if err := b.makeConfigMap(ctx, name); err != nil {
			return err
		}
		container.EnvFrom = append(container.EnvFrom, corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: own}})
	}
	return b.makeDeployment(ctx, d)
}

// isSecret tells whether a workload's own source is a Secret.
func isSecret(i int) bool { return i%2 == 0 }

func (b *bench) makeConfigMap(ctx context.Context, name string) error {
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{sourceKey: name}}
	if _, err := b.clients.CoreV1().ConfigMaps(namespace).Create(ctx, configMap, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making a ConfigMap: %w", err)
	}
	return nil
}

func (b *bench) makeDeployment(ctx context.Context, d *appsv1.Deployment) error {
	if _, err := b.clients.AppsV1().Deployments(namespace).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making a Deployment: %w", err)
	}
	return nil
}

func deployment(name string, annotated bool) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(1)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To(int64(0)),
					Containers:                    []corev1.Container{{Name: "app", Image: "reloader.test/none:1"}},
				},
			},
		},
	}
	if annotated {
		d.Annotations = map[string]string{v1alpha1.AutoAnnotation: "true"}
	}
	return d
}

// awaitRollouts waits until all pods of all workloads are of the present revision and run.
func (b *bench) awaitRollouts(ctx context.Context) error {
	return until(ctx, "all rollouts are through", func(ctx context.Context) (bool, error) {
		list, err := b.clients.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, err
		}
		for i := range list.Items {
			if !complete(&list.Items[i]) {
				return false, nil
			}
		}
		return len(list.Items) == b.workloads+b.changes, nil
	})
}

func complete(d *appsv1.Deployment) bool {
	s := d.Status
	return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == 1 && s.Replicas == 1 && s.ReadyReplicas == 1 &&
		s.TerminatingReplicas != nil && *s.TerminatingReplicas == 0
}
