package fanout

import (
	"math"
	"time"

	"tickedge/internal/wsproto"
)

// snapshot appends a snapshot of the topics whose snapshot is not sent yet, if any
// of them has a row to show, and says which of them are stale.
//
// A topic that had no row when it was subscribed, and has ticked since, is left to
// the next update. Only a value that the feed has fetched (its count is 0) comes as
// a snapshot then.
//
// Where the conn's source has used up its rate of snapshots, only the beginning is sent.
// What is left stays owed, and the conn is visited again for it.
func (s *Shard) snapshot(id ConnID, c *conn, dst []byte) []byte {
	most := snapshotSmall // Until more is asked for.
	// The watermark is read before the scan. Read after it, a tick committed in
	// between would count as sent without ever having been gathered.
	watermark := s.table.Watermark()
	start, rows, delayed := len(dst), uint64(0), false
	list := s.sets.entries(c.topics)
	s.stale = s.stale[:0]
	for i, e := range list {
		switch e.mark() {
		case plain:
			continue
		case snapped:
			// Where nothing came since an earlier snapshot, that holds up to the
			// watermark too. Otherwise its row is above snapped, and so above served:
			// news without a mark.
			if s.table.Seq(e.id()) > c.snapped {
				list[i] = entry(e.id())
			} else if at := s.table.Stale(e.id()); at > c.snapped && at <= watermark {
				s.stale = append(s.stale, e.id())
			}
			continue
		}
		row := s.table.Row(e.id())
		if row != nil && len(dst)-start >= most && (e.mark() == owed || row.N == 0) {
			if delayed || !s.cfg.Snapshots.Has(s.sink.Source(id), s.clock) {
				list[i] = entry(e.id()) | owed
				delayed = true
				continue
			}
			most = math.MaxInt
		}
		if row == nil || e.mark() == awaited && row.N > 0 {
			// Where no row is to come for long, that is told in place of a snapshot.
			if at := s.table.Stale(e.id()); row == nil && at > 0 && at <= watermark {
				s.stale = append(s.stale, e.id())
				list[i] = entry(e.id()) | snapped
			}
			continue
		}
		if at := s.table.Stale(e.id()); at > 0 && at <= watermark {
			s.stale = append(s.stale, e.id())
		}
		if rows == 0 {
			dst = wsproto.AppendSnapshotHead(wsproto.BeginText(dst), s.clock.UnixMilli())
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, row.JSON()...)
		list[i] = entry(e.id()) | snapped
		rows++
	}
	c.snapped = watermark
	if rows > 0 {
		s.stats.Snapshots++
		s.stats.Rows += rows
		dst = wsproto.EndText(append(dst, wsproto.RowsEnd...), start)
		s.spendSnapshot(id, len(dst)-start)
	}
	if len(s.stale) > 0 {
		dst = s.tellStale(watermark, dst)
	}
	if delayed {
		s.stats.SnapshotsDelayed++
		if again := s.now + snapshotAgain; c.due.after(again) {
			s.unplace(c)
			s.place(id, c, again)
		}
	}
	return dst
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

// spendSnapshot charges a conn's source for a snapshot.
func (s *Shard) spendSnapshot(id ConnID, bytes int) {
	if bytes > snapshotSmall {
		s.cfg.Snapshots.Spend(s.sink.Source(id), (bytes-snapshotSmall)/SnapshotUnit, s.clock)
	}
}

// update appends an update with the newest row of each topic that has changed since
// the conn was served, if there is one. It moves served to the watermark, which was read
// before, see snapshot.
func (s *Shard) update(c *conn, watermark uint64, dst []byte) []byte {
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
		case owed: // Its snapshot has to wait.
			stillMarked = true
			continue
		case awaited:
			from = 0
		}
		id := e.id()
		seq := s.table.Seq(id)
		if seq <= from {
			stillMarked = stillMarked || list[i].mark() != plain
			continue
		}
		list[i] = entry(id)
		if rows == 0 {
			dst = wsproto.AppendUpdateHead(wsproto.BeginText(dst), s.clock.UnixMilli())
		}
		dst = s.rows.append(dst, s.table, id, seq)
		rows++
	}
	c.served = watermark
	if !stillMarked {
		c.flags &^= marked
	}
	if rows == 0 {
		return dst
	}
	s.stats.Flushes++
	s.stats.Rows += rows
	s.stats.UpdateRows += rows
	return wsproto.EndText(append(dst[:len(dst)-1], wsproto.RowsEnd...), start) // Over the last comma.
}
