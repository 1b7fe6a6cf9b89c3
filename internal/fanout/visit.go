// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"math"
	"time"

	"tickedge/internal/protocol"
)

// visit looks after one conn whose time has come. The next visit is scheduled first,
// as the conn may be gone after any call of the sink.
func (s *Shard) visit(id ConnID, c *conn) {
	s.stats.Count[Visits]++
	switch c.state {
	case opening:
		s.place(id, c, s.now+s.times.handshake)
		s.Evict(id, HandshakeTimeout)
		return
	case closing:
		s.visitClosing(id, c)
		return
	case asking:
		s.visitAsking(id, c)
		return
	}
	flush := !c.flush.after(s.now)
	if flush {
		*s.lags.at(uint32(s.now - c.flush))++
	}
	s.schedule(id, c)
	left, over := s.timeUp(id, c)
	if over {
		return
	}
	if c.flags&pinged != 0 {
		s.stats.Spans[PongAge].observe(duration(s.now - c.ping))
	}
	// A client that takes bytes is alive, and its pong may be behind more of them.
	if c.flags&pinged != 0 && s.now-c.ping >= s.times.pong && s.now-c.backlog >= s.times.pong && s.pongLate(id, c) && !s.acked(id, c) {
		s.Evict(id, NoPong)
		return
	}
	if left > 0 {
		s.visitBacklogged(id, c, flush)
		return
	}
	if c.topics.n == 0 && c.flags&screening == 0 && s.now-s.aside(id).bare >= s.times.idle {
		s.Evict(id, Idle)
		return
	}

	out := s.messages(id, c, flush, s.scratch[:0])
	if s.pingDue(c) {
		s.aside(id).late = uint16(min(s.toRead(s.aside(id)), math.MaxUint16))
		out = c.framing().ping(out)
		s.stats.Count[Pings]++
	}
	if c.More() {
		s.stats.Count[Pieces]++
		s.sooner(id, c, s.now+1)
	}
	s.scratch = out[:0]
	if len(out) > 0 {
		s.written += len(out)
		s.wrote(id, c, len(out))
		s.sink.Write(id, out)
	}
}

// messages appends all that there is to tell a conn.
func (s *Shard) messages(id ConnID, c *conn, flush bool, dst []byte) []byte {
	lacked, snapshots := c.topics.pending&marked != 0, s.stats.Count[Snapshots]
	if lacked {
		dst = s.snapshot(id, c, dst)
	}
	inPass := c.topics.pending&passing != 0
	if flush && c.pace != 0 && !inPass {
		dst = s.keepPace(id, c, dst)
	}
	if flush || inPass || s.table.Notice() > c.served {
		s.rows.ages = s.agesOf(c)
		dst = s.deliver(id, c, s.table.Watermark(), flush, dst)
	}
	if lacked && len(s.waits) > 0 {
		s.waited(id, c, s.stats.Count[Snapshots] != snapshots)
	}
	if c.flags&screening != 0 {
		dst = s.deliverScreens(id, c, flush, dst)
	}
	if len(dst) == 0 && s.now-c.sent >= s.times.heartbeat {
		dst = s.heartbeat(c, dst)
	}
	if len(dst) > 0 {
		c.sent = s.now // A ping does not count: a browser's JavaScript can't see it.
	}
	if flush && c.flags&resumes != 0 {
		dst = s.offer(id, c, dst)
	}
	return dst
}

// timeUp ends a conn whose time is up, whatever it is for: over reports that it did. Else it takes
// note of how far the conn's backlog is, of which bytes are left.
func (s *Shard) timeUp(id ConnID, c *conn) (left int, over bool) {
	if s.draining && !s.drainAt(id).after(s.now) {
		s.Evict(id, Drain)
		return 0, true
	}
	if s.times.age > 0 && s.now-c.since >= s.ageAt(id) {
		s.Evict(id, MaxAge)
		return 0, true
	}
	left = s.sink.Backlog(id)
	if c.flags&backlogged != 0 || left > 0 {
		s.progress(id, c, left)
	}
	return left, false
}

// readMax is as much as a snapshot of 256 topics of 4 KiB.
const readMax = 1 << 20

// wrote notes how long a client may need to read what is written to it. Its kernel may take all
// of a snapshot at once, and a client that reads it steadily, and not slower than SlowRate,
// comes to a ping behind it long after PongTimeout. What it reads at that rate within its
// window is not noted: that does not add up.
func (s *Shard) wrote(id ConnID, c *conn, n int) {
	rate := uint64(s.cfg.SlowRate)
	if uint64(n)*second <= rate*uint64(c.interval) {
		return
	}
	a := s.aside(id)
	a.readBy = s.now + min(s.toRead(a)+beat(uint64(n)*second/rate), s.readLongest())
}

// toRead is how long a client may need from now on for what was written to it.
func (s *Shard) toRead(a *aside) beat {
	if left := a.readBy - s.now; left <= s.readLongest() {
		return left
	}
	return 0 // It was over before now.
}

// pongLate reports whether a pong is overdue also for a client that had to read first what was
// written before its ping.
func (s *Shard) pongLate(id ConnID, c *conn) bool {
	return s.now-c.ping >= s.times.pong+beat(s.aside(id).late)
}

// acked reports whether a client that answers no ping, as its framing has none, is there all the
// same: its kernel has acknowledged the ping, or something behind it. That a program hangs shows
// when its kernel takes no more.
func (s *Shard) acked(id ConnID, c *conn) bool {
	if c.framing() == WebSocket || !s.sink.Acked(id, time.Duration(s.now-c.ping)*SlotTime) {
		return false
	}
	c.flags &^= pinged
	c.heard = s.now
	c.ping = s.now + s.jitter(s.times.ping)
	return true
}

// snapshotAgain is when a conn is visited again whose snapshot had to wait.
const snapshotAgain = beat(200 * time.Millisecond / SlotTime)

// snapshot appends what is to be sent of snapshots now, and which of their topics are stale.
func (s *Shard) snapshot(id ConnID, c *conn, dst []byte) []byte {
	f, watermark := c.framing(), s.table.Watermark()
	rows, delayed := s.Snapshot(&c.Cursor, s.sink.Prefix(id), watermark, len(dst), f.begin(dst))
	dst = f.end(rows, len(dst))
	if delayed {
		s.stats.Count[SnapshotsDelayed]++
		s.sooner(id, c, s.now+snapshotAgain)
	}
	return s.tellStale(c, watermark, dst)
}

// tellStale tells a conn of its topics that were noted as stale.
func (s *Shard) tellStale(c *conn, watermark uint64, dst []byte) []byte {
	for f, start := c.framing(), -1; start < len(dst) && len(s.stale) > 0; {
		start = len(dst)
		dst = f.end(s.Stale(&c.Cursor, watermark, f.begin(dst)), start)
	}
	return dst
}

// deliver brings a conn up to date: with an update, or the next piece of one, and the news
// if there is any. Where neither a flush is due nor a pass under way it does so only if
// there is news that concerns the conn. Rows that go out early with it are no harm, and
// the flushes keep their phase.
func (s *Shard) deliver(id ConnID, c *conn, watermark uint64, flush bool, dst []byte) []byte {
	if watermark == c.served && c.topics.pending == 0 {
		return dst
	}
	f, p, start := c.framing(), &s.aside(id).Pass, len(dst)
	inPass, news := c.topics.pending&passing != 0, s.table.Notice() > c.served
	if news {
		for i := range s.table.Sources() {
			dst = f.end(s.Feed(&c.Cursor, p, i, watermark, f.begin(dst)), len(dst))
		}
	}
	if news && !inPass {
		s.FindStale(&c.Cursor, watermark)
		if !flush && len(dst) == start && len(s.stale) == 0 && !s.anyWithdrawn(&c.Cursor) {
			return dst
		}
	}
	if inPass || !flush { // Another flush has told it.
		dst = s.tellPace(c, dst)
	}
	dst = f.end(s.Rows(&c.Cursor, p, watermark, len(dst), f.begin(dst)), len(dst))
	if !news && !inPass {
		return dst
	}
	return s.takeAway(id, c, s.tellStale(c, watermark, dst))
}

// takeAway takes the topics of a conn away that were withdrawn, if there are any.
func (s *Shard) takeAway(id ConnID, c *conn, dst []byte) []byte {
	had := c.topics.n
	for f, start := c.framing(), -1; start < len(dst); {
		start = len(dst)
		dst = f.end(s.Withdrawn(&c.Cursor, &s.aside(id).Pass, f.begin(dst)), start)
	}
	s.emptied(id, c, had)
	return dst
}

// emptied notes the time if a conn that had topics has none any more.
func (s *Shard) emptied(id ConnID, c *conn, had uint16) {
	if had > 0 && c.topics.n == 0 {
		s.aside(id).bare = s.now
	}
}

// heartbeat appends what a conn hears that has not heard anything for a while.
func (s *Shard) heartbeat(c *conn, dst []byte) []byte {
	s.stats.Count[Heartbeats]++
	f, h := c.framing(), s.table.Health()
	beat := protocol.Heartbeat{Now: s.clock.UnixMilli(), FeedUp: h.Up, Tick: h.Tick, Lag: h.Lag}
	return f.end(beat.Append(f.begin(dst)), len(dst))
}

// sooner has a conn visited at due, if that is before its next visit.
func (s *Shard) sooner(id ConnID, c *conn, due beat) {
	if c.due.after(due) {
		s.unplace(c)
		s.place(id, c, due)
	}
}

// pingDue reports whether a ping is to be sent now, and awaits its pong then. A
// client that was heard lately needs none.
func (s *Shard) pingDue(c *conn) bool {
	if c.flags&pinged != 0 || c.ping.after(s.now) {
		return false
	}
	if s.now-c.heard < s.times.ping/2 {
		c.ping = c.heard + s.jitter(s.times.ping)
		return false
	}
	c.flags |= pinged
	c.ping = s.now
	return true
}

// drainAt spreads the conns over the time of the drain by their ids.
func (s *Shard) drainAt(id ConnID) beat {
	return s.drainFrom + beat(uint64(uint32(id)*golden)*uint64(s.drainSpan)>>32)
}

// ageAt is the age at which a conn is too old: MaxAge ±25 %, spread evenly by the ids,
// so that conns that came together do not go together.
func (s *Shard) ageAt(id ConnID) beat {
	t := s.times.age
	return t - t/4 + beat(uint64(uint32(id)*golden)*uint64(t/2)>>32)
}

// jitter returns t ±25 %.
func (s *Shard) jitter(t beat) beat {
	return t - t/4 + beat(s.rng.Uint32N(uint32(t/2)+1))
}
