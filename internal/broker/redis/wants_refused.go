// SPDX-License-Identifier: Apache-2.0

package redis

import "tickedge/internal/broker"

// A topic that Redis refuses is asked for again until it is served, or given up: its
// subscription (refusedAsk) and the read of its value (refusedRead), each by itself. Until then
// it has a cause, is counted, and is stale; and no gap waits for it, on this link or the next.
// See patience for when.

// refused notes that Redis refused the first command that it has not answered, for one
// of its topics, and does not say which. They are asked for again one by one, so that a
// topic which is not permitted costs nobody another. One that was refused alone has to wait.
// It returns one of the topics that are refused now and were not before, and how many there are.
func (s *wants) refused(c broker.Cause) (topic string, first int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) == 0 {
		return "", 0
	}
	of := s.flight[0]
	alone := len(of.topics) == 1
	for _, w := range s.rejected() {
		switch {
		case !alone && !of.trial:
			w.alone = true
			s.toSubscribe(w, true, w.reading)
		default:
			if s.deny(w, c, !alone) {
				topic = w.topic
				first++
			}
			s.goStale(w, c)
		}
	}
	broker.Signal(s.written)
	return topic, first
}

// deny has a want wait until it is asked for again. It is true if it was not refused before.
func (s *wants) deny(w *want, c broker.Cause, company bool) (first bool) {
	s.move(w, asked, w.reading) // Out of all lists.
	w.place(byAsk, company)
	s.move(w, refusedAsk, w.reading)
	return s.blame(w, c)
}

// blame notes why a topic is refused. It is true if it was not before.
func (s *wants) blame(w *want, c broker.Cause) (first bool) {
	first = w.cause == broker.NoCause
	s.causes[w.cause]--
	w.cause = c
	s.causes[c]++
	return first && c != broker.NoCause
}

// refusedNow is how many topics are refused, by cause.
func (s *wants) refusedNow() (n [broker.Causes]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = s.causes
	n[broker.NoCause] = 0
	return n
}

// beat is to be called each second. What was refused is asked for again when its time has come.
func (s *wants) beat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.patience {
		p.beat()
	}
	s.tried = false
	s.beatPatterns()
	s.awake()
}

// hasten has all that was refused asked for again soon: something has changed.
func (s *wants) hasten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.patience {
		p.hasten()
	}
	s.awake()
}

func (s *wants) awake() {
	if s.patience[byAsk].len() > 0 {
		broker.Signal(s.written)
	}
	if s.patience[byReading].len() > 0 {
		broker.Signal(s.due)
	}
}

// trial takes the next command out of what was refused: one of a single topic, or of many when
// there were enough of those. It has no topics when nothing is due.
func (s *wants) trial(limit int) (c command) {
	p := s.patience[byAsk]
	switch {
	case p.trials > 0:
		c.lone, limit = limit == 1, 1
	case p.groups == 0 || limit == 1:
		return c
	}
	c.name, c.trial = subscribe, true
	alone := limit == 1
	for len(c.topics) < limit {
		w := p.next(alone)
		if w == nil {
			break
		}
		if alone {
			p.trials--
		}
		c.topics = append(c.topics, w.topic)
		s.move(w, asked, w.reading)
	}
	if !alone && len(c.topics) > 0 {
		p.groups--
	}
	return c
}

// retries appends up to limit topics whose values are to be fetched again, as they were refused.
func (s *wants) retries(dst []fetch, limit int) []fetch {
	for p := s.patience[byReading]; limit > 0 && p.trials > 0; limit-- {
		w := p.next(true)
		if w == nil {
			break
		}
		p.trials--
		dst = append(dst, w.fetch)
		s.move(w, w.ask, fetching)
	}
	return dst
}

// forbidden ends a fetch that Redis has refused, or of a value that can't be passed on. The
// topic is stale until its next row, and its value is fetched again later. It is true if it was
// not refused before.
func (s *wants) forbidden(f fetch, c broker.Cause) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = false
	w := s.fetched(f)
	if w == nil {
		return false
	}
	w.place(byReading, false)
	s.move(w, w.ask, refusedRead)
	first = s.blame(w, c)
	s.goStale(w, c)
	return first
}

// keptMax bounds the subscriptions that Redis does not let us end, of topics that nobody wants
// any more. Beyond that the link has to end: clients choose the names.
const keptMax = 100_000

// keep notes that Redis refused the first command that it has not answered, if that was an
// UNSUBSCRIBE. It returns how many subscriptions were kept over this link, 0 if it was none.
func (s *wants) keep() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) == 0 || s.flight[0].name != unsubscribe {
		return 0
	}
	s.kept += len(s.flight[0].topics)
	s.landed()
	return s.kept
}
