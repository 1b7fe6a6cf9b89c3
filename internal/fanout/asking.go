// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/screen"
	"tickedge/internal/topics"
)

// A conn that asks (plain HTTP) has no framing, no window and no messages of ours: its loop
// answers its requests. The shard has the wheel for it, its rates, and the topics of the request
// whose answer is awaited. Its flush is when the loop wants to hear of it.

// Ask has an opening conn ask from now on, once more the first time within d.
func (s *Shard) Ask(id ConnID, d time.Duration) {
	c := s.conn(id)
	if c.state != opening {
		panic("fanout: Ask of a conn that is not opening")
	}
	s.enter(c, asking)
	c.heard, c.sent = s.now, s.now
	at := s.clock.Sub(s.start)
	*s.aside(id) = aside{bare: s.now, commands: s.commands.Full(at), subscribes: s.subscribes.Full(at)}
	s.Await(id, d)
}

// Reopen makes a conn that asks one whose request is answered in another way: it is opening again.
func (s *Shard) Reopen(id ConnID) {
	c := s.conn(id)
	s.Release(&c.Cursor)
	s.dropScreens(id, c)
	s.forgetBacklog(id, c)
	s.enter(c, opening)
	s.unplace(c)
	s.place(id, c, s.now+s.times.handshake)
}

// Await has [Sink.Due] called for a conn that asks when d is over, in place of when it was to be
// called before.
func (s *Shard) Await(id ConnID, d time.Duration) {
	c := s.conn(id)
	s.unplace(c)
	c.flush = s.now + beats(d)
	s.scheduleAsking(id, c)
}

func (s *Shard) scheduleAsking(id ConnID, c *conn) {
	due := s.now + lookAfter
	if due.after(c.flush) {
		due = c.flush
	}
	s.place(id, c, due)
}

// HeardRequest notes that bytes came from a conn that asks.
func (s *Shard) HeardRequest(id ConnID) { s.conn(id).heard = s.now }

// visitAsking looks after a conn that asks. What the sink does may be anything, so it comes last.
func (s *Shard) visitAsking(id ConnID, c *conn) {
	due := !c.flush.after(s.now)
	if due {
		c.flush = s.now + lookAfter
	}
	s.scheduleAsking(id, c)
	left, over := s.timeUp(id, c)
	if over {
		return
	}
	switch {
	case left > 0 && s.now-c.backlog >= s.times.slow:
		s.Evict(id, SlowConsumer)
	case left > 0:
		s.sooner(id, c, s.now+drainLook)
		if due {
			c.flush = s.now + drainLook
		}
	case due:
		s.sink.Due(id)
	}
}

// RequestCharge is what a request costs beside 1, in commands of the rate.
func RequestCharge(bytes, topics int) int { return bytes/bytesPerCharge + topics/TopicsPerCharge }

// Request charges a request of a conn that asks, in commands of the rate.
func (s *Shard) Request(id ConnID, n int) guard.Level {
	if s.cfg.CommandRate > 0 {
		n = min(n, s.cfg.CommandBurst)
	}
	level := s.commands.TakeOr(&s.aside(id).commands, n, 1, s.clock.Sub(s.start))
	if level != guard.Within {
		s.stats.Count[CommandsRefused]++
	}
	return level
}

// Want gives a conn that asks the topics of one request, until [Shard.GiveUp]. What it may not
// have is appended to rejected. Topics that have a row are not charged.
func (s *Shard) Want(id ConnID, names [][]byte, rights Rights, rejected []protocol.Rejected) []protocol.Rejected {
	var d doubts
	for i, name := range names {
		if r := s.want(id, name, &rights, &d); r.Code != 0 {
			r.Index = i
			rejected = append(rejected, r)
		}
	}
	return rejected
}

func (s *Shard) want(id ConnID, name []byte, rights *Rights, d *doubts) protocol.Rejected {
	c := s.conn(id)
	if !topics.ValidName(name) {
		return reject(name, protocol.ErrBadTopic, badTopic)
	}
	if !rights.Allowed.Allows(name) {
		return rights.forbid(name)
	}
	topic, held, i := s.Find(&c.Cursor, name)
	switch {
	case i >= 0:
		return protocol.Rejected{}
	case int(c.topics.n) >= s.cfg.MaxTopics:
		return reject(name, protocol.ErrTooManyTopics, s.tooManyTopics)
	}
	known := false
	if s.valueless(topic, held) {
		if !s.table.SourceUp(string(name)) {
			return reject(name, protocol.ErrNotNow, "the source of the topic is down")
		}
		if s.subscribes.Take(&s.aside(id).subscribes, 1, s.clock.Sub(s.start)) != guard.Within {
			s.stats.Count[TopicsRefused]++
			return reject(name, protocol.ErrTooFast, s.tooManySubscribes)
		}
		if known = rights.exists(name); !known {
			if r := s.doubt(id, c, topic, name, held, rights, d); r.Code != 0 {
				return r
			}
		}
	}
	if s.Subscribe(&c.Cursor, name, s.sink.Prefix(id), known) != nil {
		return reject(name, protocol.ErrNotNow, "the edge holds its maximum of topics, try again later")
	}
	return protocol.Rejected{}
}

// GiveUp gives up the topics of a request, and its screen.
func (s *Shard) GiveUp(id ConnID) {
	s.Release(&s.conn(id).Cursor)
	s.dropScreens(id, s.conn(id))
}

// WantScreen gives a conn that asks the screen of one request, until [Shard.GiveUp].
func (s *Shard) WantScreen(id ConnID, cmd *protocol.Command, rights Rights) *protocol.CommandError {
	return s.screen(id, s.conn(id), cmd, &rights)
}

// ScreenReady reports whether all is known that is in the screen of a conn that asks.
func (s *Shard) ScreenReady(id ConnID) bool { return s.screens[id].held[0].view.Ready() }

// ScreenRows fetches what is in the screen of a conn that asks, as far as it is known: as much as fits into most bytes.
func (s *Shard) ScreenRows(id ConnID, most int, p *screen.Piece) {
	var place screen.Place
	s.screens[id].held[0].view.Changes(&place, most, p)
}

// Sight is what there is of a topic now.
type Sight struct {
	ID     topics.ID
	Row    *topics.Row // Nil if it has none, or is delisted.
	Code   int         // Why not, as in errors; 0 if one may still come.
	Reason string
}

// AppendSights appends what there is of the topics of a request, in their order.
func (s *Shard) AppendSights(dst []Sight, id ConnID) []Sight {
	for _, e := range s.sets.entries(s.conn(id).topics) {
		dst = append(dst, SightOf(s.table, e.id()))
	}
	return dst
}

// SightOf is what there is of a topic of a table, which the caller holds. Any goroutine may call it.
func SightOf(table *topics.Table, id topics.ID) Sight {
	sight := Sight{ID: id, Row: table.Row(id)}
	switch row := sight.Row; {
	case row == nil:
		sight.Code, sight.Reason = whyNone(table, id)
	case row.Delisted():
		sight.Row = nil
		if sight.Code, sight.Reason = whyNone(table, id); sight.Code == protocol.ErrNoValue {
			sight.Reason = "the topic is delisted: its source has withdrawn it"
		}
	}
	return sight
}

// whyNone says why a topic without a value has none, as far as that is known.
func whyNone(table *topics.Table, id topics.ID) (code int, reason string) {
	if table.Withdrawn(id) {
		return protocol.ErrNotNow, "the edge is full of topics, try again in some minutes"
	}
	if at, why := table.StaleFor(id); at > 0 && why != topics.Silent {
		return StaleFor(why)
	}
	switch {
	case table.IsAbsent(id):
		return protocol.ErrNoValue, "the source has no value of the topic"
	case !table.Health().Up && !table.SourceUp(table.Name(id)):
		return protocol.ErrNotNow, "the source of the topic is down"
	}
	return 0, ""
}

// Newest is the sequence of the newest row of the topics of a request, 0 if none has one.
func (s *Shard) Newest(id ConnID) (seq uint64) {
	for _, e := range s.sets.entries(s.conn(id).topics) {
		seq = max(seq, s.table.Seq(e.id()))
	}
	return seq
}

// Spent notes that a sink has written or read through n bytes from within [Sink.Due], which count
// for how much a turn may do.
func (s *Shard) Spent(n int) { s.written += n }
