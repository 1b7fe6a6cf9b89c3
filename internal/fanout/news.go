package fanout

import (
	"slices"

	"tickedge/internal/topics"
	"tickedge/internal/wsproto"
)

// News is what a conn is told beside rows: that a feed is up or down, which of its topics
// are stale, and which the table has withdrawn. It has its place in the order of the ticks,
// so that served says what of it a conn has been told, and nothing has to be kept for it.
//
// A feed is told before the rows of its write, as it says what they are worth. Stale
// topics are told behind the rows, as a row ends what is said of its topic. So are those that
// were withdrawn, which the conn does not have any more then.
//
// In the middle of a pass the same holds for each of its pieces (see proceed): what a conn
// was told of feeds is kept in aside.told, as served does not move, and of topics only
// those are told to be stale that the pass has come by.

// deliver brings a conn up to date: with an update, or the next piece of one, and the news
// if there is any. Where neither a flush is due nor a pass under way it does so only if
// there is news that concerns the conn. Rows that go out early with it are no harm, and
// the flushes keep their phase.
//
// The watermark was read before. Read after the notice or the scans, what was committed
// in between would count as told without ever having been seen.
func (s *Shard) deliver(id ConnID, c *conn, watermark uint64, flush bool, dst []byte) []byte {
	start := len(dst)
	news := s.table.Notice() > c.served
	if news {
		dst = s.tellFeeds(id, c, watermark, dst)
	}
	if c.flags&passing != 0 {
		dst = s.proceed(id, c, watermark, s.tellPace(c, dst))
		return s.takeAway(id, c, s.tellStale(c, watermark, dst))
	}
	if !news {
		return s.update(id, c, watermark, dst)
	}
	s.findStale(c, watermark)
	if !flush && len(dst) == start && len(s.stale) == 0 && !s.anyWithdrawn(c) {
		return dst
	}
	if !flush { // A flush has told it.
		dst = s.tellPace(c, dst)
	}
	dst = s.update(id, c, watermark, dst)
	if c.flags&passing != 0 { // The others have rows that come first.
		reached, _ := slices.BinarySearch(s.stale, s.aside(id).at)
		s.stale = s.stale[:reached]
	}
	return s.takeAway(id, c, s.tellStale(c, watermark, dst))
}

// tellFeeds appends the feeds that have changed since the conn was told of them.
func (s *Shard) tellFeeds(id ConnID, c *conn, watermark uint64, dst []byte) []byte {
	a := s.aside(id)
	told := max(c.served, a.told)
	for i := range s.table.Sources() {
		if f := s.table.Feed(i); f.Seq > told && f.Seq <= watermark {
			dst = s.feed(f, dst)
		}
	}
	a.told = watermark
	return dst
}

// withdrawnReason is what clients are told.
const withdrawnReason = "the edge is full of topics, and this one never had a value: subscribe again when it has"

// takeAway takes the topics of a conn away that were withdrawn, if there are any.
func (s *Shard) takeAway(id ConnID, c *conn, dst []byte) []byte {
	if s.anyWithdrawn(c) {
		dst = s.tellWithdrawn(id, c, dst)
	}
	return dst
}

// anyWithdrawn reports whether a conn has topics that were withdrawn.
func (s *Shard) anyWithdrawn(c *conn) bool {
	if s.table.WithdrawnTopics() == 0 {
		return false
	}
	for _, e := range s.sets.entries(c.topics) {
		if s.table.Withdrawn(e.id()) {
			return true
		}
	}
	return false
}

// tellWithdrawn takes the topics of a conn away that were withdrawn, and appends what it is
// told of that.
func (s *Shard) tellWithdrawn(id ConnID, c *conn, dst []byte) []byte {
	list := s.sets.entries(c.topics)
	kept, names, start := 0, 0, 0
	for _, e := range list {
		if !s.table.Withdrawn(e.id()) {
			list[kept] = e
			kept++
			continue
		}
		if names == 0 {
			start = len(dst)
			dst = wsproto.AppendUnsubscribedHead(wsproto.BeginText(dst))
		}
		dst = wsproto.AppendName(dst, s.table.Name(e.id()))
		s.removed(id, c, kept)
		s.table.Release(e.id(), s.clock)
		if names++; names == wsproto.UnsubscribedMax {
			dst, names = s.endWithdrawn(dst, start), 0
		}
	}
	if names > 0 {
		dst = s.endWithdrawn(dst, start)
	}
	if kept < len(list) {
		s.sets.truncate(&c.topics, kept)
		if kept == 0 {
			s.aside(id).bare = s.now
		}
	}
	return dst
}

func (s *Shard) endWithdrawn(dst []byte, start int) []byte {
	s.stats.Count[Withdrawn]++
	return wsproto.EndText(wsproto.AppendUnsubscribedEnd(dst, withdrawnReason), start)
}

// findStale notes the topics of a conn that went stale since it was told. What it has to
// be told of those whose snapshot it awaits is said behind that.
func (s *Shard) findStale(c *conn, watermark uint64) {
	s.stale = s.stale[:0]
	for i, e := range s.sets.entries(c.topics) {
		from := c.served
		switch e.mark() {
		case snapped:
			from = c.snapped
		case owed:
			continue
		case awaited:
			if row := s.table.Row(e.id()); row == nil || row.N == 0 {
				continue
			}
		}
		if at := s.table.Stale(e.id()); at > from && at <= watermark {
			s.stale = append(s.stale, uint16(i))
		}
	}
}

// tellStale appends the names of the topics in s.stale that are so still: the rows that
// were gathered meanwhile may have ended it.
func (s *Shard) tellStale(c *conn, watermark uint64, dst []byte) []byte {
	start, told := len(dst), false
	list := s.sets.entries(c.topics)
	for _, i := range s.stale {
		id := list[i].id()
		if at := s.table.Stale(id); at == 0 || at > watermark {
			continue
		}
		if !told {
			told = true
			dst = wsproto.AppendStaleHead(wsproto.BeginText(dst), s.clock.UnixMilli())
		}
		dst = wsproto.AppendName(dst, s.table.Name(id))
	}
	s.stale = s.stale[:0]
	if !told {
		return dst
	}
	s.stats.Count[StaleTold]++
	return wsproto.EndText(append(dst, wsproto.NamesEnd...), start)
}

// feedsDown appends the feeds that are down, for a conn that is new and served up to the
// watermark. Those that change after it are told as to anybody.
func (s *Shard) feedsDown(watermark uint64, dst []byte) []byte {
	for i := range s.table.Sources() {
		if f := s.table.Feed(i); !f.Up && f.Seq <= watermark {
			dst = s.feed(f, dst)
		}
	}
	return dst
}

func (s *Shard) feed(f *topics.Feed, dst []byte) []byte {
	s.stats.Count[FeedsTold]++
	news := wsproto.Feed{Up: f.Up, Since: f.Since, Topics: f.Scope}
	return news.Append(dst)
}

// heartbeat appends what a conn hears that has not heard anything for a while.
func (s *Shard) heartbeat(dst []byte) []byte {
	s.stats.Count[Heartbeats]++
	h := s.table.Health()
	beat := wsproto.Heartbeat{Now: s.clock.UnixMilli(), FeedUp: h.Up, Tick: h.Tick, Lag: h.Lag}
	return beat.Append(dst)
}
