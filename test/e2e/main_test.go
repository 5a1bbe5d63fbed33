// Package e2e proves that Reloader and Flux get along: on a real cluster with Flux's own controllers, which take what they
// apply from a git repository and a Helm repository on loopback, with the controller as a process beside them.
package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/onsi/gomega"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// root is the root of the repository, seen from this package.
const root = "../.."

// What the tests share: one cluster, and binaries.
var (
	shared   *cluster.Cluster
	admin    client.Client
	reloader string
	fluxCLI  string
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
	dir, err := os.MkdirTemp("", "reloader-e2e-")
	if err != nil {
		return 1, fmt.Errorf("making a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if reloader, err = harness.Reloader(ctx, root, dir); err != nil {
		return 1, err
	}
	binaries, err := cluster.Binaries(ctx, "flux")
	if err != nil {
		return 1, fmt.Errorf("building the flux command: %w", err)
	}
	fluxCLI = binaries["flux"]
	shared, err = cluster.Start(ctx, cluster.Options{
		With: []cluster.Component{cluster.KWOK, cluster.Flux},
		Log:  func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	})
	if err != nil {
		return 1, fmt.Errorf("starting the cluster: %w", err)
	}
	defer func() { _ = shared.Stop() }()
	if admin, err = client.New(shared.Config(), client.Options{Scheme: clientgoscheme.Scheme}); err != nil {
		return 1, fmt.Errorf("making a client: %w", err)
	}
	if err := (harness.Rights{Client: admin, Root: root}).CreateClusterRole(ctx); err != nil {
		return 1, err
	}
	gomega.SetDefaultEventuallyTimeout(time.Minute)
	gomega.SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	return m.Run(), nil
}
