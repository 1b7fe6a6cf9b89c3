package redis

import "tickedge/internal/topics"

// confirm notes that a topic is subscribed from now on, and has its newest value
// fetched. It is true if an earlier connection had it subscribed, which means that
// ticks may have been missed.
func (s *wants) confirm(topic string) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.topics[topic]; w != nil && w.ask != leaving {
		was := w.reading
		again = s.confirmed(w, unfetched) && was == outdated
		signal(s.due)
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
	s.last++
	w.mark, w.id, w.alone, w.fails = mark, s.last, false, 0
	s.move(w, w.ask, now)
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
	signal(s.due)
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

// fetches appends up to limit topics that are to be fetched.
func (s *wants) fetches(dst []fetch, limit int) []fetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.owner.More()
	for ; limit > 0 && s.readings[unfetched].len > 0; limit-- {
		w := s.readings[unfetched].first
		dst = append(dst, w.fetch)
		s.move(w, w.ask, fetching)
	}
	if !s.covered {
		return dst
	}
	for ; limit > 0 && s.asks[due].len > 0; limit-- {
		w := s.asks[due].first
		s.move(w, quiet, w.reading)
		if s.confirmed(w, fetching) {
			dst = append(dst, w.fetch)
		}
	}
	return dst
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

// unrepaired ends a fetch that brought no value.
func (s *wants) unrepaired(f fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = false
	if w := s.fetched(f); w != nil {
		s.done(w)
	}
}

// done ends the fetch of a value that was read.
func (s *wants) done(w *want) {
	s.move(w, w.ask, fetched)
	w.read = true
	s.play(w, caughtUp)
}

// forbidden ends a fetch that Redis refuses for good. The topic is stale until it ticks.
func (s *wants) forbidden(f fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.fetched(f); w != nil {
		s.move(w, w.ask, fetched)
		s.goStale(w)
	}
}

// failsMax is how many fetches of a topic may fail for an error of its own, one behind the
// other, before it counts as refused. It is fetched on, but nobody waits for it: with the
// pauses between them that is some three seconds.
const failsMax = 6

// failedAlone counts a failed fetch whose error is that of its topic and not that of Redis
// as a whole.
func (s *wants) failedAlone(f fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.fetched(f); w != nil {
		if w.fails++; w.fails == failsMax {
			s.goStale(w)
		}
	}
}

// fail keeps those failed fetches that are still wanted for refetch. Their topics stay behind.
func (s *wants) fail(fetches []fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = true
	s.owner.More()
	for _, f := range fetches {
		if w := s.fetched(f); w != nil {
			s.move(w, w.ask, failed)
		}
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
	signal(s.due)
}

// goStale makes a topic stale that Redis refuses, and lets nobody wait for it.
func (s *wants) goStale(w *want) {
	s.play(w, caughtUp)
	if mark, held := s.owner.Mark(w.topic); held && (!w.reading.confirmed() || mark == w.mark) {
		s.owner.GoStale(w.topic, mark) // Without a tick since it was confirmed, if it was.
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
		if begins && w.reading != fetched {
			s.play(w, behind)
		}
		if w.reading.confirmed() && w.reading != fetched {
			s.move(w, w.ask, unfetched)
		}
	}
	signal(s.due)
}
