package watch

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Group is the informers of several resources, by a name of the caller's.
type Group map[string]*Informers

// Run watches until the context ends.
func (g Group) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, informers := range g {
		running.Go(func() { informers.Run(ctx) })
	}
	running.Wait()
}

// Settled reports whether the API server has told of everything that it lets us see.
func (g Group) Settled() bool {
	for _, informers := range g {
		if !informers.Settled() {
			return false
		}
	}
	return true
}

// Refused is the number of watches that the API server forbids, or that have failed for long. A resource that it does not serve does not count: it need
// not be installed.
func (g Group) Refused() int {
	n := 0
	for _, informers := range g {
		for _, err := range informers.Refusals() {
			if !apierrors.IsNotFound(err) {
				n++
			}
		}
	}
	return n
}

// Len is the number of objects that are kept of a resource.
func (g Group) Len(name string) int {
	if informers, watched := g[name]; watched {
		return informers.Len()
	}
	return 0
}
