// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"hash/maphash"
	"math"
	"sync/atomic"
	"unsafe"
)

// slot is the part of a topic that loops read without a lock. The row is stored
// before its sequence: a loop that sees the sequence sees that row or a newer one.
type slot struct {
	seq atomic.Uint64
	row atomic.Pointer[Row]
}

// chunk is the memory of some topics that loops read without a lock. The marks stand apart
// from the slots: a gather reads every slot, and a mark only when there is news.
type chunk struct {
	slots [1 << chunkBits]slot
	// The sequence at which a topic went stale, with why at whyShift, 0 while it is fresh; or withdrawnMark.
	marks  [1 << chunkBits]atomic.Uint64
	absent [1 << chunkBits / 32]atomic.Uint32 // A bit for each topic that is known to have no value.
	// The number of the stamp before which a topic was settled, or unsettled, disputed or blind.
	settled [1 << chunkBits]atomic.Uint32
	watched [1 << chunkBits / 32]uint32 // A bit for each topic that has a watcher. Under the shard's lock.
	places  [1 << chunkBits]places      // Of each topic in what is counted. Under the shard's lock.
}

// whyShift is where a mark has its Why. With a million ticks a second, a sequence comes so far
// in 36,000 years.
const whyShift = 60

// withdrawnMark is the mark of a topic that was withdrawn. No sequence comes so far, for whatever reason.
const withdrawnMark = math.MaxUint64

const chunkSizeMax = 8192 // A size that Go allocates. What is above takes 9472.
const _ = uint(chunkSizeMax - unsafe.Sizeof(chunk{}))

// add makes a new topic. The caller holds s.mu.
func (s *shard) add(name string) uint32 {
	var local uint32
	if n := len(s.free); n > 0 {
		local = s.free[n-1]
		s.free = s.free[:n-1]
	} else {
		local = uint32(len(s.topics))
		s.topics = append(s.topics, topic{})
		if c := &s.chunks[local>>chunkBits]; c.Load() == nil {
			c.Store(new(chunk))
		}
	}
	s.topics[local] = topic{name: name, state: wanted, rowless: true}
	s.settled(local).Store(unsettled)
	s.ids[name] = local
	return local
}

// forget frees a topic that nobody holds and that is not in the ledger. The caller holds
// s.mu.
func (t *Table) forget(s *shard, local uint32) {
	delete(s.ids, s.topics[local].name)
	s.unmark(t, local)
	s.clear(local)
	t.held.Add(-1)
}

// clear frees the place of a topic that nobody knows any more. The caller holds s.mu.
func (s *shard) clear(local uint32) {
	s.unweigh(local)
	s.mark(local).Store(0)
	sl := s.slot(local)
	sl.seq.Store(0)
	sl.row.Store(nil)
	s.topics[local] = topic{}
	s.free = append(s.free, local)
}

func idOf(local uint32, index uint64) ID { return ID(local<<shardBits) | ID(index) }

func (t *Table) shardOf(name string) *shard {
	return &t.shards[maphash.String(t.seed, name)&shardMask]
}

func (t *Table) locate(id ID) (*shard, uint32) {
	return &t.shards[id&shardMask], uint32(id >> shardBits)
}

func (t *Table) slot(id ID) *slot {
	s := &t.shards[id&shardMask]
	local := id >> shardBits
	return &s.chunks[local>>chunkBits].Load().slots[local&chunkMask]
}

func (s *shard) slot(local uint32) *slot {
	return &s.chunks[local>>chunkBits].Load().slots[local&chunkMask]
}

func (s *shard) mark(local uint32) *atomic.Uint64 {
	return &s.chunks[local>>chunkBits].Load().marks[local&chunkMask]
}

// setAbsent notes whether a topic is absent. The caller holds s.mu.
func (s *shard) setAbsent(local uint32, absent bool) {
	word, bit := s.absentBit(local)
	if absent {
		word.Or(bit)
	} else {
		word.And(^bit)
	}
}

// setWatched notes whether a topic has a watcher. The caller holds s.mu.
func (s *shard) setWatched(local uint32, watched bool) {
	at := local & chunkMask
	word := &s.chunks[local>>chunkBits].Load().watched[at/32]
	if *word &^= 1 << (at % 32); watched {
		*word |= 1 << (at % 32)
	}
}

// watched reports whether a topic has a watcher. The caller holds s.mu.
func (s *shard) watched(local uint32) bool {
	at := local & chunkMask
	return s.chunks[local>>chunkBits].Load().watched[at/32]&(1<<(at%32)) != 0
}

func (s *shard) places(local uint32) *places {
	return &s.chunks[local>>chunkBits].Load().places[local&chunkMask]
}

func (s *shard) absentBit(local uint32) (word *atomic.Uint32, bit uint32) {
	at := local & chunkMask
	return &s.chunks[local>>chunkBits].Load().absent[at/32], 1 << (at % 32)
}
