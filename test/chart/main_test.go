// Package chart proves the Helm chart: that every value does what it says, that a real API server takes what is rendered,
// and that the controller works as the chart installs it; and the manifests by which Flux delivers it.
package chart

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/onsi/gomega"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
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
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "reloader-chart-")
	if err != nil {
		return 1, fmt.Errorf("making a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if reloader, err = harness.Reloader(ctx, root, dir); err != nil {
		return 1, err
	}
	shared, err = cluster.Start(ctx, cluster.Options{With: []cluster.Component{cluster.KWOK}, AuditLog: true})
	if err != nil {
		return 1, fmt.Errorf("starting the cluster: %w", err)
	}
	defer func() { _ = shared.Stop() }()
	if admin, err = client.New(shared.Config(), client.Options{Scheme: clientgoscheme.Scheme}); err != nil {
		return 1, fmt.Errorf("making a client: %w", err)
	}
	ctrl.SetLogger(logr.Discard())
	definitions, err := cluster.FluxDefinitions(ctx)
	if err != nil {
		return 1, fmt.Errorf("finding Flux's custom resources: %w", err)
	}
	definitions = append(definitions, filepath.Join("testdata", "crds"), filepath.Join(root, "charts", "reloader", "crds"))
	if _, err := envtest.InstallCRDs(shared.Config(), envtest.CRDInstallOptions{Paths: definitions, ErrorIfPathMissing: true}); err != nil {
		return 1, fmt.Errorf("installing custom resources: %w", err)
	}
	gomega.SetDefaultEventuallyTimeout(time.Minute)
	gomega.SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	return m.Run(), nil
}
