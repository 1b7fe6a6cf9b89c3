// SPDX-License-Identifier: Apache-2.0

package fanout

import "time"

// EvictionsKept is how many evictions a shard remembers: enough to see what the victims
// of an incident have in common. They take 130 KB, from the first eviction on.
const EvictionsKept = 1000

// ConnInfo is what a shard knows of a conn. Times are good to [SlotTime].
type ConnInfo struct {
	ID         ConnID
	State      string        // "opening", "open", "closing" or "http".
	Age        time.Duration // In this state. It begins anew after 248 days.
	Topics     int
	Window     time.Duration // Between two flushes, as slowed down.
	Step       int           // Of the slow-down, 0 for none, 3 for the last.
	Backlog    int           // Bytes that the socket has not taken yet.
	BacklogFor time.Duration // Since a visit found the backlog, 0 if the last one found none.
	Heard      time.Duration // Since its last byte.
	RTT        time.Duration // From the last answered ping to the first byte after it, rounded up. 0: not known yet.
}

// Eviction is what was known of a conn when it was evicted.
type Eviction struct {
	At     time.Time
	Reason Reason
	Lag    time.Duration // Of the wheel: far above 0, it was the edge that was slow.
	ConnInfo
}

var stateNames = [...]string{opening: "opening", open: "open", closing: "closing", asking: "http"}

// Info says what is known of a conn. It reports false if there is none with this id.
func (s *Shard) Info(id ConnID) (ConnInfo, bool) {
	if int(id>>slabBits) >= len(s.slabs) || s.conn(id).state == free {
		return ConnInfo{}, false
	}
	return s.info(id, s.sink.Backlog(id)), true
}

func (s *Shard) info(id ConnID, backlog int) ConnInfo {
	c := s.conn(id)
	info := ConnInfo{
		ID: id, State: stateNames[c.state], Age: duration(s.now - c.since),
		Topics: int(c.topics.n), Window: duration(c.window()), Step: c.pace.step(),
		Backlog: backlog, RTT: duration(beat(c.rtt)),
	}
	if c.state == open || c.state == asking {
		info.Heard = duration(s.now - c.heard)
		if c.flags&backlogged != 0 {
			info.BacklogFor = duration(s.now - c.backlog)
		}
	}
	return info
}

// Infos appends what is known of the conns from the id from on. It looks at no more
// than most ids and returns the one to go on with, so that a loop with many conns can
// do it in pieces. more is false if there are none left.
func (s *Shard) Infos(dst []ConnInfo, from ConnID, most int) (_ []ConnInfo, next ConnID, more bool) {
	end := ConnID(len(s.slabs) << slabBits)
	next = min(from+ConnID(most), end)
	for id := from; id < next; id++ {
		if info, ok := s.Info(id); ok {
			dst = append(dst, info)
		}
	}
	return dst, next, next < end
}

// Evictions appends the last evictions, at most [EvictionsKept], the oldest first. Each
// was noted right before [Sink.Evict] was called with it, so that a sink can keep what
// it knows of the conn in a ring beside it.
func (s *Shard) Evictions(dst []Eviction) []Eviction {
	if len(s.evictions) < EvictionsKept {
		return append(dst, s.evictions...)
	}
	dst = append(dst, s.evictions[s.oldest:]...)
	return append(dst, s.evictions[:s.oldest]...)
}

// note keeps an eviction in the place of the oldest.
func (s *Shard) note(id ConnID, r Reason) {
	backlog := 0
	if r != Panic { // The socket may be what has panicked, and would again.
		backlog = s.sink.Backlog(id)
	}
	e := Eviction{At: s.clock, Reason: r, Lag: s.Lag(), ConnInfo: s.info(id, backlog)}
	if s.visited {
		e.Lag -= SlotTime // The slot that is being visited is not late.
	}
	switch {
	case s.evictions == nil:
		s.evictions = append(make([]Eviction, 0, EvictionsKept), e)
	case len(s.evictions) < EvictionsKept:
		s.evictions = append(s.evictions, e)
	default:
		s.evictions[s.oldest] = e
		s.oldest = (s.oldest + 1) % EvictionsKept
	}
}
