// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"tickedge/internal/fanout"
	"tickedge/internal/protocol"
)

// endMost is how many conns one turn ends for an operator, each of which costs 10 µs or so.
const endMost = expireMax

// Filter says which connections an operator means. An empty field lets all through.
type Filter struct {
	Conn    string // As in its hello.
	User    string
	Address netip.Addr // As [Identity] has it.
	Topic   string
}

// Bye is what a connection is told that an operator ends.
type Bye struct {
	Code   protocol.Code
	Reason string // Of UTF-8. A close frame has room for 123 bytes.
	Retry  int    // In milliseconds; 0 is no advice.
}

// transport is how a connection has its messages: websocket, events, http, or none while it is opened or closed.
func (c *conn) transport() string {
	switch c.stage {
	case talking:
		return "websocket"
	case streaming:
		return "events"
	case asking:
		return "http"
	}
	return "none"
}

// lets reports whether f lets a conn through.
func (f *Filter) lets(l *loop, c *conn) bool {
	switch {
	case f.Conn != "" && f.Conn != connName(c.name):
		return false
	case f.User != "" && (c.more == nil || c.more.user != f.User):
		return false
	case f.Topic != "" && !l.shard.Has(c.id, []byte(f.Topic)):
		return false
	}
	return !f.Address.IsValid() || addrIn(c.remote()) == f.Address.Unmap()
}

// addrIn is the address in a text that may have a port behind it.
func addrIn(remote string) netip.Addr {
	if addr, err := netip.ParseAddrPort(remote); err == nil {
		return addr.Addr().Unmap().WithZone("")
	}
	addr, _ := netip.ParseAddr(remote)
	return addr.Unmap().WithZone("")
}

// Select returns the first n of the connections that f lets through, by name, of those whose names are above after. It
// looks at all as [Server.Inspect] does. The error is that of ctx.
func (s *Server) Select(ctx context.Context, f Filter, after string, n int) ([]ConnInfo, error) {
	var first []ConnInfo
	var piece []fanout.ConnInfo
	next := make([]fanout.ConnID, len(s.loops))
	err := s.onLoops(ctx, func(l *loop) (more bool) {
		piece, next[l.index], more = l.shard.Infos(piece[:0], next[l.index], inspectMost)
		for _, info := range piece {
			c := l.conn(info.ID)
			if connName(c.name) <= after || !f.lets(l, c) {
				continue
			}
			first = append(first, ConnInfo{c.identity(), c.transport(), l.index, info})
			if len(first) >= 2*n {
				first = firstOf(first, n)
			}
		}
		return more
	})
	if err != nil {
		return nil, err
	}
	return firstOf(first, n), nil
}

func firstOf(all []ConnInfo, n int) []ConnInfo {
	slices.SortStableFunc(all, func(a, b ConnInfo) int { return strings.Compare(a.Conn, b.Conn) })
	return all[:min(n, len(all))]
}

// Disconnect ends the connections that f lets through, and returns how many. Those that come meanwhile may stay. A
// connection of plain HTTP ends without a word. The error is that of ctx; some may have been ended then.
func (s *Server) Disconnect(ctx context.Context, f Filter, bye Bye) (ended int, err error) {
	var piece []fanout.ConnInfo
	next := make([]fanout.ConnID, len(s.loops))
	err = s.onLoops(ctx, func(l *loop) (more bool) {
		piece, next[l.index], more = l.shard.Infos(piece[:0], next[l.index], inspectMost)
		l.bye = bye
		now := 0
		for _, info := range piece {
			c := l.conn(info.ID)
			if c.gc == nil || c.stage == leaving || !f.lets(l, c) {
				continue
			}
			if now == endMost {
				next[l.index] = info.ID
				return true
			}
			l.shard.Evict(info.ID, fanout.Operator)
			now++
			ended++
		}
		return more
	})
	if err != nil {
		return 0, err // What it counted may still be written to.
	}
	return ended, nil
}

// announceMost is how many conns one turn writes a text to, each of which costs 10 µs or so.
const announceMost = endMost

// Announce writes a text of an operator, see [protocol.AppendAnnouncement], to the WebSockets and streams of events that f
// lets through, and returns how many have it, and how many were passed over, as they have not taken yet what they were sent
// before. Those that come meanwhile may not get it. The error is that of ctx; some may have it then.
func (s *Server) Announce(ctx context.Context, f Filter, text string) (sent, skipped int, err error) {
	var piece []fanout.ConnInfo
	next := make([]fanout.ConnID, len(s.loops))
	err = s.onLoops(ctx, func(l *loop) (more bool) {
		piece, next[l.index], more = l.shard.Infos(piece[:0], next[l.index], inspectMost)
		now := 0
		for _, info := range piece {
			c := l.conn(info.ID)
			switch {
			case c.gc == nil || c.stage != talking && c.stage != streaming || !f.lets(l, c):
				continue
			case now == announceMost:
				next[l.index] = info.ID
				return true
			}
			if now++; l.announce(c, text) {
				sent++
			} else {
				skipped++
			}
		}
		return more
	})
	if err != nil {
		return 0, 0, err // What it counted may still be written to.
	}
	return sent, skipped, nil
}

// announce reports whether a conn has taken a text, or will at once.
func (l *loop) announce(c *conn, text string) bool {
	if l.backlog(c) > 0 {
		return false
	}
	out := l.shard.Announce(c.id, text, l.out[:0])
	l.out = out[:0]
	return l.write(c, out) != gone
}
