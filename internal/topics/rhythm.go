// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// A topic is stale when it has been without a row for longer than is to be expected of
// it: longer than Config.StaleAfter or, if that is 0, than
//
//	max(Config.StaleFloor, 4 × gap)
//
// where gap is the longest time between two of its ticks, which each tick takes a
// [gapDecay]th off. A topic that has ticked less than [rhythmTicks] times has no rhythm
// yet and is not stale, nor is one that is delisted. It is fresh again with its next row. A topic of which the feed gets
// no values is stale at once, see [Table.GoStale]; that it has another reason then is a [Why].
const (
	gapDecay    = 32
	gapPatience = 4
	rhythmTicks = 8
)

// staleMax bounds StaleFloor and StaleAfter of a [Config]: a week of silence says nothing that
// the day before did not.
const staleMax = 7 * 24 * time.Hour

// Validate returns what no operator would want of a table, or nil. Each error begins with the
// name of a field.
func (c Config) Validate() (err error) {
	for i, d := range []time.Duration{c.StaleFloor, c.StaleAfter} {
		if d < 0 || d > staleMax {
			err = errors.Join(err, fmt.Errorf("%s is %v, want 0s to %v", [...]string{"StaleFloor", "StaleAfter"}[i], d, staleMax))
		}
	}
	return errors.Join(err, c.checkTolerance())
}

// watchStretch is how many topics are looked at under one hold of a shard's lock, about
// a microsecond, so that no tick waits for a look at all of them.
const watchStretch = 256

// learn notes that a tick of the topic came in.
func (tp *topic) learn(at int64) {
	if tp.last != 0 {
		gap := tp.gap - tp.gap/gapDecay
		tp.gap = uint32(min(max(int64(gap), at-tp.last), math.MaxUint32))
	}
	tp.last = at
}

// overdue reports whether the topic has been without a row for too long.
func (t *Table) overdue(tp *topic, at int64) bool {
	if t.staleAfter > 0 {
		return at-tp.last > t.staleAfter
	}
	return tp.n >= rhythmTicks && at-tp.last > max(t.staleFloor, gapPatience*int64(tp.gap))
}

// Watch finds the topics that are stale at a time, in Unix milliseconds of the clock of
// [Meta.At]. It wants to be called about once a second.
func (t *Table) Watch(at int64) {
	if now := t.tickAt(); now > t.newest.Load() {
		t.newest.Store(now)
	}
	if t.staleFloor == 0 && t.staleAfter == 0 {
		return
	}
	for i := range t.shards {
		s := &t.shards[i]
		for local, more := uint32(0), true; more; local += watchStretch {
			more = t.watchFrom(s, local, at)
		}
	}
}

// watchFrom looks at one stretch of a shard's topics. It reports whether there are more.
func (t *Table) watchFrom(s *shard, local uint32, at int64) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := min(uint32(len(s.topics)), local+watchStretch)
	for ; local < end; local++ {
		tp := &s.topics[local]
		switch {
		case tp.state != wanted || tp.stale || tp.delisted(s.slot(local)):
		case tp.last == 0:
			// It never had a row. Its time counts from its subscription, which was
			// within the last second.
			if t.staleAfter > 0 {
				tp.last = at
			}
		case t.overdue(tp, at):
			t.goStale(s, local, Silent)
		}
	}
	return end < uint32(len(s.topics))
}

// Why says why a topic is stale.
type Why uint8

const (
	Silent       Why = iota // It has had no row for longer than is to be expected of it.
	NotPermitted            // Its source does not permit the feed to have it.
	Unusable                // What its source holds as its value can't be passed on.
	Unserved                // Its source can't serve it for now, or can't say what was missed.
	Whys                    // Their number.
)

const _ = uint(1<<(64-whyShift) - 1 - Whys) // With one to spare, so that no mark is withdrawnMark.

// GoStale makes a topic stale until its next row, however long ago the last one was, for a
// reason other than [Silent]. Unlike one that is silent, it is fresh again as soon as the feed
// has fetched its value, changed or not. One that is stale already is told again if it was for
// another reason. Nothing is done if the topic got a row since mark was taken, see
// [Table.Mark], or if nobody wants it.
func (t *Table) GoStale(name string, mark uint64, why Why) {
	s := t.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	local, ok := s.ids[name]
	if !ok || s.slot(local).seq.Load() != mark {
		return
	}
	if tp := &s.topics[local]; !tp.stale || tp.why != why {
		t.goStale(s, local, why)
	}
}

// goStale announces that a topic is stale, or that it is for another reason. The caller holds s.mu.
func (t *Table) goStale(s *shard, local uint32, why Why) {
	tp := &s.topics[local]
	if tp.why = why; !tp.stale {
		tp.stale = true
		t.stale.Add(1)
		t.staleTotal.Add(1)
	}
	t.announce(func(seq uint64) { s.mark(local).Store(seq | uint64(why)<<whyShift) })
}

// excuse ends what GoStale has begun where no row comes of it, as the source has none that is
// newer. Its clients are told that the topic is silent, and no more than that: they may have an
// old row or none. Of one that is delisted they are told that again. The caller holds s.mu.
func (t *Table) excuse(s *shard, local uint32) {
	tp := &s.topics[local]
	switch {
	case tp.why == Silent:
	case tp.delisted(s.slot(local)):
		tp.n++
		s.offered += uint64(tp.subscribers)
		t.weigh(s, local, t.renew(s, local, tp.name, Delisted, Meta{At: s.tickAt}), uint64(t.window)) // It is no newer.
	default:
		t.goStale(s, local, Silent)
	}
}

// freshen ends the staleness of a topic, before its row is stored. Stored first, a loop
// could send the row and say that the topic is stale behind it. The caller holds s.mu.
func (t *Table) freshen(s *shard, local uint32) {
	s.topics[local].stale, s.topics[local].why = false, Silent
	s.mark(local).Store(0)
	t.stale.Add(-1)
}

// unmark takes a topic's marks away that say how it is. The caller holds s.mu.
func (s *shard) unmark(t *Table, local uint32) {
	if s.topics[local].stale {
		t.freshen(s, local)
	}
	s.setAbsent(local, false)
}

// Stale is the sequence at which a topic went stale, 0 while it is fresh. The caller
// must hold the id. A caller that wants to know of a row and of this reads the row first.
func (t *Table) Stale(id ID) uint64 {
	at, _ := t.StaleFor(id)
	return at
}

// StaleFor is [Table.Stale], and why it is so.
func (t *Table) StaleFor(id ID) (at uint64, why Why) {
	if mark := t.shards[id&shardMask].mark(uint32(id >> shardBits)).Load(); mark != withdrawnMark {
		return mark & (1<<whyShift - 1), Why(mark >> whyShift)
	}
	return 0, Silent
}

// StaleTopics is how many topics are stale now, and how many times one has become so.
func (t *Table) StaleTopics() (now int64, total uint64) { return t.stale.Load(), t.staleTotal.Load() }

// tickAt is when the newest tick of any topic came in, 0 if there was none.
func (t *Table) tickAt() (at int64) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		at = max(at, s.tickAt)
		s.mu.Unlock()
	}
	return at
}

// staleTime is a time of [Config] in milliseconds. What is above 0 stays so.
func staleTime(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return max(1, d.Milliseconds())
}
