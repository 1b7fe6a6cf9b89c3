// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

const (
	// coversMax bounds the subscriptions of covers. One of all topics takes the place of more.
	coversMax = 64
	// coverSub is the number of the first of them on a link. Those of topics are below.
	coverSub = 900_000_000
)

// cover is a subscription to all subjects that begin with some parts, where topics are subscribed one by one. All of
// it is under source.mu.
type cover struct {
	number   int // That of its subscription on the link, 0 if there is none.
	refusals int // In a row.
	retryAt  time.Time
}

// everything is the subjects of all topics where there is nothing before a topic.
const everything = ">"

// errEverything is told to clients. Who has a subscription to all subjects is there for all questions that programs ask each
// other by the server, the one for newest values among them: nobody would learn any more that there is no one to answer.
var errEverything = errors.New("its NATS subjects have no fixed part, so not all can be subscribed: " +
	"want patterns up to a colon, such as fx:*")

// Cover implements [broker.Coverer]. Subjects have wildcards for whole parts alone: where a prefix ends within one all
// that the part may be is subscribed. Where one subscription or a stream brings all there is nothing to subscribe.
func (s *source) Cover(prefixes []string) error {
	p := broker.NewPrefixes(prefixes)
	subjects := s.subjects.wildcards(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, byTopic := s.link.(*coreLink)
	if (byTopic || s.mode == core) && !s.wildcard && slices.Contains(subjects, everything) {
		return errEverything
	}
	s.covered, s.coverSubjects = p, subjects
	if s.covers == nil {
		s.covers = make(map[string]*cover)
	}
	s.planCovers()
	broker.Signal(s.wake)
	return nil
}

// planCovers notes what is to be subscribed, and forgets what is not and the server does not have.
func (s *source) planCovers() {
	for _, subject := range s.coverSubjects {
		if s.covers[subject] == nil {
			s.covers[subject] = &cover{}
		}
	}
	maps.DeleteFunc(s.covers, func(subject string, c *cover) bool {
		return c.number == 0 && !slices.Contains(s.coverSubjects, subject)
	})
}

// wildcards are subjects that have all topics which begin with prefixes. None has what another has.
func (s subjects) wildcards(of broker.Prefixes) (all []string) {
	var parts []string
	for _, prefix := range of {
		begin := s.prefix
		if at := strings.LastIndexByte(prefix, ':'); at >= 0 {
			begin = s.of(prefix[:at]) + "."
		}
		if s.isForeign(begin) {
			continue
		}
		parts = append(parts, begin)
	}
	slices.Sort(parts)
	for i, begin := range parts {
		if len(all) == 0 || !strings.HasPrefix(begin, strings.TrimSuffix(all[len(all)-1], ">")) {
			all = append(all, parts[i]+">")
		}
	}
	if len(all) > coversMax {
		return []string{s.all()}
	}
	return all
}

// isForeign reports whether a subject is between programs, such as those of answers (_INBOX). It may be that of a topic, but
// no pattern has it.
func (s subjects) isForeign(subject string) bool {
	return s.prefix == "" && strings.HasPrefix(subject, "_")
}

// tellCovered tells the owner of a tick of a topic that nobody wants, if it is covered. Subject and value are parts of a
// buffer; the value is its beginning, if size is more. The caller holds s.mu.
func (s *source) tellCovered(subject, value string, size, at int64) {
	if len(s.covered) > 0 && !s.subjects.isForeign(subject) {
		if topic, ok := s.subjects.topic(subject); ok && s.covered.Cover(topic) {
			if size > int64(len(value)) {
				s.owner.Drop(topic, value, size, broker.TooBig)
			} else {
				s.owner.Tick(topic, value, at)
			}
			return
		}
	}
	s.counters[broker.Unwanted].Add(1)
}

// cover subscribes what is to be covered, and then ends what is not any more. For a moment both may be there, and bring a
// tick twice. What the server refuses is asked for again in its time.
func (l *coreLink) cover(ctx context.Context) error {
	if l.s.wildcard {
		return nil
	}
	text, begun := l.beginCovers()
	if len(begun) > 0 {
		if _, err := l.c.tap.Write(text); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
		if err := l.flush(ctx); err != nil {
			return err
		}
		l.refuseCovers(begun)
	}
	if text := l.endCovers(); len(text) > 0 {
		if _, err := l.c.tap.Write(text); err != nil {
			return fmt.Errorf("unsubscribe: %w", err)
		}
	}
	return nil
}

// beginCovers returns what subscribes what is to be covered, and which subjects that are, in order.
func (l *coreLink) beginCovers() (text []byte, begun []string) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	l.extra = 0
	now := time.Now()
	for _, subject := range s.coverSubjects {
		c := s.covers[subject]
		if c.number != 0 || c.refusals > 0 && now.Before(c.retryAt) {
			continue
		}
		if subject == everything { // A stream had all when it was asked for.
			l.refuseCover(c, broker.OtherCause, errEverything, subject)
			continue
		}
		c.number = coverSub + l.covers
		l.covers++
		l.live.Add(1)
		text, begun = subscribe(text, subject, c.number), append(begun, subject)
	}
	return text, begun
}

// refuseCovers takes that the server has no room for some at the end of those that were just subscribed.
func (l *coreLink) refuseCovers(begun []string) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, subject := range slices.Backward(begun) {
		c := s.covers[subject]
		switch {
		case c == nil || c.number == 0: // It was not permitted.
		case l.extra > 0:
			l.extra--
			l.refuseCover(c, broker.TooManySubscriptions, natsgo.ErrMaxSubscriptionsExceeded, subject)
		case c.refusals > 0:
			c.refusals = 0
			s.log.Info("nats feed: a pattern of topics is not refused any more", "subject", subject)
		}
	}
	s.planCovers()
}

// refuseCover has a cover asked for again in a while. The caller holds source.mu.
func (l *coreLink) refuseCover(c *cover, cause broker.Cause, err error, subject string) {
	s := l.s
	first := c.refusals == 0
	if c.number != 0 {
		c.number = 0
		l.live.Add(-1)
	}
	c.refusals++
	c.retryAt = time.Now().Add(time.Second<<min(c.refusals-1, levels-1) - 100*time.Millisecond)
	s.refusals[cause].Add(1)
	if first && time.Since(s.toldCovers) > tellRefused {
		s.toldCovers = time.Now()
		s.log.Warn("nats feed: patterns of topics are refused; topics that are asked for by their names go on",
			"cause", cause.Label(), "error", err, "subject", subject, "hint", hint(err))
	}
}

// endCovers returns what ends the subscriptions of what is not covered any more.
func (l *coreLink) endCovers() (text []byte) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for subject, c := range s.covers {
		if c.number != 0 && !slices.Contains(s.coverSubjects, subject) {
			text = unsubscribe(text, c.number)
			c.number = 0
			l.live.Add(-1)
		}
	}
	s.planCovers()
	return text
}

// coversDue reports whether something that was refused is to be asked for again. The caller holds s.mu.
func (s *source) coversDue(now time.Time) bool {
	for _, c := range s.covers {
		if c.number == 0 && c.refusals > 0 && now.After(c.retryAt) {
			return true
		}
	}
	return false
}
