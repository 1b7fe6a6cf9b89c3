// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"errors"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

// deny has a want wait until it is asked for again, and makes its topic stale.
// Where only its value is refused, a tick since the mark says more.
func (s *source) deny(w *want, c broker.Cause, err string, all bool) {
	s.refusals[c].Add(1)
	w.refusals++
	w.trial, w.unconfirmed = false, false
	s.wait(w, w.refusals)
	first := s.blame(w, c)
	s.settle(w)
	if mark, held := s.owner.Mark(w.topic); held && (all || mark == w.mark) {
		s.owner.GoStale(w.topic, mark, c)
	}
	if first && time.Since(s.told) > tellRefused {
		s.told = time.Now()
		s.log.Warn("nats feed: topics are refused", "cause", c.Label(), "error", err, "topic", w.topic, "hint", hint(errors.New(err)))
	}
	s.look()
}

// fail has a want asked for again in a while. Its clients hear of that if it lasts.
func (s *source) fail(w *want, c broker.Cause, err string) {
	s.counters[broker.FetchFailures].Add(1)
	w.fails++
	s.wait(w, w.fails)
	if w.fails < failsMax || w.behind {
		return
	}
	first := s.blame(w, c)
	if first && w.mark == s.markOf(w) {
		s.owner.GoStale(w.topic, w.mark, c)
	}
	if time.Since(s.told) > tellRefused {
		s.told = time.Now()
		s.log.Warn("nats feed: newest values not fetched", "error", err, "topic", w.topic, "hint", hint(errors.New(err)))
	}
}

func (s *source) markOf(w *want) uint64 {
	mark, _ := s.owner.Mark(w.topic)
	return mark
}

func (s *source) wait(w *want, times int) {
	if w.state == due || w.state == busy {
		s.dues--
		s.owner.More()
	}
	w.state = refused
	w.retryAt = time.Now().Add(time.Second<<min(times-1, levels-1) - 100*time.Millisecond)
	s.waiting[w] = struct{}{}
}

// retry has what was refused asked for again whose time has come. It is called each second.
func (s *source) retry(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, most := 0, retriesMax
	if s.full {
		most = retriesFull
	}
	for w := range s.waiting {
		if n == most {
			break
		}
		if now.After(w.retryAt) {
			n++
			delete(s.waiting, w)
			s.enqueue(w)
		}
	}
	if n > 0 || s.coversDue(now) {
		broker.Signal(s.wake)
	}
}

// blame notes why a topic is refused. It is true if it was not before.
func (s *source) blame(w *want, c broker.Cause) (first bool) {
	first = w.cause == broker.NoCause && c != broker.NoCause
	if w.cause != broker.NoCause {
		s.causes[w.cause]--
	}
	if w.cause = c; c != broker.NoCause {
		s.causes[c]++
	}
	return first
}

// noRoom takes that the server has no room for a subscription. It does not say which, but it takes them in their order,
// none is ended meanwhile, and all that it says of them comes before the flush is back: they are the last ones.
func (l *coreLink) noRoom() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.extra++
}

// refuseExtra refuses the topics at the end of those that were just subscribed for which the server has no room.
func (l *coreLink) refuseExtra(begun []*want) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = l.extra > 0
	for i := len(begun) - 1; i >= 0 && l.extra > 0; i-- {
		w := begun[i]
		if w.subscription == 0 { // It was not permitted.
			continue
		}
		l.extra--
		l.end(nil, w) // The server does not have it.
		if s.isBusy(w) {
			s.deny(w, broker.TooManySubscriptions, natsgo.ErrMaxSubscriptionsExceeded.Error(), true)
		}
	}
}
