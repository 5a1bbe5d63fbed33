package ledgerstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/ledger"
)

// maxTakeover bounds how often a shard that somebody keeps writing is tried to be taken over.
const maxTakeover = 10

var errMisfiled = errors.New("the record is of another workload than its key says")

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
	if len(found) > 0 {
		return s.takeOver(ctx, found)
	}
	err = s.makeFirst(ctx)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	// Somebody took its label away.
	first := s.options.configMap(0)
	if err := s.options.Client.Get(ctx, client.ObjectKeyFromObject(first), first); err != nil {
		return fmt.Errorf("reading ledger shard %s: %w", first.Name, err)
	}
	s.mu.Lock()
	s.epoch = max(s.epoch, epochOf(first)+1)
	s.sequence = s.epoch << 32
	s.bootstrap = false
	s.mu.Unlock()
	return s.takeOver(ctx, map[int]*corev1.ConfigMap{0: first})
}

func (s *Store) makeFirst(ctx context.Context) error {
	s.mu.Lock()
	first := newShard(0)
	cm, annotations := s.options.configMap(0), s.shardAnnotations(0)
	s.mu.Unlock()
	if err := s.send(ctx, cm, annotations, batch{}); err != nil {
		return fmt.Errorf("making the first ledger shard: %w", err)
	}
	first.resourceVersion = cm.ResourceVersion
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shards[0] = first
	return nil
}

func (s *Store) takeOver(ctx context.Context, found map[int]*corev1.ConfigMap) error {
	sequences := map[types.UID]uint64{}
	for _, number := range slices.Sorted(maps.Keys(found)) {
		cm := found[number]
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
	s.wake() // for what was read and is not to stay
	return nil
}

// claim writes the epoch into a shard. The answer holds all that predecessors have written: later writes of theirs fail.
func (s *Store) claim(ctx context.Context, cm *corev1.ConfigMap) error {
	key := client.ObjectKeyFromObject(cm)
	for range maxTakeover {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"resourceVersion": cm.ResourceVersion,
			"annotations":     map[string]any{epochAnnotation: fmt.Sprint(s.epoch)},
			"labels":          s.options.labels(),
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
	if _, marked := cm.Annotations[bootstrapAnnotation]; marked {
		s.bootstrap = true
	}
	if cm.Annotations[keyAnnotation] != s.options.KeyID {
		s.lose(shard, cm)
		return
	}
	unread := map[string]error{}
	for key, text := range cm.Data {
		uid := types.UID(key)
		entry, sequence, err := ledger.Decode([]byte(text))
		if err == nil && entry.UID != uid {
			err = errMisfiled
		}
		if err != nil {
			unread[key] = err
			shard.removed[uid], s.bootstrap = true, true
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
		if other, taken := s.names[entry.Workload]; !taken || sequence > sequences[other] {
			s.names[entry.Workload] = uid
		}
		shard.sizes[uid] = len(text)
		shard.size += len(text)
	}
	s.reportUnread(cm, unread)
}

// reportUnread logs a shard's records that cannot be read, in one line: where a later format was rolled back, that is
// all of them.
func (s *Store) reportUnread(cm *corev1.ConfigMap, unread map[string]error) {
	if len(unread) == 0 {
		return
	}
	first := slices.Min(slices.Collect(maps.Keys(unread)))
	s.options.Log.Error(unread[first], "ledger records cannot be read and are lost: their workloads are met for the first time, "+
		"changes made since are missed", "shard", cm.Name, "records", len(unread), "first", first)
}

// lose drops what was recorded with another key: nothing can be compared to it. All workloads are met for the first time
// then, as if there had been no ledger.
func (s *Store) lose(shard *shard, cm *corev1.ConfigMap) {
	s.options.Log.Info("the ledger was made with another digest key and is lost: every workload is met for the first time, "+
		"changes made since are missed", "shard", cm.Name, "records", len(cm.Data))
	s.bootstrap = true
	for key := range cm.Data {
		shard.removed[types.UID(key)] = true
	}
	shard.annotations = true
	if first := s.shards[0]; first != nil {
		first.annotations = true
	}
}
