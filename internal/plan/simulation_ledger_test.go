package plan_test

import (
	"bytes"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/internal/ledger"
)

// shelf is the stored ledger: encoded entries, and who owns it.
type shelf struct {
	exists    bool
	epoch     int
	bootstrap bool
	entries   map[types.UID][]byte
}

// handled reports whether the stored record says that this restart request was handled.
func (s *shelf) handled(uid types.UID, token string) bool {
	e, _, err := ledger.Decode(bytes.Clone(s.entries[uid]))
	return err == nil && e.Token == token
}

// book is a leader's ledger: entries in memory, written some time after they change.
type book struct {
	p         *process
	epoch     int
	bootstrap bool
	entries   map[types.UID]*ledger.Entry
	stored    map[types.UID]*ledger.Entry
	names     map[ledger.Workload]types.UID
	writing   bool
}

// openBook takes the ledger over.
func (p *process) openBook() error {
	s := &p.shelf
	b := &book{
		p: p, entries: map[types.UID]*ledger.Entry{}, stored: map[types.UID]*ledger.Entry{}, names: map[ledger.Workload]types.UID{},
	}
	s.epoch++
	b.epoch = s.epoch
	if !s.exists {
		p.note("process %d: there is no ledger", p.id)
		s.exists, s.bootstrap = true, true
	}
	b.bootstrap = s.bootstrap
	for _, uid := range slices.Sorted(maps.Keys(s.entries)) {
		e, _, err := ledger.Decode(bytes.Clone(s.entries[uid]))
		if err != nil {
			return err
		}
		b.entries[uid], b.stored[uid] = e, e
		// Of several that had the name, the last counts: uids grow with time here.
		if other, taken := b.names[e.Workload]; !taken || len(uid) > len(other) || len(uid) == len(other) && uid > other {
			b.names[e.Workload] = uid
		}
	}
	p.book = b
	return nil
}

func (b *book) get(uid types.UID) *ledger.Entry { return b.entries[uid] }

func (b *book) named(name ledger.Workload) *ledger.Entry { return b.entries[b.names[name]] }

// persisted reports whether the last restart is on record.
func (b *book) persisted(uid types.UID) bool {
	e, known := b.entries[uid]
	if !known {
		return true
	}
	_, restarted := ledger.Compare(b.stored[uid], e)
	return !restarted
}

func (b *book) put(e *ledger.Entry) {
	change, _ := ledger.Compare(b.entries[e.UID], e)
	if change == ledger.Unchanged {
		return
	}
	b.entries[e.UID], b.names[e.Workload] = e, e.UID
	if change == ledger.Updated {
		b.write()
	}
}

func (b *book) endBootstrap() {
	if b.bootstrap {
		b.bootstrap = false
		b.write()
	}
}

// write stores, soon, what has changed.
func (b *book) write() {
	if b.writing {
		return
	}
	b.writing = true
	delay := b.p.between(5, 400)
	if b.p.chance(b.p.late) {
		delay = b.p.between(1000, 40000)
	}
	b.p.after(delay, func() {
		if !b.p.alive {
			return
		}
		snapshot := maps.Clone(b.entries)
		stored := false
		b.p.call("write of the ledger", func() error { stored = b.flush(snapshot); return nil }, func(err error) {
			b.writing = false
			switch {
			case err != nil:
				b.write()
			case !stored:
				b.p.crash(b.p, "superseded")
			default:
				b.settle(snapshot)
			}
		})
	})
}

// settle takes note of what was stored, and goes on with what has changed since.
func (b *book) settle(snapshot map[types.UID]*ledger.Entry) {
	b.stored = snapshot
	for uid, e := range b.entries {
		if change, _ := ledger.Compare(b.stored[uid], e); change == ledger.Updated {
			b.write()
			return
		}
	}
	if b.bootstrap != b.p.shelf.bootstrap {
		b.write()
	}
}

// flush stores entries unless another owns the ledger.
func (b *book) flush(snapshot map[types.UID]*ledger.Entry) bool {
	s := &b.p.shelf
	if s.epoch != b.epoch {
		return false
	}
	s.exists, s.bootstrap = true, b.bootstrap
	for uid, e := range snapshot {
		if same, _ := ledger.Compare(b.stored[uid], e); same == ledger.Unchanged && s.entries[uid] != nil {
			continue
		}
		encoded, err := ledger.Encode(e, 1)
		if err != nil {
			b.p.fail("encoding", "%v", err)
			return true
		}
		s.entries[uid] = encoded
	}
	return true
}
