// Package delivery proves what a cluster gets that commits infrastructure/ and flux-system/: Flux's own controllers apply
// them from a git repository, install the packaged chart from a Helm repository, and Reloader runs in a pod of a real node
// by the rights that the chart gives it. It judges by a registry and by an ImageRepository that scans it.
//
// The network of the real node is a bridge: a NetworkPolicy is not enforced there, and none is tested.
package delivery

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/gitserver"
	"github.com/flux-reloader/reloader/test/internal/harness"
	"github.com/flux-reloader/reloader/test/internal/registry"
)

// root is the root of the repository, seen from this package.
const root = "../../.."

// delivery is a cluster that Flux delivers Reloader to, and what Flux takes it from.
type delivery struct {
	whole   *testing.T // the test
	t       *testing.T // its present step
	cluster *cluster.Cluster
	admin   client.Client
	flux    string // the path of its command
	fleet   *gitserver.Repository
	charts  *charts
	// apiServer and events are where pods reach the API server and notification-controller.
	apiServer, events string
	// values are those of the cluster, by their path below `reloader`.
	values map[string]any
	// policy are patches of the default policy.
	policy []operation
	// What the registry has.
	judge         *judge
	s3            *registry.S3
	variables     map[string]string // of its manifests
	authorityPair tls.Certificate   // which signs its certificates
}

// One story: each step goes on where the one before has ended.
func TestDelivery(t *testing.T) {
	log.SetLogger(logr.Discard()) // or controller-runtime complains that nobody did
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	d := newDelivery(t)
	for _, step := range []struct {
		name string
		run  func(*delivery)
	}{
		{"Flux installs it", (*delivery).install},
		{"a registry's clients never see an expired certificate again", (*delivery).judgeRegistry},
		{"values can be overridden", (*delivery).override},
		{"what Flux and policies suspend stays as it is", (*delivery).suspend},
		{"an upgrade misses nothing and doubles nothing", (*delivery).upgrade},
		{"an uninstallation leaves workloads as they are", (*delivery).uninstall},
	} {
		began := time.Now()
		ok := t.Run(step.name, func(t *testing.T) {
			d.t = t
			step.run(d)
		})
		t.Logf("%s: %s", step.name, time.Since(began).Round(time.Second))
		if !ok {
			t.FailNow()
		}
	}
}

// newDelivery starts the cluster with the images of two versions on its node, and serves the chart and the repository.
func newDelivery(t *testing.T) *delivery {
	t.Helper()
	g := NewWithT(t)
	c, err := cluster.Start(t.Context(), cluster.Options{
		With:     []cluster.Component{cluster.KWOK, cluster.Node, cluster.CertManager, cluster.Flux, cluster.ImageReflector},
		AuditLog: true,
		FluxArgs: map[string][]string{
			"kustomize-controller":       {"--requeue-dependency=1s"},
			"helm-controller":            {"--requeue-dependency=1s"},
			"image-reflector-controller": {"--max-retry-delay=1s"},
		},
		Log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	})
	if errors.Is(err, cluster.ErrNeedsRoot) {
		t.Skipf("a kubelet is needed to run what Flux installs: %v", err)
	}
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(c.Stop()).To(Succeed()) })
	d := &delivery{whole: t, t: t, cluster: c, values: map[string]any{}}
	d.admin, err = client.New(c.Config(), client.Options{Scheme: clientgoscheme.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	binaries, err := cluster.Binaries(t.Context(), "flux")
	g.Expect(err).NotTo(HaveOccurred())
	d.flux = binaries["flux"]
	d.apiServer, d.events = d.expose(c.APIServerURL()), d.expose(c.Flux().EventsAddress)

	release, err := harness.Build(t.Context(), filepath.Join(root, "tools", "release"), ".", filepath.Join(t.TempDir(), "release"))
	g.Expect(err).NotTo(HaveOccurred())
	d.loadImages(release)
	d.charts = serveCharts(t, release)
	server, err := gitserver.Start(t.Context(), t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(server.Close)
	d.fleet, err = server.Create(t.Context(), "fleet")
	g.Expect(err).NotTo(HaveOccurred())
	return d
}

// expose lets pods reach a URL on loopback, and returns at which host and port they do.
func (d *delivery) expose(address string) string {
	d.t.Helper()
	g := NewWithT(d.t)
	parsed, err := url.Parse(address)
	g.Expect(err).NotTo(HaveOccurred())
	exposed, err := d.cluster.Expose(parsed.Host)
	g.Expect(err).NotTo(HaveOccurred())
	return exposed
}

// loadImages puts the image on the node, as `make image` makes it from this source, under the names that both versions of
// the chart have for it.
func (d *delivery) loadImages(release string) {
	d.t.Helper()
	g := NewWithT(d.t)
	binary, err := harness.Reloader(d.t.Context(), root, d.t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	for _, version := range []string{firstVersion, secondVersion} {
		archive := filepath.Join(d.t.TempDir(), "image.tar")
		d.run(release, "image", "-version", "v"+version, "-out", archive, runtime.GOARCH+"="+binary)
		g.Expect(d.cluster.LoadArchive(d.t.Context(), image, archive)).To(Succeed())
	}
}
