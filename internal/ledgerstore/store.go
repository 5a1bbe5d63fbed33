// Package ledgerstore keeps what must outlive the controller: the ledger's entries, in sharded ConfigMaps, and the key of
// all digests, in a Secret, both in the controller's namespace.
//
// One replica owns the ledger at a time. It says so by writing its epoch into every shard before it reads them: a
// predecessor that still runs then fails to write, sees the higher epoch, and ends.
package ledgerstore

import (
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/ledger"
)

const (
	// ShardLabel marks the ledger's ConfigMaps, for those who list them and for watches that leave them out.
	ShardLabel = "reloader.contrib.fluxcd.io/ledger"

	// epochAnnotation numbers the replicas that have owned the ledger, one after another.
	epochAnnotation = "reloader.contrib.fluxcd.io/ledger-epoch"
	// keyAnnotation names the key that a shard's digests were made with.
	keyAnnotation = "reloader.contrib.fluxcd.io/ledger-key"
	// bootstrapAnnotation is on the first shard until every workload that was there when the ledger was made has been
	// entered.
	bootstrapAnnotation = "reloader.contrib.fluxcd.io/ledger-bootstrap"

	// maxShard is what a shard may hold in bytes; fillShard is up to where new entries are put into it, so that they can
	// grow.
	maxShard  = 64 << 10
	fillShard = 48 << 10

	// writesPerSecond bounds what the ledger asks of the API server.
	writesPerSecond = 5
	// refreshEvery is how often resourceVersions are written that moved alone. A later leader who knows less recent ones may
	// ask for pods that this one need not ask for.
	refreshEvery = time.Hour
)

// ErrSuperseded is returned when another replica has taken over the ledger. What is not written yet must not be.
var ErrSuperseded = errors.New("another replica has taken over the ledger")

// Options are what a Store needs.
type Options struct {
	Log logr.Logger
	// Client talks to the API server directly, not to a cache.
	Client client.Client
	// Namespace is the controller's own.
	Namespace string
	// Instance tells the ledgers of controllers apart that share the namespace; empty for the only one.
	Instance string
	// KeyID names the key of all digests. What was recorded with another key is lost.
	KeyID string
}

// Store holds the ledger in memory and writes what changes.
type Store struct {
	options Options
	writes  *rate.Limiter
	dirty   chan struct{}

	mu        sync.Mutex
	epoch     uint64
	sequence  uint64
	bootstrap bool
	entries   map[types.UID]*held
	names     map[ledger.Workload]types.UID
	shards    map[int]*shard
}

// held is an entry and where it stands.
type held struct {
	entry   *ledger.Entry
	encoded []byte
	shard   int
	// stored is the entry that the shard holds as far as is known; nil if none.
	stored *ledger.Entry
	// urgent entries are written as soon as the rate allows, the others with the next write of their shard.
	urgent bool
}

// New prepares a store. It is empty until Load.
func New(options Options) *Store {
	return &Store{
		options: options, writes: rate.NewLimiter(writesPerSecond, 1), dirty: make(chan struct{}, 1),
		entries: map[types.UID]*held{}, names: map[ledger.Workload]types.UID{}, shards: map[int]*shard{},
	}
}

// Get returns the entry of a workload; nil if there is none. Entries must not be changed.
func (s *Store) Get(uid types.UID) *ledger.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.entries[uid]; ok {
		return h.entry
	}
	return nil
}

// Named returns the entry of the object that had the name last; nil if there is none.
func (s *Store) Named(name ledger.Workload) *ledger.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.entries[s.names[name]]; ok {
		return h.entry
	}
	return nil
}

// Len is the number of entries.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// Persisted reports whether the last restart of a workload is on record. No workload may be restarted before it is.
func (s *Store) Persisted(uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.entries[uid]
	if !ok {
		return true
	}
	_, restarted := ledger.Compare(h.stored, h.entry)
	return !restarted
}

// Put replaces a workload's entry. It is written soon after, together with others.
func (s *Store) Put(entry *ledger.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(entry)
}

// Replace is Put, but does nothing if the workload's entry is another than the older one by now.
func (s *Store) Replace(older, entry *ledger.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, known := s.entries[older.UID]; !known || h.entry != older {
		return nil
	}
	return s.put(entry)
}

func (s *Store) put(entry *ledger.Entry) error {
	h, known := s.entries[entry.UID]
	if !known {
		h = &held{shard: -1}
	}
	change, _ := ledger.Compare(h.entry, entry)
	if change == ledger.Unchanged {
		return nil
	}
	s.sequence++
	encoded, err := ledger.Encode(entry, s.sequence)
	if err != nil {
		return err
	}
	h.entry, h.encoded = entry, encoded
	h.urgent = h.urgent || change == ledger.Updated
	s.entries[entry.UID], s.names[entry.Workload] = h, entry.UID
	s.place(entry.UID, h)
	if h.urgent {
		s.wake()
	}
	return nil
}

// Delete forgets a workload.
func (s *Store) Delete(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, known := s.entries[uid]
	if !known {
		return
	}
	delete(s.entries, uid)
	if s.names[h.entry.Workload] == uid {
		delete(s.names, h.entry.Workload)
	}
	s.shards[h.shard].remove(uid)
	s.wake()
}

// Bootstrapping reports whether the ledger was made anew and not every workload has been entered yet.
func (s *Store) Bootstrapping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bootstrap
}

// EndBootstrap notes that every workload that was there when the ledger was made has been entered.
func (s *Store) EndBootstrap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bootstrap {
		s.bootstrap = false
		s.shards[0].annotations = true
		s.wake()
	}
}

// Entries returns all entries, in no order.
func (s *Store) Entries() []*ledger.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := make([]*ledger.Entry, 0, len(s.entries))
	for _, h := range s.entries {
		entries = append(entries, h.entry)
	}
	return entries
}

// place finds a shard for an entry: the one it is in, unless that is full, else the first with room.
func (s *Store) place(uid types.UID, h *held) {
	if old, placed := s.shards[h.shard]; placed {
		if old.size-old.sizes[uid]+len(h.encoded) <= maxShard {
			old.put(uid, len(h.encoded))
			return
		}
		old.remove(uid)
	}
	for h.shard = 0; ; h.shard++ {
		next, exists := s.shards[h.shard]
		if !exists {
			next = newShard(h.shard)
			s.shards[h.shard] = next
		}
		if len(next.sizes) == 0 || next.size+len(h.encoded) <= fillShard {
			next.put(uid, len(h.encoded))
			return
		}
	}
}
