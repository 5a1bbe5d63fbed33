package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

const (
	mebibyte = 1 << 20
	// maxAtRest is what the controller may hold at rest.
	maxAtRest = 60 * mebibyte
	// maxSpread is by how much that may depend on the size of Secrets.
	maxSpread = 0.15
	// maxRatio is how much longer a change of all workloads may take than the bare patches.
	maxRatio = 1.5
)

// result are the figures of one run. Times are in seconds, latencies in milliseconds, memory in bytes.
type result struct {
	Workloads int `json:"workloads"`
	Secrets   int `json:"secrets"`
	SecretKiB int `json:"secretKiB"`

	// Ready and Complete are when the controller was ready and its ledger complete, since its start.
	Ready    float64    `json:"ready"`
	Complete float64    `json:"complete"`
	Memory   resident   `json:"memory"`
	Heap     heap       `json:"heap"`
	CPU      float64    `json:"cpu"`
	Requests []requests `json:"requests"`

	// Change is how long a change took to become a restart that is seen, BarePatch a patch alone.
	Change    latency `json:"change"`
	BarePatch latency `json:"barePatch"`
	// All is how long a change of all workloads took, BareAll the same patches alone.
	All     float64 `json:"all"`
	BareAll float64 `json:"bareAll"`
	// PeakAfter and RequestsAfter are the most memory held, and all requests, after these changes.
	PeakAfter     int64      `json:"peakAfter"`
	RequestsAfter []requests `json:"requestsAfter"`
}

// report is what all runs gave.
type report struct {
	Runs []result `json:"runs"`
}

// print writes the report, and returns errLimits if a figure is above its limit.
func (r report) print(out io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(r); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		return r.check()
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, run := range r.Runs {
		run.print(table)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return r.check()
}

func (r result) print(out io.Writer) {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	mib := func(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/mebibyte) }
	line("\n%d workloads, %d unrelated Secrets of %d KiB", r.Workloads, r.Secrets, r.SecretKiB)
	line("  RSS at rest\t%s\tat most %s", mib(r.Memory.Total), mib(maxAtRest))
	line("    anonymous\t%s", mib(r.Memory.Anon))
	line("    of the binary\t%s\tshared, and dropped when memory is short", mib(r.Memory.File))
	line("  RSS at its peak\t%s", mib(r.Memory.Peak))
	line("  Go heap\t%s\t%s in use, %s idle, %s of it given back, stacks %s", mib(r.Heap.Alloc), mib(r.Heap.InUse),
		mib(r.Heap.Idle), mib(r.Heap.Released), mib(r.Heap.Stacks))
	line("  ready\t%.1f s\tledger complete after %.1f s, processor time at rest %.1f s", r.Ready, r.Complete, r.CPU)
	if r.All > 0 {
		line("  one change\t%.1f ms\t90%%: %.1f ms; a bare patch %.1f ms, 90%%: %.1f ms; ratio %.2f", r.Change.Median, r.Change.P90,
			r.BarePatch.Median, r.BarePatch.P90, r.Change.Median/r.BarePatch.Median)
		line("  a change of all\t%.1f s\tbare patches %.1f s; ratio %.2f, at most %.1f", r.All, r.BareAll, r.All/r.BareAll, maxRatio)
		line("  RSS at its peak\t%s\tafter all changes", mib(r.PeakAfter))
	}
	line("  requests until rest\t\tafter all changes")
	after := r.RequestsAfter
	if after == nil {
		after = r.Requests
	}
	for _, q := range after {
		line("    %s %s\t%d\t%d", q.Verb, q.Resource, count(r.Requests, q), q.Count)
	}
}

func count(of []requests, like requests) int {
	for _, q := range of {
		if q.Verb == like.Verb && q.Resource == like.Resource {
			return q.Count
		}
	}
	return 0
}

// check compares the figures to their limits.
func (r report) check() error {
	least, most := r.Runs[0].Memory.Total, r.Runs[0].Memory.Total
	for _, run := range r.Runs {
		least, most = min(least, run.Memory.Total), max(most, run.Memory.Total)
		if run.BareAll > 0 && run.All/run.BareAll > maxRatio {
			return fmt.Errorf("%w: a change of all workloads takes %.2f times as long as the bare patches", errLimits, run.All/run.BareAll)
		}
	}
	switch {
	case most > maxAtRest:
		return fmt.Errorf("%w: %.1f MiB at rest", errLimits, float64(most)/mebibyte)
	case float64(most) > float64(least)*(1+maxSpread):
		return fmt.Errorf("%w: memory depends on the size of Secrets", errLimits)
	}
	return nil
}
