// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"bytes"
	"strconv"
	"strings"

	"tickedge/bench/internal/wire"
)

// EmptyScreen is a violation of the rule that a message tells what is new.
const EmptyScreen = "message of a screen without news"

// askScreen asks for the screen of a conn, by its number over all swarms.
func (s *Swarm) askScreen(i int32) {
	where := s.cfg.Screens[(s.cfg.First+int(i))%len(s.cfg.Screens)]
	s.await(&s.conns[i])
	s.sendFrame(i, wire.OpText, appendScreen(nil, where, s.cfg.Pattern))
}

// appendScreen appends the command for a screen over all topics of a pattern of names.
func appendScreen(dst []byte, where, names string) []byte {
	prefix, _, _ := strings.Cut(names, "%")
	dst = append(dst, `{"op":"screen","screen":"bench","topics":`...)
	dst = append(strconv.AppendQuote(dst, prefix+"*"), `,"where":`...)
	dst = append(strconv.AppendQuote(dst, where), `,"id":`...)
	return append(strconv.AppendInt(dst, subscribeID, 10), '}')
}

// screen checks what is new in the screen of a conn and counts the staleness of its rows. Rows that were inside before the conn
// asked are as old as they are, so they count as those of snapshots do.
func (s *Swarm) screen(i int32, p []byte) {
	m := &s.msg
	if s.conns[i].known&acked == 0 {
		s.violate(i, RowsBeforeAck, p)
	}
	staleness := s.rep.Update
	switch {
	case m.Full:
		staleness = s.rep.Snapshot
	case len(m.Rows) == 0 && m.Out == nil:
		s.violate(i, EmptyScreen, p)
	}
	s.rep.Rows += uint64(len(m.Rows))
	if m.Out != nil {
		s.rep.Outs += uint64(bytes.Count(m.Out, []byte(`,`)) + 1) // No name has a comma, see Names.
	}
	for k := range m.Rows {
		r := &m.Rows[k]
		if !s.known[string(r.Topic)] {
			s.violate(i, RowNotAsked, p)
			continue
		}
		s.age(r, staleness)
	}
}
