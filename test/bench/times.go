package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// concurrency is the controller's default of --concurrent: the bare client works as many workloads at once.
const concurrency = 4

// latency are times in milliseconds.
type latency struct {
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
}

// measureTimes times single changes and one of all workloads, each beside the same patches by a bare client.
func (b *bench) measureTimes(ctx context.Context, c *controller, r *result) error {
	observer, err := b.observe(ctx)
	if err != nil {
		return err
	}
	b.observer = observer
	progress("timing %d single changes", b.changes)
	if r.Change, r.BarePatch, err = b.timeChanges(ctx); err != nil {
		return err
	}
	if err := b.awaitLedger(ctx); err != nil {
		return err
	}
	if err := pause(ctx, aMinute); err != nil {
		return err
	}
	progress("changing what all workloads use")
	if r.All, err = b.timeAll(ctx, func(ctx context.Context) error {
		return b.patchConfigMap(ctx, shared, rand.Int())
	}); err != nil {
		return err
	}
	if err := b.settled(ctx); err != nil {
		return err
	}
	memory, err := c.memory()
	if err != nil {
		return err
	}
	r.PeakAfter = memory.Peak
	if r.RequestsAfter, err = b.requests(); err != nil {
		return err
	}
	if err := c.process.Stop(grace); err != nil {
		return err
	}
	progress("the same patches by a bare client")
	r.BareAll, err = b.timeAll(ctx, func(ctx context.Context) error {
		return each(ctx, concurrency, b.workloads, func(ctx context.Context, i int) error {
			return b.patch(ctx, workloadName(i), "all")
		})
	})
	return err
}

// settled waits until all rollouts are through and the ledger says so.
func (b *bench) settled(ctx context.Context) error {
	if err := b.awaitRollouts(ctx); err != nil {
		return err
	}
	return b.awaitLedger(ctx)
}

// timeChanges times a change of one source until the restart of its workload is seen, and a patch until it is seen, in
// turns, each when the rollout before is through.
func (b *bench) timeChanges(ctx context.Context) (change, bare latency, err error) {
	var changes, patches []time.Duration
	for i := range b.changes {
		took, err := b.timeOne(ctx, workloadName(i), func(ctx context.Context) error {
			if isSecret(i) {
				return b.patchSecret(ctx, workloadName(i), rand.Int())
			}
			return b.patchConfigMap(ctx, workloadName(i), rand.Int())
		})
		if err != nil {
			return change, bare, err
		}
		changes = append(changes, took)
		took, err = b.timeOne(ctx, bareName(i), func(ctx context.Context) error { return b.patch(ctx, bareName(i), "one") })
		if err != nil {
			return change, bare, err
		}
		patches = append(patches, took)
	}
	return summary(changes), summary(patches), nil
}

// timeOne returns how long it took from before the change until the restart was seen.
func (b *bench) timeOne(ctx context.Context, name string, change func(context.Context) error) (time.Duration, error) {
	before, _ := b.observer.get(name)
	began := time.Now()
	if err := change(ctx); err != nil {
		return 0, err
	}
	after, err := b.observer.await(ctx, name, func(s sight) bool { return s.values != before.values })
	if err != nil {
		return 0, err
	}
	_, err = b.observer.await(ctx, name, func(s sight) bool { return s.values != before.values && s.ready })
	return after.since.Sub(began), err
}

// timeAll returns how many seconds it took from before the change until restarts of all workloads were seen.
func (b *bench) timeAll(ctx context.Context, change func(context.Context) error) (float64, error) {
	before := make([]sight, b.workloads)
	for i := range before {
		before[i], _ = b.observer.get(workloadName(i))
	}
	began := time.Now()
	if err := change(ctx); err != nil {
		return 0, err
	}
	last := began
	for i := range before {
		after, err := b.observer.await(ctx, workloadName(i), func(s sight) bool { return s.values != before[i].values })
		if err != nil {
			return 0, err
		}
		if after.since.After(last) {
			last = after.since
		}
	}
	return seconds(last.Sub(began)), nil
}

func (b *bench) patchSecret(ctx context.Context, name string, value int) error {
	patch := fmt.Appendf(nil, `{"stringData":{%q:"%d"}}`, sourceKey, value)
	_, err := b.clients.CoreV1().Secrets(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("changing a Secret: %w", err)
	}
	return nil
}

func (b *bench) patchConfigMap(ctx context.Context, name string, value int) error {
	patch := fmt.Appendf(nil, `{"data":{%q:"%d"}}`, sourceKey, value)
	_, err := b.clients.CoreV1().ConfigMaps(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("changing a ConfigMap: %w", err)
	}
	return nil
}

// patch is what the controller does to restart a workload, and nothing else.
func (b *bench) patch(ctx context.Context, name, value string) error {
	patch := fmt.Appendf(nil, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q,"namespace":%q},`+
		`"spec":{"template":{"metadata":{"annotations":{%q:%q}}}}}`, name, namespace, bareAnnotation, value)
	_, err := b.clients.AppsV1().Deployments(namespace).Patch(ctx, name, types.ApplyPatchType, patch,
		metav1.PatchOptions{FieldManager: "bench", Force: ptr.To(true)})
	if err != nil {
		return fmt.Errorf("patching a Deployment: %w", err)
	}
	return nil
}

func summary(all []time.Duration) latency {
	slices.Sort(all)
	ms := func(d time.Duration) float64 { return seconds(d) * 1000 }
	return latency{Median: ms(all[len(all)/2]), P90: ms(all[len(all)*9/10])}
}
