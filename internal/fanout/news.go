package fanout

import (
	"tickedge/internal/topics"
	"tickedge/internal/wsproto"
)

// News is what a conn is told beside rows: that a feed is up or down, which of its topics
// are stale, and which the table has withdrawn. It has its place in the order of the ticks, so that served says what
// of it a conn has been told, and nothing has to be kept for it.
//
// A feed is told before the rows of its write, as it says what they are worth. Stale
// topics are told behind the rows, as a row ends what is said of its topic. So are those that
// were withdrawn, which the conn does not have any more then.

// deliver brings a conn up to date: with an update, and the news if there is any. Where
// no flush is due it does so only if there is news that concerns the conn. Rows that go
// out early with it are no harm, and the flushes keep their phase.
//
// The watermark was read before. Read after the notice or the scans, what was committed
// in between would count as told without ever having been seen.
func (s *Shard) deliver(id ConnID, c *conn, watermark uint64, flush bool, dst []byte) []byte {
	if s.table.Notice() <= c.served {
		return s.update(c, watermark, dst)
	}
	start := len(dst)
	for i := range s.table.Sources() {
		if f := s.table.Feed(i); f.Seq > c.served && f.Seq <= watermark {
			dst = s.feed(f, dst)
		}
	}
	s.findStale(c, watermark)
	withdrawn := s.table.WithdrawnTopics() > 0 && s.anyWithdrawn(c)
	if !flush && len(dst) == start && len(s.stale) == 0 && !withdrawn {
		return dst
	}
	if !flush { // A flush has told it.
		dst = s.tellPace(c, dst)
	}
	dst = s.update(c, watermark, dst)
	dst = s.tellStale(watermark, dst)
	if withdrawn {
		dst = s.tellWithdrawn(id, c, dst)
	}
	return dst
}

// withdrawnReason is what clients are told.
const withdrawnReason = "the edge is full of topics, and this one never had a value: subscribe again when it has"

// anyWithdrawn reports whether a conn has topics that were withdrawn.
func (s *Shard) anyWithdrawn(c *conn) bool {
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
	s.stats.Withdrawn++
	return wsproto.EndText(wsproto.AppendUnsubscribedEnd(dst, withdrawnReason), start)
}

// findStale notes the topics of a conn that went stale since it was told. What it has to
// be told of those whose snapshot it awaits is said behind that.
func (s *Shard) findStale(c *conn, watermark uint64) {
	s.stale = s.stale[:0]
	for _, e := range s.sets.entries(c.topics) {
		from := c.served
		switch e.mark() {
		case snapped:
			from = c.snapped
		case owed:
			continue
		case awaited:
			if s.table.Seq(e.id()) == 0 {
				continue
			}
		}
		if at := s.table.Stale(e.id()); at > from && at <= watermark {
			s.stale = append(s.stale, e.id())
		}
	}
}

// tellStale appends the names of the topics in s.stale that are so still: the rows that
// were gathered meanwhile may have ended it.
func (s *Shard) tellStale(watermark uint64, dst []byte) []byte {
	start, told := len(dst), false
	for _, id := range s.stale {
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
	s.stats.StaleTold++
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
	s.stats.FeedsTold++
	news := wsproto.Feed{Up: f.Up, Since: f.Since, Topics: f.Scope}
	return news.Append(dst)
}

// heartbeat appends what a conn hears that has not heard anything for a while.
func (s *Shard) heartbeat(dst []byte) []byte {
	s.stats.Heartbeats++
	h := s.table.Health()
	beat := wsproto.Heartbeat{Now: s.clock.UnixMilli(), FeedUp: h.Up, Tick: h.Tick, Lag: h.Lag}
	return beat.Append(dst)
}
