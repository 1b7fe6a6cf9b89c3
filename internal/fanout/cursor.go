// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"iter"
	"math"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/topics"
)

// Cursor is what one client has of the topics: which it has subscribed, and what it has been
// sent of them. [Cursors] gather what it lacks. It holds no pointer, so that a slab of them is
// nothing to the garbage collector, and the zero value has no topics.
//
// Invariants, where at = 0 and upto = served unless the cursor is passing (see Pass), and
// sent(i), for an entry i of its topics, is
//
//		snapped  if the entry is marked snapped
//		upto     if it is plain and i < at
//		served   if it is plain and i >= at
//		0        if it is owed or awaited
//
//	  - served <= upto <= table.Watermark().
//	  - served <= snapped <= table.Watermark() while an entry is marked snapped, and
//	    upto <= snapped while one with i < at is.
//	  - Every row of the topic of entry i whose sequence is <= sent(i) has been gathered for
//	    the client, or a newer one has, or the client had it before (see Resume).
//	  - The same holds of the news of that topic, and with max(served, told) of feeds (see
//	    news.go): it has been gathered, or was over before it could be, or is older than the
//	    cursor or than its subscription, which are told what holds then.
//	  - An entry with any mark but plain implies marked.
//	  - A topic that the table has withdrawn is among its topics until it was told so, which
//	    it is when it is next served.
type Cursor struct {
	served  uint64
	snapped uint64
	topics  span
}

// What is pending for a cursor, in the byte that its span has for it.
const (
	marked  uint8 = 1 << iota // An entry of its topics has a mark other than plain.
	passing                   // An update is under way in pieces.
	owing                     // More of a snapshot can be sent as soon as there is room for it.
)

// Pass is the part of a cursor that most gathers have no use for. It is kept apart, so that
// a conn stays one line of the CPU's cache.
type Pass struct {
	upto uint64 // While it is passing: the watermark that was read before, where served moves at the end.
	told uint64 // The news of feeds up to here was told, if this is above served.
	at   uint16 // While it is passing: the entry of its topics to go on with.

	late   uint16 // How much later than PongTimeout the pong may come that is awaited, in beats.
	readBy beat   // When a slow client has read what it was sent, see Shard.wrote.
}

const _ = uint(math.MaxUint16 - topicsLimit) // An index fits into at.

// Cursors is what the cursors of one owner share: of a shard, or of a goroutine that serves
// clients in another way. Owned by that goroutine.
//
// What gathers (Snapshot, Feed, Rows, Stale, Withdrawn) appends the payload of one message to
// dst, or nothing. The watermark is to be read before. Read after it, what is committed in
// between would count as sent without ever having been seen. before is how many bytes of what
// is sent at once stand before the payload: see pieceMax.
type Cursors struct {
	Snapshots *guard.PrefixLimit // In units of [SnapshotUnit]. Nil is no limit.

	table *topics.Table
	clock time.Time
	sets  sets
	rows  *rows
	piece int      // pieceMax, but in tests.
	stale []uint16 // Indices of entries of one cursor, to be told behind the rows.
	stats Stats
}

// NewCursors returns what cursors share that read a table.
func NewCursors(table *topics.Table) *Cursors {
	return &Cursors{table: table, rows: newRows(), piece: pieceMax}
}

// TakeTraced returns the traces of rows (see [topics.Row]) that updates have brought for the first time since the last call. The
// slice is valid until rows are gathered.
func (cs *Cursors) TakeTraced() []uint16 {
	n := cs.rows.n
	cs.rows.n = 0
	return cs.rows.traced[:n]
}

// At tells the cursors the time.
func (cs *Cursors) At(now time.Time) {
	cs.clock, cs.rows.now = now, uint32(cs.table.Millis(now)+ageBias)
}

// Start has a cursor without topics begin here: what was committed so far is no news to it.
func (cs *Cursors) Start(c *Cursor) { c.served = cs.table.Watermark() }

// Find looks for a topic: in the table, and at index i in those of a cursor, -1 for none.
func (cs *Cursors) Find(c *Cursor, name []byte) (topic topics.ID, held bool, i int) {
	topic, held = cs.table.Find(name)
	if i = -1; held {
		i = cs.sets.find(c.topics, topic)
	}
	return topic, held, i
}

// Subscribe adds a topic, which the cursor does not have. known is whether it is known to
// exist, see [topics.Table.AcquireKnown].
func (cs *Cursors) Subscribe(c *Cursor, name []byte, by guard.Prefix, known bool) error {
	acquire := cs.table.Acquire
	if known {
		acquire = cs.table.AcquireKnown
	}
	topic, err := acquire(name, uint64(by))
	if err != nil {
		return err
	}
	mark := awaited
	if cs.table.Seq(topic) > 0 {
		mark = owed
	}
	cs.sets.add(&c.topics, entry(topic)|mark)
	c.topics.pending |= marked
	return nil
}

// Unsubscribe takes one topic away, if the cursor has it.
func (cs *Cursors) Unsubscribe(c *Cursor, p *Pass, name []byte) {
	if topic, _, i := cs.Find(c, name); i >= 0 {
		c.removed(p, i)
		cs.sets.remove(&c.topics, i)
		cs.table.Release(topic, cs.clock)
	}
}

// Fold drops the topics of a cursor that were withdrawn, and that it has subscribed anew
// since: it has got another topic of the same name, which may have been withdrawn too. For the
// client they are one, so it is told of the newest alone, if of any.
func (cs *Cursors) Fold(c *Cursor, p *Pass) {
	list := cs.sets.entries(c.topics)
	newer := make(map[string]bool)
	for i := len(list) - 1; i >= 0; i-- {
		topic := list[i].id()
		if !cs.table.Withdrawn(topic) {
			continue
		}
		name := cs.table.Name(topic)
		if _, _, live := cs.Find(c, []byte(name)); live < 0 && !newer[name] {
			newer[name] = true
			continue
		}
		c.removed(p, i)
		cs.sets.remove(&c.topics, i)
		cs.table.Release(topic, cs.clock)
		list = cs.sets.entries(c.topics)
	}
}

// Release gives up all topics. Nothing is left of the cursor.
func (cs *Cursors) Release(c *Cursor) {
	for _, e := range cs.sets.entries(c.topics) {
		cs.table.Release(e.id(), cs.clock)
	}
	cs.sets.release(&c.topics)
	*c = Cursor{}
}

// Names yields the topics of a cursor.
func (cs *Cursors) Names(c *Cursor) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, e := range cs.sets.entries(c.topics) {
			if !yield(cs.table.Name(e.id())) {
				return
			}
		}
	}
}

// More reports whether more can be gathered as soon as there is room for it.
func (c *Cursor) More() bool { return c.topics.pending&(passing|owing) != 0 }

// removed takes note that entry i of the topics is being removed.
func (c *Cursor) removed(p *Pass, i int) {
	if c.topics.pending&passing != 0 && i < int(p.at) {
		p.at--
	}
}
