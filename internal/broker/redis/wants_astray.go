// SPDX-License-Identifier: Apache-2.0

package redis

import "tickedge/internal/broker"

// lost notes that Redis has ended the subscription of a topic unasked.
func (s *wants) lost(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.topics[topic]; w.live() {
		s.stray(w, broker.Elsewhere)
	}
}

// misplaced notes that Redis refused the first command that it has not answered because
// it does not serve its topics, which are those that concerned reports.
func (s *wants) misplaced(c broker.Cause, concerned func(topic string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) == 0 || !concerned(s.flight[0].topics[0]) {
		return // The loss of the subscription was taken for the answer to its end.
	}
	for _, w := range s.rejected() {
		s.stray(w, c)
	}
}

// stray takes a topic out of what Redis is asked for, until it is known where its slot is. One
// that is stuck is refused.
func (s *wants) stray(w *want, c broker.Cause) {
	s.owner.Doubt(w.topic)
	s.move(w, astray, unconfirmed)
	if w.strays++; w.strays <= straysMax {
		return
	}
	s.deny(w, c, false)
	if w.strays > straysMax+1 {
		return
	}
	if w.missing = w.read || w.part == behind; w.missing {
		s.missing++
	} else {
		s.goStale(w, c) // It is new: nothing that was current is missing.
	}
}

// settle ends that a topic goes astray.
func (s *wants) settle(w *want) {
	if w.missing {
		s.missing--
	}
	w.strays, w.missing = 0, false
}

// straysMax is how often a topic may go astray, one time behind the other, before it counts
// as stuck. In a migration it is once, or twice if who is asked about it is behind.
const straysMax = 2

// missingTopics is how many topics Redis does not serve, however often it is asked, that it has
// served, here or at another node.
func (s *wants) missingTopics() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missing
}

// again has the topics asked for again that went astray and are still here.
func (s *wants) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.asks[astray].len > 0 {
		w := s.asks[astray].first
		s.toSubscribe(w, false, w.reading)
	}
	broker.Signal(s.written)
}

// deliver has a tick committed, if its topic is subscribed on this connection. In a
// cluster, what comes in late from a server that has lost the topic would take it back in
// time: another may have published newer ticks of it already.
func (s *wants) deliver(topic string, commit func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := s.topics[topic].live()
	if live {
		commit()
	}
	return live
}
