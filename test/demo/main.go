// Command demo shows what Reloader is for: a container registry on a real Kubernetes node gets a new certificate, a new
// configuration and new S3 credentials, goes on with the old ones until Reloader restarts it, and a real client sees all
// of that on the wire. Without root there are simulated nodes only, which show the restarts but have no wire.
//
// Exit status: 0 if every step happened, 1 if one did not, 2 if all steps happened that simulated nodes can show,
// 130 after Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flux-reloader/reloader/test/cluster"
)

const (
	exitDone        = 0
	exitFailed      = 1
	exitSimulated   = 2
	exitInterrupted = 130
)

func main() {
	log.SetLogger(logr.Discard()) // or controller-runtime's clients complain that nobody did
	os.Exit(run(os.Args[1:], os.Stdout))
}

// run parses the command line, shows the demo and returns the exit status.
func run(args []string, out *os.File) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	simulated := flags.Bool("simulated", false, "show only what simulated nodes can show, as without root")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitDone
		}
		return exitFailed
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lines := newTimeline(out, isTerminal(out))
	status, err := show(ctx, lines, *simulated)
	switch {
	case ctx.Err() != nil:
		lines.fail("interrupted: %v", err)
		return exitInterrupted
	case err != nil:
		lines.fail("%v", err)
		return exitFailed
	default:
		return status
	}
}

// show runs the demo on a real node, or on simulated ones if asked to or if this is not root.
func show(ctx context.Context, out *timeline, simulated bool) (int, error) {
	out.title("Reloader: a registry, and what it reads from Secrets and ConfigMaps when it starts")
	if !simulated {
		err := play(ctx, out, realNode())
		if !errors.Is(err, cluster.ErrNeedsRoot) {
			return exitDone, err
		}
		out.note("%v: here is what simulated nodes can show", cluster.ErrNeedsRoot)
	}
	if err := play(ctx, out, simulatedNodes()); err != nil {
		return exitFailed, err
	}
	listUnshown(out)
	return exitSimulated, nil
}

// isTerminal tells whether people look at the output as it comes, and want colours.
func isTerminal(out *os.File) bool {
	info, err := out.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
