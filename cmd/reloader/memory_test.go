package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

func TestIdleMemoryGoesBack(t *testing.T) {
	const garbage = 64 << 20
	held := func() uint64 {
		read := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
		metrics.Read(read)
		return read[0].Value.Uint64() + read[1].Value.Uint64()
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- idleMemory{}.Start(ctx) }()
		debug.FreeOSMemory()
		before := held()
		waste := make([]byte, garbage)
		for i := range waste {
			waste[i] = 1
		}
		<-time.After(idleEvery) // the clock is the bubble's
		synctest.Wait()
		if after := held(); after > before+garbage/2 {
			t.Errorf("%d bytes are held, %d before", after, before)
		}
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
