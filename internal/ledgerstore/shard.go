package ledgerstore

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/ledger"
)

// shard is one ConfigMap: a key an entry.
type shard struct {
	number int
	// resourceVersion of the last answer; empty if the ConfigMap does not exist.
	resourceVersion string
	// sizes of the entries that belong here, and their sum.
	sizes map[types.UID]int
	size  int
	// changed entries are to be written, removed ones to be deleted, annotations to be brought up to date.
	changed     map[types.UID]bool
	removed     map[types.UID]bool
	annotations bool
}

func newShard(number int) *shard {
	return &shard{
		number: number, sizes: map[types.UID]int{}, changed: map[types.UID]bool{}, removed: map[types.UID]bool{},
	}
}

func (s *shard) put(uid types.UID, size int) {
	s.size += size - s.sizes[uid]
	s.sizes[uid] = size
	s.changed[uid] = true
	delete(s.removed, uid)
}

func (s *shard) remove(uid types.UID) {
	s.size -= s.sizes[uid]
	delete(s.sizes, uid)
	delete(s.changed, uid)
	s.removed[uid] = true
}

func (s *shard) dirty() bool { return s.annotations || len(s.changed) > 0 || len(s.removed) > 0 }

// batch is what one request writes.
type batch struct {
	entries map[types.UID]*ledger.Entry
	data    map[string]any
	removed map[types.UID]bool
}

// batch collects what a shard has to write. An entry that moved to another shard is deleted only after that is written.
func (s *Store) batch(shard *shard) batch {
	b := batch{entries: map[types.UID]*ledger.Entry{}, data: map[string]any{}, removed: map[types.UID]bool{}}
	for uid := range shard.changed {
		h := s.entries[uid]
		b.entries[uid], b.data[string(uid)] = h.entry, string(h.encoded)
	}
	for uid := range shard.removed {
		if h, moved := s.entries[uid]; moved && s.shards[h.shard].changed[uid] {
			continue
		}
		b.removed[uid], b.data[string(uid)] = true, nil
	}
	shard.changed, shard.annotations = map[types.UID]bool{}, false
	return b
}

// written notes that a batch is stored.
func (s *Store) written(shard *shard, b batch, resourceVersion string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shard.resourceVersion = resourceVersion
	for uid := range b.removed {
		delete(shard.removed, uid)
	}
	for uid, entry := range b.entries {
		if h, ok := s.entries[uid]; ok {
			h.stored = entry
			h.urgent = h.urgent && h.entry != entry
		}
	}
}

// failed puts a batch back.
func (s *Store) failed(shard *shard, b batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shard.annotations = true
	for uid := range b.entries {
		if h, ok := s.entries[uid]; ok && h.shard == shard.number {
			shard.changed[uid] = true
		}
	}
}

// store writes one shard on the condition that nobody else has. On a conflict it reads the shard, and writes all of it:
// unless a later epoch has taken it over, or it was deleted, in which case it is made again.
func (s *Store) store(ctx context.Context, shard *shard) error {
	s.mu.Lock()
	b := s.batch(shard)
	cm := s.options.configMap(shard.number)
	cm.ResourceVersion = shard.resourceVersion
	annotations := s.shardAnnotations(shard.number)
	s.mu.Unlock()

	err := s.send(ctx, cm, annotations, b)
	if err == nil {
		s.written(shard, b, cm.ResourceVersion)
		return nil
	}
	s.failed(shard, b)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) {
		if err := s.reread(ctx, shard); err != nil {
			return err
		}
		s.wake()
		return nil
	}
	return fmt.Errorf("storing ledger shard %s: %w", cm.Name, err)
}

func (s *Store) send(ctx context.Context, cm *corev1.ConfigMap, annotations map[string]any, b batch) error {
	if cm.ResourceVersion == "" {
		cm.Data, cm.Annotations = map[string]string{}, map[string]string{}
		for key, value := range b.data {
			if text, ok := value.(string); ok {
				cm.Data[key] = text
			}
		}
		for key, value := range annotations {
			if text, ok := value.(string); ok {
				cm.Annotations[key] = text
			}
		}
		return s.options.Client.Create(ctx, cm)
	}
	metadata := map[string]any{
		"resourceVersion": cm.ResourceVersion, "annotations": annotations, "labels": s.options.labels(),
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata, "data": b.data})
	if err != nil {
		return fmt.Errorf("encoding ledger shard %s: %w", cm.Name, err)
	}
	return s.options.Client.Patch(ctx, cm, client.RawPatch(types.MergePatchType, patch))
}

func (s *Store) shardAnnotations(number int) map[string]any {
	annotations := map[string]any{epochAnnotation: strconv.FormatUint(s.epoch, 10), keyAnnotation: s.options.KeyID}
	if number == 0 {
		annotations[bootstrapAnnotation] = nil
		if s.bootstrap {
			annotations[bootstrapAnnotation] = "true"
		}
	}
	return annotations
}

// reread learns what stands in a shard that somebody else wrote, so that the next write brings it back in line.
func (s *Store) reread(ctx context.Context, shard *shard) error {
	cm := s.options.configMap(shard.number)
	err := s.options.Client.Get(ctx, client.ObjectKeyFromObject(cm), cm)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading ledger shard %s: %w", cm.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if epochOf(cm) > s.epoch {
		return fmt.Errorf("%w: shard %s is of epoch %d, this one is %d", ErrSuperseded, cm.Name, epochOf(cm), s.epoch)
	}
	shard.annotations = true
	shard.resourceVersion = ""
	if err == nil {
		shard.resourceVersion = cm.ResourceVersion
	}
	for uid := range shard.sizes {
		if h := s.entries[uid]; cm.Data[string(uid)] != string(h.encoded) {
			h.urgent = true
			shard.changed[uid] = true
		}
	}
	for key := range maps.Keys(cm.Data) {
		if uid := types.UID(key); shard.sizes[uid] == 0 {
			shard.removed[uid] = true
		}
	}
	return nil
}

func epochOf(cm *corev1.ConfigMap) uint64 {
	epoch, err := strconv.ParseUint(cm.Annotations[epochAnnotation], 10, 64)
	if err != nil {
		return 0 // not ours, or spoilt: any owner is later
	}
	return epoch
}
