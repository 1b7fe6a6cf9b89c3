// SPDX-License-Identifier: Apache-2.0

package bars

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

// drop lets go of bars that are closed, were told, and ended at or before a time in Unix microseconds: no trade
// may change them any more. The two that were closed last stay, because its state has them.
func (s *series) drop(before int64) {
	ms := before / 1000
	keep := s.opened() - 2
	live := s.live()
	n := 0
	for n < keep && !live[n].dirty && live[n].start+s.interval.Millis <= ms && s.next(live[n].start) <= ms {
		n++
	}
	if n == 0 {
		return
	}
	s.base, s.based = live[n-1].close, true
	s.head += n
	if s.head > len(s.slots)/2 {
		s.slots = s.slots[:copy(s.slots, s.slots[s.head:])]
		s.head = 0
	}
}
