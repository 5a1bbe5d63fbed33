package cluster_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/flux-reloader/reloader/test/cluster/internal/sweep"
)

// eventually fails the test unless the condition becomes true in time.
func eventually(t *testing.T, limit time.Duration, what string, condition func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !condition(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s in vain for %s", limit, what)
		case <-ticker.C:
		}
	}
}

func deployment(name, image string) *appsv1.Deployment {
	replicas := int32(2)
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}},
			},
		},
	}
}

// rollOut creates a Deployment and waits until all its replicas are available.
func rollOut(t *testing.T, clients kubernetes.Interface, want *appsv1.Deployment) {
	t.Helper()
	deployments := clients.AppsV1().Deployments(want.Namespace)
	if _, err := deployments.Create(t.Context(), want, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, 2*time.Minute, "deployment "+want.Name, func(ctx context.Context) bool {
		got, err := deployments.Get(ctx, want.Name, metav1.GetOptions{})
		return err == nil && got.Status.AvailableReplicas == *want.Spec.Replicas
	})
	t.Logf("%s available after %s", want.Name, time.Since(began).Round(time.Millisecond))
}

// processesNaming lists the command lines of processes that contain the text.
func processesNaming(t *testing.T, text string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		// A process may end while the list is read.
		if command, err := os.ReadFile(file); err == nil && strings.Contains(string(command), text) {
			found = append(found, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return found
}

// checkNothingLeft fails the test for what a cluster with the state folder left
// on this machine.
func checkNothingLeft(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "containerd"} {
		if pid := sweep.PID(dir, name); pid != 0 {
			t.Errorf("%s still runs as process %d", name, pid)
		}
	}
	for _, command := range processesNaming(t, dir) {
		t.Errorf("still running: %s", command)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("mounts below %s are left", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "node.json")); err == nil {
		t.Error("the node is not undone")
	}
}
