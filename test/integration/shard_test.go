package integration

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
)

const shardLabel = "sharding.fluxcd.io/shard"

func inShard(name string) option {
	return func(d *appsv1.Deployment) { d.Labels = with(d.Labels, shardLabel, name) }
}

// Controllers that share a namespace and watch other workloads each lead at the same time, with a ledger each and one
// digest key. None looks at what is another's, also while that is down.
func TestControllersOfShardsDoNotDisturbEachOther(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "1"),
		deployment("one", auto, inShard("1"), envFromSecret("password")),
		deployment("two", auto, inShard("2"), envFromSecret("password")),
		deployment("none", auto, envFromSecret("password")))
	w.awaitRollout("one", "two", "none")
	launch := func(shard string) *controller {
		return w.launch(w.state+"-"+shard, election("--watch-label-selector="+shardLabel+"="+shard)...)
	}
	first, second := launch("1"), launch("2")
	first.awaitLeading()
	second.awaitLeading()
	w.awaitRecord("one", "two")
	w.later()
	w.setSecret("password", "password", "2")
	w.awaitRestart("one", 1)
	w.awaitRestart("two", 1)
	w.awaitRecord("one", "two")

	t.Log("the second one is down")
	second.stop()
	w.later()
	w.setSecret("password", "password", "3")
	w.awaitRestart("one", 2)
	w.awaitRecord("one")
	w.expectRestarts("two", 1)
	second = launch("2")
	w.awaitRestart("two", 2)
	w.awaitRecord("two")
	g := NewWithT(t)
	g.Expect(second.lines("leading")).To(ConsistOf(And(
		HaveKeyWithValue("ledgerEntries", BeEquivalentTo(1)), HaveKeyWithValue("newLedger", false))))

	t.Log("both are up still")
	w.later()
	w.setSecret("password", "password", "4")
	w.awaitRestart("one", 3)
	w.awaitRestart("two", 3)
	w.expectRestarts("one", 3)
	w.expectRestarts("none", 0)
	g.Expect(first.process.Exited()).NotTo(BeClosed())
	g.Expect(w.accepted("one", "two")).To(Equal(6))
	g.Expect(w.patches("none")).To(BeZero())
	g.Expect(w.ledger(t.Context())).To(HaveLen(2))
}
