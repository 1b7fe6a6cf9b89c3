// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"bytes"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/screen"
	"tickedge/internal/topics"
)

// Patterns is a set of topic names and prefixes.
type Patterns interface {
	Allows(topic []byte) bool   // The topic is in the set.
	Names(topic []byte) bool    // It is in the set by its whole name.
	Covers(pattern []byte) bool // All names of a pattern are in it that are not private; or a name is.
}

// Names is a set of names.
type Names interface{ Has(name []byte) bool }

// Rights is what a client may have, as its loop knows while a command is carried out.
type Rights struct {
	Allowed  Patterns               // The topics that its token allows.
	Private  Names                  // The names that are private, for the words of a refusal; nil is none.
	User     string                 // The user of its token; empty for none.
	Existing Patterns               // The topics that are known to exist, whoever asks for them.
	Refusal  *protocol.CommandError // Of auth: why the newer token is not taken. Nil if it is.
}

// exists reports whether a topic is known to exist, other than by its having a value.
func (r *Rights) exists(topic []byte) bool {
	return r.Existing.Allows(topic) || r.Allowed.Names(topic)
}

// Charge charges a command of an open conn by what it costs. Beyond the rate it appends the
// refusal to dst and reports false: the command is not to be carried out. If the conn goes
// on with them all the same, it is to be evicted for the reason why.
func (s *Shard) Charge(id ConnID, cmd *protocol.Command, dst []byte) (_ []byte, ok bool, why Reason) {
	c := s.conn(id)
	if c.state != open {
		panic("fanout: Command for a conn that is not open")
	}
	c.sent = s.now
	full, refused := s.charge(c, cmd)
	switch s.commands.TakeOr(&s.aside(id).commands, full, refused, s.clock.Sub(s.start)) {
	case guard.Within:
		return dst, true, 0
	case guard.Abuse:
		why = CommandRate
	}
	s.stats.Count[CommandsRefused]++
	e := protocol.CommandError{Code: protocol.ErrTooFast, Reason: s.tooManyCommands, ID: cmd.ID}
	return c.tellError(&e, dst), false, why
}

// Command carries out a command that was charged, and appends the answer to dst. The
// snapshots of new topics follow their ack at once, as far as they have room in a piece,
// unless the conn has a backlog.
func (s *Shard) Command(id ConnID, cmd *protocol.Command, rights Rights, dst []byte) []byte {
	c, start := s.conn(id), len(dst)
	dst = s.carryOut(id, c, cmd, rights, dst)
	s.wrote(id, c, len(dst)-start)
	return dst
}

func (s *Shard) carryOut(id ConnID, c *conn, cmd *protocol.Command, rights Rights, dst []byte) []byte {
	ack := protocol.Ack{ID: cmd.ID, Op: cmd.Op, Rejected: s.rejected[:0], MaxTopics: s.cfg.MaxTopics}
	// What was taken from the conn is told before the answer, which then goes by what it has.
	// The notice may not be raised yet, and the names be free already.
	dst = s.takeAway(id, c, dst)
	f, had, resumed := c.framing(), c.topics.n, false
	var cl claim
	switch cmd.Op {
	case protocol.OpSubscribe:
		cl = s.claimOf(cmd)
		resumed = s.subscribeAll(id, c, cmd, &cl, &rights, &ack)
		s.rejected = ack.Rejected
		if s.anyWithdrawn(&c.Cursor) {
			s.Fold(&c.Cursor, &s.aside(id).Pass)
		}
	case protocol.OpUnsubscribe:
		for _, name := range cmd.Topics {
			if screen.IsPattern(name) {
				s.unscreen(id, c, name)
				continue
			}
			s.Unsubscribe(&c.Cursor, &s.aside(id).Pass, name)
		}
	case protocol.OpList:
		return f.end(protocol.AppendTopics(f.begin(dst), cmd.ID, s.Names(&c.Cursor), s.listScreens(id, c)), len(dst))
	case protocol.OpScreen:
		if e := s.screen(id, c, cmd, &rights); e != nil {
			e.ID = cmd.ID
			return c.tellError(e, dst)
		}
		ack.Screen = cmd.Screen.Name
	case protocol.OpUnscreen:
		s.unscreen(id, c, cmd.Screen.Name)
		ack.Screen = cmd.Screen.Name
	case protocol.OpInterval:
		c.interval = uint16(beats(time.Duration(cmd.MS) * time.Millisecond))
		ack.MS = millis(c.window())
		c.pace &^= untold
		before := c.due
		s.unplace(c)
		c.flush = s.firstFlush(id, c.window())
		s.schedule(id, c)
		s.sooner(id, c, before) // It may have been soon, for a snapshot.
	case protocol.OpPing:
		return f.end(protocol.AppendPong(f.begin(dst), cmd, s.clock.UnixMilli()), len(dst))
	case protocol.OpAuth:
		if e := rights.Refusal; e != nil {
			e.ID = cmd.ID
			return c.tellError(e, dst)
		}
		ack.Rejected = append(s.withdraw(id, c, &rights), s.withdrawScreens(id, c, &rights)...)
	}
	s.emptied(id, c, had)
	ack.Topics = int(c.topics.n)
	if h := s.screenOf(id, c); h != nil {
		ack.Screens = h.Len()
	}
	dst = f.end(ack.Append(f.begin(dst)), len(dst))
	clear(ack.Rejected) // Or they would keep names of any length until they are used again.
	if cmd.Op == protocol.OpSubscribe && c.flags&resumes != 0 {
		added := max(0, int(c.topics.n)-cl.added)
		dst = s.revoke(id, c, added, &cl, dst)
		if resumed {
			watermark := s.table.Watermark()
			s.FindResumed(&c.Cursor, added, watermark)
			dst = s.tellStale(c, watermark, dst)
		}
	}
	snapshots := s.stats.Count[Snapshots]
	s.lacking = false
	if cmd.Op == protocol.OpSubscribe && c.topics.pending&marked != 0 {
		dst = s.afterSubscribe(id, c, dst)
	}
	s.brought = s.stats.Count[Snapshots] != snapshots
	return dst
}

// subscribeAll subscribes the topics of a command, and notes in the ack what became of that. It
// reports whether the client has the rows of some.
func (s *Shard) subscribeAll(id ConnID, c *conn, cmd *protocol.Command, cl *claim, rights *Rights, ack *protocol.Ack) (resumed bool) {
	var d doubts
	had := c.topics.n
	ack.Claimed, ack.Resumed = cmd.HasSince, cl.good
	if cmd.HasSince {
		c.flags |= resumes
	}
	for i, name := range cmd.Topics {
		before := c.topics.n
		if screen.IsPattern(name) {
			if r := s.wildcard(id, c, name, rights); r.Code != 0 {
				r.Index = i
				ack.Rejected = append(ack.Rejected, r)
			}
			continue
		}
		if r := s.subscribe(id, c, name, rights, &d); r.Code != 0 {
			r.Index = i
			ack.Rejected = append(ack.Rejected, r)
		} else if cl.good && c.topics.n > before && !cl.fresh[string(name)] {
			if s.Resume(&c.Cursor, cl.since) {
				s.stats.Count[RowsSpared]++
				resumed = true
			}
		}
	}
	cl.added = int(c.topics.n - had)
	return resumed
}

// afterSubscribe appends the snapshots that can be sent at once and has the conn
// visited soon for the others.
func (s *Shard) afterSubscribe(id ConnID, c *conn, dst []byte) []byte {
	behind := s.sink.Backlog(id) > 0
	if !behind {
		dst = s.snapshot(id, c, dst)
	}
	if c.topics.pending&owing != 0 {
		s.lacking = true
		s.sooner(id, c, s.now+1)
		return dst
	}
	for _, e := range s.sets.entries(c.topics) {
		m := e.mark()
		s.lacking = s.lacking || m == owed || m == awaited
		if m == owed && behind {
			c.topics.pending |= owing
			s.sooner(id, c, s.now+lookFirst)
			break
		} else if m == owed || m == awaited {
			s.sooner(id, c, s.now+soon)
		}
	}
	return dst
}

// subscribe adds one topic. The result's code is 0 if the conn has it now.
func (s *Shard) subscribe(id ConnID, c *conn, name []byte, rights *Rights, d *doubts) protocol.Rejected {
	if !topics.ValidName(name) {
		return reject(name, protocol.ErrBadTopic, badTopic)
	}
	if !rights.Allowed.Allows(name) {
		return rights.forbid(name)
	}
	topic, held, i := s.Find(&c.Cursor, name)
	if i >= 0 {
		return protocol.Rejected{}
	}
	if int(c.topics.n) >= s.cfg.MaxTopics {
		return reject(name, protocol.ErrTooManyTopics, s.tooManyTopics)
	}
	if s.subscribes.Take(&s.aside(id).subscribes, 1, s.clock.Sub(s.start)) != guard.Within {
		s.stats.Count[TopicsRefused]++
		return reject(name, protocol.ErrTooFast, s.tooManySubscribes)
	}
	// Nobody here holds the topic that was found, so it may be another one by now. That
	// would be a name more or less in a limit.
	//
	// Clients that ask for what exists are not to suffer from those that ask for what does not.
	known := false
	if s.valueless(topic, held) {
		if known = rights.exists(name); !known {
			if r := s.doubt(id, c, topic, name, held, rights, d); r.Code != 0 {
				return r
			}
		}
	}
	if s.Subscribe(&c.Cursor, name, s.sink.Prefix(id), known) != nil {
		return reject(name, protocol.ErrTooManyTopics, "the edge holds its maximum of topics, try again later")
	}
	return protocol.Rejected{}
}

// valueless reports whether a topic that was found in the table, or was not, has no value.
func (s *Shard) valueless(topic topics.ID, held bool) bool {
	return !held || s.table.Seq(topic) == 0 || s.table.IsAbsent(topic)
}

// doubts is what one subscribe knows of topics without a value. Those that its conn has and
// that are known to have none are counted once, when it matters first.
type doubts struct {
	counted bool
	held    int
	made    int // New topics, which do not count for the turn while the command lasts.
}

// doubt says why a conn may not have a topic that has no value and is not known to exist, if
// there is a reason.
func (s *Shard) doubt(id ConnID, c *conn, topic topics.ID, name []byte, held bool, rights *Rights, d *doubts) protocol.Rejected {
	if s.cfg.MaxValueless > 0 {
		if !d.counted {
			d.counted, d.held = true, s.countValueless(c, rights)
		}
		if d.held >= s.cfg.MaxValueless {
			s.stats.Count[ValuelessRefused]++
			return reject(name, protocol.ErrTooManyTopics, s.tooManyValueless)
		}
	}
	switch {
	case held:
		if s.table.IsAbsent(topic) {
			d.held++
		}
		return protocol.Rejected{}
	case s.newTopics-d.made >= newTopicsTurn && d.made >= newTopicsFew:
		s.stats.Count[NewTopicsHeldUp]++
		return reject(name, protocol.ErrTooFast, "the edge is asked for too many topics at once that are new to it, try again")
	case !s.cfg.NewTopics.Take(s.sink.Prefix(id), s.clock):
		s.stats.Count[NewTopicsRefused]++
		return reject(name, protocol.ErrTooFast, "too many topics that are new to the edge come from your address, try again later")
	}
	s.newTopics++
	d.made++
	return protocol.Rejected{}
}

// countValueless counts the topics of a conn that are known to have no value, and not known
// to exist.
func (s *Shard) countValueless(c *conn, rights *Rights) (n int) {
	for _, e := range s.sets.entries(c.topics) {
		if s.table.IsAbsent(e.id()) && !rights.exists([]byte(s.table.Name(e.id()))) {
			n++
		}
	}
	return n
}

// withdraw takes away the topics that the conn's token does not allow any more, and
// returns them.
func (s *Shard) withdraw(id ConnID, c *conn, rights *Rights) (gone []protocol.Rejected) {
	for _, e := range s.sets.entries(c.topics) {
		if name := []byte(s.table.Name(e.id())); !rights.Allowed.Allows(name) {
			gone = append(gone, rights.forbid(name))
		}
	}
	for _, r := range gone {
		s.Unsubscribe(&c.Cursor, &s.aside(id).Pass, []byte(r.Topic))
	}
	return gone
}

// Refuse appends the answer to a message that is no command. It is charged for having been
// read. If the conn has sent too many of them, it is to be evicted for the reason why.
func (s *Shard) Refuse(id ConnID, e *protocol.CommandError, dst []byte) (_ []byte, why Reason) {
	c := s.conn(id)
	c.sent = s.now
	dst = c.tellError(e, dst)
	if s.mistake(id, c) {
		return dst, Malformed
	}
	if s.commands.Take(&s.aside(id).commands, 1+reading(e.Size), s.clock.Sub(s.start)) == guard.Abuse {
		why = CommandRate
	}
	return dst, why
}

func (c *conn) tellError(e *protocol.CommandError, dst []byte) []byte {
	return c.framing().end(protocol.AppendError(c.framing().begin(dst), e), len(dst))
}

var reserved = []byte(topics.Reserved)

// forbid says nothing of whether there is such a topic.
func (r *Rights) forbid(name []byte) protocol.Rejected {
	return reject(name, protocol.ErrForbidden, Forbidden(name, r.Private))
}

// Forbidden is why a client may not have a name. private says which names are; nil is none.
func Forbidden(name []byte, private Names) string {
	switch {
	case bytes.HasPrefix(name, reserved):
		return "names that begin with " + topics.Reserved + " are those of the edges"
	case private != nil && private.Has(name):
		return "this name is private: it takes a token of its user, or one that has the whole name"
	}
	return "the token does not allow this topic"
}

// badTopic says what is wrong with a name that is none.
const badTopic = "a topic is " + topics.NameRule

func reject(name []byte, code int, reason string) protocol.Rejected {
	return protocol.Rejected{Topic: string(name), Code: code, Reason: reason}
}
