// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// The ledger says of which topics the feed has to hear, and which topics are the first to
// be given up. A topic that has a row, a subscriber and the feed's ear is not in it.
//
//	                      asker ──► waiting   wanted, and the feed was not told yet
//	(source, feed, standing)    └─► rowless   told, subscribed, without a row
//
//	feed ──► due       as waiting, but it has a row already; next in turn
//	     ├─► turn      the askers with waiting topics, one topic of each at a time
//	     └─► drops     names that the feed was told of, and that nobody wants any more
//
//	bare, idle         topics without a subscriber that linger: those without a row, and those with one
//
// An asker is who first asked for topics that have no row, see [Table.Acquire]. Names cost
// nothing and are free to be made up, so what one asker can have of the feed and of the
// room follows from how many such topics it has, not from how many it asks for:
//
//   - The feed is told of the topics of all askers in turn. So a client that asks for one topic
//     does not wait behind one that asks for a hundred thousand.
//   - Where the table is full, topics without a row give way: first those that linger, the
//     oldest first, then those of the lowest standing, of them the oldest of the asker that has
//     the most.
//
// So a topic that exists, but was not looked up yet, does not give way to made-up names, which
// are known to be absent soon: it is they that have to.
//
// Each step is a few changes of links, however many topics there are. Its lock comes after that
// of a shard, and nothing is locked under it.
type ledger struct {
	mu      sync.Mutex
	entries []entry // The first is none.
	free    uint32  // Entries, chained by next.

	askers     []asker // The first is none.
	freeAskers []uint32
	of         map[askerKey]uint32
	ranks      [known + 1]ranks // By their standing.

	queues     []queue
	bare, idle list
	waiting    int // Topics that the feeds were not told of.
	lacking    int // Topics without a value, those that linger included.

	// withdrawn is how many topics were, and are held still. It is written under the lock.
	withdrawn atomic.Int64
}

// entry is a topic in the ledger.
type entry struct {
	name       string
	since      int64 // When its last subscriber left, see Table.passed.
	id         ID
	prev, next uint32
	asker      uint32 // Of waiting and rowless ones.
	source     uint8
	kind       kind
}

const entrySizeMax = 48 // See docs/BUDGET.md.
const _ = uint(entrySizeMax - unsafe.Sizeof(entry{}))

// kind says what holds of a topic, and in which list its entry is.
type kind uint8

const (
	settled kind = iota // In no list: the feed was told, it has a row and a subscriber. Or it is no entry.
	waiting
	due
	rowless
	bare
	idle
)

// list is entries, chained by prev and next.
type list struct{ first, last uint32 }

// asker is a source of clients, with the topics of one feed. Those of different feeds are
// kept apart so that a feed that takes nothing holds up no other.
type asker struct {
	askerKey
	waiting, rowless list
	count            uint32    // Topics in both. It is gone at 0.
	rank             askerLink // Among those with the same count.
	turn             askerLink // Among those with waiting topics.
}

type askerKey struct {
	by       uint64
	source   uint8
	standing standing
}

// standing says what speaks for it that a topic exists which has no row.
type standing uint8

const (
	absent      standing = iota // Nothing: its source has looked, and there is no value.
	unread                      // Its source has not looked yet.
	knownAbsent                 // It is known to exist, see [Table.AcquireKnown], but has no value now.
	known                       // It is known to exist, and its source has not looked yet.
)

// The bits of a standing.
const (
	unreadBit = unread
	knownBit  = knownAbsent
)

// ranks orders askers by the number of their topics.
type ranks struct {
	chain []uint32 // By that number, the first asker of those that have it.
	most  uint32   // The highest number.
}

type askerLink struct{ prev, next uint32 }

// queue is what one feed has to be told.
type queue struct {
	due   list
	turn  list // Of askers.
	drops []string
}

// victim is a topic that is to be given up, as it was when it was chosen.
type victim struct {
	place uint32
	id    ID
	kind  kind
	asker uint32
}

func (l *ledger) init() {
	l.entries, l.askers = make([]entry, 1), make([]asker, 1)
	for i := range l.ranks {
		l.ranks[i].chain = make([]uint32, 1)
	}
	l.of = make(map[askerKey]uint32)
}

// want enters a new topic, of which the feed has to hear.
func (l *ledger) want(id ID, name string, key askerKey) (place uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	place = l.enter(entry{id: id, name: name, source: key.source})
	l.lacking++
	l.put(place, waiting, l.asker(key))
	return place
}

// hold notes that a topic without a subscriber has one again, by an asker.
func (l *ledger) hold(place uint32, key askerKey) (newPlace uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.entries[place]
	if e.kind == bare {
		l.take(place)
		key.source = e.source
		l.put(place, rowless, l.asker(key))
		return place
	}
	l.leave(place)
	return 0
}

// restand gives a topic without a row another standing, without some bits and with others, if
// it is somebody's.
func (l *ledger) restand(place uint32, without, with standing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.entries[place]
	if e.asker == 0 {
		return
	}
	key, kind := l.askers[e.asker].askerKey, e.kind
	key.standing = key.standing&^without | with
	if key != l.askers[e.asker].askerKey {
		l.take(place)
		l.put(place, kind, l.asker(key))
	}
}

// release notes that a topic has lost its last subscriber. It is false if the feed was
// never told of the topic: then nothing is lost if it is forgotten at once, and it is not in
// the ledger any more.
func (l *ledger) release(place uint32, id ID, name string, feed uint8, since int64) (newPlace uint32, lingers bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to := idle
	switch {
	case place == 0:
		place = l.enter(entry{id: id, name: name, source: feed})
	case l.entries[place].kind == rowless:
		l.take(place)
		to = bare
	case l.entries[place].kind != settled:
		if l.entries[place].kind == waiting {
			l.lacking--
		}
		l.leave(place)
		return 0, false
	}
	l.entries[place].since = since
	l.linger(place, to)
	return place, true
}

// linger puts an entry to the end of one of the two lists of topics that linger. The times
// of several loops differ by some milliseconds: a time that is below that of the last one
// counts as that, so that the first of a list is always the oldest.
func (l *ledger) linger(place uint32, to kind) {
	last := l.idle.last
	if to == bare {
		last = l.bare.last
	}
	if last != 0 {
		l.entries[place].since = max(l.entries[place].since, l.entries[last].since)
	}
	l.put(place, to, 0)
}

// row notes that a topic has its first row, and says who has asked for it first, 0 if that
// is not known any more.
func (l *ledger) row(place uint32) (newPlace uint32, by uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lacking--
	by = l.askers[l.entries[place].asker].by // The first asker is none.
	switch l.entries[place].kind {
	case waiting:
		l.take(place)
		l.put(place, due, 0)
		return place, by
	case bare:
		l.take(place)
		l.linger(place, idle)
		return place, by
	}
	l.leave(place)
	return 0, by
}

// delist notes that a topic that had a value has none any more. Nobody is known who has asked for it
// first: it gives way with all others of which that is so.
func (l *ledger) delist(place uint32, id ID, name string, source uint8) (newPlace uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lacking++
	if place == 0 {
		place = l.enter(entry{id: id, name: name, source: source})
	}
	kind := l.entries[place].kind
	l.take(place)
	switch kind {
	case idle:
		l.linger(place, bare)
	case due:
		l.put(place, waiting, l.asker(askerKey{source: source, standing: absent}))
	default:
		l.put(place, rowless, l.asker(askerKey{source: source, standing: absent}))
	}
	return place
}

// changes appends to dst all drops of a feed, and then at most so many topics that are
// wanted now, and considers the feed told. That is one step under the lock: a name that was
// dropped and is wanted again must not come the other way round.
func (l *ledger) changes(feed int, dst []Change, most int) []Change {
	l.mu.Lock()
	q := &l.queues[feed]
	drops := q.drops
	q.drops = nil
	at := len(dst)
	dst = append(dst, make([]Change, len(drops))...)
	for ; most > 0; most-- {
		place := q.due.first
		if place != 0 {
			l.take(place)
		} else if a := q.turn.first; a != 0 {
			place = l.askers[a].waiting.first
			l.unlink(&l.askers[a].waiting, place)
			l.chain(&l.askers[a].rowless, place)
			l.entries[place].kind = rowless
			l.waiting--
			l.outOfTurn(q, a)
			if l.askers[a].waiting.first != 0 {
				l.inTurn(q, a)
			}
		} else {
			break
		}
		dst = append(dst, Change{l.entries[place].name, true})
	}
	l.mu.Unlock()
	for i, name := range drops {
		dst[at+i] = Change{name, false}
	}
	return dst
}

// lingering returns the topic that has lingered the longest: of those without a row, or of
// those with one. It must have been idle since cutoff or longer.
func (l *ledger) lingering(of kind, cutoff int64) (v victim, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	place := l.idle.first
	if of == bare {
		place = l.bare.first
	}
	if place == 0 || l.entries[place].since > cutoff {
		return v, false
	}
	return l.victim(place), true
}

// giveWay returns the topic that has to give way to a new one of an asker, if there is one
// to be had. withdrawnMax bounds the topics that were taken from somebody and are held still.
//
// No topic gives way to one of a lower standing. Among those of its own standing, an asker
// takes from the one that has the most, until it has as many itself. From then on
// it only changes its own topics for others, which it can do as often as it likes: so these
// may be no more than an eighth of withdrawnMax, and leave the rest to others. Another eighth
// is left to topics that are known to exist.
//
// Single topics, where no asker has more, may be no more than an eighth either: many askers could
// change them for others. If that is used up, one of the next standing gives way: else a few of
// them would keep everybody from having a place.
func (l *ledger) giveWay(key askerKey, withdrawnMax int) (v victim, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bare.first != 0 {
		return l.victim(l.bare.first), true
	}
	if key.standing < knownAbsent {
		withdrawnMax -= withdrawnMax / ownPart
	}
	full := false // There are single topics that may not.
	for st := absent; st <= key.standing; st++ {
		r := &l.ranks[st]
		if r.most == 0 {
			continue
		}
		a := r.chain[r.most]
		if own := l.of[key]; st == key.standing && own != 0 && l.askers[own].count+1 >= r.most {
			a = own
		}
		most := withdrawnMax
		if l.askers[a].by == key.by || r.most == 1 {
			most = max(1, withdrawnMax/ownPart)
		}
		if l.withdrawn.Load() >= int64(most) {
			if full = r.most == 1; full {
				continue
			}
			return v, false
		}
		place := l.askers[a].rowless.first
		if place == 0 {
			place = l.askers[a].waiting.first
		}
		return l.victim(place), true
	}
	if full || l.idle.first == 0 {
		return v, false
	}
	return l.victim(l.idle.first), true
}

// ownPart is the part of withdrawnMax that is for askers that change their own topics.
const ownPart = 8

func (l *ledger) victim(place uint32) victim {
	e := &l.entries[place]
	return victim{place, e.id, e.kind, e.asker}
}

// giveUp takes a victim out of the ledger, if all is as it was when it was chosen, and has
// the feed told if it has to be. held is whether somebody holds the topic, which then counts
// as withdrawn: at most withdrawnMax are.
func (l *ledger) giveUp(v victim, withdrawnMax int) (held, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.entries[v.place]
	if e.id != v.id || e.kind != v.kind || e.asker != v.asker || e.name == "" {
		return false, false
	}
	if held = e.kind == rowless || e.kind == waiting; held {
		if l.withdrawn.Load() >= int64(withdrawnMax) {
			return false, false
		}
		l.withdrawn.Add(1)
	}
	if e.kind != idle {
		l.lacking--
	}
	if e.kind != waiting {
		q := &l.queues[e.source]
		q.drops = append(q.drops, e.name)
	}
	l.leave(v.place)
	return held, true
}

// returned notes that the last has released a topic that was withdrawn.
func (l *ledger) returned() {
	l.mu.Lock()
	l.withdrawn.Add(-1)
	l.mu.Unlock()
}
