// Command reloader is the controller: it restarts workloads when the Secrets and ConfigMaps that their pods use change.
// Here are only its flags and how they are wired.
package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"

	"github.com/fluxcd/pkg/runtime/logger"
	"github.com/fluxcd/pkg/runtime/probes"
	"github.com/spf13/pflag"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/controller"
)

// version is set by the linker.
var version = "dev"

func main() {
	if frugal() {
		debug.SetGCPercent(gcPercent)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "reloader:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	o := &options{}
	flags := pflag.NewFlagSet("reloader", pflag.ContinueOnError)
	flags.SortFlags = false
	o.bind(flags)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return err
	}
	if o.version {
		fmt.Println(version)
		return nil
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	logging, err := o.stakater.logging(o.log)
	if err != nil {
		return err
	}
	logger.SetLogger(logger.NewLogger(logging))
	log := ctrl.Log.WithName("setup")
	settings, err := o.complete()
	if err != nil {
		return err
	}

	config, err := o.client.config()
	if err != nil {
		return err
	}
	if err := v1alpha1.AddToScheme(clientgoscheme.Scheme); err != nil {
		return fmt.Errorf("registering the API: %w", err)
	}
	mgr, err := ctrl.NewManager(config, o.manager())
	if err != nil {
		return fmt.Errorf("making the manager: %w", err)
	}
	probes.SetupChecks(mgr, log)
	if err := controller.SetupWithManager(mgr, settings); err != nil {
		return fmt.Errorf("setting up the controller: %w", err)
	}
	if frugal() {
		if err := mgr.Add(idleMemory{}); err != nil {
			return fmt.Errorf("arranging for idle memory to go back: %w", err)
		}
	}
	log.Info("starting", "version", version, "namespace", settings.Namespace)
	if err := mgr.Start(ctrl.SetupSignalHandler()); err != nil {
		return fmt.Errorf("running: %w", err)
	}
	return nil
}

// manager are the options of the controller-runtime manager. Its cache is not used: what is watched has its own.
func (o *options) manager() ctrl.Options {
	return ctrl.Options{
		Scheme:                        clientgoscheme.Scheme,
		Logger:                        ctrl.Log,
		Cache:                         cache.Options{ReaderFailOnMissingInformer: true},
		Metrics:                       metricsserver.Options{BindAddress: o.metricsAddr, ExtraHandlers: map[string]http.Handler{livePath: http.HandlerFunc(alive)}},
		PprofBindAddress:              o.stakater.profiles(),
		HealthProbeBindAddress:        o.healthAddr,
		LeaderElection:                o.election.Enable || o.stakater.enableHA,
		LeaderElectionReleaseOnCancel: o.election.ReleaseOnCancel,
		LeaseDuration:                 &o.election.LeaseDuration,
		RenewDeadline:                 &o.election.RenewDeadline,
		RetryPeriod:                   &o.election.RetryPeriod,
		LeaderElectionID:              o.electionID(),
		LeaderElectionNamespace:       o.namespace,
	}
}

// livePath is where probes of Stakater Reloader's manifests ask whether it is alive, at the port of the metrics.
const livePath = "/live"

// alive answers as long as there is a process: one that has lost the lease ends.
func alive(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "alive") }
