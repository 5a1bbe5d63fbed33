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
	harness.Main(m, root, cluster.Options{
		With: []cluster.Component{cluster.KWOK, cluster.Flux},
		Log:  func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}, prepare)
}

func prepare(ctx context.Context, suite harness.Suite) error {
	shared, admin, reloader = suite.Cluster, suite.Admin, suite.Reloader
	binaries, err := cluster.Binaries(ctx, "flux")
	if err != nil {
		return fmt.Errorf("building the flux command: %w", err)
	}
	fluxCLI = binaries["flux"]
	if err := (harness.Rights{Client: admin, Root: root}).CreateClusterRole(ctx); err != nil {
		return err
	}
	gomega.SetDefaultEventuallyTimeout(2 * time.Minute)
	gomega.SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	return nil
}
