// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"math/bits"
	"time"
)

// Rate is how much is let through: PerSecond for as long as it lasts, and Burst at once
// after a pause. The zero Rate lets everything through.
type Rate struct{ PerSecond, Burst int }

// RateMax bounds both numbers of a [Rate]. No host accepts a million connections in a
// second.
const RateMax = 1_000_000

// Valid reports whether both numbers are from 1 to [RateMax], or both are 0.
func (r Rate) Valid() bool { return r.Validate() == nil && (r.PerSecond > 0) == (r.Burst > 0) }

// Validate returns what is wrong with a rate whose burst may still be chosen where it is 0, or
// nil. The error begins with the name of a field.
func (r Rate) Validate() error { return r.validate("") }

func (r Rate) validate(of string) error {
	switch {
	case r.PerSecond < 0 || r.PerSecond > RateMax:
		return fmt.Errorf("%sPerSecond is %d, want 0 to %d", of, r.PerSecond, RateMax)
	case r.Burst < 0 || r.Burst > RateMax:
		return fmt.Errorf("%sBurst is %d, want 0 to %d", of, r.Burst, RateMax)
	case r.PerSecond == 0 && r.Burst > 0:
		return fmt.Errorf("%sBurst is set and %sPerSecond is not: set both, or neither", of, of)
	}
	return nil
}

// unit is one event in what meters and buckets count in.
const unit = 16

// meter is a [Rate] made ready. It is a token bucket kept as one number, the time when
// the bucket will be full again (the generic cell rate algorithm of ITU-T I.371). Its
// clock does not run in seconds but in events: by unit for each event that the rate
// allows. So an event takes a whole number from the bucket at any rate, and nothing is
// rounded but the reading of the clock, by less than a unit.
type meter struct {
	perSecond uint64 // Units. 0 is no limit.
	burst     uint64 // Units.
}

func newMeter(r Rate) meter {
	if !r.Valid() {
		panic("guard: a Rate is out of range")
	}
	return meter{perSecond: uint64(r.PerSecond) * unit, burst: uint64(r.Burst) * unit}
}

func (m meter) limited() bool { return m.perSecond > 0 }

// clock reads the meter's clock. In 292 years, the longest Duration, it does not wrap.
func (m meter) clock(at time.Duration) uint64 {
	hi, lo := bits.Mul64(uint64(max(0, at)), m.perSecond)
	units, _ := bits.Div64(hi, lo, uint64(time.Second))
	return units
}

// add takes one event from a bucket that will be full at the time given, and returns
// when it will be full then. It reports false, and changes nothing, if there is none.
func (m meter) add(full, clock uint64) (uint64, bool) {
	after := max(full, clock) + unit
	return after, after-clock <= m.burst
}

// Level says how a client keeps to a [Limit].
type Level uint8

const (
	Within Level = iota // It may.
	Over                // It may not, and is told so.
	Abuse               // It was told so and goes on.
)

// Limit is what the conns of a server are held to, one [Bucket] each. Not changed after
// [NewLimit], so it is safe for concurrent use. The zero Limit lets everything through.
type Limit struct {
	meter
	patience uint64 // The burst and the excess, in units.
}

// NewLimit returns the limit that lets r through, then calls what comes Over, and when
// that has become more than excess calls it Abuse. What is Over counts like what is let
// through, so a client that goes on regardless ends there, and one that pauses is forgiven at the rate.
// It panics if r is not valid, or excess is not from 0 to [RateMax].
func NewLimit(r Rate, excess int) Limit {
	if excess < 0 || excess > RateMax {
		panic("guard: the excess of a Limit is out of range")
	}
	m := newMeter(r)
	return Limit{meter: m, patience: m.burst + uint64(excess)*unit}
}

// Bucket is what one conn has used of a [Limit], in 4 bytes. It begins as [Limit.Full].
// Owned by whoever owns the conn.
//
// It is when the bucket will be full again, modulo 2^32 units. A time that is further
// away than the bucket is deep is one in the past, so a wrap does no harm, but for one
// case: a conn that has sent nothing for just as long as a wrap takes (2^28 events: 310
// days at 10 a second) may find a part of its burst used, which comes back at the rate.
type Bucket uint32

// Full returns a bucket that has used nothing. Unlike the zero value it is that at any
// time, also where the limit's clock is about to begin anew.
func (l *Limit) Full(at time.Duration) Bucket { return Bucket(l.clock(at)) }

// Take uses n events. at is the time since any point that stays the same for the bucket;
// a little back does no harm. More at once than the burst is never let through, so that
// must be at least the largest n, and n not negative.
func (l *Limit) Take(b *Bucket, n int, at time.Duration) Level { return l.TakeOr(b, n, n, at) }

// TakeOr is Take for what uses n events, but only instead if it is not let through.
func (l *Limit) TakeOr(b *Bucket, n, instead int, at time.Duration) Level {
	if !l.limited() {
		return Within
	}
	clock := uint32(l.clock(at))
	used := uint64(uint32(*b) - clock)
	if used > l.patience {
		used = 0
	}
	level, after := Within, used+uint64(n)*unit
	if after > l.burst {
		level, after = Over, used+uint64(instead)*unit
	}
	if after > l.patience {
		return Abuse
	}
	*b = Bucket(clock + uint32(after))
	return level
}
