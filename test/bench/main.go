// Command bench measures what the controller costs on a real API server with simulated nodes: memory with many workloads
// and many unrelated Secrets, once small and once large, the requests it makes, how long a change takes to become a
// restart, and how long a change that concerns all workloads takes, both beside a bare client that sends the same patches
// in the same run.
//
// Exit status: 0 if all figures are within the limits of the design, 1 if one is not, or nothing could be measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// errLimits says that something was measured that is above its limit.
var errLimits = errors.New("not within the limits")

// settings say what is measured.
type settings struct {
	workloads, secrets int
	// sizes of the unrelated Secrets, in KiB: a run for each.
	sizes []int
	// rest is how long the controller is left alone before its memory counts.
	rest time.Duration
	// changes is how many single changes are timed; none, nor one of all workloads, if it is 0.
	changes int
	json    bool
}

func main() {
	log.SetLogger(logr.Discard()) // or controller-runtime's clients complain that nobody did
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var all report
	for _, size := range s.sizes {
		measured, err := measure(ctx, s, size)
		if err != nil {
			return fmt.Errorf("with Secrets of %d KiB: %w", size, err)
		}
		all.Runs = append(all.Runs, measured)
	}
	return all.print(os.Stdout, s.json)
}

func parse(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&s.workloads, "workloads", 1000, "the number of Deployments, each with a source of its own and a shared one")
	flags.IntVar(&s.secrets, "secrets", 3000, "the number of Secrets that no workload uses")
	sizes := flags.String("sizes", "20,200", "the sizes of these Secrets in KiB, one run for each")
	flags.DurationVar(&s.rest, "rest", 150*time.Second,
		"how long the controller is left alone before its memory counts; Go collects garbage every two minutes at the latest")
	flags.IntVar(&s.changes, "changes", 30, "the number of single changes to time; 0 to measure memory and requests only")
	flags.BoolVar(&s.json, "json", false, "print JSON instead of a table")
	if err := flags.Parse(args); err != nil {
		return s, fmt.Errorf("reading flags: %w", err)
	}
	for size := range strings.SplitSeq(*sizes, ",") {
		kib, err := strconv.Atoi(size)
		if err != nil || kib < 1 {
			return s, fmt.Errorf("-sizes=%q: want numbers of KiB, separated by commas", *sizes)
		}
		s.sizes = append(s.sizes, kib)
	}
	if s.changes > s.workloads/2 {
		return s, fmt.Errorf("-changes=%d: must be at most half of -workloads=%d", s.changes, s.workloads)
	}
	return s, nil
}

// progress tells people what goes on; the results have standard output to themselves.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}
