package ledgerstore

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/ledger"
)

// maxTakeover bounds how often a shard that somebody keeps writing is tried to be taken over.
const maxTakeover = 10

// Load takes the ledger over: it writes a new epoch into every shard, and reads what they hold then. If there is none,
// it makes the first shard. Records that cannot be read count as lost, one by one.
func (s *Store) Load(ctx context.Context) error {
	list := &corev1.ConfigMapList{}
	err := s.options.Client.List(ctx, list, client.InNamespace(s.options.Namespace), client.MatchingLabels(s.options.labels()))
	if err != nil {
		return fmt.Errorf("listing ledger shards: %w", err)
	}
	found := map[int]*corev1.ConfigMap{}
	var epoch uint64
	for i := range list.Items {
		if number, ok := s.options.shardNumber(list.Items[i].Name); ok {
			found[number] = &list.Items[i]
			epoch = max(epoch, epochOf(&list.Items[i]))
		}
	}
	s.mu.Lock()
	s.epoch = epoch + 1
	s.sequence = s.epoch << 32 // records of a later epoch are later
	s.bootstrap = len(found) == 0
	s.mu.Unlock()
	if len(found) == 0 {
		return s.makeFirst(ctx)
	}
	return s.takeOver(ctx, found)
}

func (s *Store) makeFirst(ctx context.Context) error {
	s.mu.Lock()
	first := newShard(0)
	s.shards[0] = first
	cm, annotations := s.options.configMap(0), s.shardAnnotations(0)
	s.mu.Unlock()
	if err := s.send(ctx, cm, annotations, batch{}); err != nil {
		return fmt.Errorf("making the first ledger shard: %w", err)
	}
	first.resourceVersion = cm.ResourceVersion
	return nil
}

func (s *Store) takeOver(ctx context.Context, found map[int]*corev1.ConfigMap) error {
	sequences := map[types.UID]uint64{}
	for number, cm := range found {
		if err := s.claim(ctx, cm); err != nil {
			return err
		}
		s.mu.Lock()
		s.read(number, cm, sequences)
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shards[0] == nil {
		s.shards[0] = newShard(0)
	}
	return nil
}

// claim writes the epoch into a shard. The answer holds all that predecessors have written: later writes of theirs fail.
func (s *Store) claim(ctx context.Context, cm *corev1.ConfigMap) error {
	key := client.ObjectKeyFromObject(cm)
	for range maxTakeover {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"resourceVersion": cm.ResourceVersion,
			"annotations":     map[string]any{epochAnnotation: fmt.Sprint(s.epoch)},
		}})
		if err != nil {
			return fmt.Errorf("encoding the ledger's epoch: %w", err)
		}
		err = s.options.Client.Patch(ctx, cm, client.RawPatch(types.MergePatchType, patch))
		if err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) {
			return fmt.Errorf("taking over ledger shard %s: %w", key.Name, err)
		}
		if err := s.options.Client.Get(ctx, key, cm); err != nil {
			return fmt.Errorf("reading ledger shard %s: %w", key.Name, err)
		}
		if epochOf(cm) >= s.epoch {
			return fmt.Errorf("%w: shard %s is of epoch %d", ErrSuperseded, key.Name, epochOf(cm))
		}
	}
	return fmt.Errorf("taking over ledger shard %s: somebody keeps writing it", key.Name)
}

func (s *Store) read(number int, cm *corev1.ConfigMap, sequences map[types.UID]uint64) {
	shard := newShard(number)
	shard.resourceVersion = cm.ResourceVersion
	s.shards[number] = shard
	if number == 0 {
		_, s.bootstrap = cm.Annotations[bootstrapAnnotation]
	}
	for key, text := range cm.Data {
		uid := types.UID(key)
		entry, sequence, err := ledger.Decode([]byte(text))
		if err != nil || entry.UID != uid {
			s.options.Log.Error(err, "a ledger record cannot be read and is taken as lost", "shard", cm.Name, "key", key)
			shard.removed[uid] = true
			continue
		}
		if h, twice := s.entries[uid]; twice {
			if sequence <= sequences[uid] {
				shard.removed[uid] = true
				continue
			}
			s.shards[h.shard].remove(uid)
		}
		sequences[uid] = sequence
		s.entries[uid] = &held{entry: entry, encoded: []byte(text), shard: number, stored: entry}
		s.named(entry)
		shard.sizes[uid] = len(text)
		shard.size += len(text)
	}
}

// named keeps the entry of the object that had the name last.
func (s *Store) named(entry *ledger.Entry) {
	if other, ok := s.entries[s.names[entry.Workload]]; ok && other.entry.AbsentSince.IsZero() && !entry.AbsentSince.IsZero() {
		return
	}
	s.names[entry.Workload] = entry.UID
}
