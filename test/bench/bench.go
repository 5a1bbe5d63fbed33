package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
)

const (
	pollInterval = 200 * time.Millisecond
	// patience is how long anything may take.
	patience = 10 * time.Minute
	// aMinute is a little more than one: a change less than a minute after a rollout makes the controller ask for pods.
	aMinute = 65 * time.Second
)

// bench is one run: a cluster with objects in it, and the controller.
type bench struct {
	settings
	root     string
	cluster  *cluster.Cluster
	client   client.Client
	clients  kubernetes.Interface
	observer *observer
}

// measure makes one run, with unrelated Secrets of a size in KiB.
func measure(life context.Context, s settings, kib int) (r result, err error) {
	b := &bench{settings: s}
	if b.root, err = cluster.FindRoot(); err != nil {
		return r, err
	}
	if _, err := os.Stat(b.controllerBinary()); err != nil {
		return r, fmt.Errorf("the controller is not built: run `make build`, or all of this by `make bench`: %w", err)
	}
	b.cluster, err = cluster.Start(life, cluster.Options{
		Root: b.root, With: []cluster.Component{cluster.KWOK}, AuditLog: true, Log: progress,
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.cluster.Stop()) }()
	ctx, cancel := context.WithCancelCause(life)
	defer cancel(nil)
	go func() {
		<-b.cluster.Done()
		cancel(b.cluster.Err())
	}()
	config := b.cluster.Config()
	config.ContentType = "application/vnd.kubernetes.protobuf"
	if b.clients, err = kubernetes.NewForConfig(config); err != nil {
		return r, fmt.Errorf("making a client: %w", err)
	}
	if b.client, err = client.New(b.cluster.Config(), client.Options{}); err != nil {
		return r, fmt.Errorf("making a client: %w", err)
	}
	return b.run(ctx, kib)
}

func (b *bench) run(ctx context.Context, kib int) (result, error) {
	r := result{Workloads: b.workloads, Secrets: b.secrets, SecretKiB: kib}
	if err := b.load(ctx, kib<<10); err != nil {
		return r, err
	}
	c, err := b.startController(ctx)
	if err != nil {
		return r, err
	}
	if err := b.measureMemory(ctx, c, &r); err != nil {
		return r, err
	}
	if b.changes == 0 {
		return r, nil
	}
	if err := b.measureTimes(ctx, c, &r); err != nil {
		return r, fmt.Errorf("%w\nthe controller's log: %s", err, c.process.LogFile())
	}
	return r, nil
}

// until polls until the condition holds, and says what for if it does not.
func until(ctx context.Context, what string, condition wait.ConditionWithContextFunc) error {
	if err := wait.PollUntilContextTimeout(ctx, pollInterval, patience, true, condition); err != nil {
		return fmt.Errorf("waiting until %s: %w", what, errors.Join(err, context.Cause(ctx)))
	}
	return nil
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
