// SPDX-License-Identifier: Apache-2.0

package topics

// enter returns the place of a new entry, which is in no list.
func (l *ledger) enter(e entry) (place uint32) {
	if place = l.free; place != 0 {
		l.free = l.entries[place].next
		l.entries[place] = e
		return place
	}
	l.entries = append(l.entries, e)
	return uint32(len(l.entries) - 1)
}

// leave takes an entry out of its list and frees it.
func (l *ledger) leave(place uint32) {
	l.take(place)
	l.entries[place] = entry{next: l.free}
	l.free = place
}

// put puts an entry, which is in no list, into one.
func (l *ledger) put(place uint32, to kind, of uint32) {
	e := &l.entries[place]
	e.kind, e.asker = to, of
	if to == waiting || to == due {
		l.waiting++
	}
	if of != 0 {
		a := &l.askers[of]
		if to == waiting && a.waiting.first == 0 {
			l.inTurn(&l.queues[a.source], of)
		}
		l.count(of, 1)
	}
	l.chain(l.listOf(e), place)
}

// take takes an entry out of its list, if it is in one.
func (l *ledger) take(place uint32) {
	e := &l.entries[place]
	if e.kind == settled {
		return
	}
	l.unlink(l.listOf(e), place)
	if e.kind == waiting || e.kind == due {
		l.waiting--
	}
	if of := e.asker; of != 0 {
		a := &l.askers[of]
		if e.kind == waiting && a.waiting.first == 0 {
			l.outOfTurn(&l.queues[a.source], of)
		}
		l.count(of, -1)
	}
	e.kind, e.asker = settled, 0
}

func (l *ledger) listOf(e *entry) *list {
	switch e.kind {
	case waiting:
		return &l.askers[e.asker].waiting
	case rowless:
		return &l.askers[e.asker].rowless
	case due:
		return &l.queues[e.source].due
	case bare:
		return &l.bare
	default:
		return &l.idle
	}
}

// chain puts an entry to the end of a list.
func (l *ledger) chain(li *list, place uint32) {
	e := &l.entries[place]
	e.prev, e.next = li.last, 0
	if li.last != 0 {
		l.entries[li.last].next = place
	} else {
		li.first = place
	}
	li.last = place
}

func (l *ledger) unlink(li *list, place uint32) {
	e := &l.entries[place]
	if e.prev != 0 {
		l.entries[e.prev].next = e.next
	} else {
		li.first = e.next
	}
	if e.next != 0 {
		l.entries[e.next].prev = e.prev
	} else {
		li.last = e.prev
	}
	e.prev, e.next = 0, 0
}

// asker returns the asker with a key, which has no topics if it is new. It stays if it gets
// one before the lock is given up.
func (l *ledger) asker(key askerKey) uint32 {
	if i := l.of[key]; i != 0 {
		return i
	}
	var i uint32
	if n := len(l.freeAskers); n > 0 {
		i = l.freeAskers[n-1]
		l.freeAskers = l.freeAskers[:n-1]
	} else {
		l.askers = append(l.askers, asker{})
		i = uint32(len(l.askers) - 1)
	}
	l.askers[i].askerKey = key
	l.of[key] = i
	return i
}

// count changes how many topics an asker has, by one, and with it its rank.
func (l *ledger) count(i uint32, by int32) {
	a := &l.askers[i]
	r := &l.ranks[a.standing]
	if a.count > 0 {
		if a.rank.prev != 0 {
			l.askers[a.rank.prev].rank.next = a.rank.next
		} else {
			r.chain[a.count] = a.rank.next
		}
		if a.rank.next != 0 {
			l.askers[a.rank.next].rank.prev = a.rank.prev
		}
		if a.count == r.most && r.chain[a.count] == 0 {
			r.most-- // If it is no other's rank, it will be that of this one.
		}
	}
	a.count = uint32(int32(a.count) + by)
	if a.count == 0 {
		delete(l.of, a.askerKey)
		*a = asker{}
		l.freeAskers = append(l.freeAskers, i)
		return
	}
	if int(a.count) == len(r.chain) {
		r.chain = append(r.chain, 0)
	}
	first := r.chain[a.count]
	a.rank = askerLink{next: first}
	if first != 0 {
		l.askers[first].rank.prev = i
	}
	r.chain[a.count] = i
	r.most = max(r.most, a.count)
}

// inTurn puts an asker to the end of a feed's turn.
func (l *ledger) inTurn(q *queue, i uint32) {
	l.askers[i].turn = askerLink{prev: q.turn.last}
	if q.turn.last != 0 {
		l.askers[q.turn.last].turn.next = i
	} else {
		q.turn.first = i
	}
	q.turn.last = i
}

func (l *ledger) outOfTurn(q *queue, i uint32) {
	a := &l.askers[i]
	if a.turn.prev != 0 {
		l.askers[a.turn.prev].turn.next = a.turn.next
	} else {
		q.turn.first = a.turn.next
	}
	if a.turn.next != 0 {
		l.askers[a.turn.next].turn.prev = a.turn.prev
	} else {
		q.turn.last = a.turn.prev
	}
	a.turn = askerLink{}
}
