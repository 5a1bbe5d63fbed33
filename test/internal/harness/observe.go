package harness

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// LedgerLabel is on the shards of the ledger.
const LedgerLabel = "reloader.contrib.fluxcd.io/ledger"

// Ledger are the shards of the ledger of the controller of a namespace.
func Ledger(ctx context.Context, c client.Client, namespace string) ([]corev1.ConfigMap, error) {
	list := &corev1.ConfigMapList{}
	if err := c.List(ctx, list, client.InNamespace(namespace), client.HasLabels{LedgerLabel}); err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	return list.Items, nil
}

// Record is the ledger's record of a workload as it is stored; empty if there is none.
func Record(ctx context.Context, c client.Client, namespace string, workload types.UID) (string, error) {
	shards, err := Ledger(ctx, c, namespace)
	if err != nil {
		return "", err
	}
	for _, shard := range shards {
		if text := shard.Data[string(workload)]; text != "" {
			return text, nil
		}
	}
	return "", nil
}

// Proven matches a record that says that all pods run with the present content, after the restart to this value.
func Proven(value string) gomegatypes.GomegaMatcher {
	return gomega.And(gomega.ContainSubstring(`"tpl":`), gomega.Not(gomega.ContainSubstring(`"pend":`)),
		gomega.Not(gomega.ContainSubstring(`"dv":`)), gomega.ContainSubstring(value))
}

// Complete reports whether a Deployment's rollout is through: all its pods are of the present revision and run.
func Complete(d *appsv1.Deployment) bool {
	s := d.Status
	return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == *d.Spec.Replicas &&
		s.Replicas == s.UpdatedReplicas && s.ReadyReplicas == s.Replicas && s.TerminatingReplicas != nil && *s.TerminatingReplicas == 0
}

// Later waits until the API server's time stamps of what is done from now on are clearly after all before. They have a
// grain of one second.
func Later(t *testing.T) {
	t.Helper()
	const grain = 2100 * time.Millisecond
	began := time.Now()
	gomega.NewWithT(t).Eventually(func() time.Duration { return time.Since(began) }).Should(gomega.BeNumerically(">", grain))
}
