package harness

import (
	"context"
	"fmt"
	"os"
	"testing"

	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
)

// Suite is what the tests of a package share.
type Suite struct {
	Cluster *cluster.Cluster
	// Admin is an administrator's client.
	Admin client.Client
	// Reloader is the controller's binary.
	Reloader string
}

// Main runs the tests of a package and ends the process. It builds the controller of the repository at root, starts a
// cluster, and has it prepared before the first test.
func Main(m *testing.M, root string, options cluster.Options, prepare func(context.Context, Suite) error) {
	code, err := runAll(m, root, options, prepare)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func runAll(m *testing.M, root string, options cluster.Options, prepare func(context.Context, Suite) error) (code int, err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "reloader-test-")
	if err != nil {
		return 1, fmt.Errorf("making a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	suite := Suite{}
	if suite.Reloader, err = Reloader(ctx, root, dir); err != nil {
		return 1, err
	}
	if suite.Cluster, err = cluster.Start(ctx, options); err != nil {
		return 1, fmt.Errorf("starting the cluster: %w", err)
	}
	defer func() { _ = suite.Cluster.Stop() }()
	if suite.Admin, err = client.New(suite.Cluster.Config(), client.Options{Scheme: clientgoscheme.Scheme}); err != nil {
		return 1, fmt.Errorf("making a client: %w", err)
	}
	if err := prepare(ctx, suite); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
