// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"tickedge/bench/internal/hist"
	"tickedge/bench/internal/wire"
)

// Kinds of violations, beside the faults of package wire. Each is a sentence of
// docs/PROTOCOL.md that did not hold.
const (
	HelloNotFirst  = "first text frame is not hello"
	HelloAgain     = "hello twice"
	NoAck          = "command not acked in time"
	AckShort       = "command not acked in full"
	RowsBeforeAck  = "rows before the ack"
	RowNotAsked    = "row for a topic that was not asked for"
	RowTwice       = "topic twice in one frame"
	NDown          = "n went down"
	SnapshotLate   = "snapshot row after a row of its topic"
	EmptyRows      = "snapshot or update without rows"
	Fragmented     = "text message in several frames"
	Binary         = "binary frame"
	EventName      = "event with another name than its message"
	ErrorMessage   = "error message for a good command"
	CloseIgnored   = "close frame not answered"
	Silent         = "silent for two heartbeats and 5 s"
	aheadTolerance = -2000 // Microseconds. The arrival is noted up to 1 ms early, ts is cut to 1 ms.
)

// violate counts a broken rule.
func (s *Swarm) violate(i int32, kind string, detail []byte) {
	s.tally(s.rep.Violations, i, kind, detail)
}

// ack checks the answer to a command.
func (s *Swarm) ack(i int32, p []byte) {
	c, m := &s.conns[i], &s.msg
	topics := uint64(s.cfg.Topics)
	id := m.ID
	if s.cfg.Events && id == 0 {
		id = subscribeID // The command was in the query.
	}
	switch id {
	case subscribeID:
		if c.known&acked == 0 {
			c.known |= acked
			s.gauges.Acked++
		}
	case unsubscribeID:
		topics--
	case resubscribeID:
		s.rep.Changed++
	default:
		return
	}
	s.settle(c)
	short := m.Topics != topics
	if len(s.cfg.Screens) > 0 {
		short = m.Screens != 1
	}
	if m.Rejected != nil || short {
		s.violate(i, AckShort, p)
	}
	if id == unsubscribeID {
		s.exchange(i)
	}
}

// rows checks the rows of a snapshot or update and counts their staleness.
func (s *Swarm) rows(i int32, p []byte) {
	m := &s.msg
	if s.conns[i].known&acked == 0 {
		s.violate(i, RowsBeforeAck, p)
	}
	if len(m.Rows) == 0 {
		s.violate(i, EmptyRows, p)
	}
	staleness := s.rep.Update
	if m.Type == wire.Snapshot {
		staleness = s.rep.Snapshot
	}
	ids := s.topics(int(i))
	last := s.last[int(i)*s.cfg.Topics:]
	var marks [TopicsMax / 64]uint64 // Topics that this frame had.
	s.rep.Rows += uint64(len(m.Rows))
	from := 0
	for k := range m.Rows {
		r := &m.Rows[k]
		at := s.slot(ids, r.Topic, from)
		if at < 0 {
			s.violate(i, RowNotAsked, p)
			continue
		}
		from = at + 1
		if marks[at/64]&(1<<(at%64)) != 0 {
			s.violate(i, RowTwice, p)
		}
		marks[at/64] |= 1 << (at % 64)
		before := last[at]
		last[at] = r.N + 1
		switch {
		case r.N+1 < before:
			s.violate(i, NDown, p)
		case before > 0 && m.Type == wire.Snapshot:
			s.violate(i, SnapshotLate, p)
		case r.N+1 == before:
			s.rep.Repeated++
		}
		s.age(r, staleness)
	}
}

// age counts how old a row is.
func (s *Swarm) age(r *wire.Row, staleness *hist.Hist) {
	if r.TS <= 0 {
		s.rep.Undated++
		return
	}
	lag := s.wall - r.TS*1000
	if lag < aheadTolerance {
		s.rep.Ahead++
	}
	staleness.Add(uint64(max(lag, 0)))
}

// slot finds a topic among those of one conn, -1 if it is not one of them. from is
// where to look first: rows often come in the order of the subscription, and then the
// first look hits.
func (s *Swarm) slot(ids []uint32, topic []byte, from int) int {
	for k := range ids {
		at := from + k
		if at >= len(ids) {
			at -= len(ids)
		}
		if s.names[ids[at]] == string(topic) {
			return at
		}
	}
	return -1
}
