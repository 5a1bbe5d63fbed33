package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// folder is where the mutations are, seen from the root of the repository.
const folder = "test/mutations"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, "..", os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// run judges the mutations of the repository that the arguments choose, and writes a line about each.
func run(ctx context.Context, root string, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mutate [name…]", flag.ContinueOnError)
	kind := flags.String("kind", "", "only what tests of this `kind` must catch: unit, or integration for those that need the cluster")
	if err := flags.Parse(args); err != nil {
		return err
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("finding the repository: %w", err)
	}
	all, err := load(filepath.Join(root, folder))
	if err != nil {
		return err
	}
	chosen, err := choose(all, *kind, flags.Args())
	if err != nil {
		return err
	}
	t, err := copyTree(ctx, root)
	if err != nil {
		return err
	}
	defer t.remove()
	return judge(ctx, t, chosen, out)
}

// judge tries the mutations one after another. Its error says how many were not caught.
func judge(ctx context.Context, t tree, mutations []mutation, out io.Writer) error {
	began := time.Now()
	healthy := map[suite]outcome{}
	for s, tests := range suites(mutations) {
		o, err := t.test(ctx, s, tests)
		if err != nil {
			return err
		}
		healthy[s] = o
	}
	_, _ = fmt.Fprintf(out, "ok   %5.1fs  without any\n", time.Since(began).Seconds())
	missed := 0
	for _, m := range mutations {
		start := time.Now()
		err := try(ctx, t, m, healthy)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		verdict := "ok  "
		if err != nil {
			verdict = "FAIL"
			missed++
		}
		_, _ = fmt.Fprintf(out, "%s %5.1fs  %s\n", verdict, time.Since(start).Seconds(), m.name)
		if err != nil {
			_, _ = fmt.Fprintln(out, indent(fmt.Sprintf("breaks: %s\n%v", m.breaks, err)))
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d mutations not caught", missed, len(mutations))
	}
	_, _ = fmt.Fprintf(out, "all %d mutations caught after %.0fs\n", len(mutations), time.Since(began).Seconds())
	return nil
}

// try applies a mutation and takes it back. Its error says why it does not count as caught; nil if it does.
func try(ctx context.Context, t tree, m mutation, healthy map[suite]outcome) (err error) {
	for s, tests := range suites([]mutation{m}) {
		if err := healthy[s].passed(tests); err != nil {
			return fmt.Errorf("without the mutation, %w", err)
		}
	}
	if err := t.apply(ctx, m.patch); err != nil {
		return fmt.Errorf("the patch does not apply: %w", err)
	}
	defer func() { err = errors.Join(err, t.apply(context.WithoutCancel(ctx), m.patch, "--reverse")) }()
	for s, tests := range suites([]mutation{m}) {
		o, err := t.test(ctx, s, tests)
		if err != nil {
			return err
		}
		if err := o.failed(tests); err != nil {
			return err
		}
	}
	return nil
}
