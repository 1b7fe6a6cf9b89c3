// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"maps"
	"slices"
	"sync/atomic"

	"tickedge/internal/broker"
)

const (
	psubscribe   = "psubscribe"
	punsubscribe = "punsubscribe"

	// patternsMax bounds the patterns of a link: Redis looks at each with every message that anybody publishes. One of
	// all topics takes the place of more.
	patternsMax = 64
	// pauseMax is log2 of the most beats without patterns, where links have ended over them.
	pauseMax = 9
)

// coverage is the patterns by which topics come that nobody may want, see [broker.Coverer]. They are commands of
// the flight as others are, and nothing waits for them. A blanket brings all and needs none. It is under wants.mu.
//
//	due ──next──► asked ──► live ──next──► leaving ──► (gone)
//	  ◄──beat── refused ◄─┘
type coverage struct {
	prefixes atomic.Pointer[broker.Prefixes] // What is told to the owner, nil for nothing. Read without wants.mu.

	globs []string // The patterns of prefixes.
	all   string   // That of all topics, which may take their place.
	of    map[string]*pattern
	wide  bool // Redis does not permit one of globs, so it is asked for all.
	stuck bool // Redis does not let us end one. No more than all is asked for, or those that are kept would be ever more.
	told  bool // The log says that Redis refuses one.
	todo  bool // There may be something to be written.
	lost  int  // Links in a row that ended with a pattern that was not answered.
	pause int  // Beats until patterns are asked for.
}

// pattern is one that is to be subscribed, or that Redis may have on this link.
type pattern struct {
	state    patternState
	kept     bool // Redis did not let us end it.
	refusals int  // In a row.
	waits    int  // Beats until it is asked for again.
}

type patternState uint8

const (
	patternDue     patternState = iota // To be subscribed.
	patternAsked                       // A PSUBSCRIBE is in flight.
	patternLive                        // It is confirmed.
	patternRefused                     // It is asked for again when its time has come.
	patternLeaving                     // A PUNSUBSCRIBE is in flight.
)

// covers reports whether the ticks of a topic are to be told, whoever wants it.
func (c *coverage) covers(topic string) bool {
	p := c.prefixes.Load()
	return p != nil && p.Cover(topic)
}

// wanted reports whether a pattern is to be there. Those of some topics are until that of all is.
func (c *coverage) wanted(glob string) bool {
	if glob == c.all {
		return (c.wide || c.stuck) && len(c.globs) > 0 || slices.Contains(c.globs, glob)
	}
	all := c.of[c.all]
	return !c.stuck && (all == nil || all.state != patternLive || !c.wanted(c.all)) && slices.Contains(c.globs, glob)
}

// plan notes what is to be subscribed, and forgets what is not and Redis does not have.
func (c *coverage) plan() {
	for _, glob := range append([]string{c.all}, c.globs...) {
		if c.of[glob] == nil && c.wanted(glob) {
			c.of[glob] = &pattern{}
		}
	}
	maps.DeleteFunc(c.of, func(glob string, p *pattern) bool {
		return (p.state == patternDue || p.state == patternRefused) && !c.wanted(glob)
	})
	c.todo = len(c.of) > 0
}

// toCover takes what is to be covered, and by which patterns.
func (s *wants) toCover(p broker.Prefixes, globs []string, all string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.coverage
	if len(p) > 0 {
		c.prefixes.Store(&p)
	} else {
		c.prefixes.Store(nil)
		c.wide = false
	}
	c.globs, c.all = globs, all
	if c.of == nil {
		c.of = make(map[string]*pattern)
	}
	c.plan()
	broker.Signal(s.written)
}

// nextPattern takes the next command of patterns. Nothing is ended before what takes its place is there. The
// caller holds s.mu.
func (s *wants) nextPattern() (cmd command) {
	c := &s.coverage
	if !c.todo || c.pause > 0 {
		return cmd
	}
	pending := false
	for _, glob := range slices.Sorted(maps.Keys(c.of)) {
		switch p := c.of[glob]; p.state {
		case patternDue:
			p.state = patternAsked
			return command{name: psubscribe, topics: []string{glob}}
		case patternAsked:
			pending = true
		}
	}
	for glob, p := range c.of {
		if !pending && p.state == patternLive && !p.kept && !c.wanted(glob) {
			p.state = patternLeaving
			return command{name: punsubscribe, topics: []string{glob}}
		}
	}
	c.todo = pending
	return cmd
}

// patternAnswered takes the confirmation of a pattern, or of its end. It says how many are live, whether this is the one
// that takes the place of those that are not permitted, and whether all that were refused are served again.
func (s *wants) patternAnswered(name, glob string) (live int, wide, mended bool) {
	due := s.answer(name, glob)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.coverage
	if p := c.of[glob]; due && p != nil {
		if c.lost = 0; name == psubscribe {
			*p = pattern{state: patternLive}
		} else {
			delete(c.of, glob)
		}
		c.plan()
		broker.Signal(s.written)
	}
	refused := false
	for _, p := range c.of {
		if p.state == patternLive || p.state == patternLeaving {
			live++
		}
		refused = refused || p.state != patternLive
	}
	if mended = c.told && !refused && live > 0; mended {
		c.told = false
	}
	return live, c.wide && name == psubscribe && glob == c.all, mended
}

// patternRefused notes that Redis refused the first command that it has not answered, if that was one of a pattern.
// Where one of some topics is not permitted, that of all may be. It returns the command, and whether the log is to have it.
func (s *wants) patternRefused(cause broker.Cause) (of command, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) == 0 || s.flight[0].name != psubscribe && s.flight[0].name != punsubscribe {
		return of, false
	}
	of = s.flight[0]
	s.landed()
	c := &s.coverage
	glob := of.topics[0]
	p := c.of[glob]
	switch {
	case p == nil:
	case of.name == punsubscribe:
		p.state, p.kept = patternLive, true
		tell, c.stuck = !c.stuck, true
	default:
		p.state = patternRefused
		p.refusals = min(p.refusals+1, levels)
		p.waits = 1 << (p.refusals - 1)
		if c.wide = cause == broker.NotPermitted && glob != c.all; !c.wide {
			tell, c.told = !c.told, true
		}
	}
	c.plan()
	broker.Signal(s.written)
	return of, tell
}

// resetPatterns prepares for the next connection. Some proxies end one over a pattern: it is asked for ever more
// rarely then, or the feed would be down again and again. The caller holds s.mu.
func (s *wants) resetPatterns() {
	c := &s.coverage
	for glob, p := range c.of {
		if p.state == patternAsked {
			c.lost = min(c.lost+1, pauseMax)
			c.pause = 1 << c.lost
		}
		if *p = (pattern{}); !slices.Contains(c.globs, glob) {
			delete(c.of, glob)
		}
	}
	c.wide, c.stuck = false, false
	c.plan()
}

// beatPatterns has what was refused asked for again in its time. The caller holds s.mu.
func (s *wants) beatPatterns() {
	c := &s.coverage
	c.pause = max(0, c.pause-1)
	for _, p := range c.of {
		if p.state != patternRefused {
			continue
		}
		if p.waits--; p.waits <= 0 {
			p.state, c.todo = patternDue, true
		}
	}
	if c.todo {
		broker.Signal(s.written)
	}
}

// has reports whether a topic has a subscription of its own, or is to have one.
func (s *wants) has(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics[topic] != nil
}
