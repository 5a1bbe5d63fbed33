package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
)

// quiet is how long to look for restarts that should not be. Reloader acts two seconds after a change.
const quiet = 5 * time.Second

// sum checks that Reloader did what was expected and nothing else, and says what it took.
func (d *demo) sum(ctx context.Context, want int) error {
	if err := holds(ctx, "no further restart", quiet, d.notRestarted); err != nil {
		return err
	}
	events, _, err := d.reloadedEvents(ctx)
	if err != nil {
		return err
	}
	sets := &appsv1.ReplicaSetList{}
	if err := d.client.List(ctx, sets, client.InNamespace(namespace), client.MatchingLabels{appLabel: deploymentName}); err != nil {
		return fmt.Errorf("listing ReplicaSets: %w", err)
	}
	patches, requests, err := d.requests()
	if err != nil {
		return err
	}
	// The first ReplicaSet is that of the first rollout.
	if d.restarts != want || events != want || len(sets.Items) != want+1 || patches != want {
		return fmt.Errorf("want %d restarts, and as many events and patches and one more ReplicaSet; seen: "+
			"%d restarts, %d events, %d patches, %d ReplicaSets", want, d.restarts, events, patches, len(sets.Items))
	}
	memory, err := d.controller.RSS()
	if err != nil {
		return fmt.Errorf("looking at the controller: %w", err)
	}
	d.out.done("%d restarts as expected, one by the annotation and %d by changes; %d ReplicaSets, %d events, none more for %s",
		d.restarts, want-1, len(sets.Items), events, quiet)
	d.out.done("the controller: %.1f MiB resident, %d requests in all, of them to workloads: %d patches",
		float64(memory)/(1<<20), requests, patches)
	return nil
}

// requests counts what the controller asked the API server: all, and writes to workloads.
func (d *demo) requests() (patches, all int, err error) {
	audit, err := d.cluster.Audit()
	if err != nil {
		return 0, 0, fmt.Errorf("reading the audit log: %w", err)
	}
	for _, event := range audit {
		if event.User != controllerUser || event.Stage != cluster.AuditComplete && event.Verb != "watch" ||
			event.Stage != cluster.AuditStarted && event.Verb == "watch" {
			continue
		}
		all++
		if event.APIGroup == appsv1.GroupName && event.Resource == "deployments" && event.Verb == "patch" {
			patches++
		}
	}
	return patches, all, nil
}
