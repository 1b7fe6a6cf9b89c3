// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"cmp"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

// A conn has a backlog while its socket has not taken all that was written. It is slow
// then, and dead if the backlog makes no progress: Config.SlowRate bytes a second have
// to be taken on the average.
//
// conn.backlog is where the backlog stands in time. It begins when the backlog does, and
// moves on by a second for each SlowRate bytes that are taken, to the present at most.
// How far it is behind is the age of the backlog: ladder.go says what follows from it.
// So a client that takes SlowRate or more is slowed down and never evicted, and one that takes a byte
// now and then gains nothing by it. Bytes that join a backlog are not taken for such that
// were not, and an empty backlog is up to the present, whatever its size was.

// SlowRateMax bounds Config.SlowRate. Beyond it no backlog would ever make progress.
const SlowRateMax = 1_000_000_000

const (
	second = uint64(time.Second / SlotTime)

	// lookFirst is when a conn with a backlog is looked at again that is owed more. As
	// long as nothing is taken, each look comes after twice the time, up to lookAfter:
	// a look costs little, but there may be many that never read.
	lookFirst = 2
)

// Backlogs is the backlogs of all shards of a process, and how much of them there may be.
// It is touched only for conns that have a backlog. Its methods may be called from any
// goroutine.
type Backlogs struct {
	max   atomic.Int64
	bytes atomic.Int64
}

// NewBacklogs returns the backlogs of shards that have not begun, of at most so many bytes.
func NewBacklogs(most int64) *Backlogs {
	b := new(Backlogs)
	b.Adjust(most)
	return b
}

// Adjust says how much there may be from now on.
func (b *Backlogs) Adjust(most int64) { b.max.Store(most) }

// Bytes is what all backlogs come to. It may be above the truth by what sockets have taken
// since their conns were visited last, a second ago at most.
func (b *Backlogs) Bytes() int64 { return b.bytes.Load() }

// Max is how much they may come to.
func (b *Backlogs) Max() int64 { return b.max.Load() }

// Joined notes that n bytes have joined the backlog of a conn, which may be its first ones.
func (s *Shard) Joined(id ConnID, n int) {
	c, a := s.conn(id), s.aside(id)
	if c.flags&backlogged == 0 {
		c.flags |= backlogged
		c.backlog = s.now
		a.left = 0
	}
	s.hold(a, int64(n))
}

// hold changes the backlog of a conn, and with it all sums.
func (s *Shard) hold(a *aside, change int64) {
	a.left = uint32(int64(a.left) + change)
	s.backlog += change
	s.backlogs.bytes.Add(change)
}

// forgetBacklog is for a conn whose socket is closed, or is to be looked at afresh.
func (s *Shard) forgetBacklog(id ConnID, c *conn) {
	if c.flags&backlogged != 0 {
		c.flags &^= backlogged
		s.hold(s.aside(id), -int64(s.aside(id).left))
	}
}

// progress notes that a conn with a backlog has left bytes of it now.
func (s *Shard) progress(id ConnID, c *conn, left int) {
	if c.flags&backlogged == 0 {
		s.Joined(id, left)
		return
	}
	a := s.aside(id)
	taken := int64(a.left) - int64(left)
	s.hold(a, -taken)
	if left == 0 {
		c.flags &^= backlogged
		c.backlog = s.now
		return
	}
	if taken <= 0 {
		return
	}
	// Less than a beat is lost to rounding, at each look, and these become rarer with the age.
	c.backlog += beat(min(uint64(taken)*second/uint64(s.cfg.SlowRate), uint64(s.now-c.backlog)))
}

// visitBacklogged: a conn with a backlog is written no rows and stays where it was
// served to. Its next update covers more ticks. Topics that were withdrawn are taken away all
// the same: a client that does not read would hold them for as long as it is here, and there
// may only be so many. What it is told of them joins its backlog, once for each topic.
func (s *Shard) visitBacklogged(id ConnID, c *conn, flush bool) {
	if flush {
		s.stats.Count[Skipped]++
	}
	age := s.now - c.backlog
	if age >= s.times.slow && c.pace.step() == lastStep {
		s.Evict(id, SlowConsumer)
		return
	}
	s.slowDown(id, c, age, flush)
	// Only a short SlowTimeout asks for this: no step is passed over then either.
	s.sooner(id, c, s.now+s.times.climb)
	if c.More() {
		s.sooner(id, c, s.now+min(max(age, lookFirst), lookAfter))
	}
	if out := s.takeAway(id, c, s.scratch[:0]); len(out) > 0 {
		s.scratch = out[:0]
		s.wrote(id, c, len(out))
		s.sink.Write(id, out)
	}
}

// visitClosing: our last word may still be on its way, a whole page for instance. It is
// to be taken at the rate of anything else, and then the peer has its time to close.
func (s *Shard) visitClosing(id ConnID, c *conn) {
	if c.flags&backlogged == 0 {
		s.place(id, c, s.now+s.times.close)
		s.Evict(id, CloseTimeout)
		return
	}
	switch s.progress(id, c, s.sink.Backlog(id)); {
	case c.flags&backlogged == 0:
		s.place(id, c, s.now+s.times.close)
		s.sink.Drained(id)
	case s.now-c.backlog >= s.times.slow:
		s.place(id, c, s.now+s.times.close)
		s.Evict(id, SlowConsumer)
	default:
		s.place(id, c, s.now+drainLook)
	}
}

// crowder is a conn with a backlog, while conns are chosen to be evicted.
type crowder struct {
	id   ConnID
	left uint32
	age  beat
}

// relieve evicts conns if there is too much backlog: the shard's part of what is above
// seven eighths of the limit, so that it has rest for a while. The largest backlogs go
// first, and of those that are about as large the oldest: a client that takes what
// it is sent is the last to suffer from those that don't.
//
// Once a beat is enough, and more often would be unfair: what the other shards are to
// evict would be counted again. Meanwhile a shard can add a piece for each visit of a
// beat, and what answers to commands there are.
func (s *Shard) relieve() {
	all, most := s.backlogs, s.backlogs.Max()
	if all.bytes.Load() <= most || s.relieved == s.now {
		return
	}
	s.relieved = s.now
	s.crowded = s.crowded[:0]
	for i := range s.slabs {
		for j := range s.slabs[i] {
			c := &s.slabs[i][j]
			if c.flags&backlogged == 0 {
				continue
			}
			id := ConnID(i<<slabBits | j)
			if c.state != opening {
				s.progress(id, c, s.sink.Backlog(id))
			}
			if a := s.aside(id); c.flags&backlogged != 0 {
				s.crowded = append(s.crowded, crowder{id, a.left, s.now - c.backlog})
			}
		}
	}
	total := all.bytes.Load()
	if total <= most {
		return
	}
	slices.SortFunc(s.crowded, func(a, b crowder) int {
		return cmp.Or(cmp.Compare(bits.Len32(b.left), bits.Len32(a.left)), cmp.Compare(b.age, a.age))
	})
	part := float64(s.backlog) / float64(total)
	goal := s.backlog - int64(float64(total-most+most/8)*part)
	for _, one := range s.crowded {
		if s.backlog <= goal {
			break
		}
		s.Evict(one.id, BacklogTotal)
	}
}
