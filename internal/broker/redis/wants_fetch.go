// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// confirm notes that a topic is subscribed from now on, and has its newest value
// fetched. It is true if an earlier connection had it subscribed, which means that
// ticks may have been missed.
func (s *wants) confirm(topic string) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.topics[topic]; w != nil && w.ask != leaving {
		was := w.reading
		again = s.confirmed(w, unfetched) && was == outdated
		broker.Signal(s.due)
	}
	return again
}

// confirmed takes the mark of a topic that is subscribed, and has its value fetched, or to be
// fetched. It is false for one that the table does not know any more.
//
// The mark of the newest confirmation is the one that counts. A tick since an older
// one proves nothing about the gap before the newer.
func (s *wants) confirmed(w *want, now reading) bool {
	mark, ok := s.owner.Mark(w.topic)
	if !ok {
		return false
	}
	s.settle(w)
	s.blame(w, broker.NoCause)
	s.last++
	w.mark, w.id, w.alone, w.fails, w.refusals[byAsk] = mark, s.last, false, 0, 0
	to := w.ask
	if to == refusedAsk { // By an earlier answer than this.
		to = asked
	}
	s.move(w, to, now)
	return true
}

// cover notes that the blanket is confirmed, and has the newest values of all topics fetched.
// It is true if an earlier connection had some of them.
//
// A blanket is one subscription that brings the ticks of all topics: a pattern, or a stream,
// which has entries of all. Under it no topic is asked for by itself. One that is due waits
// until the blanket is confirmed (that of a stream is as soon as its position is known), and
// is then quiet, and confirmed as soon as its value is about to be fetched: not all at once
// with the blanket, or the receiver would have to wait. A link takes its blanket with it
// ([wants.reset]); but a stream goes on where it was ([wants.refetchAll]), unless it has a gap.
func (s *wants) cover() (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.covered = true
	s.answers++
	s.landings++
	broker.Signal(s.due)
	return s.behind > 0
}

// bare reports whether a blanket is still to be confirmed. The caller holds s.mu.
func (s *wants) bare() bool { return s.blanket && !s.covered }

// fetch is a topic whose newest value is to be fetched, and the mark for repair.
type fetch struct {
	topic string
	mark  uint64 // From table.Mark at the newest confirmation.
	id    uint64 // The number of that confirmation, from 1.
}

// fetches appends up to limit topics that are to be fetched. What was refused before gets a
// tenth of it, and what is left.
func (s *wants) fetches(dst []fetch, limit int) []fetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.owner.More()
	limit += len(dst)
	dst = s.retries(dst, (limit-len(dst))/10)
	for len(dst) < limit && s.readings[unfetched].len > 0 {
		w := s.readings[unfetched].first
		dst = append(dst, w.fetch)
		s.move(w, w.ask, fetching)
	}
	for s.covered && len(dst) < limit && s.asks[due].len > 0 {
		w := s.asks[due].first
		s.move(w, quiet, w.reading)
		if s.confirmed(w, fetching) {
			dst = append(dst, w.fetch)
		}
	}
	return s.retries(dst, limit-len(dst))
}

// fetched is the topic of a fetch that is under way, if it is still wanted and no confirmation
// came since, and no gap.
//
// A confirmation that came since has its own fetch coming. Were this value committed
// first, it would change the sequence that the later mark remembers, the newer value
// would be refused for it, and the older one would stay. So the look at w.fetch and the
// commit are one step under the lock.
func (s *wants) fetched(f fetch) *want {
	if w := s.topics[f.topic]; w != nil && w.reading == fetching && w.fetch == f {
		return w
	}
	return nil
}

// repair commits a fetched value, unless a tick or a confirmation came since, and ends its fetch.
func (s *wants) repair(f fetch, value string, m topics.Meta) topics.Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.fetched(f)
	if w == nil {
		return topics.Unchanged
	}
	s.failing = false
	s.done(w)
	return s.owner.Repair(f.topic, value, f.mark, m)
}

// unrepaired ends a fetch by which there is no value.
func (s *wants) unrepaired(f fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = false
	if w := s.fetched(f); w != nil {
		s.done(w)
		s.owner.Absent(f.topic)
	}
}

// done ends the fetch of a value that was read.
func (s *wants) done(w *want) {
	s.move(w, w.ask, fetched)
	w.read = true
	if w.refusals[byReading] > 0 {
		w.refusals[byReading] = 0
		s.patience[byReading].trials++ // It is served: that costs no trial.
	}
	if w.refusals[byAsk] == 0 {
		s.blame(w, broker.NoCause)
	}
	s.play(w, caughtUp)
}

// failsMax is how often the fetch of a topic may fail, one time behind the other and without a
// word of Redis why, before its clients are told. With the pauses between them that is some
// three seconds.
const failsMax = 6

// fail keeps those failed fetches that are still wanted for refetch. A topic that is behind
// stays so, but for a Redis that does not let us in. Others are stale.
func (s *wants) fail(fetches []fetch, c broker.Cause) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = true
	s.owner.More()
	for _, f := range fetches {
		if w := s.fetched(f); w != nil {
			s.failed(w, c)
		}
	}
}

// failAll does the same with all that is still to be fetched: Redis would answer the same, as
// it was no matter of a topic.
func (s *wants) failAll(c broker.Cause) {
	const stretch = 256 // The receiver must get its turn among 100,000 of them.
	for more := true; more; {
		s.mu.Lock()
		for range stretch {
			w := s.readings[unfetched].first
			if more = w != nil; !more {
				break
			}
			s.failed(w, c)
		}
		s.mu.Unlock()
	}
}

func (s *wants) failed(w *want, c broker.Cause) {
	s.move(w, w.ask, failed)
	w.fails++
	if unsaid := c == broker.Unreachable || c == broker.Elsewhere; unsaid && w.fails < failsMax {
		return
	}
	known := w.cause == c
	s.blame(w, c)
	if !known && (w.part != behind || c == broker.NotLetIn) {
		s.goStale(w, c)
	}
}

// refetch has the failed fetches done again.
func (s *wants) refetch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.readings[failed].len > 0 {
		w := s.readings[failed].first
		s.move(w, w.ask, unfetched)
	}
	broker.Signal(s.due)
}

// goStale makes a topic stale that Redis refuses, and lets nobody wait for it.
func (s *wants) goStale(w *want, c broker.Cause) {
	s.play(w, caughtUp)
	if mark, held := s.owner.Mark(w.topic); held && (!w.reading.confirmed() || mark == w.mark) {
		s.owner.GoStale(w.topic, mark, c) // Without a tick since it was confirmed, if it was.
	}
}

// refetchAll prepares for the next connection of a stream, which goes on where this one
// has ended. What was not fetched by then is fetched anew, and belongs to the gap.
func (s *wants) refetchAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	begins := !s.open
	s.open = true
	for _, w := range s.topics {
		if w.reading == refusedRead {
			continue // It is stale, and nobody waits for it.
		}
		if begins && w.reading != fetched {
			s.play(w, behind)
		}
		if w.reading.confirmed() && w.reading != fetched {
			s.move(w, w.ask, unfetched)
		}
	}
	s.patience[byReading].hasten()
	broker.Signal(s.due)
}
