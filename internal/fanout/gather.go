package fanout

import (
	"math"
	"time"

	"tickedge/internal/wsproto"
)

// pieceMax bounds what one visit writes, with a little beside the rows, and what may
// follow an ack. A row is 4 KiB of value at most, so one always fits. What a socket does
// not take of a piece is the only copy of rows that is kept for a conn: 15,000 conns that
// never read hold this much each, and no more. A frame of this size costs as much per row
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

// snapshot appends a snapshot of the topics whose snapshot is not sent yet, as far as
// there is room, if any of them has a row to show, and says which of them are stale.
//
// A topic that had no row when it was subscribed, and has ticked since, is left to
// the next update. Only a value that the feed has fetched (its count is 0) comes as
// a snapshot then.
//
// Where the conn's source has used up its rate of snapshots, only the beginning is sent.
// What is left keeps its mark, and the conn is visited again for it. So does what has no room
// in this piece: the conn is owing then, and goes on as soon as its socket takes more. Each
// piece is charged, and the beginning is free in the first one only.
func (s *Shard) snapshot(id ConnID, c *conn, dst []byte) []byte {
	free := snapshotSmall
	if c.flags&owing != 0 {
		free = 0
	}
	most := free // Until more is asked for.
	// The watermark is read before the scan. Read after it, a tick committed in
	// between would count as sent without ever having been gathered.
	watermark := s.table.Watermark()
	start, rows, room, delayed := len(dst), uint64(0), true, false
	list := s.sets.entries(c.topics)
	s.stale = s.stale[:0]
	c.flags &^= owing
	for i, e := range list {
		switch e.mark() {
		case plain:
			continue
		case snapped:
			s.carry(list, i, c.snapped, watermark)
			continue
		}
		row := s.table.Row(e.id())
		if row == nil || e.mark() == awaited && row.N > 0 {
			// Where no row is to come for long, that is told in place of a snapshot.
			if at := s.table.Stale(e.id()); row == nil && at > 0 && at <= watermark {
				s.stale = append(s.stale, uint16(i))
				list[i] = entry(e.id()) | snapped
			}
			continue
		}
		if room && !delayed && len(dst)-start >= most {
			delayed = !s.cfg.Snapshots.Has(s.sink.Source(id), s.clock)
			most = math.MaxInt
		}
		if before := len(dst); room && !delayed {
			if rows == 0 {
				dst = wsproto.AppendSnapshotHead(wsproto.BeginText(dst), s.clock.UnixMilli())
			} else {
				dst = append(dst, ',')
			}
			dst = append(dst, row.JSON()...)
			if room = len(dst) <= s.piece || before == 0; !room {
				dst = dst[:before]
			}
		}
		if !room || delayed {
			continue
		}
		if at := s.table.Stale(e.id()); at > 0 && at <= watermark {
			s.stale = append(s.stale, uint16(i))
		}
		list[i] = entry(e.id()) | snapped
		rows++
	}
	c.snapped = watermark
	if rows > 0 {
		s.stats.Count[Snapshots]++
		s.stats.Count[SnapshotRows] += rows
		dst = wsproto.EndText(append(dst, wsproto.RowsEnd...), start)
		if bytes := len(dst) - start; bytes > free {
			s.cfg.Snapshots.Spend(s.sink.Source(id), (bytes-free)/SnapshotUnit, s.clock)
		}
	}
	if delayed {
		s.stats.Count[SnapshotsDelayed]++
		s.sooner(id, c, s.now+snapshotAgain)
	} else if !room {
		c.flags |= owing
	}
	return s.tellStale(c, watermark, dst)
}

const (
	// SnapshotUnit is what the rate of snapshots is counted in, in bytes.
	SnapshotUnit = 1 << 10
	// snapshotSmall bytes of a snapshot are never charged, nor delayed: with some tens of
	// topics, as pages have them, that is all of it. A source that has used up its rate gets
	// as much each time that its conns are visited for it, so none of them waits for ever.
	snapshotSmall = 4 << 10
	// snapshotAgain is when a conn is visited again whose snapshot had to wait.
	snapshotAgain = tick(200 * time.Millisecond / SlotTime)
)

// carry looks at entry i, of whose topic everything up to from was sent, so that it can be
// marked as sent up to the watermark. If nothing came since, that is so: it stays snapped,
// or becomes so if it is stale by now, which is noted to be told. Otherwise it becomes
// plain, with a row above from, which is not below where a plain entry was sent to: news
// without a mark.
func (s *Shard) carry(list []entry, i int, from, watermark uint64) {
	id := list[i].id()
	if s.table.Seq(id) > from {
		list[i] = entry(id)
	} else if at := s.table.Stale(id); at > from && at <= watermark {
		s.stale = append(s.stale, uint16(i))
		list[i] = entry(id) | snapped
	}
}

// update appends an update with the newest row of each topic that has changed since
// the conn was served, if there is one. It moves served to the watermark, which was read
// before, see snapshot. If there is not room for all of them, a pass begins.
//
// What a snapshot owes is left to it, and so is a value that was fetched meanwhile.
func (s *Shard) update(id ConnID, c *conn, watermark uint64, dst []byte) []byte {
	if watermark == c.served && c.flags&marked == 0 {
		return dst
	}
	start, rows := len(dst), uint64(0)
	list := s.sets.entries(c.topics)
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
		seq := s.table.Seq(topic)
		if seq <= from || e.mark() == awaited && s.table.Row(topic).N == 0 {
			stillMarked = stillMarked || list[i].mark() != plain
			continue
		}
		list[i] = entry(topic)
		if rows == 0 {
			dst = wsproto.AppendUpdateHead(wsproto.BeginText(dst), s.clock.UnixMilli())
		}
		before := len(dst)
		dst = s.rows.append(dst, s.table, topic, seq)
		if len(dst) > s.piece && (rows > 0 || start > 0) {
			list[i] = e
			c.flags |= passing
			a := s.aside(id)
			a.upto, a.at = watermark, uint16(i)
			return s.endUpdate(dst[:before], start, rows)
		}
		rows++
	}
	c.served = watermark
	if !stillMarked {
		c.flags &^= marked
	}
	return s.endUpdate(dst, start, rows)
}

// endUpdate ends the update that was begun at start, of which nothing is left if it has
// no rows.
func (s *Shard) endUpdate(dst []byte, start int, rows uint64) []byte {
	if rows == 0 {
		return dst[:start]
	}
	s.stats.Count[Flushes]++
	s.stats.Count[UpdateRows] += rows
	return wsproto.EndText(append(dst[:len(dst)-1], wsproto.RowsEnd...), start) // Over the last comma.
}

// proceed appends the next piece of a pass, and notes which topics are stale by now,
// of those that it has come by. Each piece has a watermark of its own. What is sent
// from here on is marked snapped, which says that it was sent up to that one: without a
// mark it would count as sent up to where the pass began, and would come a second time.
func (s *Shard) proceed(id ConnID, c *conn, watermark uint64, dst []byte) []byte {
	a := s.aside(id)
	list := s.sets.entries(c.topics)
	s.stale = s.stale[:0]
	for i, e := range list {
		switch {
		case e.mark() == snapped:
			s.carry(list, i, c.snapped, watermark)
		case e.mark() == plain && i < int(a.at):
			s.carry(list, i, a.upto, watermark)
		}
	}
	start, rows := len(dst), uint64(0)
	i := int(a.at)
	for ; i < len(list); i++ {
		e := list[i]
		topic := e.id()
		from := c.served
		switch e.mark() {
		case snapped, owed:
			continue
		case awaited:
			if row := s.table.Row(topic); row == nil || row.N == 0 {
				continue
			}
			from = 0
		}
		if seq := s.table.Seq(topic); seq > from {
			if rows == 0 {
				dst = wsproto.AppendUpdateHead(wsproto.BeginText(dst), s.clock.UnixMilli())
			}
			before := len(dst)
			dst = s.rows.append(dst, s.table, topic, seq)
			if len(dst) > s.piece && (rows > 0 || start > 0) {
				dst = dst[:before]
				break
			}
			rows++
			list[i] = entry(topic) | snapped
		}
		if at := s.table.Stale(topic); at > from && at <= watermark {
			s.stale = append(s.stale, uint16(i))
			list[i] = entry(topic) | snapped
		}
	}
	c.snapped = watermark
	c.flags |= marked
	a.at = uint16(i)
	if i == len(list) {
		c.served = a.upto
		c.flags &^= passing
	}
	return s.endUpdate(dst, start, rows)
}

// removed takes note that entry i of a conn's topics was removed.
func (s *Shard) removed(id ConnID, c *conn, i int) {
	if c.flags&passing != 0 && i < int(s.aside(id).at) {
		s.aside(id).at--
	}
}
