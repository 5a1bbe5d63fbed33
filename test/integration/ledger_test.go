package integration

import (
	"testing"

	. "github.com/onsi/gomega"
)

// A ledger that is deleted while no controller runs is an installation made anew: a change of that time is missed, and
// nothing restarts.
func TestALostLedgerRestartsNothing(t *testing.T) {
	w := newWorld(t)
	w.createStale()
	c := w.startController(quick)
	w.awaitRecord("web", marker)
	c.stop()
	shards := w.ledger(t.Context())
	NewWithT(t).Expect(shards).NotTo(BeEmpty())
	for i := range shards {
		w.remove(&shards[i])
	}
	w.later()
	w.setSecret("password", "password", "2")
	w.expectFirstSight(w.startController(quick), 0)
}
