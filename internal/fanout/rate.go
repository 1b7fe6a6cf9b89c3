package fanout

import "time"

// The rates that suit pages in browsers. A page that reloads, or that scrolls through
// lists of topics, stays far below them.
const (
	DefaultCommandRate    = 20  // Commands per second.
	DefaultCommandBurst   = 40  // Commands at once.
	DefaultSubscribeRate  = 50  // New topics per second.
	DefaultSubscribeBurst = 512 // New topics at once: twice the default of -max-topics.

	// RateMax and BurstMax bound what may be configured.
	RateMax  = 10_000
	BurstMax = 100_000

	// patience is how many bursts a client may go on for after it was told that it is
	// too fast. What is refused counts, so who waits is forgiven, at the rate.
	patience = 2

	// unit is one event in what a bucket counts in.
	unit = 16
)

// limit is how often something may happen. It is a token bucket kept as one number: when
// the bucket will be full again (the generic cell rate algorithm of ITU-T I.371). Its
// clock runs by a unit for each event that the rate allows, so that no rate is rounded.
type limit struct {
	perSecond uint64 // Units. 0 is no limit.
	burst     uint32 // Units.
	most      uint32 // Units: the burst, and what is counted above it.
}

func newLimit(rate, burst, excess int) limit {
	return limit{perSecond: uint64(rate) * unit, burst: uint32(burst) * unit, most: uint32(burst+excess) * unit}
}

// bucket is what a conn has used of a limit: when it is full again on the limit's clock,
// modulo 2^32. One that is further away than it is deep is in the past.
type bucket uint32

type verdict uint8

const (
	within verdict = iota
	over           // Not allowed, but counted.
	abuse          // Not allowed, and all that is above the burst is used up too.
)

// clock reads the limit's clock. at is the time since the shard's start.
func (l *limit) clock(at time.Duration) uint32 {
	return uint32(uint64(at.Milliseconds()) * l.perSecond / 1000)
}

// full is a bucket of which nothing is used.
func (l *limit) full(at time.Duration) bucket { return bucket(l.clock(at)) }

// take uses one event.
func (l *limit) take(b *bucket, at time.Duration) verdict {
	if l.perSecond == 0 {
		return within
	}
	clock := l.clock(at)
	used := uint32(*b) - clock
	if used > l.most {
		used = 0
	}
	used += unit
	if used > l.most {
		return abuse
	}
	*b = bucket(clock + used)
	if used > l.burst {
		return over
	}
	return within
}
