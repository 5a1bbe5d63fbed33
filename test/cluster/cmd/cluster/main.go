// Command cluster builds pinned binaries and runs a Kubernetes cluster on loopback.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flux-reloader/reloader/test/cluster"
)

func main() {
	log.SetLogger(logr.Discard()) // or envtest complains that nobody did
	os.Exit(run())
}

// run executes the command line and returns the exit status.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		logLine("error: %v", err)
		return 1
	}
	return 0
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "A Kubernetes cluster from pinned Go modules, on loopback",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newBinCommand(), newUpCommand(), newDownCommand())
	return root
}

func newBinCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "bin [NAME…]",
		Short:     "Build the named pinned binaries, or all of them",
		ValidArgs: cluster.BinaryNames(),
		RunE: func(cmd *cobra.Command, names []string) error {
			_, err := cluster.Binaries(cmd.Context(), names...)
			return err
		},
	}
}

func newUpCommand() *cobra.Command {
	var with string
	options := cluster.Options{Log: logLine, DownStops: true}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a cluster until Ctrl-C",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			components, err := cluster.ParseComponents(with)
			if err != nil {
				return err
			}
			options.With = components
			return up(cmd.Context(), options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&with, "with", string(cluster.KWOK), "optional parts, separated by commas: kwok, node, cert-manager, flux, image-reflector")
	flags.IntVar(&options.KwokNodes, "kwok-nodes", cluster.DefaultKwokNodes, "number of simulated nodes")
	flags.StringVar(&options.Dir, "dir", "", "state folder (default a fresh one below build/cluster/run)")
	flags.BoolVar(&options.AuditLog, "audit", false, "log every request to the API server")
	return cmd
}

// up runs a cluster until the context ends or the cluster fails.
func up(ctx context.Context, options cluster.Options) error {
	c, err := cluster.Start(ctx, options)
	if err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%s\n", c.Kubeconfig())
	<-c.Done()
	failure := c.Err()
	if ctx.Err() != nil {
		failure = nil // Asked to end.
	}
	began := time.Now()
	err = errors.Join(failure, c.Stop())
	logLine("cluster stopped in %s", time.Since(began).Round(100*time.Millisecond))
	return err
}

func newDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the clusters of cluster up, and clean up after any whose owner was killed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cluster.Down(cmd.Context(), "", logLine)
		},
	}
}

func logLine(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stderr, format+"\n", args...)
}
