// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"time"

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

const (
	// offerEvery is the least time between two tokens of a conn.
	offerEvery = beat(5 * time.Second / SlotTime)
	// offerAlone is the least time between two that come with nothing else.
	offerAlone = beat(time.Minute / SlotTime)
)

// Of tokens that are no offer, in aside.offered.
const (
	noneYet    uint32 = iota
	stands            // The one that the client has brought: rows that it is sent are not older.
	revoked           // It was given one that is none.
	offersFrom        // An offer's number is above this one.
)

// Resumable has an open conn given tokens from now on.
func (s *Shard) Resumable(id ConnID) { s.conn(id).flags |= resumes }

// offer appends the newest token, if the conn has all that it stands for. It is called behind what
// a flush has appended to dst. A token comes with what is sent anyway; alone comes only the first
// one, but on a stream, where it is the id of an event, and one where nothing was sent for long: a
// token must not become too old to be of use.
func (s *Shard) offer(id ConnID, c *conn, dst []byte) []byte {
	a, o := s.aside(id), s.table.Offer()
	none := a.offered < offersFrom
	switch {
	case o == nil || o.ID+offersFrom == a.offered || c.topics.n == 0:
		return dst
	case none && len(dst) == 0 && c.framing() != WebSocket && s.now-c.since < offerAlone:
		return dst
	case !none && s.now-a.offeredAt < offerEvery:
		return dst
	case !none && len(dst) == 0 && s.now-a.offeredAt < offerAlone:
		return dst
	case !s.Complete(&c.Cursor, o):
		return dst
	}
	a.offered, a.offeredAt = o.ID+offersFrom, s.now
	s.stats.Count[Tokens]++
	return c.framing().token(dst, o.Token)
}

// revoke appends a token that is none, if a client may have one that says too much: of the topics
// from index i on it is sent rows that may be older than what a token stands for that it has. It
// would be taken for having newer ones, where it comes back next.
func (s *Shard) revoke(id ConnID, c *conn, i int, cl *claim, dst []byte) []byte {
	a := s.aside(id)
	since := cl.since
	if a.offered == stands || a.offered >= offersFrom {
		since = topics.Given()
	}
	list := s.sets.entries(c.topics)
	if a.offered == revoked || i >= len(list) {
		return dst
	}
	if since.Ahead() {
		a.offered = max(a.offered, stands)
	}
	for ; i < len(list); i++ {
		topic, of := list[i].id(), since
		if len(cl.fresh) > 0 && cl.fresh[s.table.Name(topic)] {
			of = of.Fresh()
		}
		if s.table.Precedes(topic, of) {
			a.offered = revoked
			return c.framing().token(dst, topics.NoToken)
		}
	}
	return dst
}

// Complete reports whether the client of a cursor has all that an offer's token stands for: the
// rows of all its topics that were published before the token's time.
func (cs *Cursors) Complete(c *Cursor, o *topics.Offer) bool {
	if c.More() || c.served < o.Seq {
		return false
	}
	for _, e := range cs.sets.entries(c.topics) {
		switch e.mark() {
		case owed:
			return false
		case awaited:
			if cs.table.Row(e.id()) != nil {
				return false
			}
		}
		if !cs.table.Settled(e.id(), o) {
			return false
		}
	}
	return true
}

// claim is what the client of a subscribe says that it has.
type claim struct {
	since topics.Since
	good  bool
	fresh map[string]bool // The topics of which it has no row.
	added int             // The topics that were added.
}

// claimOf reads what a client says that it has.
func (s *Shard) claimOf(cmd *protocol.Command) (cl claim) {
	if !cmd.HasSince {
		return cl
	}
	if len(cmd.Fresh) <= s.cfg.MaxTopics { // Else they are more than it can have.
		cl.since, cl.good = s.table.Redeem(cmd.Since)
	}
	switch {
	case cl.good:
		s.stats.Count[Resumed]++
	case len(cmd.Since) > 0: // Else it wants to be given tokens, and no more.
		s.stats.Count[NotResumed]++
	}
	if cl.good && len(cmd.Fresh) > 0 {
		cl.fresh = make(map[string]bool, len(cmd.Fresh))
		for _, name := range cmd.Fresh {
			cl.fresh[string(name)] = true
		}
	}
	return cl
}

// Resume notes of the topic that was subscribed last that the client has its row, if it is so by
// what the client has had since. It reports whether that is so.
func (cs *Cursors) Resume(c *Cursor, since topics.Since) bool {
	list := cs.sets.entries(c.topics)
	last := len(list) - 1
	if last < 0 || list[last].mark() != owed || !cs.table.Has(list[last].id(), since) {
		return false
	}
	list[last] = entry(list[last].id())
	return true
}

// FindResumed notes which of the topics from index i on, whose rows the client has, are stale.
func (cs *Cursors) FindResumed(c *Cursor, i int, watermark uint64) {
	cs.stale = cs.stale[:0]
	for list := cs.sets.entries(c.topics); i < len(list); i++ {
		if list[i].mark() == plain {
			cs.noteStale(i, list[i].id(), 0, watermark)
		}
	}
}
