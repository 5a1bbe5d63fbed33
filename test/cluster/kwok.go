package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	kwokUser = "kwok"
	// kwokAnnotation marks the nodes that kwok manages; a real node has it not.
	kwokAnnotation = "kwok.x-k8s.io/node"
	// nodeTypeLabel tells simulated nodes from real ones.
	nodeTypeLabel = "type"
	kwokNodeType  = "kwok"

	kwokModule  = "sigs.k8s.io/kwok"
	kwokPodCIDR = "10.244.0.0/16"
	// kwokNodePods is out of the way of any test or benchmark.
	kwokNodePods = "2000"
)

// kwokSettings let kwok play many pods at once: benchmarks roll out thousands.
// Giving options replaces all of kwok's defaults, so none may be left out.
const kwokSettings = `apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  podPlayStageParallelism: 16
  nodePlayStageParallelism: 16
  nodeLeaseParallelism: 4
  podsOnNodeSyncParallelism: 1
`

// kwokStages are the folders of kwok's module with the stages that make nodes
// and pods pass through their life without delay.
func kwokStages() []string {
	return []string{"node/fast", "node/heartbeat-with-lease", "pod/fast"}
}

// startKwok starts kwok with its own identity and rights, makes the simulated
// nodes and waits until they are Ready.
func (c *Cluster) startKwok(ctx context.Context) error {
	config, err := c.writeKwokConfig(ctx)
	if err != nil {
		return err
	}
	if err := grant(ctx, c.client, kwokUser, kwokRules()); err != nil {
		return err
	}
	args := []string{
		"--config=" + config, "--v=WARN",
		"--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=" + kwokAnnotation + "=fake",
		"--cidr=" + kwokPodCIDR, "--node-ip=10.0.0.1", "--node-lease-duration-seconds=40",
	}
	if err := c.runAs(binKwok, kwokUser, args); err != nil {
		return err
	}
	for i := range c.opts.KwokNodes {
		node := kwokNode(fmt.Sprintf("kwok-%d", i+1))
		if _, err := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("making a simulated node: %w", err)
		}
	}
	return c.waitForNodes(ctx, kwokNodeType, c.opts.KwokNodes)
}

// waitForNodes waits until that many nodes of a type are Ready.
func (c *Cluster) waitForNodes(ctx context.Context, nodeType string, want int) error {
	return waitFor(ctx, "nodes of type "+nodeType, func(ctx context.Context) (bool, error) {
		nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: nodeTypeLabel + "=" + nodeType})
		if err != nil {
			return false, err
		}
		ready := 0
		for _, node := range nodes.Items {
			for _, condition := range node.Status.Conditions {
				if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		return ready >= want, fmt.Errorf("%d of %d are ready", ready, want)
	})
}

// writeKwokConfig joins the stages that come with kwok's module into one file.
func (c *Cluster) writeKwokConfig(ctx context.Context) (string, error) {
	module, err := c.builder.moduleDir(ctx, coreModule, kwokModule)
	if err != nil {
		return "", err
	}
	config := bytes.NewBufferString(kwokSettings)
	for _, folder := range kwokStages() {
		pattern := filepath.Join(module, "kustomize", "stage", filepath.FromSlash(folder), "*.yaml")
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			return "", fmt.Errorf("finding kwok's stages in %s: %w", pattern, errors.Join(err, os.ErrNotExist))
		}
		for _, file := range files {
			if strings.HasPrefix(filepath.Base(file), "kustomization.") {
				continue
			}
			stage, err := os.ReadFile(file)
			if err != nil {
				return "", fmt.Errorf("reading kwok's stages: %w", err)
			}
			config.WriteString("---\n")
			config.Write(stage)
		}
	}
	path := filepath.Join(c.dir, "kwok.yaml")
	if err := os.WriteFile(path, config.Bytes(), 0o644); err != nil {
		return "", fmt.Errorf("writing kwok's configuration: %w", err)
	}
	return path, nil
}

func kwokNode(name string) *corev1.Node {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("1000"),
		corev1.ResourceMemory: resource.MustParse("1Ti"),
		corev1.ResourcePods:   resource.MustParse(kwokNodePods),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{kwokAnnotation: "fake", "node.alpha.kubernetes.io/ttl": "0"},
			Labels: map[string]string{
				nodeTypeLabel:            kwokNodeType,
				corev1.LabelHostname:     name,
				corev1.LabelOSStable:     "linux",
				corev1.LabelArchStable:   "amd64",
				corev1.LabelTopologyZone: name,
			},
		},
		Status: corev1.NodeStatus{Allocatable: resources, Capacity: resources},
	}
}

// kwokRules are what kwok needs to play nodes and pods.
func kwokRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes", "pods"}, Verbs: []string{"get", "list", "watch", "update", "patch", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"nodes/status", "pods/status"}, Verbs: []string{"update", "patch"}},
		{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "update", "patch"}},
		{
			APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"},
			Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete"},
		},
	}
}

// grant gives a user the rules in the whole cluster.
func grant(ctx context.Context, client kubernetes.Interface, user string, rules []rbacv1.PolicyRule) error {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making the role of %s: %w", user, err)
	}
	return bind(ctx, client, user, role.Name)
}

// bind gives a user an existing role in the whole cluster.
func bind(ctx context.Context, client kubernetes.Interface, user, role string) error {
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("binding %s to role %s: %w", user, role, err)
	}
	return nil
}
