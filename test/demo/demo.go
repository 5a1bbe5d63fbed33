package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/registry"
)

// namespace is where the registry is.
const namespace = registry.Namespace

// scene is one way to show the demo.
type scene struct {
	parts []cluster.Component
	// variables are those of the manifests.
	variables map[string]string
	steps     []step
}

// step is a part of the demo. It fails if what it is to show does not happen.
type step struct {
	title string
	show  func(*demo, context.Context) error
}

// demo is a scene on a running cluster.
type demo struct {
	root      string
	out       *timeline
	variables map[string]string

	cluster    *cluster.Cluster
	client     client.Client
	controller *cluster.Process
	s3         *registry.S3
	registry   *registry.Client

	// value is what Reloader wrote to the pod template last, restarts how often it did.
	value    string
	restarts int
}

// play starts a cluster, shows all steps and stops it.
func play(life context.Context, out *timeline, s scene) (err error) {
	d := &demo{out: out, variables: s.variables}
	if d.root, err = cluster.FindRoot(); err != nil {
		return err
	}
	// Before anything that takes minutes.
	if _, err := os.Stat(d.controllerBinary()); err != nil {
		return fmt.Errorf("the controller is not built: run `make build`, or the demo by `make demo`: %w", err)
	}
	d.cluster, err = cluster.Start(life, cluster.Options{Root: d.root, With: s.parts, AuditLog: true, Log: d.progress})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cluster.Stop()) }()
	if d.client, err = client.New(d.cluster.Config(), client.Options{}); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	ctx, cancel := context.WithCancelCause(life)
	defer cancel(nil)
	d.endWith(ctx, cancel, d.cluster.Done(), func() error { return d.cluster.Err() })
	if err := d.startController(ctx); err != nil {
		return d.explain(life, err)
	}
	d.endWith(ctx, cancel, d.controller.Exited(), func() error { return errors.New("the controller has ended") })
	for _, step := range s.steps {
		if step.title != "" {
			out.section(step.title)
		}
		if err := step.show(d, ctx); err != nil {
			return d.explain(life, err)
		}
	}
	return nil
}

// endWith ends the demo when a process that it needs has ended.
func (d *demo) endWith(ctx context.Context, cancel context.CancelCauseFunc, ended <-chan struct{}, cause func() error) {
	go func() {
		select {
		case <-ended:
			cancel(cause())
		case <-ctx.Done():
		}
	}()
}

// progress takes lines of progress from the cluster.
func (d *demo) progress(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if !strings.HasSuffix(line, "up to date") {
		d.out.note("%s", line)
	}
}

// update changes an object of the cluster, which only needs to have a name. It returns no conflict: it looks again.
func (d *demo) update(ctx context.Context, object client.Object, change func() error) error {
	key := client.ObjectKeyFromObject(object)
	return until(ctx, "changing "+key.Name, patience, func(ctx context.Context) (bool, string, error) {
		if err := d.client.Get(ctx, key, object); err != nil {
			return false, "", err
		}
		if err := change(); err != nil {
			return false, "", err
		}
		err := d.client.Update(ctx, object, client.FieldOwner(fieldManager))
		return err == nil, "", err
	})
}

// logTime is how long collecting logs after a failure may take.
const logTime = 5 * time.Second

// explain adds to an error where to look, and what the processes said last. The cluster still runs.
func (d *demo) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err // Ctrl-C
	}
	ctx, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	text := "\nlogs: " + filepath.Dir(d.cluster.LogFile("reloader"))
	if log := tail(d.cluster.LogFile("reloader")); log != "" {
		text += "\nthe last lines of the controller:\n" + log
	}
	if log := d.registryLog(ctx); log != "" {
		text += "\nthe last lines of the registry:\n" + log
	}
	return fmt.Errorf("%w%s", err, text)
}

// tail returns the last lines of a file; a file that cannot be read has none.
func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return lastLines(string(content))
}

func lastLines(text string) string {
	const count, width = 8, 240
	lines := strings.Split(strings.TrimSpace(text), "\n")
	lines = lines[max(0, len(lines)-count):]
	for i, line := range lines {
		if len(line) > width {
			lines[i] = line[:width] + "…"
		}
	}
	return strings.Join(lines, "\n")
}
