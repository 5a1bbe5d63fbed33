// Package integration proves the controller against a real API server and a real controller manager. The controller runs
// as a child process under an identity that has only the project's own RBAC.
//
// Tests of the default installation, which watches all namespaces, run one after another. All others run at the same
// time: each has a namespace, a controller that watches only that, and therefore a ledger of its own.
package integration

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// root is the root of the repository, seen from this package.
const root = "../.."

// What the tests share: one cluster, and the controller's binary.
var (
	shared   *cluster.Cluster
	reloader string
	admin    client.Client
	clients  kubernetes.Interface
)

func TestMain(m *testing.M) {
	harness.Main(m, root, cluster.Options{With: []cluster.Component{cluster.KWOK}, AuditLog: true}, prepare)
}

func prepare(ctx context.Context, suite harness.Suite) (err error) {
	shared, admin, reloader = suite.Cluster, suite.Admin, suite.Reloader
	if clients, err = kubernetes.NewForConfig(shared.Config()); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := rights(admin).CreateClusterRole(ctx); err != nil {
		return err
	}
	if err := applyPolicyCRD(ctx, admin); err != nil {
		return err
	}
	manyAtOnce()
	gomega.SetDefaultEventuallyTimeout(time.Minute)
	gomega.SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	return nil
}

// manyAtOnce lets more tests run at the same time than there are processors, unless -parallel says otherwise: most of
// their time they wait.
func manyAtOnce() {
	flag.Parse()
	explicit := false
	flag.Visit(func(f *flag.Flag) { explicit = explicit || f.Name == "test.parallel" })
	if !explicit {
		_ = flag.Set("test.parallel", "8") // it is there in every test binary
	}
}
