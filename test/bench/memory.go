package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flux-reloader/reloader/test/cluster"
)

// samples is how often memory is read at rest, once a second; the median counts.
const samples = 9

// resident is what a process holds in memory, in bytes, as the kernel counts. Anon is its own; File are pages of its
// binary, which the kernel drops when it needs the room, and which several processes of one binary share.
type resident struct {
	Total int64 `json:"rss"`
	Anon  int64 `json:"rssAnon"`
	File  int64 `json:"rssFile"`
	Peak  int64 `json:"peak"`
}

// heap is what Go's runtime says of its memory, in bytes.
type heap struct {
	Alloc    int64 `json:"alloc"`
	InUse    int64 `json:"inUse"`
	Idle     int64 `json:"idle"`
	Released int64 `json:"released"`
	Stacks   int64 `json:"stacks"`
	Sys      int64 `json:"sys"`
}

// requests is how many requests of one sort the controller sent.
type requests struct {
	Verb     string `json:"verb"`
	Resource string `json:"resource"`
	Count    int    `json:"count"`
}

// measureMemory waits until the controller knows everything, leaves it alone, and reads what it holds.
func (b *bench) measureMemory(ctx context.Context, c *controller, r *result) error {
	if err := c.awaitReady(ctx); err != nil {
		return err
	}
	r.Ready = seconds(time.Since(c.started))
	progress("the controller is ready after %.1fs", r.Ready)
	if err := b.awaitLedger(ctx); err != nil {
		return err
	}
	r.Complete = seconds(time.Since(c.started))
	progress("its ledger is complete after %.1fs; leaving it alone for %s", r.Complete, b.rest)
	if err := pause(ctx, b.rest); err != nil {
		return err
	}
	var err error
	if r.Requests, err = b.requests(); err != nil {
		return err
	}
	if r.Memory, err = c.atRest(ctx); err != nil {
		return err
	}
	// Last: answering takes memory.
	r.Heap, r.CPU, err = c.goMetrics(ctx)
	return err
}

// atRest is the median of some readings.
func (c *controller) atRest(ctx context.Context) (resident, error) {
	var read []resident
	for range samples {
		if err := pause(ctx, time.Second); err != nil {
			return resident{}, err
		}
		now, err := c.memory()
		if err != nil {
			return resident{}, err
		}
		read = append(read, now)
	}
	slices.SortFunc(read, func(a, b resident) int { return cmp.Compare(a.Total, b.Total) })
	return read[samples/2], nil
}

// memory reads what the process holds now.
func (c *controller) memory() (resident, error) {
	var m resident
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.process.PID()), "status"))
	if err != nil {
		return m, fmt.Errorf("reading memory: %w", err)
	}
	fields := map[string]*int64{"VmRSS": &m.Total, "RssAnon": &m.Anon, "RssFile": &m.File, "VmHWM": &m.Peak}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		field, wanted := fields[name]
		if !wanted {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return m, fmt.Errorf("reading memory: %s: %w", name, err)
		}
		*field = kib << 10
	}
	return m, nil
}

// goMetrics asks the controller's metrics for what Go's runtime holds, and for the processor time so far in seconds.
func (c *controller) goMetrics(ctx context.Context) (h heap, cpu float64, err error) {
	page, err := get(ctx, "http://"+c.metrics+"/metrics")
	if err != nil {
		return h, 0, err
	}
	fields := map[string]*int64{
		"go_memstats_heap_alloc_bytes": &h.Alloc, "go_memstats_heap_inuse_bytes": &h.InUse,
		"go_memstats_heap_idle_bytes": &h.Idle, "go_memstats_heap_released_bytes": &h.Released,
		"go_memstats_stack_inuse_bytes": &h.Stacks, "go_memstats_sys_bytes": &h.Sys,
	}
	for line := range strings.Lines(page) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		field, wanted := fields[name]
		if !wanted && name != "process_cpu_seconds_total" {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return h, 0, fmt.Errorf("reading metric %s: %w", name, err)
		}
		if wanted {
			*field = int64(value)
		} else {
			cpu = value
		}
	}
	return h, cpu, nil
}

// requests counts what the controller sent since it started, watches when they began.
func (b *bench) requests() ([]requests, error) {
	all, err := b.cluster.Audit()
	if err != nil {
		return nil, err
	}
	counts := map[requests]int{}
	for _, e := range all {
		stage := cluster.AuditComplete
		if e.Verb == "watch" {
			stage = cluster.AuditStarted
		}
		if e.User != controllerUser || e.Stage != stage {
			continue
		}
		if e.Resource == "" {
			e.Resource, _, _ = strings.Cut(e.RequestURI, "?")
		}
		counts[requests{Verb: e.Verb, Resource: e.Resource}]++
	}
	var sum []requests
	for r, count := range counts {
		r.Count = count
		sum = append(sum, r)
	}
	slices.SortFunc(sum, func(a, b requests) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Verb, b.Verb))
	})
	return sum, nil
}

func seconds(d time.Duration) float64 { return d.Seconds() }
