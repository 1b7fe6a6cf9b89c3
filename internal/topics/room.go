// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"math"
	"time"
)

// passed is the time since the table was made, in nanoseconds. Its own difference, and not
// the time of day: that may be set back, and what waits for its end would wait for hours.
func (t *Table) passed(now time.Time) int64 { return int64(now.Sub(t.base)) }

// Sweep gives up the topics whose linger is over at now. When the table is nearly full it
// gives up all that linger and never had a row, so that there is room for others: they are
// lost to nobody. Those with a row keep their linger, as a client that comes again wants them first.
// Topics that somebody holds have to give way only when the room is needed, see
// [Table.Acquire]. Sweep wants to be called about once a second.
func (t *Table) Sweep(now time.Time) {
	t.tell()
	cutoff := t.passed(now) - int64(t.cfg.Linger)
	for t.sweepOne(bare, cutoff) || t.nearlyFull() && t.sweepOne(bare, math.MaxInt64) {
	}
	for t.sweepOne(idle, cutoff) {
	}
}

// nearlyFull is whether more than seven eighths of the room are taken.
func (t *Table) nearlyFull() bool { return t.held.Load() > int64(t.cfg.Max-t.cfg.Max/8) }

// sweepOne gives up the topic that has lingered the longest, if that was since cutoff or
// longer. It is false if there is none.
func (t *Table) sweepOne(of kind, cutoff int64) bool {
	v, ok := t.ledger.lingering(of, cutoff)
	if ok && t.giveUp(v) {
		t.held.Add(-1)
		if cutoff == math.MaxInt64 {
			t.givenUp.Add(1)
		}
	}
	return ok
}

// makeRoom has a topic give way to a new one of an asker, which has its room then. It is
// false if none has to.
func (t *Table) makeRoom(key askerKey) bool {
	for {
		v, ok := t.ledger.giveWay(key, t.cfg.Max)
		if !ok {
			return t.reserve() // There may be some by now.
		}
		if t.giveUp(v) {
			if v.kind == bare || v.kind == idle {
				t.givenUp.Add(1)
			}
			return true
		}
		// It has changed since it was chosen, so somebody else has got on.
	}
}

// giveUp gives up a topic, unless it has changed since it was chosen. Its room is the
// caller's then. If nobody holds it, its id is free. Else it is withdrawn: the name is free,
// the topic will never have a row, and those who hold it are told by its mark.
func (t *Table) giveUp(v victim) bool {
	s, local := t.locate(v.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	held, ok := t.ledger.giveUp(v, t.cfg.Max)
	if !ok {
		return false
	}
	tp := &s.topics[local]
	delete(s.ids, tp.name)
	s.unmark(t, local)
	if held {
		tp.state, tp.place = withdrawn, 0
		s.mark(local).Store(withdrawnMark)
		t.takenAway.Add(1)
		t.unsaid.Store(true)
	} else {
		s.clear(local)
	}
	t.signal()
	return true
}

// tell raises the notice if topics were withdrawn since it was called last. Once for all of
// them: each time, every conn has to look at its topics.
func (t *Table) tell() {
	if t.unsaid.Load() && t.unsaid.Swap(false) {
		t.announce(func(uint64) {})
	}
}

// reserve counts one more topic in, if there is room.
func (t *Table) reserve() bool {
	for {
		held := t.held.Load()
		if held >= int64(t.cfg.Max) {
			return false
		}
		if t.held.CompareAndSwap(held, held+1) {
			return true
		}
	}
}

// WithdrawnTopics is how many topics were withdrawn, and are held still. It counts a topic
// before its name can be acquired again: who finds 0 after that holds none.
func (t *Table) WithdrawnTopics() int64 { return t.ledger.withdrawn.Load() }

// Reclaimed is how many topics had to make room for others: so many were withdrawn from those
// who held them, and so many lingered and were given up before their time.
func (t *Table) Reclaimed() (withdrawn, lingering uint64) {
	return t.takenAway.Load(), t.givenUp.Load()
}

// Rowless is how many topics there are that have no value (no row, or one that delists it), those that linger included.
func (t *Table) Rowless() int {
	t.ledger.mu.Lock()
	defer t.ledger.mu.Unlock()
	return t.ledger.lacking
}

// Withdrawn reports whether the table has taken a topic away from those who hold it, to make
// room. It will have no row any more, and is to be released. Each time there are such topics
// that is news, and comes with a notice. The caller must hold the id.
func (t *Table) Withdrawn(id ID) bool {
	return t.shards[id&shardMask].mark(uint32(id>>shardBits)).Load() == withdrawnMark
}
