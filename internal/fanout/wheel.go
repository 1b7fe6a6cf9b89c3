// SPDX-License-Identifier: Apache-2.0

package fanout

import "time"

// SlotTime is the time that one slot of the wheel stands for, and the unit in which
// a shard measures all time.
const SlotTime = 5 * time.Millisecond

const (
	// wheelSize slots make 640 ms, more than the default window, so that most conns
	// are met once a turn. Conns that are due later are passed over until then.
	wheelSize = 128
	// visitsMax bounds the visits of one call of Tick. At about 8 µs each they take 2 ms,
	// the longest that a loop goes without reading its sockets. gnet accepts one
	// connection each time it does, so a loop that has more to flush than time for it
	// still takes 500 connections a second. Each visitBytes that are written count as
	// another visit: a whole piece takes as long as some.
	visitsMax  = 256
	visitBytes = 8 << 10
	// lookAfter is the longest time between two visits of an open conn, whatever
	// its window: pings, limits and the drain are good to a second.
	lookAfter = beat(time.Second / SlotTime)
	// soon is when a conn is visited that has just subscribed a topic without a
	// row. The feed fetches the newest value meanwhile.
	soon = beat(50 * time.Millisecond / SlotTime)

	// drainLook is how often a conn that was told to go is looked after while it has
	// a backlog.
	drainLook = beat(100 * time.Millisecond / SlotTime)

	// runLength conns with neighbouring ids are visited one after the other. What a
	// flush touches of them lies close together in memory then, above all the sockets,
	// which the kernel has allocated one after the other too: a flush costs a fifth less
	// than in an order at random. Longer runs gain no more, and make the slots uneven.
	runLength = 32

	nowhere = ^uint32(0)
	golden  = 2654435769 // 2^32 divided by the golden ratio: spreads any number of points evenly.
)

// A beat is a point in time, or a span of it, in units of [SlotTime]. It wraps after
// 248 days, so points are compared by their difference.
type beat uint32

func (t beat) after(u beat) bool { return int32(t-u) > 0 }

// beats rounds a duration to beats, at least one.
func beats(d time.Duration) beat { return beat(max(1, (d+SlotTime/2)/SlotTime)) }

func duration(t beat) time.Duration { return time.Duration(t) * SlotTime }

func millis(t beat) int { return int(duration(t).Milliseconds()) }

func (s *Shard) beatOf(now time.Time) beat { return beat(now.Sub(s.start) / SlotTime) }

// wheel holds every conn in the slot of its due beat. turned is the last beat all of
// whose conns were visited. stalled says that it has not caught up since it was more
// than a turn behind.
type wheel struct {
	slots   [wheelSize][]ConnID
	turned  beat
	stalled bool
}

// place puts a conn into the wheel.
func (s *Shard) place(id ConnID, c *conn, due beat) {
	if !due.after(s.wheel.turned) {
		due = s.wheel.turned + 1
	}
	slot := &s.wheel.slots[due%wheelSize]
	c.due, c.pos = due, uint32(len(*slot))
	*slot = append(*slot, id)
}

// unplace takes a conn out of the wheel, if it is there. The last one of its slot
// takes its place.
func (s *Shard) unplace(c *conn) {
	if c.pos == nowhere {
		return
	}
	slot := &s.wheel.slots[c.due%wheelSize]
	last := len(*slot) - 1
	moved := (*slot)[last]
	(*slot)[c.pos] = moved
	s.conn(moved).pos = c.pos
	*slot = (*slot)[:last]
	c.pos = nowhere
}

// schedule places an open conn for its next visit. Its flushes keep their phase, so
// that conns stay spread evenly whatever delays one turn of the wheel.
func (s *Shard) schedule(id ConnID, c *conn) {
	if !c.flush.after(s.now) {
		window := c.window()
		c.flush += ((s.now-c.flush)/window + 1) * window
	}
	due := s.now + lookAfter
	if due.after(c.flush) {
		due = c.flush
	}
	s.place(id, c, due)
}

// firstFlush is when a conn is flushed first: at its point of the window, which is the
// same for all conns of a run. Points are fixed on a clock that goes on from the shard's
// start whatever is done to that of the host, so that runs divide the window evenly,
// however many there are and whenever their conns came.
func (s *Shard) firstFlush(id ConnID, every beat) beat {
	window := uint64(every)
	point := uint64(uint32(id/runLength)*golden) * window >> 32
	next := uint64(s.start.UnixNano()+int64(s.clock.Sub(s.start)))/uint64(SlotTime) + 1 // Unlike a beat, it does not wrap.
	return s.now + 1 + beat((point+window-next%window)%window)
}

// Turn visits the conns that are due at now. It reports whether it stopped before it
// was through: it does so after a bounded number of visits, to let the loop attend to
// its sockets, and wants to be called again then.
//
// After a stall longer than a turn of the wheel, every conn that is due is visited
// once, not once for each window that was missed. If there is more to do than time,
// all conns are visited in their order, only less often.
func (s *Shard) Turn(now time.Time) (more bool) {
	s.At(now)
	s.visited = false // It is left true by a visit that has panicked.
	s.newTopics = 0
	w := &s.wheel
	if s.Conns() == 0 {
		w.turned = s.now
		return false
	}
	if behind := s.now - w.turned; behind > wheelSize {
		// Turns are left out down to the last whole one, so that the slots go on in
		// their order: with a jump to just behind now, a wheel that can't keep up
		// would visit the same slots again and again, and others never.
		w.turned += (behind/wheelSize - 1) * wheelSize
		if !w.stalled {
			w.stalled = true
			s.stats.Count[Stalls]++
		}
	}
	s.relieve()
	for budget := visitsMax; w.turned != s.now; w.turned++ {
		if !s.turn(w.turned+1, &budget) {
			return true
		}
	}
	w.stalled = false
	return false
}

// Lag is how far the wheel is behind the time that it was told last.
func (s *Shard) Lag() time.Duration { return duration(s.now - s.wheel.turned) }

// turn visits the conns of one slot that are due. It walks the slot backwards, as
// visits take conns out of it and append others, also to this very slot.
func (s *Shard) turn(at beat, budget *int) (done bool) {
	slot := &s.wheel.slots[at%wheelSize]
	for i := len(*slot) - 1; i >= 0; i-- {
		if i >= len(*slot) {
			continue
		}
		id := (*slot)[i]
		c := s.conn(id)
		if c.due.after(at) {
			continue
		}
		if *budget <= 0 {
			return false
		}
		before := s.written
		s.unplace(c)
		s.visiting, s.visited = id, true
		s.visit(id, c)
		s.visited = false
		*budget -= 1 + (s.written-before)/visitBytes
	}
	return true
}
