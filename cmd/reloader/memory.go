package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

const (
	// gcPercent is how much garbage may gather in relation to what is in use: half of Go's default. What is in use is little and
	// stays so; collecting it more often costs little.
	gcPercent = 50

	// idleEvery is how often memory that is not used goes back to the system.
	idleEvery = time.Minute
)

// frugal reports whether memory is kept low at the cost of some processor time. Whoever sets GOGC decides otherwise.
func frugal() bool { return os.Getenv("GOGC") == "" }

// idleMemory gives memory back that is not used. Go's runtime keeps what the first lists took, as far as garbage may fill it
// before the next collection: at rest that is a tenth of all that the process holds, and no garbage comes. A collection of so
// small a heap takes some milliseconds.
type idleMemory struct{}

// NeedLeaderElection implements manager.LeaderElectionRunnable: a replica that stands by has read the same lists.
func (idleMemory) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable: it gives back until the context ends.
func (idleMemory) Start(ctx context.Context) error {
	ticker := time.NewTicker(idleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			debug.FreeOSMemory()
		}
	}
}
