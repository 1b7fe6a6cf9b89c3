package fanout

import (
	"tickedge/internal/topics"
	"tickedge/internal/wsproto"
)

// News is what a conn is told beside rows: that a feed is up or down, and which of its
// topics are stale. It has its place in the order of the ticks, so that served says what
// of it a conn has been told, and nothing has to be kept for it.
//
// A feed is told before the rows of its write, as it says what they are worth. Stale
// topics are told behind the rows, as a row ends what is said of its topic.

// deliver brings a conn up to date: with an update, and the news if there is any. Where
// no flush is due it does so only if there is news that concerns the conn. Rows that go
// out early with it are no harm, and the flushes keep their phase.
//
// The watermark was read before. Read after the notice or the scans, what was committed
// in between would count as told without ever having been seen.
func (s *Shard) deliver(c *conn, watermark uint64, flush bool, dst []byte) []byte {
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
	if !flush && len(dst) == start && len(s.stale) == 0 {
		return dst
	}
	if !flush { // A flush has told it.
		dst = s.tellPace(c, dst)
	}
	dst = s.update(c, watermark, dst)
	return s.tellStale(watermark, dst)
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
