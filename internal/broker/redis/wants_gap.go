// SPDX-License-Identifier: Apache-2.0

package redis

import "tickedge/internal/broker"

// A part is what a want has to do with the gap that is open.
//
// A gap is a time in which ticks may have been missed. One is open from the beginning, and
// then from each end of a link whose values were current, until they are current again:
//
//	current  every topic that was wanted when the gap began is confirmed on the present
//	         link and has had its value read, or was refused, or was given up
//
// A topic that came later has no part in it, however often a link fails meanwhile: else
// clients, who choose the names, could keep the feed down. One that is refused is stale
// (see [topics.Table.GoStale]) and keeps nothing down.
type part uint8

const (
	newcomer part = iota // It was not wanted when the gap began, or no gap is open.
	behind               // The gap waits for it.
	caughtUp             // The gap has waited for it.
)

// play gives a want another part. A newcomer has nothing to catch up with.
func (s *wants) play(w *want, p part) {
	if p == caughtUp && w.part == newcomer {
		return
	}
	if w.part == behind {
		s.behind--
	}
	if w.part = p; p == behind {
		s.behind++
	}
}

// inherit adds topics that were at another node of a cluster. With lacking they were behind
// there, so the values of this node are not current until they were read here. Else they had
// been read there, and are waited for here if a gap is open.
func (s *wants) inherit(names []string, lacking bool) {
	if len(names) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if lacking && !s.open {
		s.open, s.joined = true, true
	}
	for _, name := range names {
		w := s.want(name)
		w.read = true
		if s.open {
			s.play(w, behind)
		}
	}
	broker.Signal(s.written)
}

// unread are the topics whose values were never read, here or at another node.
func (s *wants) unread() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.topics {
		if !w.read && w.ask != leaving {
			names = append(names, w.topic)
		}
	}
	return names
}

// hasRead reports whether the value of a topic was read once, and whether it is behind.
func (s *wants) hasRead(topic string) (read, lacking bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.topics[topic]
	return w != nil && w.read, w != nil && w.part == behind
}

// endGap ends the gap that is open, if values are current now. From then on clients who are
// told that the feed is up may trust what they have. What came in the gap and was read over
// a link that has ended since, and not over this one, is the exception, and so it is stale.
func (s *wants) endGap() (ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open || s.behind > 0 || s.bare() {
		return false
	}
	s.open, s.joined = false, false
	for _, w := range s.topics {
		late := w.part == newcomer
		s.play(w, newcomer)
		if late && w.read && w.reading != fetched && w.cause == broker.NoCause {
			if mark, _ := s.owner.Mark(w.topic); mark > 0 { // Without a row, nobody has an old one.
				s.goStale(w, broker.Unreachable)
			}
		}
	}
	return true
}

// lacking is how many topics the gap waits for.
func (s *wants) lacking() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behind
}
