package controller

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/notify"
)

// A workload asks for its call and goes on; it is woken when that has ended, and hears of it once.
func TestCalls(t *testing.T) {
	type answer struct {
		Ended bool
		After time.Duration
		Err   string
	}
	refused := errors.New("refused")
	underWay, accepted := answer{}, answer{Ended: true}
	failed := answer{Ended: true, Err: "refused"}
	const web, other = "web", "other"
	// A step tells a value, or ends the call that is under way, or lets time pass.
	type step struct {
		workload, value string
		end             *error
		pass            time.Duration
		want            answer
	}
	tell := func(value string, want answer) step { return step{workload: web, value: value, want: want} }
	end := func(err error) step { return step{workload: web, end: &err} }
	pass := func(d time.Duration) step { return step{pass: d} }
	for name, steps := range map[string][]step{
		"accepted":               {tell("1", underWay), end(nil), tell("1", accepted), tell("1", underWay)},
		"under way":              {tell("1", underWay), tell("1", underWay), tell("2", underWay), end(nil), tell("2", underWay), end(nil), tell("2", accepted)},
		"refused, then accepted": {tell("1", underWay), end(refused), tell("1", failed), tell("1", answer{After: time.Second}), pass(time.Second), tell("1", underWay), end(nil), tell("1", accepted)},
		"refused twice": {
			tell("1", underWay), end(refused), tell("1", failed), pass(time.Second), tell("1", underWay), end(refused), tell("1", failed),
			tell("1", answer{After: 2 * time.Second}),
		},
		"refused, then something else": {tell("1", underWay), end(refused), tell("2", failed), pass(time.Second), tell("2", underWay)},
		"two workloads":                {tell("1", underWay), {workload: other, value: "1", want: underWay}, end(nil), {workload: other, value: "1", want: underWay}},
	} {
		t.Run(name, func(t *testing.T) {
			url, err := notify.ParseAddress("http://127.0.0.1:1")
			if err != nil {
				t.Fatal(err)
			}
			now, woken := time.Unix(1000, 0), 0
			options := Options{Now: func() time.Time { return now }, MinRetryDelay: time.Second, MaxRetryDelay: time.Minute}
			c := newCalls(notify.NewWebhook(url), options, func(ledger.Workload) { woken++ })
			for i, s := range steps {
				name := ledger.Workload{Kind: "Deployment", Namespace: "apps", Name: s.workload}
				now = now.Add(s.pass)
				switch {
				case s.end != nil:
					before, of := woken, c.of[name]
					if of == nil || !of.underWay {
						t.Fatalf("step %d: no call is under way", i)
					}
					c.end(name, of, *s.end)
					if woken != before+1 {
						t.Errorf("step %d: not woken", i)
					}
				case s.value != "":
					got := answer{}
					got.Ended, got.After, err = c.tell(name, s.value)
					if err != nil {
						got.Err = err.Error()
					}
					if diff := cmp.Diff(s.want, got); diff != "" {
						t.Errorf("step %d: (-want +got)\n%s", i, diff)
					}
				}
			}
		})
	}
}

// What waits is bounded: one more asks again later.
func TestCallsAreBounded(t *testing.T) {
	url, err := notify.ParseAddress("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	c := newCalls(notify.NewWebhook(url), Options{Now: time.Now}, func(ledger.Workload) {})
	for i := range 1000 {
		name := ledger.Workload{Kind: "Deployment", Namespace: "apps", Name: string(rune('a' + i))}
		if _, after, _ := c.tell(name, "1"); after == callLater {
			return
		}
	}
	t.Error("takes a thousand")
}
