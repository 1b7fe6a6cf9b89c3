// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"time"

	"tickedge/internal/protocol"
)

// A slow consumer is slowed down before it is evicted. Its window becomes the longer
// of its own and the step of the ladder that it stands on:
//
//   - It goes up a step when two flushes in a row had to be skipped, and one at least
//     for each quarter of Config.SlowTimeout that its backlog is old (see backlog.go).
//   - It is evicted when the backlog is as old as SlowTimeout, and only from the last
//     step. Where visits come in time, that is a second later at most.
//   - It goes down a step after recoverAfter flushes in a row that found no backlog.
//
// A change of the window is told right before the next update that can be written.
var ladder = [...]beat{0, stepMS(1000), stepMS(2000), stepMS(5000)}

const (
	lastStep = len(ladder) - 1
	// recoverAfter is long enough that a client which can't keep up with the step below
	// does not swing between the two: it has twice the flushes that took it up.
	recoverAfter = 4
)

func stepMS(ms int) beat { return beats(time.Duration(ms) * time.Millisecond) }

// pace is where on the ladder a conn stands, and what could move it. It is 0 for a conn
// that keeps up, which is all that a visit looks at.
type pace uint8

const (
	stepMask pace = 3      // An index of ladder.
	stuck    pace = 1 << 2 // The last flush that was due was skipped.
	untold   pace = 1 << 3 // The client does not know yet that it went up.
	smooth   pace = 1 << 4 // Counts flushes since one was skipped, up to recoverAfter.
)

const _ = ^pace(0) - recoverAfter*smooth // The count fits.

func (p pace) step() int { return int(p & stepMask) }

// window is the time between two flushes of a conn, as things are.
func (c *conn) window() beat { return max(beat(c.interval), ladder[c.pace.step()]) }

// stand moves a conn to a step, in or after a visit. Its flushes keep their phase, so
// that it is back at its place in the window when it has recovered. It reports whether
// its window has changed.
func (s *Shard) stand(id ConnID, c *conn, step int) (changed bool) {
	before := c.window()
	c.pace = c.pace&(stuck|untold) | pace(step)
	if c.window() == before {
		return false
	}
	s.unplace(c)
	c.flush -= before
	s.schedule(id, c)
	return true
}

// slowDown moves a conn up if its backlog, which has an age, asks for it.
func (s *Shard) slowDown(id ConnID, c *conn, age beat, skipped bool) {
	step := c.pace.step()
	if skipped {
		c.pace = c.pace&(stepMask|untold|stuck) ^ stuck
		if c.pace&stuck == 0 {
			step++
		}
	}
	step = min(max(step, int(age/s.times.climb)), lastStep)
	if step == c.pace.step() {
		return
	}
	s.stats.Count[SlowedDown] += uint64(step - c.pace.step())
	if s.stand(id, c, step) {
		c.pace |= untold
	}
}

// tellPace tells a client that its window has become longer, if it does not know yet.
func (s *Shard) tellPace(c *conn, dst []byte) []byte {
	if c.pace&untold == 0 {
		return dst
	}
	c.pace &^= untold
	return c.tellWindow(dst, "slow")
}

func (c *conn) tellWindow(dst []byte, why string) []byte {
	return c.framing().end(protocol.AppendInterval(c.framing().begin(dst), millis(c.window()), why), len(dst))
}

// keepPace is for a flush of a conn that finds no backlog. It tells the client of its
// window if that has changed, now or while it could not be told.
func (s *Shard) keepPace(id ConnID, c *conn, dst []byte) []byte {
	c.pace &^= stuck
	dst = s.tellPace(c, dst)
	if c.pace.step() == 0 {
		return dst
	}
	c.pace += smooth
	if c.pace/smooth < recoverAfter {
		return dst
	}
	s.stats.Count[Recovered]++
	if s.stand(id, c, c.pace.step()-1) {
		dst = c.tellWindow(dst, "recovered")
	}
	return dst
}
