// SPDX-License-Identifier: Apache-2.0

package redis

import "tickedge/internal/broker"

// command is one SUBSCRIBE or UNSUBSCRIBE, or the same of a pattern, which stands in place of topics then.
type command struct {
	name   string
	topics []string
	trial  bool // Of topics that were refused before.
	lone   bool // A trial where commands have one topic only.
}

const (
	subscribe   = "subscribe"
	unsubscribe = "unsubscribe"

	// commandMax bounds the channels in one command, so that Redis serves others
	// between two of them.
	commandMax = 500
	// flightMax bounds the channels in commands without an answer. Redis takes about a
	// millisecond for so many, and the receiver for their confirmations. Without it, the
	// ticks of all others would wait behind a hundred thousand of them. Two commands,
	// so that Redis has one while the other is answered.
	flightMax = 2 * commandMax
)

// next returns the next command to be written, of at most limit topics. It has no
// topics when nothing is left to be written, or when so much is unanswered that limit
// more would be too many. Then room has an element as soon as they are not.
func (s *wants) next(limit int) command {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blanket || s.flying+limit > flightMax {
		return command{}
	}
	c := s.nextPattern()
	if len(c.topics) == 0 {
		c = s.take(limit)
	}
	if len(c.topics) > 0 {
		s.flight = append(s.flight, c)
		s.flying += len(c.topics)
		if c.trial {
			s.trying += len(c.topics)
		}
	}
	return c
}

// take takes the next command out of the lists. While something is to be subscribed, every
// other command does that: it does not wait behind the topics of all who have left at once. As
// at least as many are unsubscribed, Redis never holds more than these. What was refused before
// is asked for when nothing else is to be subscribed, and once in each beat whatever is.
func (s *wants) take(limit int) (c command) {
	from := s.asks[due]
	idle := from.len == 0 && s.asks[dueAlone].len == 0
	if (idle || !s.tried) && (!s.subscribed || s.asks[leaving].len == 0) {
		if c = s.trial(limit); len(c.topics) > 0 {
			s.tried, s.subscribed = true, true
			return c
		}
		c = command{}
	}
	if from.len == 0 && s.asks[dueAlone].len > 0 {
		from, limit = s.asks[dueAlone], 1
	}
	if s.asks[leaving].len > 0 && (s.subscribed || from.len == 0) {
		c.name, from, s.subscribed = unsubscribe, s.asks[leaving], false
	} else {
		c.name, s.subscribed = subscribe, true
	}
	for from.len > 0 && len(c.topics) < limit {
		w := from.first
		c.topics = append(c.topics, w.topic)
		if c.name == subscribe {
			s.move(w, asked, w.reading)
		} else {
			s.forget(w)
		}
	}
	return c
}

// answer takes the answer for one topic of a command. It is false if no such answer was due.
func (s *wants) answer(name, topic string) (due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) == 0 || s.flight[0].name != name || s.flight[0].topics[s.answered] != topic {
		return false
	}
	s.answers++
	if s.answered++; s.answered == len(s.flight[0].topics) {
		if s.flight[0].lone {
			s.patience[byAsk].trials++ // It is served: that costs no trial.
		}
		s.landed()
	}
	return true
}

// landed takes the first command out of the flight.
func (s *wants) landed() {
	s.answers++
	s.landings++
	before := s.flying
	s.flying -= len(s.flight[0].topics)
	if s.flight[0].trial {
		s.trying -= len(s.flight[0].topics)
	}
	s.flight[0] = command{}
	s.flight, s.answered = s.flight[1:], 0
	if before > flightMax-commandMax {
		broker.Signal(s.room)
	}
	s.owner.More()
}

// aheadMax bounds the topics of new commands and fetches that are still to come, or under way:
// what fills the flight, as much again that waits behind it, and a pipeline of fetches. That
// is some 20 ms of work for Redis. Beyond it topics wait in the table, see Feed.
const aheadMax = 2*flightMax + fetchMax

// ahead is how many topics are still to be subscribed and fetched, those of a fetch that is
// under way excepted.
func (s *wants) ahead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.asks[due].len + s.asks[dueAlone].len + s.flying - s.trying
	if !s.failing {
		n += s.readings[unfetched].len
	}
	return n
}

// unanswered reports whether Redis owes an answer to a command, and counts those that it
// has given.
func (s *wants) unanswered() (answers uint64, owed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers, len(s.flight) > 0 || s.bare()
}

// landedCommands counts the commands of this link that were answered in full.
func (s *wants) landedCommands() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.landings
}

// rejected takes the first command out of the flight, and returns those of its topics that
// are still to be subscribed.
func (s *wants) rejected() (of []*want) {
	first := s.flight[0]
	s.landed()
	for _, topic := range first.topics {
		if w := s.topics[topic]; first.name == subscribe && w != nil && w.ask.written() && w.ask != leaving {
			of = append(of, w)
		}
	}
	return of
}
