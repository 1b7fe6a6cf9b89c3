// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"math"
	"slices"
	"time"

	"tickedge/internal/trade"
)

// slot is a bar as a series keeps it: 128 bytes without pointers. One with count 0 was filled.
type slot struct {
	start                  int64 // In Unix milliseconds.
	open, high, low, close int64
	volume, turnover       Sum
	count                  int64
	first, last            trade.Key
	rev                    int32
	dirty                  bool // It is closed, and to be told.
}

// merge puts a trade into a bar. Of trades with the same key the lowest price opens and the highest closes, so
// the bar is the same in whatever order they come.
func (s *slot) merge(t *trade.Trade, volume, turnover Sum) {
	k := t.Key()
	if s.count == 0 {
		s.open, s.high, s.low, s.close = t.Price, t.Price, t.Price, t.Price
		s.first, s.last = k, k
	} else {
		if k.Before(s.first) || k == s.first && t.Price < s.open {
			s.first, s.open = k, t.Price
		}
		if s.last.Before(k) || k == s.last && t.Price > s.close {
			s.last, s.close = k, t.Price
		}
		s.high, s.low = max(s.high, t.Price), min(s.low, t.Price)
	}
	s.volume, s.turnover = volume, turnover
	s.count++
}

// fill makes of s a bar without trades.
func (s *slot) fill(close int64) { s.open, s.high, s.low, s.close = close, close, close, close }

// series is the bars of a symbol and interval that may still change, and the two before them.
type series struct {
	interval *Interval
	symbol   *trade.Symbol
	old      []chunk // In order, before slots.
	slots    []slot  // From head on, in order.
	head     int

	closedTo  int64 // Bars that begin before it are closed, in Unix milliseconds.
	nextClose int64 // When the first bar that is not closed ends.

	base  int64 // The close of the newest bar that was let go of, if based.
	based bool
	tell  bool // Something changed since its state was told.

	pending   int   // Slots that are dirty.
	dirtyFrom int64 // None that begins before it is.
	revs      int64

	lastStart, lastNext int64 // Bounds of the slot that was used last.
}

func (s *series) live() []slot { return s.slots[s.head:] }

// bounds returns when the bar begins and ends that has a time in Unix milliseconds.
func (s *series) bounds(at int64) (start, next int64) {
	if at < s.lastStart || at >= s.lastNext {
		s.lastStart = s.interval.Start(at, s.symbol.Zone)
		s.lastNext = s.interval.Next(s.lastStart, s.symbol.Zone)
	}
	return s.lastStart, s.lastNext
}

func (s *series) next(start int64) int64 { return s.interval.Next(start, s.symbol.Zone) }

// find returns where the bar that begins at start is among live, or belongs.
func (s *series) find(start int64) (at int, ok bool) {
	live := s.live()
	if n := len(live); n == 0 || live[n-1].start < start {
		return n, false
	} else if live[n-1].start == start {
		return n - 1, true
	}
	return slices.BinarySearchFunc(live, start, func(b slot, start int64) int {
		if b.start < start {
			return -1
		} else if b.start > start {
			return 1
		}
		return 0
	})
}

// opened is where the first bar is among live that is not closed.
func (s *series) opened() int {
	live := s.live()
	at := len(live)
	for at > 0 && live[at-1].start >= s.closedTo {
		at--
	}
	return at
}

// insert makes room for n bars.
func (s *series) insert(at, n int) []slot {
	if s.head > 0 && len(s.slots)+n > cap(s.slots) {
		s.slots = s.slots[:copy(s.slots, s.slots[s.head:])]
		s.head = 0
	}
	s.slots = slices.Grow(s.slots, n)
	s.slots = s.slots[:len(s.slots)+n]
	live := s.live()
	copy(live[at+n:], live[at:])
	clear(live[at : at+n])
	return live[at : at+n]
}

// changed notes that a bar that is closed is to be told, and whether it had been closed as something else.
func (s *series) changed(b *slot, revised bool) {
	if revised {
		s.revs++
		if b.rev < math.MaxInt32 {
			b.rev++
		}
	}
	if !b.dirty {
		b.dirty = true
		s.pending++
	}
	s.dirtyFrom = min(s.dirtyFrom, b.start)
}

// before returns the close before the bar at a place among live.
func (s *series) before(at int) (close int64, ok bool) {
	if at > 0 {
		return s.live()[at-1].close, true
	}
	if n := len(s.old); n > 0 {
		return s.old[n-1].close, true
	}
	return s.base, s.based
}

// add merges a trade into its bar. at and ok are what find has returned.
func (s *series) add(t *trade.Trade, start int64, at int, ok bool, volume, turnover Sum) {
	s.tell = true
	if !ok {
		s.insert(at, 1)[0].start = start
	}
	b := &s.live()[at]
	b.merge(t, volume, turnover)
	if start < s.closedTo {
		s.changed(b, true)
		s.carry(at)
	}
}

// carry takes the close of a closed bar on into the filled bars behind it, and fills where nothing was filled
// because no close before was known.
func (s *series) carry(at int) {
	if s.symbol.Fill {
		s.fillBehind(at)
	}
	live := s.live()
	close := live[at].close
	for i := at + 1; i < len(live) && live[i].count == 0 && live[i].start < s.closedTo && live[i].close != close; i++ {
		live[i].fill(close)
		s.changed(&live[i], true)
	}
}

// fillBehind fills from a closed bar to the next one that there is.
func (s *series) fillBehind(at int) {
	live := s.live()
	to := s.closedTo
	if at+1 < len(live) {
		to = min(to, live[at+1].start)
	}
	var starts []int64
	for start := s.session(s.next(live[at].start)); start < to; start = s.session(s.next(start)) {
		starts = append(starts, start)
	}
	if len(starts) == 0 {
		return
	}
	close := live[at].close
	room := s.insert(at+1, len(starts))
	for i := range room {
		room[i].start = starts[i]
		room[i].fill(close)
		s.changed(&room[i], true)
	}
}

// session returns the first bar, from that which begins at start on, that overlaps a session of the symbol.
func (s *series) session(start int64) int64 {
	if s.symbol.Session == (trade.Session{}) {
		return start
	}
	zone := s.symbol.Zone
	at, ok := s.symbol.Session.Next(time.UnixMilli(start).In(zone))
	if !ok {
		return math.MaxInt64
	}
	return max(start, s.interval.Start(at.UnixMilli(), zone))
}
