// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"slices"

	"tickedge/internal/broker"
	"tickedge/internal/resp"
)

// Cover implements [broker.Coverer] by patterns, but where one subscription brings all already.
func (s *server) Cover(prefixes []string) error {
	p, all := broker.NewPrefixes(prefixes), s.channel.glob()
	globs := make([]string, 0, len(p))
	for _, prefix := range p {
		globs = append(globs, s.channel.globOf(prefix))
	}
	if len(globs) > patternsMax {
		globs = []string{all}
	}
	if s.wants.blanket {
		globs = nil
	}
	if slices.ContainsFunc(globs, func(glob string) bool { return len(glob) > resp.NameMax }) {
		return errors.New("the channels of its Redis have names that are too long for a pattern")
	}
	s.wants.toCover(p, globs, all)
	return nil
}

// Cover implements [broker.Coverer]: in vain. PSUBSCRIBE does not bring what is published to the channels of shards.
func (c *cluster) Cover(prefixes []string) error {
	if len(prefixes) == 0 {
		return nil
	}
	return errors.New("it is a Redis Cluster, whose sharded channels have no patterns: ask for topics by their names")
}

// patternAnswered takes the confirmation of a pattern, or of its end.
func (s *server) patternAnswered(e resp.Event) {
	live, wide, mended := s.wants.patternAnswered(string(e.Kind), string(e.Channel))
	s.copies.expected = live > 0
	if mended {
		s.log.Info("redis feed: no pattern is refused any more")
	}
	if wide && s.wideLog.now() {
		s.log.Info("redis feed: a pattern of some topics is not permitted, so the ticks of all topics are read", "pattern", string(e.Channel),
			"hint", "if that is too much permit the Redis user all channels, and so all patterns: ACL SETUSER <user> allchannels")
	}
}

// tellPattern logs that Redis refuses a pattern, or its end.
func (s *server) tellPattern(c broker.Cause, err error, of command) {
	log, said := &s.patternLog, "patterns of topics are refused; topics that are asked for by their names go on"
	if of.name == punsubscribe {
		log, said = &s.patternsKeptLog, "patterns of topics can't be unsubscribed, so the ticks of all topics are read when another is wanted"
	}
	if !log.now() {
		return
	}
	cure := hint(err)
	if c == broker.NotPermitted {
		cure = fmt.Sprintf("permit the Redis user the pattern of all topics: ACL SETUSER <user> +%s +%s &%s",
			psubscribe, punsubscribe, s.channel.glob())
	}
	s.log.Warn("redis feed: "+said, "cause", c.Label(), "error", err, "pattern", of.topics[0], "hint", cure)
}

// copies tells messages apart from their copies. Redis sends a message once for the channel and then once for each
// pattern that matches it, with nothing in between. So what comes right behind a message of the same channel is a
// copy, unless it came by the same way: then it is the next one.
type copies struct {
	expected         bool // There are patterns.
	channel, pattern []byte
}

// forget has the next message be none.
func (c *copies) forget() { c.channel = c.channel[:0] }

// isOne reports whether a message is a copy of one that came before it. It is called where copies are expected.
func (c *copies) isOne(e *resp.Event) bool {
	if e.Channel == nil {
		return false
	}
	if e.Kind == resp.PMessage && string(e.Channel) == string(c.channel) && string(e.Pattern) != string(c.pattern) {
		return true
	}
	c.channel, c.pattern = append(c.channel[:0], e.Channel...), append(c.pattern[:0], e.Pattern...)
	return false
}
