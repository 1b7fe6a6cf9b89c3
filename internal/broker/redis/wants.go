// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"sync"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// wants is what the table wants of Redis, and what of that is still to be written,
// confirmed and fetched. It does no I/O, so whoever calls it waits for nobody:
//
//	drain    ──apply──►  ┌───────┐ ──next──►   writer    SUBSCRIBE, UNSUBSCRIBE
//	receiver ──confirm─► │ wants │ ──fetches─► fetcher   GETRANGE
//	receiver ──repair──► └───────┘
//
// Its topics are those that the table holds, and those that still have to be
// unsubscribed. The latter were all subscribed on the present connection, and of them at least
// as many are written as of new ones, so there are never more than twice the table's
// maximum, and a command. Beside them are the names in flight. Lock order: wants.mu, then the
// table's.
//
// This file has the states of a want; the moves between them are in wants_flight.go (what is
// written to Redis, and its answers), wants_refused.go, wants_astray.go, wants_fetch.go and
// wants_gap.go. Patterns beside them are in wants_cover.go.
type wants struct {
	owner   broker.Owner
	blanket bool // One subscription brings the ticks of all topics, see [wants.cover]. It never changes.

	mu       sync.Mutex // A method that takes or returns a *want is called with it held.
	topics   map[string]*want
	asks     [leaving + 1]*list   // The wants by their ask. That of due is that of again too; the same with dueAlone.
	readings [fetched + 1]*list   // The wants by their reading.
	patience [2]*patience         // Those that were refused, by what of them was: byAsk, byReading.
	causes   [broker.Causes]int64 // How many are refused, by cause.

	covered bool   // The blanket is confirmed.
	open    bool   // A gap is open, see [part].
	joined  bool   // It is one of topics that came from another node alone; the others are current.
	failing bool   // Fetches fail. Nobody waits for them to come to their topics then.
	behind  int    // Wants that are behind.
	missing int    // Wants with more than straysMax strays that have want.missing.
	last    uint64 // The newest fetch.id.

	// flight holds the commands that Redis has not answered in full, in the order in which
	// they were taken, which is that of its answers.
	flight   []command
	flying   int    // Topics in flight; at most flightMax.
	answered int    // Topics of the first that were answered.
	answers  uint64 // Whatever of them was answered, over all links.
	landings uint64 // Commands that were answered in full over this link, that of the blanket included.
	trying   int    // Topics in flight that were refused before.
	kept     int    // Topics that Redis did not let us unsubscribe on this link.
	coverage coverage

	subscribed bool // The newest command is a SUBSCRIBE.
	tried      bool // Something that was refused was asked for since the last beat.

	written chan struct{} // Has an element when next may have something.
	room    chan struct{} // The same, because flight has room again.
	due     chan struct{} // The same for fetches.
}

// want is one topic in wants. Redis is asked for two things of it, its ticks and its newest
// value, side by side: the topic may have to be subscribed once more while the value is on its
// way that an earlier subscription has asked for. So there is a state for each, and one for
// the gap. What outlives these states is a field of its own.
type want struct {
	fetch   // The one that its newest confirmation asks for.
	ask     ask
	reading reading
	part    part
	alone   bool    // Redis has refused a command with it for permissions, and it was not confirmed since.
	read    bool    // Its value was read once, over whatever link, or it is from a node where it was.
	missing bool    // It is stuck and had been read: its clients have a value that is old.
	ties    [2]ties // Its neighbours in the lists of its ask and its reading.
	fails   int     // How often its fetch has failed, and was not refused, since it was confirmed last.
	strays  int     // How often it went astray since it was confirmed last.

	cause    broker.Cause // Why it is refused, NoCause if it is not.
	waits    [2]uint8     // The list in patience for its ask and its reading, while it is in one.
	refusals [2]uint8     // How often each was refused since it was served, up to levels.
}

type ties struct{ prev, next *want }

// live reports whether its ticks are taken: it is subscribed on this link, and still wanted.
func (w *want) live() bool { return w != nil && w.reading.confirmed() && w.ask != leaving }

// An ask is what is to be written to Redis to get the ticks of a topic, and what was.
type ask uint8

const (
	quiet      ask = iota // Nothing is to be written: it is under a blanket, or not in wants.
	due                   // A SUBSCRIBE is to be written.
	dueAlone              // The same, in a command of its own.
	astray                // Nothing is to be written until it is known where its slot has moved.
	again                 // As due. From here on, a SUBSCRIBE was written on this link: Redis may have it.
	againAlone            // As dueAlone.
	asked                 // Nothing else is to be written.
	refusedAsk            // Redis has refused it. A SUBSCRIBE is to be written when its time has come.
	leaving               // An UNSUBSCRIBE is to be written: nobody wants the topic any more.
)

func (a ask) written() bool { return a >= again }

// A reading is how far the newest value of a topic was read. Each confirmation of its
// subscription has it read anew.
type reading uint8

const (
	unconfirmed reading = iota // The topic was never confirmed, or went astray since.
	outdated                   // It was confirmed on an earlier link, or before a gap of the stream.
	unfetched                  // The value is to be fetched. From here on, the topic is confirmed on this link.
	fetching                   // It is being fetched.
	failed                     // The fetch has failed, and is to be done again in a while.
	refusedRead                // Redis has refused it. The value is to be fetched when its time has come.
	fetched                    // It was read, or nobody wants the topic any more.
)

func (r reading) confirmed() bool { return r >= unfetched }

// list has the wants in a state, in the order in which they came to it: a topic does not wait
// for those that came later. One that is given up leaves nothing behind while Redis is away.
type list struct {
	first, last *want
	len         int
	by          int // Of want.ties.
}

const byAsk, byReading = 0, 1

func (l *list) add(w *want) {
	w.ties[l.by].prev = l.last
	if l.last == nil {
		l.first = w
	} else {
		l.last.ties[l.by].next = w
	}
	l.last = w
	l.len++
}

func (l *list) remove(w *want) {
	t := w.ties[l.by]
	if t.prev == nil {
		l.first = t.next
	} else {
		t.prev.ties[l.by].next = t.next
	}
	if t.next == nil {
		l.last = t.prev
	} else {
		t.next.ties[l.by].prev = t.prev
	}
	w.ties[l.by] = ties{}
	l.len--
}

func newWants(owner broker.Owner) *wants {
	many, single := new(list), new(list)
	return &wants{
		owner:    owner,
		open:     true,
		topics:   make(map[string]*want),
		asks:     [leaving + 1]*list{due: many, again: many, dueAlone: single, againAlone: single, astray: {}, leaving: {}},
		readings: [fetched + 1]*list{unfetched: {by: byReading}, failed: {by: byReading}},
		patience: [2]*patience{newPatience(byAsk), newPatience(byReading)},
		written:  make(chan struct{}, 1),
		room:     make(chan struct{}, 1),
		due:      make(chan struct{}, 1),
	}
}

// move takes a want to other states, and from list to list.
func (s *wants) move(w *want, to ask, now reading) {
	relist(w, s.askList(w, w.ask), s.askList(w, to))
	relist(w, s.readingList(w, w.reading), s.readingList(w, now))
	w.ask, w.reading = to, now
}

// askList is the list that a want is in with an ask, nil if there is none.
func (s *wants) askList(w *want, a ask) *list {
	if a == refusedAsk {
		return &s.patience[byAsk].lists[w.waits[byAsk]]
	}
	return s.asks[a]
}

// readingList is the same with a reading.
func (s *wants) readingList(w *want, r reading) *list {
	if r == refusedRead {
		return &s.patience[byReading].lists[w.waits[byReading]]
	}
	return s.readings[r]
}

// relist takes a want from one list to another. There is none, nil, for states that nobody
// looks for.
func relist(w *want, from, to *list) {
	if from == to {
		return
	}
	if from != nil {
		from.remove(w)
	}
	if to != nil {
		to.add(w)
	}
}

// toSubscribe has a want subscribed. written says whether it was before on this link.
func (s *wants) toSubscribe(w *want, written bool, now reading) {
	to := due
	if w.alone {
		to = dueAlone
	}
	if written {
		to += again - due // Which leads from dueAlone to againAlone, too.
	}
	s.move(w, to, now)
}

// apply takes what the table wants and does not want any more.
func (s *wants) apply(changes []topics.Change) {
	for _, c := range changes {
		s.mu.Lock() // Per change: the receiver must get its turn among 100,000 of them.
		w := s.topics[c.Topic]
		switch {
		case c.Wanted:
			s.want(c.Topic)
		case w == nil:
		case w.ask == refusedAsk && !w.reading.confirmed(): // Redis does not have it.
			s.forget(w)
		case w.ask.written():
			s.giveUp(w, leaving)
		default:
			s.forget(w)
		}
		s.mu.Unlock()
	}
	broker.Signal(s.written)
	if s.blanket {
		broker.Signal(s.due)
	}
}

// want has a topic subscribed. Redis may have it still. It is asked all the same: the
// confirmation is what makes us fetch the newest value.
func (s *wants) want(topic string) *want {
	w := s.topics[topic]
	if w == nil {
		w = &want{fetch: fetch{topic: topic}}
		s.topics[topic] = w
	}
	s.owner.Doubt(topic)
	if w.ask != refusedAsk {
		s.toSubscribe(w, w.ask.written(), w.reading)
	}
	return w
}

// giveUp has a topic that nobody wants any more leave, or be quiet. Nothing waits for it or
// its value from now on. If it is wanted again, that is as a new one.
func (s *wants) giveUp(w *want, to ask) {
	s.play(w, newcomer)
	s.settle(w)
	s.blame(w, broker.NoCause)
	w.read, w.refusals = false, [2]uint8{}
	if w.reading.confirmed() {
		s.move(w, w.ask, fetched)
	}
	s.move(w, to, w.reading)
}

func (s *wants) forget(w *want) {
	s.giveUp(w, quiet)
	delete(s.topics, w.topic)
}

// reset prepares for the next connection, which has to be asked for everything. If values
// were current on this one, a gap begins.
func (s *wants) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	begins := !s.open || s.joined
	if begins {
		s.open, s.joined = true, false
	}
	s.flight, s.flying, s.trying, s.answered, s.landings, s.kept = nil, 0, 0, 0, 0, 0
	s.covered = false
	s.resetPatterns()
	s.patience[byAsk].hasten()
	s.tried = true // Not before the others.
	for _, w := range s.topics {
		switch {
		case w.ask == leaving:
			s.forget(w)
			continue
		case w.refusals[byAsk] > 0: // It is stale, and nobody waits for it.
			s.move(w, refusedAsk, min(w.reading, outdated))
			continue
		}
		s.blame(w, broker.NoCause)
		if !begins && w.part == newcomer {
			s.owner.Doubt(w.topic) // Nobody waits for it.
		}
		s.toSubscribe(w, false, min(w.reading, outdated)) // The confirmation will come again.
		if begins || w.part != newcomer {
			s.play(w, behind)
		}
	}
}

// len is how many topics are held.
func (s *wants) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.topics)
}
