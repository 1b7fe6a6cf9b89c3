// SPDX-License-Identifier: Apache-2.0

package bars

import "slices"

// advance closes what ends at or before a mark, and fills what has no trades, at most so many bars. It reports
// whether it closed any bar.
func (s *series) advance(mark int64, fills *int) bool {
	ms := mark / 1000
	if ms < s.nextClose {
		return false
	}
	from := s.closedTo
	target := s.interval.Start(ms, s.symbol.Zone)
	if target <= from {
		return false
	}
	at := s.opened()
	if s.symbol.Fill {
		target = s.fillTo(at, target, fills)
	}
	told := s.pending
	for live := s.live(); at < len(live) && live[at].start < target; at++ {
		s.changed(&live[at], false)
	}
	s.closedTo, s.nextClose = target, s.next(target)
	if s.pending != told {
		s.tell = true
	}
	return true
}

// fillTo inserts the bars that have no trades, from the first that is not closed, which is at a place among
// live, to before target. It returns how far it has come.
func (s *series) fillTo(at int, target int64, fills *int) int64 {
	pos := s.closedTo
	for pos < target {
		live := s.live()
		if at < len(live) && live[at].start == pos {
			at++
			pos = s.next(pos)
			continue
		}
		until := target
		if at < len(live) {
			until = min(until, live[at].start)
		}
		close, ok := s.before(at)
		if !ok {
			pos = until
			continue
		}
		if pos = s.session(pos); pos >= until {
			pos = until
			continue
		}
		if *fills <= 0 || s.pending >= pendingFills {
			return pos
		}
		*fills--
		b := &s.insert(at, 1)[0]
		b.start = pos
		b.fill(close)
		at++
		pos = s.next(pos)
	}
	return pos
}

// pendingFills is how many bars of a series may wait to be told while it is being filled.
const pendingFills = 1024

// drop lets go of bars that are closed, were told, and ended before trades may still revise them. The two that
// were closed last stay, because its state has them.
func (s *series) drop(e *Engine, mark int64) {
	ms := (mark - e.limit) / 1000
	gone := 0
	for gone < len(s.old) && s.old[gone].end <= ms {
		gone++
	}
	if gone > 0 {
		s.base, s.based = s.old[gone-1].close, true
		s.old = slices.Delete(s.old, 0, gone)
	}
	if len(s.old) > 0 {
		return
	}
	keep := s.opened() - 2
	live := s.live()
	n := 0
	for n < keep && !live[n].dirty && s.next(live[n].start) <= ms {
		n++
	}
	if n > 0 {
		s.base, s.based = live[n-1].close, true
		s.cut(n)
	}
}
