// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// News is what a client is told beside rows: that a feed is up or down, which of its topics
// are stale, and which the table has withdrawn. It has its place in the order of the ticks,
// so that served says what of it a cursor has been told, and nothing has to be kept for it.
// There is none while the table's notice is not above served.
//
// A feed is told before the rows of its write, as it says what they are worth. Stale
// topics are told behind the rows, as a row ends what is said of its topic. So are those that
// were withdrawn, which the cursor does not have any more then.
//
// In the middle of a pass the same holds for each of its pieces (see proceed): what was told
// of feeds is kept in Pass.told, as served does not move, and of topics only those are told
// to be stale that the pass has come by.

// Feed appends the news of source i of the table, if it has changed since the cursor was
// told. All sources are asked for, in their order.
func (cs *Cursors) Feed(c *Cursor, p *Pass, i int, watermark uint64, dst []byte) []byte {
	if f := cs.table.SourceState(i); f.Seq > max(c.served, p.told) && f.Seq <= watermark {
		dst = cs.feed(f, dst)
	}
	if i == cs.table.Sources()-1 {
		p.told = watermark
	}
	return dst
}

func (cs *Cursors) feed(f *topics.SourceState, dst []byte) []byte {
	cs.stats.Count[FeedsTold]++
	news := protocol.Feed{Up: f.Up, Since: f.Since, Topics: f.Scope}
	return news.Append(dst)
}

// FindStale notes the topics of a cursor that went stale since it was told, for Stale. What it
// has to be told of those whose snapshot it awaits is said behind that. It comes before Rows,
// where there is news.
func (cs *Cursors) FindStale(c *Cursor, watermark uint64) {
	cs.stale = cs.stale[:0]
	for i, e := range cs.sets.entries(c.topics) {
		from := c.served
		switch e.mark() {
		case snapped:
			from = c.snapped
		case owed:
			continue
		case awaited:
			if row := cs.table.Row(e.id()); row == nil || row.N == 0 {
				continue
			}
		}
		cs.noteStale(i, e.id(), from, watermark)
	}
}

// staleFor is what clients are told beside the names of topics that are stale: nothing of those
// that are silent. The codes are those of HTTP, as in errors.
var staleFor = [topics.Whys]struct {
	code   int
	reason string
}{
	topics.NotPermitted: {403, "the source of the ticks does not permit the edge to have these topics"},
	topics.Unusable:     {422, "what the source of the ticks holds as the value of these topics can't be passed on"},
	topics.Unserved:     {503, "the source of the ticks can't serve these topics for now"},
}

// StaleFor is what clients are told beside the names of topics that are stale for a reason; 0 of those that are silent.
func StaleFor(why topics.Why) (code int, reason string) {
	return staleFor[why].code, staleFor[why].reason
}

// Stale appends the names of the topics that were noted and are stale still: the rows that
// were gathered meanwhile may have ended it. A message is of those that are stale for one
// reason, so it is to be called until it appends nothing.
func (cs *Cursors) Stale(c *Cursor, watermark uint64, dst []byte) []byte {
	told, reason, others := false, topics.Silent, cs.stale[:0]
	list := cs.sets.entries(c.topics)
	for _, i := range cs.stale {
		id := list[i].id()
		at, why := cs.table.StaleFor(id)
		switch {
		case at == 0 || at > watermark:
			continue
		case !told:
			told, reason = true, why
			dst = protocol.AppendStaleHead(dst, cs.clock.UnixMilli(), staleFor[why].code, staleFor[why].reason)
		case why != reason:
			others = append(others, i)
			continue
		}
		dst = protocol.AppendName(dst, cs.table.Name(id))
	}
	cs.stale = others
	if !told {
		return dst
	}
	cs.stats.Count[StaleTold]++
	return append(dst, protocol.NamesEnd...)
}

// WithdrawnReason is what clients are told of topics that were withdrawn.
const WithdrawnReason = "the edge is full of topics, and this one has no value: subscribe again in some minutes"

// anyWithdrawn reports whether a cursor has topics that were withdrawn.
func (cs *Cursors) anyWithdrawn(c *Cursor) bool {
	if cs.table.WithdrawnTopics() == 0 {
		return false
	}
	for _, e := range cs.sets.entries(c.topics) {
		if cs.table.Withdrawn(e.id()) {
			return true
		}
	}
	return false
}

// Withdrawn takes the topics of a cursor away that were withdrawn, and appends that. A message
// has a limit, so it is to be called until it appends nothing.
func (cs *Cursors) Withdrawn(c *Cursor, p *Pass, dst []byte) []byte {
	if !cs.anyWithdrawn(c) {
		return dst
	}
	dst = append(dst, protocol.UnsubscribedHead...)
	list, kept, names := cs.sets.entries(c.topics), 0, 0
	for _, e := range list {
		if names == protocol.UnsubscribedMax || !cs.table.Withdrawn(e.id()) {
			list[kept] = e
			kept++
			continue
		}
		names++
		dst = protocol.AppendName(dst, cs.table.Name(e.id()))
		c.removed(p, kept)
		cs.table.Release(e.id(), cs.clock)
	}
	cs.sets.truncate(&c.topics, kept)
	cs.stats.Count[Withdrawn]++
	return protocol.AppendUnsubscribedEnd(dst, WithdrawnReason)
}
