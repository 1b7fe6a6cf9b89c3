// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/resp"
	"tickedge/internal/topics"
)

var (
	_ broker.Coverer = (*server)(nil)
	_ broker.Coverer = (*stream)(nil)
	_ broker.Coverer = (*cluster)(nil)
)

// numPat is how many patterns clients have subscribed.
func numPat(s *redistest.Server) string { return strings.TrimSpace(s.Do("PUBSUB", "NUMPAT")) }

// heardOf waits until a tick of a topic comes that nobody wants: the owner of the source counts it.
func (r *rig) heardOf(s *redistest.Server, topic string) {
	r.t.Helper()
	before := r.Stats().Counts[broker.Unwanted]
	r.eventually(topic+" is told", func() bool {
		s.Do("PUBLISH", "channel:prices:"+topic, "1")
		return r.Stats().Counts[broker.Unwanted] > before
	})
}

func (r *rig) covers(prefixes ...string) {
	r.t.Helper()
	if err := r.Cover(prefixes); err != nil {
		r.t.Fatal(err)
	}
}

// Redis is asked for no more patterns than it takes, and for one where they are many.
func TestCoverPatterns(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, plain(s), limits)
	r.acquire("AAPL")
	r.settled()
	has := func(n int) {
		t.Helper()
		r.eventually(fmt.Sprintf("%d patterns", n), func() bool { return numPat(s) == fmt.Sprint(n) })
	}
	has(0)
	r.covers("a:", "a:b", "b:", "a:")
	has(2)
	r.heardOf(s, "a:b")
	many := make([]string, patternsMax+1)
	for i := range many {
		many[i] = fmt.Sprint("p", i, ":")
	}
	r.covers(many[:patternsMax]...)
	has(patternsMax)
	r.covers(many...)
	has(1)
	r.heardOf(s, "p64:x")
	r.covers()
	has(0)
	r.eventually("only the topic is left", func() bool { return r.Stats().Channels == 1 })
	if st := r.Stats(); st.Counts[broker.Connects] != 1 || st.Held != 1 {
		t.Errorf("%+v", st)
	}
	r.covers("a:")
	r.heardOf(s, "a:x")
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
	r.eventually("a new connection", func() bool { return r.Stats().Counts[broker.Connects] == 2 })
	has(1)
	r.heardOf(s, "a:x")
}

// A pattern that is not permitted is no matter of the feed and of its topics. That of all topics takes its place, if
// it is permitted.
func TestCoverIsNotPermitted(t *testing.T) {
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "edge", "on", ">"+secret, "~price:*", "&channel:prices:*", "+ping", "+getrange", "+subscribe", "+unsubscribe")
	r := run(t, At("redis://edge:"+secret+"@"+s.Addr()), limits)
	r.acquire("AAPL")
	r.settled()
	r.covers("crypto:", "fx:")
	r.eventually("the log says what to permit", func() bool { return r.log.Count("+psubscribe +punsubscribe &channel:prices:*") > 0 })
	r.acquire("MSFT")
	r.settled()
	publish(s, "MSFT", "2")
	r.eventually("topics go on", func() bool { return r.value("MSFT") == "2" })
	r.eventually("it is asked for again", func() bool { return r.Stats().Refusals[broker.NotPermitted] > 6 })
	st, lines := r.Stats(), r.log.Count("patterns of topics are refused")
	if st.Refused != [broker.Causes]int64{} || st.Counts[broker.Connects] != 1 || !r.table.Health().Up || lines != 1 {
		t.Errorf("stats = %+v, up is %v, %d lines", st, r.table.Health().Up, lines)
	}
	s.Do("ACL", "SETUSER", "edge", "+psubscribe", "+punsubscribe")
	r.heardOf(s, "crypto:x")
	if n := numPat(s); n != "1" || r.log.Count("so the ticks of all topics are read") != 1 {
		t.Errorf("%s patterns; the log is to say that they are those of all topics", n)
	}
	before := r.Stats().Counts[broker.Ticks]
	publish(s, "AAPL", "3")
	r.eventually("it ticks", func() bool { return r.value("AAPL") == "3" })
	if got := r.Stats().Counts[broker.Ticks] - before; got != 1 {
		t.Errorf("%d ticks, want 1: the pattern brings others and is not to be heard of those that are not covered", got)
	}
	s.Do("ACL", "SETUSER", "edge", "allchannels", "-punsubscribe")
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
	r.eventually("each pattern is permitted now", func() bool { return numPat(s) == "2" })
	r.covers("x")
	r.eventually("one can't be ended", func() bool {
		r.wants.mu.Lock()
		defer r.wants.mu.Unlock()
		return r.wants.coverage.stuck
	})
	r.heardOf(s, "x")
	for i := range 10 {
		r.covers(fmt.Sprint("y", i))
		r.heardOf(s, fmt.Sprint("y", i, ":"))
	}
	if n := numPat(s); n != "4" || r.log.Count("can't be unsubscribed") != 1 {
		t.Errorf("%s patterns, want the two that were there, x and that of all; the log is to say so", n)
	}
}

// A server that sentinels choose is as any other.
func TestCoverBySentinel(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t, 0, "", "")
	r := run(t, At(s.URL()), limits)
	r.covers("a:")
	r.heardOf(s.Primary(), "a:x")
	s.Primary().Do("CLIENT", "KILL", "TYPE", "pubsub")
	r.eventually("a new connection", func() bool { return r.Stats().Counts[broker.Connects] > 1 })
	r.heardOf(s.Primary(), "a:x")
}

func TestClusterCoversNothing(t *testing.T) {
	made, err := Config{URL: "redis-cluster://127.0.0.1:1", Channel: "c:{{topic}}", Key: "k:{{topic}}"}.Source(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := made.(broker.Coverer)
	if err := c.Cover(nil); err != nil {
		t.Errorf("nothing can't be covered: %v", err)
	}
	if err := c.Cover([]string{"a"}); err == nil || !strings.Contains(err.Error(), "have no patterns") {
		t.Errorf("error = %v", err)
	}
}

func TestCoverNamesTooLong(t *testing.T) {
	c := Config{URL: "redis://127.0.0.1:1", Channel: strings.Repeat("[", 1000) + "{topic}"}
	made, err := c.Source(noOwner{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := made.(broker.Coverer).Cover([]string{strings.Repeat("?", 64)}); err == nil {
		t.Error("a pattern of 2129 bytes is none that can be read")
	}
	if err := made.(broker.Coverer).Cover([]string{"?"}); err != nil {
		t.Error(err)
	}
}

// A message is told apart from its copies, in whatever order patterns have it.
func TestCopies(t *testing.T) {
	c := copies{expected: true}
	for i, m := range []struct {
		channel, pattern string
		copied           bool
	}{
		{"a", "", false}, {"a", "*", true}, {"a", "a*", true},
		{"a", "", false}, {"a", "a*", true}, {"a", "*", true},
		{"b", "*", false}, {"b", "b*", true}, {"b", "*", false}, {"b", "b*", true},
		{"c", "*", false}, {"a", "*", false}, {"a", "*", false}, {"a", "a*", true}, {"b", "b*", false},
	} {
		e := resp.Event{Kind: resp.PMessage, Channel: []byte(m.channel), Pattern: []byte(m.pattern)}
		if m.pattern == "" {
			e = resp.Event{Kind: resp.Message, Channel: []byte(m.channel)}
		}
		if c.isOne(&e) != m.copied {
			t.Errorf("message %d, %+v: is a copy: %v", i, m, !m.copied)
		}
	}
	e := resp.Event{Kind: resp.PMessage, Channel: []byte("b"), Pattern: []byte("*")}
	if c.forget(); c.isOne(&e) { // Behind the end of a subscription.
		t.Error("what comes behind a confirmation is no copy")
	}
}

// ear is an owner that writes down the topics of ticks.
type ear struct {
	deskOwner
	told []string
}

func (e *ear) Tick(topic, _ string, _ int64) { e.told = append(e.told, strings.Clone(topic)) }

// A pattern brings nothing of what is wanted, confirmed or not: that a topic is refused is no matter of patterns.
func TestWantedComesByItself(t *testing.T) {
	o := &ear{deskOwner: deskOwner{Table: topics.New(limits), more: make(chan struct{}, 1)}}
	sh := &shared{owner: o}
	sh.channel, _ = newTemplate("channel", DefaultChannel)
	s := newServer(sh, nil, channels, nil)
	if err := s.Cover([]string{"A"}); err != nil {
		t.Fatal(err)
	}
	s.Apply([]topics.Change{{Topic: "AW", Wanted: true}})
	for _, topic := range []string{"AW", "AC", "B", "AW", "AC"} {
		s.receive(resp.Event{Kind: resp.PMessage, Channel: []byte("channel:prices:" + topic), Pattern: []byte("channel:prices:A*")}, 1)
	}
	s.Apply([]topics.Change{{Topic: "AW"}})
	s.receive(resp.Event{Kind: resp.PMessage, Channel: []byte("channel:prices:AW"), Pattern: []byte("channel:prices:A*")}, 1)
	if want := []string{"AC", "AC", "AW"}; !slices.Equal(o.told, want) || s.counters[broker.Unwanted].Load() != 1 {
		t.Errorf("told are %q, want %q; %d are unwanted", o.told, want, s.counters[broker.Unwanted].Load())
	}
}

// Links that end over a pattern are ever rarer.
func TestPatternsThatEndLinks(t *testing.T) {
	d := newDesk(t, 10)
	d.toCover(broker.Prefixes{"a"}, []string{"a*"}, "*")
	for i := range 5 {
		if c := d.next(commandMax); c.name != psubscribe {
			t.Fatalf("round %d: %+v is asked", i, c)
		}
		d.reset()
		for beat := range 2 << i {
			if c := d.next(commandMax); len(c.topics) > 0 {
				t.Fatalf("round %d: %s is asked after %d beats", i, c.name, beat)
			}
			d.beat()
		}
	}
	d.next(commandMax)
	d.patternAnswered(psubscribe, "a*")
	d.reset() // For another reason.
	if c := d.next(commandMax); c.name != psubscribe {
		t.Errorf("%+v is asked", c)
	}
}

// ground is a Redis as far as patterns go.
type ground struct {
	*desk
	asked     []command
	has       map[string]bool
	forbidden map[string]bool
}

// step has Redis answer the next command.
func (g *ground) step() (more bool) {
	for c := g.next(commandMax); len(c.topics) > 0; c = g.next(commandMax) {
		g.asked = append(g.asked, c)
	}
	if len(g.asked) == 0 {
		return false
	}
	c := g.asked[0]
	g.asked = g.asked[1:]
	switch {
	case c.name == subscribe || c.name == unsubscribe:
		for _, topic := range c.topics {
			g.answer(c.name, topic)
			g.confirm(topic)
		}
		return true
	case g.forbidden[c.name] || g.forbidden[c.topics[0]]:
		g.patternRefused(broker.NotPermitted)
		return true
	case c.name == psubscribe:
		g.has[c.topics[0]] = true
	default:
		delete(g.has, c.topics[0])
	}
	g.patternAnswered(c.name, c.topics[0])
	if live := g.coverage.live(); live != len(g.has) {
		g.t.Fatalf("%d patterns are live, Redis has %v", live, g.has)
	}
	return true
}

func (c *coverage) live() (n int) {
	for _, p := range c.of {
		if p.state == patternLive || p.state == patternLeaving {
			n++
		}
	}
	return n
}

// brings reports whether Redis sends the ticks of a topic by a pattern.
func (g *ground) brings(topic string) bool {
	for glob := range g.has {
		if strings.HasPrefix(topic, strings.TrimSuffix(glob, "*")) {
			return true
		}
	}
	return false
}

// Whatever is covered and permitted in turns, what can be had is there in the end and nothing else, and what is
// covered before and after a change is there all the while.
func TestPatternsOfAnySequence(t *testing.T) {
	prefixes := []string{"", "a", "aa", "b", "c"}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("seed", seed)
		}
	})
	for range 3000 {
		g := &ground{desk: newDesk(t, 10), has: make(map[string]bool), forbidden: make(map[string]bool)}
		var now broker.Prefixes
		for range 12 {
			switch rng.IntN(6) {
			case 0:
				clear(g.has)
				g.asked = nil
				g.reset()
			case 1:
				what := []string{"*", "a*", "b*", punsubscribe}[rng.IntN(4)]
				g.forbidden[what] = !g.forbidden[what]
			case 2:
				g.want(fmt.Sprint("T", rng.IntN(5)))
			case 3:
				g.beat()
			default:
				before := now
				now = broker.NewPrefixes([]string{prefixes[rng.IntN(5)], prefixes[rng.IntN(5)]}[:rng.IntN(3)])
				held := make(map[string]bool)
				for _, topic := range []string{"ax", "aax", "bx", "cx"} {
					held[topic] = before.Cover(topic) && now.Cover(topic) && g.brings(topic)
				}
				g.toCover(now, globsOf(now), "*")
				for g.step() {
					for topic := range held {
						if held[topic] && !g.brings(topic) && len(g.forbidden) == 0 {
							t.Fatalf("%s is covered by %q and %q, and was away", topic, before, now)
						}
					}
				}
			}
			for range rng.IntN(3) {
				g.step()
			}
			if err := g.wants.check(); err != nil {
				t.Fatal(err)
			}
		}
		kept := g.coverage.stuck
		clear(g.forbidden)
		for range 1 << levels {
			for g.step() {
			}
			g.beat()
		}
		if want := globsOf(now); !g.coverage.wide && !kept && !slices.Equal(slices.Sorted(maps.Keys(g.has)), want) {
			t.Fatalf("Redis has %v, want %v", g.has, want)
		}
		for _, topic := range []string{"ax", "aax", "bx", "cx"} {
			if now.Cover(topic) && !g.brings(topic) {
				t.Fatalf("%s is covered by %q, and Redis has %v", topic, now, g.has)
			}
		}
		if len(now) == 0 && len(g.has) > 0 && !kept {
			t.Fatalf("nothing is covered, and Redis has %v", g.has)
		}
	}
}

// A pattern is kept until it is known that another is there in its place.
func TestPatternIsKeptUntilItIsReplaced(t *testing.T) {
	g := &ground{desk: newDesk(t, 10), has: make(map[string]bool), forbidden: map[string]bool{"a*": true}}
	for _, prefix := range []string{"", "a"} {
		g.toCover(broker.Prefixes{prefix}, []string{prefix + "*"}, "*")
		for g.step() {
			if !g.brings("ax") {
				t.Fatalf("%q is covered, and Redis has %v", prefix, g.has)
			}
		}
	}
}

func globsOf(p broker.Prefixes) (globs []string) {
	for _, prefix := range p {
		globs = append(globs, prefix+"*")
	}
	slices.Sort(globs)
	return globs
}
