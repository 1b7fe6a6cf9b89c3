// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"math"
	"slices"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// pieceMax bounds what one visit writes, with a little beside the rows, and what may
// follow an ack. A row is 4 KiB of value at most, so one always fits. What a socket does
// not take of a piece is the only copy of rows that is kept for a conn: 15,000 conns that
// never read hold this much each, and no more. A message of this size costs as much per row
// as a longer one (docs/BUDGET.md).
//
// What does not fit is gathered when the socket has taken this piece: with the rows that
// are the newest then. Nothing of it is kept but marks and an index:
//
//   - A snapshot leaves the topics that have no room marked as they are: owed, or awaited
//     if the feed has fetched their value meanwhile.
//   - An update becomes a pass over the topics. It goes on with the topic that it had no
//     place for, and served moves when it has come round, to the watermark that was read
//     before it began. No other begins before that: busy topics at the front of the list
//     would never let those behind them have their turn.
const pieceMax = 32 << 10

// Snapshot appends a snapshot of the topics whose snapshot is not sent yet, as far as
// there is room, if any of them has a row to show, and notes which of them are stale.
//
// A topic that had no row when it was subscribed, and has ticked since, is left to
// the next update. Only a value that the feed has fetched (its count is 0) comes as
// a snapshot then.
//
// Where the prefix has used up its rate of snapshots, only the beginning is sent, and the rest
// is delayed: it keeps its mark, and is to be gathered again later. What has no room in this
// piece keeps its mark too. The cursor is owing then, and goes on as soon as there is room.
// Each piece is charged, and the beginning is free in the first one only.
func (cs *Cursors) Snapshot(c *Cursor, by guard.Prefix, watermark uint64, before int, dst []byte) (_ []byte, delayed bool) {
	free := before // Up to there.
	if c.topics.pending&owing == 0 {
		free += snapshotSmall
	}
	most := free // Until more is asked for.
	rows, room := uint64(0), true
	list := cs.sets.entries(c.topics)
	cs.stale = cs.stale[:0]
	c.topics.pending &^= owing
	for i, e := range list {
		switch e.mark() {
		case plain:
			continue
		case snapped:
			cs.carry(list, i, c.snapped, watermark)
			continue
		}
		row := cs.table.Row(e.id())
		if row == nil || e.mark() == awaited && row.N > 0 {
			// Where no row is to come for long, that is told in place of a snapshot.
			if row == nil && cs.noteStale(i, e.id(), 0, watermark) {
				list[i] = entry(e.id()) | snapped
			}
			continue
		}
		if room && !delayed && len(dst) >= most {
			delayed = !cs.Snapshots.Has(by, cs.clock)
			most = math.MaxInt
		}
		if !room || delayed {
			continue
		}
		start := len(dst)
		if rows == 0 {
			dst = protocol.AppendSnapshotHead(dst, cs.clock.UnixMilli())
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, row.JSON()...)
		if len(dst) > cs.piece && (rows > 0 || before > 0) {
			dst, room = dst[:start], false
			continue
		}
		cs.noteStale(i, e.id(), 0, watermark)
		list[i] = entry(e.id()) | snapped
		rows++
	}
	c.snapped = watermark
	if rows > 0 {
		cs.stats.Count[Snapshots]++
		cs.stats.Count[SnapshotRows] += rows
		dst = append(dst, protocol.RowsEnd...)
		cs.Snapshots.Spend(by, (len(dst)-free)/SnapshotUnit, cs.clock)
	}
	if !delayed && !room {
		c.topics.pending |= owing
	}
	return dst, delayed
}

const (
	// SnapshotUnit is what the rate of snapshots is counted in, in bytes.
	SnapshotUnit = 1 << 10
	// snapshotSmall bytes of a snapshot are never charged, nor delayed: with some tens of
	// topics, as pages have them, that is all of it. A prefix that has used up its rate gets
	// as much each time that its conns are visited for it, so none of them waits for ever.
	snapshotSmall = 4 << 10
)

// noteStale notes an entry to be told as stale, if its topic is so since after from, and
// reports that.
func (cs *Cursors) noteStale(i int, id topics.ID, from, watermark uint64) bool {
	at := cs.table.Stale(id)
	stale := at > from && at <= watermark
	if stale {
		cs.stale = append(cs.stale, uint16(i))
	}
	return stale
}

// carry looks at entry i, of whose topic everything up to from was sent, so that it can be
// marked as sent up to the watermark. If nothing came since, that is so: it stays snapped,
// or becomes so if it is stale by now, which is noted to be told. Otherwise it becomes
// plain, with a row above from, which is not below where a plain entry was sent to: news
// without a mark.
func (cs *Cursors) carry(list []entry, i int, from, watermark uint64) {
	if id := list[i].id(); cs.table.Seq(id) > from {
		list[i] = entry(id)
	} else if cs.noteStale(i, id, from, watermark) {
		list[i] = entry(id) | snapped
	}
}

// Rows appends an update with the newest row of each topic that has changed since the cursor
// was served, if there is one, and moves served to the watermark. If there is not room for
// all of them, a pass begins, or goes on with its next piece.
//
// What a snapshot owes is left to it, and so is a value that was fetched meanwhile.
func (cs *Cursors) Rows(c *Cursor, p *Pass, watermark uint64, before int, dst []byte) []byte {
	if c.topics.pending&passing != 0 {
		return cs.proceed(c, p, watermark, before, dst)
	}
	if watermark == c.served && c.topics.pending&marked == 0 {
		return dst
	}
	start, rows := len(dst), uint64(0)
	list := cs.sets.entries(c.topics)
	stillMarked := false
	for i, e := range list {
		from := c.served
		switch e.mark() {
		case snapped:
			from = c.snapped
			list[i] = entry(e.id())
		case owed:
			stillMarked = true
			continue
		case awaited:
			from = 0
		}
		topic := e.id()
		seq := cs.table.Seq(topic)
		if seq <= from || e.mark() == awaited && cs.table.Row(topic).N == 0 {
			stillMarked = stillMarked || list[i].mark() != plain
			continue
		}
		list[i] = entry(topic)
		room := len(dst)
		if rows == 0 {
			dst = protocol.AppendUpdateHead(dst, cs.clock.UnixMilli())
		}
		dst = cs.rows.append(dst, cs.table, topic, seq)
		if len(dst) > cs.piece && (rows > 0 || before > 0) {
			list[i] = e
			c.topics.pending |= passing
			p.upto, p.at = watermark, uint16(i)
			reached, _ := slices.BinarySearch(cs.stale, p.at)
			cs.stale = cs.stale[:reached] // The others have rows that come first.
			cs.unsee(topic)
			return cs.endUpdate(dst[:room], start, rows)
		}
		rows++
	}
	c.served = watermark
	if !stillMarked {
		c.topics.pending &^= marked
	}
	return cs.endUpdate(dst, start, rows)
}

// endUpdate ends the update that was begun at start, of which nothing is left if it has
// no rows.
func (cs *Cursors) endUpdate(dst []byte, start int, rows uint64) []byte {
	if rows == 0 {
		return dst[:start]
	}
	cs.stats.Count[Flushes]++
	cs.stats.Count[UpdateRows] += rows
	return append(dst[:len(dst)-1], protocol.RowsEnd...) // Over the last comma.
}

// proceed appends the next piece of a pass, and notes which topics are stale by now,
// of those that it has come by. Each piece has a watermark of its own. What is sent
// from here on is marked snapped, which says that it was sent up to that one: without a
// mark it would count as sent up to where the pass began, and would come a second time.
func (cs *Cursors) proceed(c *Cursor, p *Pass, watermark uint64, before int, dst []byte) []byte {
	list := cs.sets.entries(c.topics)
	cs.stale = cs.stale[:0]
	for i, e := range list {
		switch {
		case e.mark() == snapped:
			cs.carry(list, i, c.snapped, watermark)
		case e.mark() == plain && i < int(p.at):
			cs.carry(list, i, p.upto, watermark)
		}
	}
	start, rows := len(dst), uint64(0)
	i := int(p.at)
	for ; i < len(list); i++ {
		e := list[i]
		topic := e.id()
		from := c.served
		switch e.mark() {
		case snapped, owed:
			continue
		case awaited:
			if row := cs.table.Row(topic); row == nil || row.N == 0 {
				continue
			}
			from = 0
		}
		if seq := cs.table.Seq(topic); seq > from {
			room := len(dst)
			if rows == 0 {
				dst = protocol.AppendUpdateHead(dst, cs.clock.UnixMilli())
			}
			dst = cs.rows.append(dst, cs.table, topic, seq)
			if len(dst) > cs.piece && (rows > 0 || before > 0) {
				dst = dst[:room]
				cs.unsee(topic)
				break
			}
			rows++
			list[i] = entry(topic) | snapped
		}
		if cs.noteStale(i, topic, from, watermark) {
			list[i] = entry(topic) | snapped
		}
	}
	c.snapped = watermark
	c.topics.pending |= marked
	p.at = uint16(i)
	if i == len(list) {
		c.served = p.upto
		c.topics.pending &^= passing
	}
	return cs.endUpdate(dst, start, rows)
}
