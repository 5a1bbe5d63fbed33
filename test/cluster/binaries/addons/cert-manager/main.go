// Command cert-manager runs cert-manager's controllers for certificates issued
// by itself: self-signed ones and those of an own CA. cert-manager's own command
// is in a Go module of its own, which is published without source archive, so
// this takes its place; the controllers are cert-manager's. There is no webhook,
// no CA injector and no ACME.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/cert-manager/cert-manager/pkg/controller"
	// Each of these registers a controller or an issuer.
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/metrics"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	logf "github.com/cert-manager/cert-manager/pkg/logs"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// workers is the number of objects that each controller handles at once.
const workers = 2

func main() {
	os.Exit(start())
}

// start runs the controllers until a signal and returns the exit status.
func start() int {
	kubeconfig := flag.String("kubeconfig", "", "path of the kubeconfig file")
	namespace := flag.String("cluster-resource-namespace", "cert-manager", "namespace of the Secrets of ClusterIssuers")
	minBackoff := flag.Duration("min-backoff", time.Hour, "minimum time before a failed issuance is tried again")
	klog.InitFlags(nil)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(logf.NewContext(ctx, klog.Background()), *kubeconfig, *namespace, *minBackoff); err != nil {
		fmt.Fprintln(os.Stderr, "cert-manager:", err)
		return 1
	}
	return 0
}

// run runs all registered controllers until ctx ends.
func run(ctx context.Context, kubeconfig, namespace string, minBackoff time.Duration) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		APIServerHost: config.Host,
		Kubeconfig:    kubeconfig,
		IssuerOptions: controller.IssuerOptions{ClusterResourceNamespace: namespace},
		CertificateOptions: controller.CertificateOptions{
			// As cert-manager's own command has them by default.
			CopiedAnnotationPrefixes:                 []string{"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/"},
			CertificateRequestMinimumBackoffDuration: minBackoff,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	})
	if err != nil {
		return fmt.Errorf("making controllers: %w", err)
	}
	known := controller.Known()
	controllers := make(map[string]controller.Interface, len(known))
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if controllers[name], err = known[name](factory); err != nil {
			return fmt.Errorf("making controller %s: %w", name, err)
		}
	}
	shared, err := factory.Build()
	if err != nil {
		return fmt.Errorf("making informers: %w", err)
	}
	// Informers start when all controllers have asked for theirs.
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	group, ctx := errgroup.WithContext(ctx)
	for name, each := range controllers {
		group.Go(func() error {
			if err := each.Run(workers, ctx); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("running controller %s: %w", name, err)
			}
			return nil
		})
	}
	return group.Wait()
}
