package delivery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// pace is how often a Secret changes during the upgrade.
	pace = time.Second
	// often is how often that of one workload does: who is restarted more often in so short a time has to wait.
	often = 4
)

// busy is a workload whose Secret changes during the upgrade.
type busy struct {
	name string
	// before is how many revisions it had, changes how often its Secret has changed since.
	before, changes int
	// under is whether the restart for the last change, of the time made, is under way.
	under bool
	made  time.Time
}

// upgrade has Flux install a second version of the chart while the Secrets of many workloads keep changing. Each change is
// one revision of its workload: none is missed, and none is doubled.
func (d *delivery) upgrade() {
	g := NewWithT(d.t)
	leader := *d.lease().Spec.HolderIdentity
	d.charts.publish(d.t, secondVersion)
	d.runFlux("reconcile", "source", "helm", "reloader", "--namespace="+namespace)
	var all []*busy
	for _, name := range loads() {
		all = append(all, &busy{name: name, before: d.revisions(near, name)})
	}
	churned, through := make(chan error), make(chan struct{})
	over := 0
	go func() { churned <- d.churn(all, leader, &over, through) }()
	func() {
		defer func() { g.Expect(<-churned).To(Succeed()) }()
		defer close(through)
		d.deliver("Upgrade Reloader", d.changed(releaseFile, firstVersion, secondVersion))
		d.awaitReady(helmRelease, namespace, "reloader", "reloader@"+secondVersion)
		g.Expect(d.controllerPod().Spec.Containers[0].Image).To(Equal(image + ":v" + secondVersion))
		g.Eventually(func() string { return *d.lease().Spec.HolderIdentity }).ShouldNot(Equal(leader))
	}()
	changes := 0
	for _, w := range all {
		changes += w.changes
		d.awaitRevisions(near, w.name, w.before+w.changes)
	}
	d.t.Logf("%d changes, of which %d were made under one leader and done under the next", changes, over)
	g.Expect(over).NotTo(BeZero())
}

// churn changes one Secret after another, each when the restart for its last change is through, until the upgrade is and
// all restarts are. It counts the changes that were made while there was the old leader, and led to a restart by the new one.
func (d *delivery) churn(all []*busy, leader string, over *int, through <-chan struct{}) error {
	ctx := d.t.Context()
	return wait.PollUntilContextCancel(ctx, pace, true, func(ctx context.Context) (bool, error) {
		under, err := d.settle(ctx, all, leader, over)
		if err != nil {
			return false, err
		}
		select {
		case <-through:
			return under == 0, nil
		default:
		}
		next := slices.MinFunc(all, func(a, b *busy) int { return cmp.Compare(a.turn(), b.turn()) })
		if next.turn() >= often {
			return false, nil
		}
		next.changes++
		next.under, next.made = true, time.Now()
		return false, d.writeSecret(ctx, near, next.name, fmt.Sprint("during the upgrade ", next.changes))
	})
}

// turn is the order in which workloads are changed; those that are being restarted come last.
func (w *busy) turn() int {
	if w.under {
		return often
	}
	return w.changes
}

// settle notes which restarts are through, and returns how many are not. None may have come besides.
func (d *delivery) settle(ctx context.Context, all []*busy, leader string, over *int) (under int, err error) {
	lease, err := d.leaseOf(ctx)
	if err != nil {
		return 0, err
	}
	acquired := lease.Spec.AcquireTime.Time
	for _, w := range all {
		if !w.under {
			continue
		}
		revisions, complete, err := d.state(ctx, near, w.name)
		switch want := w.before + w.changes; {
		case err != nil:
			return 0, err
		case revisions > want:
			return 0, fmt.Errorf("%s has %d revisions after %d changes, and had %d before", w.name, revisions, w.changes, w.before)
		case revisions == want && complete:
			w.under = false
			if *lease.Spec.HolderIdentity != leader && w.made.Before(acquired) && time.Now().After(acquired) {
				*over++
			}
		case time.Since(w.made) > slowly:
			return 0, fmt.Errorf("%s has %d revisions after %d changes, and had %d before", w.name, revisions, w.changes, w.before)
		default:
			under++
		}
	}
	return under, nil
}

// lease is that of the controller that leads.
func (d *delivery) lease() *coordinationv1.Lease {
	d.t.Helper()
	lease, err := d.leaseOf(d.t.Context())
	NewWithT(d.t).Expect(err).NotTo(HaveOccurred())
	return lease
}

func (d *delivery) leaseOf(ctx context.Context) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	err := d.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "reloader-leader-election"}, lease)
	return lease, err
}
