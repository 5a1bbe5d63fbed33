package plan_test

import (
	"container/heap"
	"fmt"
	"math/rand"
	"time"
)

// simEvent is something that happens at a virtual time; those of one time happen in the order they were planned.
type simEvent struct {
	at    time.Time
	order int
	do    func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].order < q[j].order
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(e any)   { *q = append(*q, e.(simEvent)) }
func (q *simQueue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = simEvent{}
	*q = (*q)[:last]
	return e
}

// simClock is virtual time, what happens in it, and chance. Nothing in a simulation depends on anything else.
type simClock struct {
	now      time.Time
	queue    simQueue
	order    int
	happened int
	r        *rand.Rand
	// trace is written if tracing is on.
	tracing bool
	trace   []string
}

func newSimClock(seed uint64) simClock {
	return simClock{now: time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC), r: simRand(seed)}
}

// simRand is a generator that costs nothing to seed.
func simRand(seed uint64) *rand.Rand { return rand.New(&splitMix{seed}) }

type splitMix struct{ state uint64 }

func (s *splitMix) Seed(seed int64) { s.state = uint64(seed) }
func (s *splitMix) Int63() int64    { return int64(s.Uint64() >> 1) }
func (s *splitMix) Uint64() uint64 {
	s.state += 0x9e3779b97f4a7c15
	z := s.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// after plans something.
func (c *simClock) after(d time.Duration, do func()) {
	c.order++
	heap.Push(&c.queue, simEvent{at: c.now.Add(max(0, d)), order: c.order, do: do})
}

// run lets happen what is planned up to that time. It is false if there is no end to it.
func (c *simClock) run(until time.Time, most int) bool {
	for len(c.queue) > 0 && !c.queue[0].at.After(until) {
		if c.happened++; c.happened > most {
			return false
		}
		e := heap.Pop(&c.queue).(simEvent)
		c.now = e.at
		e.do()
	}
	c.now = until
	return true
}

func (c *simClock) note(format string, args ...any) {
	if c.tracing {
		c.trace = append(c.trace, c.now.Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

// lazy is text that is only made for a trace.
type lazy func() string

func (l lazy) String() string { return l() }

func (c *simClock) chance(percent int) bool { return c.r.Intn(100) < percent }

// between is a time between the two, in milliseconds.
func (c *simClock) between(least, most int) time.Duration {
	return time.Duration(least+c.r.Intn(most-least+1)) * time.Millisecond
}

// stamp is the time as the API server and the kubelets write it.
func (c *simClock) stamp() time.Time { return c.now.Truncate(time.Second) }
