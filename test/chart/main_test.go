// Package chart proves the Helm chart: that every value does what it says, that a real API server takes what is rendered,
// and that the controller works as the chart installs it; the manifests by which Flux delivers it; and those that the
// documentation shows.
package chart

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/onsi/gomega"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// root is the root of the repository, seen from this package.
const root = "../.."

// What the tests share: one cluster, and the controller's binary.
var (
	shared   *cluster.Cluster
	admin    client.Client
	reloader string
)

func TestMain(m *testing.M) {
	harness.Main(m, root, cluster.Options{With: []cluster.Component{cluster.KWOK}, AuditLog: true}, prepare)
}

func prepare(ctx context.Context, suite harness.Suite) error {
	shared, admin, reloader = suite.Cluster, suite.Admin, suite.Reloader
	ctrl.SetLogger(logr.Discard())
	definitions, err := cluster.Definitions(ctx)
	if err != nil {
		return fmt.Errorf("finding custom resources: %w", err)
	}
	definitions = append(definitions, filepath.Join(root, "charts", "reloader", "crds"))
	options := envtest.CRDInstallOptions{Paths: definitions, ErrorIfPathMissing: true, MaxTime: 2 * time.Minute}
	if _, err := envtest.InstallCRDs(shared.Config(), options); err != nil {
		return fmt.Errorf("installing custom resources: %w", err)
	}
	gomega.SetDefaultEventuallyTimeout(time.Minute)
	gomega.SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	return nil
}
