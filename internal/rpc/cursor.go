// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"slices"
	"time"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/topics"
)

const (
	// pieceMax bounds the rows of one message, in bytes. What does not fit is gathered when the
	// client has taken this piece, with the rows that are the newest then.
	pieceMax = 32 << 10
	// snapshotFree bytes of snapshots in one gather are not charged, as on the client port.
	snapshotFree = 4 << 10
	// rowFrame is about what a row has in a message beside its name and value.
	rowFrame = 16
)

// entry is one topic of a stream.
type entry struct {
	id     topics.ID
	name   string
	sent   uint64 // The sequence of the row that was sent last; 0 for none.
	stale  uint64 // The sequence by which the client was told that the topic is stale; 0 if it takes it for fresh.
	lacked bool   // It had no row when it was subscribed.
}

// cursor is which topics one stream has, and what it has been sent of them: the sequence of each
// topic's row. What it gathers are the newest rows, however long ago it gathered last, so nothing is
// kept for a client that does not come by. Owned by the goroutine of its stream. It differs from
// [fanout.Cursors] in what it appends (rows with their values apart) and in that it needs no copies of
// rows, of which those have half a megabyte for each owner.
//
// Each topic is held in the table until remove or release: it is fetched, and ticks are taken for it.
type cursor struct {
	table     *topics.Table
	snapshots *guard.PrefixLimit // Of [fanout.SnapshotUnit] bytes; nil is no limit.
	prefix    guard.Prefix

	entries []entry
	index   map[string]int // Of entries, by name.
	told    []uint64       // By source: the sequence of the state that the client knows.
	seen    uint64         // The watermark up to which all entries were looked at.
	upto    uint64         // In the middle of a pass: where seen moves at its end.
	at      int            // In the middle of a pass: the entry to go on with. 0: there is none under way.
	pending bool           // Entries are to be looked at, whatever the watermark is.
	updates uint64         // Rows that were gathered as updates, since the start.
}

// newCursor returns a cursor without topics, whose client takes all sources for up.
func newCursor(table *topics.Table, snapshots *guard.PrefixLimit, prefix guard.Prefix) *cursor {
	c := &cursor{table: table, snapshots: snapshots, prefix: prefix, index: make(map[string]int), told: make([]uint64, table.Sources())}
	for i := range c.told {
		if f := table.SourceState(i); f.Up {
			c.told[i] = f.Seq
		} else {
			c.told[i] = untold
			c.pending = true
		}
	}
	return c
}

// untold is no sequence: a source that never was up has 0.
const untold = ^uint64(0)

func (c *cursor) has(name string) bool {
	_, has := c.index[name]
	return has
}

// add adds a topic that the cursor does not have. known is whether it is known to exist. The
// error is [topics.ErrFull].
func (c *cursor) add(name string, known bool) error {
	acquire := c.table.Acquire
	if known {
		acquire = c.table.AcquireKnown
	}
	id, err := acquire([]byte(name), uint64(c.prefix))
	if err != nil {
		return err
	}
	c.index[name] = len(c.entries)
	c.entries = append(c.entries, entry{id: id, name: name, lacked: c.table.Row(id) == nil})
	c.pending = true
	return nil
}

// remove takes a topic away, if the cursor has it.
func (c *cursor) remove(name string, now time.Time) {
	i, has := c.index[name]
	if !has {
		return
	}
	c.table.Release(c.entries[i].id, now)
	last := len(c.entries) - 1
	c.entries[i] = c.entries[last]
	c.index[c.entries[i].name] = i
	c.entries = c.entries[:last]
	delete(c.index, name)
	// A pass may not come by the entry that was moved, so the next gather looks at all of them.
	c.at, c.pending = 0, true
}

// release gives up all topics.
func (c *cursor) release(now time.Time) {
	for i := range c.entries {
		c.table.Release(c.entries[i].id, now)
	}
	c.entries, c.index = nil, nil
}

// piece is what one gather has found.
type piece struct {
	news     []*pricesv1.StreamResponse
	snapshot []*pricesv1.Row
	update   []*pricesv1.Row
	stale    []staleNote
	size     int // Of the rows, in bytes.
	charged  int // Of the snapshot, in bytes; what is above snapshotFree is charged.
}

// staleNote is a topic that went stale, and why.
type staleNote struct {
	entry int
	why   topics.Why
}

// gather returns what the client lacks: news of sources, a snapshot, an update, topics that are stale
// and those that the table has withdrawn, in that order. more says that it stopped for want of room:
// it is to be called again as soon as this is sent, and goes on with the next topics then.
func (c *cursor) gather(now time.Time) (out []*pricesv1.StreamResponse, more bool) {
	if c.at == 0 {
		// It is read before the rows: what is committed meanwhile is looked at the next time.
		upto := c.table.Watermark()
		if upto == c.seen && !c.pending {
			return nil, false
		}
		c.upto, c.pending = upto, false
	}
	var p piece
	p.news = c.feeds(p.news)
	for ; c.at < len(c.entries); c.at++ {
		if !c.look(&p, c.at, now) {
			more = true
			break
		}
	}
	if !more {
		c.at, c.seen = 0, c.upto
	}
	c.snapshots.Spend(c.prefix, (p.charged-snapshotFree)/fanout.SnapshotUnit, now)
	c.updates += uint64(len(p.update))
	out = append(p.news, c.messages(&p, now)...)
	return c.withdraw(out, now), more
}

// feeds appends the sources whose state has changed.
func (c *cursor) feeds(out []*pricesv1.StreamResponse) []*pricesv1.StreamResponse {
	for i := range c.told {
		f := c.table.SourceState(i)
		if f.Seq == c.told[i] {
			continue
		}
		c.told[i] = f.Seq
		feed := &pricesv1.Feed{Up: f.Up, Since: f.Since, Topics: f.Scope}
		out = append(out, &pricesv1.StreamResponse{Message: &pricesv1.StreamResponse_Feed{Feed: feed}})
	}
	return out
}

// look adds what the client lacks of one topic. It reports false, and adds nothing, if there is no
// room for its row.
func (c *cursor) look(p *piece, i int, now time.Time) (room bool) {
	e := &c.entries[i]
	if c.table.Seq(e.id) > e.sent {
		row := c.table.Row(e.id)
		size := rowFrame + len(e.name) + len(row.Value())
		if p.size > 0 && p.size+size > pieceMax {
			return false
		}
		first := e.sent == 0 && (!e.lacked || row.N == 0)
		if first && p.charged+size > snapshotFree && !c.snapshots.Has(c.prefix, now) {
			c.pending = true // The prefix has used up its rate, so this row waits.
			return true
		}
		p.size += size
		if first {
			p.snapshot = append(p.snapshot, rowOf(e.name, row))
			p.charged += size
		} else {
			p.update = append(p.update, rowOf(e.name, row))
		}
		e.sent = row.Seq
	}
	// It is asked behind the row, which has ended what was said of its topic before it was committed.
	if at, why := c.table.StaleFor(e.id); at != e.stale {
		if e.stale = at; at != 0 {
			p.stale = append(p.stale, staleNote{i, why})
		}
	}
	return true
}

// rowOf returns a row as clients get it. Rows never change, so the value is not copied.
func rowOf(name string, row *topics.Row) *pricesv1.Row {
	if row.Delisted() {
		return &pricesv1.Row{Topic: name, N: row.N, Delisted: true}
	}
	return &pricesv1.Row{Topic: name, N: row.N, Value: row.Value()}
}

// messages returns the messages of rows, and behind them those of what is stale, one for each reason.
func (c *cursor) messages(p *piece, now time.Time) (out []*pricesv1.StreamResponse) {
	ts := now.UnixMilli()
	if len(p.snapshot) > 0 {
		out = append(out, &pricesv1.StreamResponse{Message: &pricesv1.StreamResponse_Snapshot{Snapshot: &pricesv1.Rows{Ts: ts, Rows: p.snapshot}}})
	}
	if len(p.update) > 0 {
		out = append(out, &pricesv1.StreamResponse{Message: &pricesv1.StreamResponse_Update{Update: &pricesv1.Rows{Ts: ts, Rows: p.update}}})
	}
	for why := range topics.Whys {
		var names []string
		for _, note := range p.stale {
			if note.why == why {
				names = append(names, c.entries[note.entry].name)
			}
		}
		if len(names) > 0 {
			code, reason := fanout.StaleFor(why)
			stale := &pricesv1.Stale{Ts: ts, Topics: names, Code: uint32(code), Reason: reason}
			out = append(out, &pricesv1.StreamResponse{Message: &pricesv1.StreamResponse_Stale{Stale: stale}})
		}
	}
	return out
}

// withdraw takes the topics away that the table has withdrawn to make room, and appends that.
func (c *cursor) withdraw(out []*pricesv1.StreamResponse, now time.Time) []*pricesv1.StreamResponse {
	if c.table.WithdrawnTopics() == 0 {
		return out
	}
	var names []string
	for i := range c.entries {
		if c.table.Withdrawn(c.entries[i].id) {
			names = append(names, c.entries[i].name)
		}
	}
	if len(names) == 0 {
		return out
	}
	for _, name := range names {
		c.remove(name, now)
	}
	slices.Sort(names)
	gone := &pricesv1.Unsubscribed{Topics: names, Reason: fanout.WithdrawnReason}
	return append(out, &pricesv1.StreamResponse{Message: &pricesv1.StreamResponse_Unsubscribed{Unsubscribed: gone}})
}

// awaits reports whether a topic has no row yet, which may be on its way.
func (c *cursor) awaits() bool {
	return slices.ContainsFunc(c.entries, func(e entry) bool { return e.lacked && e.sent == 0 && e.stale == 0 })
}
