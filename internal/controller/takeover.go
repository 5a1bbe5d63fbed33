package controller

import (
	"context"
	"fmt"
	"sync"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/source"
)

// takeover compares what Stakater Reloader has left in templates to what there is. It reads a source once: at the first
// start of a controller that has no ledger, many workloads are met that use it.
type takeover struct {
	sources *source.Store

	mu     sync.Mutex
	hashes map[version]string
}

// version is one version of a source.
type version struct {
	reference.Source
	resourceVersion string
}

// taken says of each source that restarts the workload, and for which its template has a hash of Stakater Reloader's,
// whether that is the present content's. It is nil but for a workload that is entered into a new ledger.
func (t *takeover) taken(ctx context.Context, in plan.Input) (map[reference.Source]bool, error) {
	if !in.Bootstrap || in.Entry != nil || len(in.Workload.StakaterHashes) == 0 {
		return nil, nil
	}
	taken := map[reference.Source]bool{}
	for _, use := range in.Selection.Uses {
		left, found := in.Workload.StakaterHashes[use.Source]
		if !found {
			continue
		}
		present, err := t.hash(ctx, version{use.Source, in.Sources[use.Source].ResourceVersion})
		if err != nil {
			return nil, fmt.Errorf("taking over %s: %w", in.Workload.Workload, err)
		}
		taken[use.Source] = left == present
	}
	return taken, nil
}

func (t *takeover) hash(ctx context.Context, of version) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if hash, known := t.hashes[of]; known {
		return hash, nil
	}
	hash, err := t.sources.StakaterHash(ctx, of.Source)
	if err == nil {
		t.hashes[of] = hash
	}
	return hash, err
}

// end forgets the hashes: they could be guessed.
func (t *takeover) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.hashes)
}
