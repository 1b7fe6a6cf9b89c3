// SPDX-License-Identifier: Apache-2.0

// Package guard says how much of the edge one client may have: how many connections it
// may hold, how fast it may open them, and how fast it may send commands. And it says
// who that client is, if proxies stand in between.
//
// It has no socket and no clock: addresses and the time are passed in.
//
//	guard.go   Guard: connections, in all and by prefix
//	adjust.go  other limits, while connections come and go
//	prefix.go  who is counted as one
//	bucket.go  rates, and the buckets of single conns
//	shared.go  rates of prefixes, whichever of their conns uses them
//	trust.go   whose word is taken for who a client is
package guard

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Config holds the limits of a [Guard]. What is zero is no limit.
type Config struct {
	ConnsPerPrefix int  // Connections that one prefix may hold.
	Total          Rate // New connections of all prefixes.
	PerPrefix      Rate // New connections of each prefix.
}

// ConnsMax is more connections than a host can hold.
const ConnsMax = 10_000_000

// Validate returns all that is wrong with c, or nil: of rates as [Rate.Validate] does. Each
// error begins with the name of a field.
func (c Config) Validate() error {
	errs := []error{c.Total.validate("Total."), c.PerPrefix.validate("PerPrefix.")}
	if c.ConnsPerPrefix < 0 || c.ConnsPerPrefix > ConnsMax {
		errs = append(errs, fmt.Errorf("ConnsPerPrefix is %d, want 0 to %d", c.ConnsPerPrefix, ConnsMax))
	}
	return errors.Join(errs...)
}

// Outcome says whether a connection is let in or, if not, which limit it met.
type Outcome uint8

const (
	OK           Outcome = iota
	TooManyConns         // Its prefix holds as many as it may: answered with 429.
	TooFast              // Its prefix opens them too fast: answered with 429.
	Overloaded           // All of them together come too fast: answered with 503.

	outcomes
)

// Outcomes is the number of outcomes, for tables by outcome.
const Outcomes = int(outcomes)

// String is the outcome as a metric label.
func (o Outcome) String() string {
	return [Outcomes]string{"ok", "too_many_conns", "too_fast", "overloaded"}[o]
}

// Verdict is the answer to a connection that wants to come in.
type Verdict struct {
	Outcome Outcome
	// RetryAfter is the advice that goes with a refusal, in seconds (RFC 9110, 10.2.3).
	// It is spread, so that those who are refused together do not come back together.
	RetryAfter int
}

const (
	// shardCount is how many locks the prefixes share. One would do for what a host can
	// accept, but its owner may lose its processor while it holds it; this many keep
	// the other loops going then.
	shardCount = 64
	// setsPerShard and ways make room for 65,536 prefixes whose bucket is not full, in
	// 1 MiB. That is as many as come in a second in a bad storm.
	setsPerShard = 128
	ways         = 8

	// retrySoon and retrySpread are the advice to a prefix that comes too fast, in
	// seconds. As a rate is at least 1 a second, the next one is always due by then.
	retrySoon   = 1
	retrySpread = 5
	// retryFull and retryFullSpread are for a prefix that holds as many as it may.
	// Nothing says when one of them ends, so there is no haste.
	retryFull       = 10
	retryFullSpread = 20
	// retryMax bounds the line of those who came while all together came too fast.
	retryMax = 60
)

// Guard holds the limits that all loops share. Its methods may be called from any
// goroutine; they wait for nothing but a lock held for some 100 ns, and allocate only as
// the number of prefixes with connections grows.
//
// Memory: about 40 bytes for each prefix that holds connections, of which the room of the
// most there ever were is kept, and a table of fixed size for those that came lately.
// Nobody can make either grow without holding connections.
type Guard struct {
	// The limits. They are read with the lock of any shard, and written with those of all.
	conns     uint32
	total     meter
	perPrefix meter

	start time.Time
	seed  maphash.Seed // So that nobody can choose addresses that meet in one set.

	full   atomic.Uint64 // When the bucket of all connections is full, by total's clock.
	line   atomic.Uint64 // When the last of those who wait for it is to come back.
	shards [shardCount]shard
}

// shard is a part of the prefixes.
type shard struct {
	sync.Mutex
	held map[Prefix]uint32 // Connections by prefix. None is 0.
	// recent is empty if there is no rate by prefix. Each prefix has its place in one
	// set. If all ways of the set are taken, the one whose bucket is the closest to
	// full is forgotten, which at most gives that prefix its burst again. So nobody
	// ever suffers for another, and one that is at the limit is forgotten last. A table of
	// shared buckets would be smaller, but let a flood empty the buckets of everybody.
	recent    [][ways]visitor
	refused   [Outcomes]uint64
	forgotten uint64
}

// visitor is the bucket of one prefix. It is expendable when it is full.
type visitor struct {
	prefix Prefix
	full   uint64 // By perSource's clock.
}

// New makes a guard whose time begins at start. It panics if a rate is out of range,
// see [Rate.Valid].
func New(cfg Config, start time.Time) *Guard {
	if cfg.ConnsPerPrefix < 0 {
		panic("guard: Config.ConnsPerPrefix is out of range")
	}
	g := &Guard{
		conns: uint32(cfg.ConnsPerPrefix), total: newMeter(cfg.Total), perPrefix: newMeter(cfg.PerPrefix),
		start: start, seed: maphash.MakeSeed(),
	}
	recent := g.perPrefix.table()
	for i := range g.shards {
		g.shards[i].held, g.shards[i].recent = map[Prefix]uint32{}, recent[i]
	}
	return g
}

// Enter asks for room for one more connection of a prefix. If the outcome is [OK] it
// counts as held until [Guard.Leave]. What is refused uses nothing up: neither room, nor
// the prefix's rate, nor that of all. Nobody, the zero Prefix, is held only to the rate
// of all.
//
// The times of several loops need not be in order.
func (g *Guard) Enter(src Prefix, now time.Time) Verdict {
	at := now.Sub(g.start)
	hash := maphash.Comparable(g.seed, src)
	s := &g.shards[hash%shardCount]
	s.Lock()
	defer s.Unlock()
	refuse := func(o Outcome, seconds int) Verdict {
		s.refused[o]++
		return Verdict{o, seconds}
	}

	var place *visitor
	var full uint64
	clock := g.perPrefix.clock(at)
	if src != 0 && g.perPrefix.limited() {
		place = find(&s.recent[hash/shardCount%setsPerShard], src)
		before := uint64(0)
		if place.prefix == src {
			before = place.full
		}
		var ok bool
		if full, ok = g.perPrefix.add(before, clock); !ok {
			return refuse(TooFast, retrySoon+rand.IntN(retrySpread))
		}
	}
	if src != 0 && g.conns > 0 && s.held[src] >= g.conns {
		return refuse(TooManyConns, retryFull+rand.IntN(retryFullSpread))
	}
	if g.total.limited() {
		if clock := g.total.clock(at); !g.takeTotal(clock) {
			return refuse(Overloaded, g.queue(clock))
		}
	}
	if place != nil {
		if place.prefix != src && place.full > clock {
			s.forgotten++
		}
		*place = visitor{src, full}
	}
	if src != 0 { // Whether there is a limit or not: there may be one later.
		s.held[src]++
	}
	return Verdict{Outcome: OK}
}

// Leave gives up the room of one connection that was let in.
func (g *Guard) Leave(src Prefix) {
	if src == 0 {
		return
	}
	s := &g.shards[maphash.Comparable(g.seed, src)%shardCount]
	s.Lock()
	defer s.Unlock()
	switch n := s.held[src]; n {
	case 0:
		panic("guard: Leave of a prefix that holds no connection")
	case 1:
		delete(s.held, src)
	default:
		s.held[src] = n - 1
	}
}

// find returns the place of a prefix in its set, or the place that it may take.
func find(set *[ways]visitor, src Prefix) *visitor {
	best := &set[0]
	for i := range set {
		v := &set[i]
		if v.prefix == src {
			return v
		}
		if v.full < best.full {
			best = v
		}
	}
	return best
}

// takeTotal takes one of the connections of all, if there is one.
func (g *Guard) takeTotal(clock uint64) bool {
	for {
		before := g.full.Load()
		after, ok := g.total.add(before, clock)
		if !ok {
			return false
		}
		if g.full.CompareAndSwap(before, after) {
			return true
		}
	}
}

// queue returns the seconds after which one who came while all came too fast is to come
// back. They are told to come one after the other, as fast as they are let in: all told
// the same, they would only come too fast again.
func (g *Guard) queue(clock uint64) int {
	for {
		before := g.line.Load()
		after := max(before, clock) + unit
		wait := int((after - clock + g.total.perSecond - 1) / g.total.perSecond)
		if wait >= retryMax {
			return retryMax - rand.IntN(retryMax/2)
		}
		if g.line.CompareAndSwap(before, after) {
			return wait + rand.IntN(2)
		}
	}
}

// Stats counts what a guard did.
type Stats struct {
	Prefixes  int              // That hold connections, if these are limited.
	Refused   [Outcomes]uint64 // By the limit that was met.
	Forgotten uint64           // Prefixes whose bucket gave way to another's before it was full.
}

// Stats adds up the counters.
func (g *Guard) Stats() (st Stats) {
	for i := range g.shards {
		s := &g.shards[i]
		s.Lock()
		if g.conns > 0 {
			st.Prefixes += len(s.held)
		}
		for o, n := range s.refused {
			st.Refused[o] += n
		}
		st.Forgotten += s.forgotten
		s.Unlock()
	}
	return st
}
