package fanout

import (
	"fmt"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/topics"
	"tickedge/internal/wsproto"
)

// Command carries out one command of an open conn and appends the answer to dst. The
// snapshots of new topics follow their ack at once, unless the conn has a backlog. A
// command beyond the rate is refused. tooMany reports that the conn goes on with them
// all the same, and is to be evicted with [CommandRate].
func (s *Shard) Command(id ConnID, cmd *wsproto.Command, dst []byte) (_ []byte, tooMany bool) {
	c := s.conn(id)
	if c.state != open {
		panic("fanout: Command for a conn that is not open")
	}
	c.sent = s.now
	if v := s.commands.Take(&s.aside(id).commands, 1, s.clock.Sub(s.start)); v != guard.Within {
		s.stats.CommandsRefused++
		e := wsproto.CommandError{Code: wsproto.ErrTooFast, Reason: s.tooManyCommands, ID: cmd.ID}
		return wsproto.AppendError(dst, &e), v == guard.Abuse
	}
	return s.carryOut(id, c, cmd, dst), false
}

func (s *Shard) carryOut(id ConnID, c *conn, cmd *wsproto.Command, dst []byte) []byte {
	ack := wsproto.Ack{ID: cmd.ID, Op: cmd.Op}
	switch cmd.Op {
	case wsproto.OpSubscribe:
		for _, name := range cmd.Topics {
			if r := s.subscribe(id, c, name); r.Code != 0 {
				ack.Rejected = append(ack.Rejected, r)
			}
		}
	case wsproto.OpUnsubscribe:
		for _, name := range cmd.Topics {
			s.unsubscribe(id, c, name)
		}
	case wsproto.OpList:
		return wsproto.AppendTopics(dst, cmd.ID, func(yield func(string) bool) {
			for _, e := range s.sets.entries(c.topics) {
				if !yield(s.table.Name(e.id())) {
					return
				}
			}
		})
	case wsproto.OpInterval:
		c.interval = uint16(ticks(time.Duration(cmd.MS) * time.Millisecond))
		ack.MS = millis(c.window())
		c.pace &^= untold
		before := c.due
		s.unplace(c)
		c.flush = s.firstFlush(id, c.window())
		s.schedule(id, c)
		if c.due.after(before) { // It may have been soon, for a snapshot.
			s.unplace(c)
			s.place(id, c, before)
		}
	case wsproto.OpPing:
		return wsproto.AppendPongMessage(dst, cmd.ID, s.clock.UnixMilli())
	case wsproto.OpAuth:
		if err := s.sink.Authorize(id, cmd.Token); err != nil {
			err.ID = cmd.ID
			return wsproto.AppendError(dst, err)
		}
		ack.Rejected = s.withdraw(id, c)
	}
	ack.Topics = int(c.topics.n)
	dst = ack.Append(dst)
	if cmd.Op == wsproto.OpSubscribe && c.flags&marked != 0 {
		dst = s.afterSubscribe(id, c, dst)
	}
	return dst
}

// afterSubscribe appends the snapshots that can be sent at once and has the conn
// visited soon for the others.
func (s *Shard) afterSubscribe(id ConnID, c *conn, dst []byte) []byte {
	if s.sink.Backlog(id) == 0 {
		dst = s.snapshot(c, dst)
	}
	for _, e := range s.sets.entries(c.topics) {
		if m := e.mark(); (m == owed || m == awaited) && c.due.after(s.now+soon) {
			s.unplace(c)
			s.place(id, c, s.now+soon)
			break
		}
	}
	return dst
}

// subscribe adds one topic. The result's code is 0 if the conn has it now.
func (s *Shard) subscribe(id ConnID, c *conn, name []byte) wsproto.Rejected {
	if !topics.ValidName(name) {
		return reject(name, wsproto.ErrBadTopic, "a topic is 1 to 64 of A-Z a-z 0-9 . _ : / -")
	}
	if !s.sink.MayHave(id, name) {
		return forbid(name)
	}
	if topic, ok := s.table.Find(name); ok && s.sets.find(c.topics, topic) >= 0 {
		return wsproto.Rejected{}
	}
	if int(c.topics.n) == s.cfg.MaxTopics {
		return reject(name, wsproto.ErrTooManyTopics, fmt.Sprintf("at most %d topics per connection", s.cfg.MaxTopics))
	}
	if s.subscribes.Take(&s.aside(id).subscribes, 1, s.clock.Sub(s.start)) != guard.Within {
		s.stats.TopicsRefused++
		return reject(name, wsproto.ErrTooFast, s.tooManySubscribes)
	}
	topic, err := s.table.Acquire(name)
	if err != nil {
		return reject(name, wsproto.ErrTooManyTopics, "the edge holds its maximum of topics, try again later")
	}
	mark := awaited
	if s.table.Seq(topic) > 0 {
		mark = owed
	}
	s.sets.add(&c.topics, entry(topic)|mark)
	c.flags |= marked
	return wsproto.Rejected{}
}

// unsubscribe takes one topic away, if the conn has it.
func (s *Shard) unsubscribe(id ConnID, c *conn, name []byte) {
	topic, ok := s.table.Find(name)
	if !ok {
		return
	}
	i := s.sets.find(c.topics, topic)
	if i < 0 {
		return
	}
	s.sets.remove(&c.topics, i)
	s.table.Release(topic, s.clock)
	if c.topics.n == 0 {
		s.aside(id).bare = s.now
	}
}

// withdraw takes away the topics that the conn's token does not allow any more, and
// returns them.
func (s *Shard) withdraw(id ConnID, c *conn) (gone []wsproto.Rejected) {
	for _, e := range s.sets.entries(c.topics) {
		if name := []byte(s.table.Name(e.id())); !s.sink.MayHave(id, name) {
			gone = append(gone, forbid(name))
		}
	}
	for _, r := range gone {
		s.unsubscribe(id, c, []byte(r.Topic))
	}
	return gone
}

// malformedMax is how many malformed commands a conn may send. A person who types
// stays below it, a program that sends garbage does not.
const malformedMax = 16

// Refuse appends the answer to a message that is no command. It reports whether the
// conn has sent too many of them, and is to be evicted with [Malformed].
func (s *Shard) Refuse(id ConnID, e *wsproto.CommandError, dst []byte) (_ []byte, tooMany bool) {
	c := s.conn(id)
	c.sent = s.now
	c.bad++
	return wsproto.AppendError(dst, e), c.bad >= malformedMax
}

func forbid(name []byte) wsproto.Rejected {
	return reject(name, wsproto.ErrForbidden, "the token does not allow this topic")
}

// reject names the topic, or the beginning of what was sent as one.
func reject(name []byte, code int, reason string) wsproto.Rejected {
	return wsproto.Rejected{Topic: string(name[:min(len(name), topics.NameMax)]), Code: code, Reason: reason}
}
