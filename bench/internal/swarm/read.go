// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/wire"
)

// event is what epoll has to say about conn i.
func (s *Swarm) event(i int32, events uint32) {
	c := &s.conns[i]
	if c.state == dialing && events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		s.dialed(i)
	}
	if events&unix.EPOLLOUT != 0 && len(s.unsent) > 0 {
		if _, ok := s.unsent[i]; ok {
			s.resend(i)
		}
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLERR|unix.EPOLLHUP) == 0 {
		return
	}
	// A read that leaves room in its buffer has emptied the socket, and the next byte
	// is another event. Only an end that was part of this event is not.
	ending := events&(unix.EPOLLRDHUP|unix.EPOLLERR|unix.EPOLLHUP) != 0
	for c.state == shaking || c.state == open || c.state == leaving {
		if n := s.read(i); n <= 0 || n < readMax && !ending {
			return
		}
	}
}

// read takes one read's worth of bytes from conn i, acts on what is complete and
// returns how many there were.
func (s *Swarm) read(i int32) int {
	c := &s.conns[i]
	have := copy(s.buf, c.partial)
	n, err := unix.Read(int(c.fd), s.buf[have:have+readMax])
	switch {
	case err == unix.EAGAIN:
		return 0
	case n <= 0 && c.state == leaving:
		s.unanswered(i)
		return 0
	case err == unix.ECONNRESET:
		s.broken(i, "reset by server")
		return 0
	case err != nil:
		s.broken(i, "read: "+err.Error())
		return 0
	case n == 0 && c.state == shaking:
		s.refuse(i, "closed during the handshake", c.partial)
		return 0
	case n == 0 && s.cfg.Events:
		s.lose(i, "stream ended")
		return 0
	case n == 0:
		s.lose(i, "closed without a close frame")
		return 0
	}
	s.rep.Bytes += uint64(n)
	b := s.buf[:have+n]
	if c.state == shaking {
		b = b[s.answered(i, b):]
	}
	switch {
	case c.state != open && c.state != leaving:
	case s.cfg.Events:
		b = s.events(i, b)
	default:
		b = s.frames(i, b)
	}
	if len(b) == 0 || c.state == closed {
		c.partial = nil
	} else {
		c.partial = append(c.partial[:0], b...)
	}
	return n
}

// frames acts on the complete frames in b and returns the rest.
func (s *Swarm) frames(i int32, b []byte) []byte {
	c := &s.conns[i]
	for c.state == open || c.state == leaving {
		h, err := wire.ParseHeader(b)
		if err == wire.ErrShort {
			return b
		}
		if err != nil {
			s.drop(i, err.Error(), b[:min(len(b), 16)])
			return nil
		}
		if len(b) < h.Size+h.Length {
			return b
		}
		s.frame(i, h, b[h.Size:h.Size+h.Length])
		b = b[h.Size+h.Length:]
	}
	return nil
}

// events acts on the complete events in b and returns the rest.
func (s *Swarm) events(i int32, b []byte) []byte {
	c := &s.conns[i]
	for c.state == open {
		e, err := wire.ParseEvent(b)
		if err == wire.ErrShort {
			return b
		}
		if err != nil {
			s.drop(i, err.Error(), b[:min(len(b), 40)])
			return nil
		}
		c.lastFrame = s.ms()
		if e.Comment {
			s.rep.Pings++
		}
		if e.Data != nil {
			s.message(i, e.Data)
			if s.msg.Type != wire.Other && s.msg.Type.String() != string(e.Name) {
				s.violate(i, EventName, b[:e.Size])
			}
		}
		b = b[e.Size:]
	}
	return nil
}

func (s *Swarm) frame(i int32, h wire.Header, payload []byte) {
	c := &s.conns[i]
	if c.state == leaving {
		if h.Op == wire.OpClose { // What comes before it was on its way.
			s.left(i, ByClose)
		}
		return
	}
	c.lastFrame = s.ms()
	switch h.Op {
	case wire.OpText:
		if !h.Fin {
			s.violate(i, Fragmented, payload)
			return
		}
		s.message(i, payload)
	case wire.OpContinuation:
		s.violate(i, Fragmented, payload)
	case wire.OpBinary:
		s.violate(i, Binary, payload)
	case wire.OpPing:
		s.rep.Pings++
		s.sendFrame(i, wire.OpPong, payload)
	case wire.OpClose:
		s.closing(i, payload)
	}
}

// closing answers the server's close frame (RFC 6455, 5.5.1) and ends the conn.
func (s *Swarm) closing(i int32, payload []byte) {
	code, reason, err := wire.ParseClose(payload)
	if err != nil {
		s.drop(i, err.Error(), payload)
		return
	}
	s.sendFrame(i, wire.OpClose, payload[:min(len(payload), 2)])
	if s.conns[i].state == open {
		s.lose(i, fmt.Sprintf("close %d %s", code, reason))
	}
}

// drop ends a conn whose stream cannot be followed any further.
func (s *Swarm) drop(i int32, kind string, detail []byte) {
	s.violate(i, kind, detail)
	s.lose(i, "dropped by bench: "+kind)
}

// message acts on one text frame, or on the data of an event.
func (s *Swarm) message(i int32, p []byte) {
	c, m := &s.conns[i], &s.msg
	c.lastText = c.lastFrame
	c.frames++
	if err := m.Scan(p); err != nil {
		s.violate(i, err.Error(), p)
		return
	}
	s.rep.Types[m.Type]++
	if first := c.known&sawText == 0; first != (m.Type == wire.Hello) {
		if first {
			s.violate(i, HelloNotFirst, p)
		} else {
			s.violate(i, HelloAgain, p)
		}
	}
	c.known |= sawText
	switch m.Type {
	case wire.Update, wire.Snapshot:
		s.rows(i, p)
	case wire.Screen:
		s.screen(i, p)
	case wire.Hello:
		c.heartbeat = uint32(min(m.Heartbeat, uint64(time.Hour/time.Millisecond)))
		c.window = uint16(min(m.Interval, math.MaxUint16))
		s.rep.widen(m.Interval, m.Interval)
	case wire.Ack:
		s.ack(i, p)
	case wire.Error:
		s.violate(i, ErrorMessage, p)
	case wire.Bye:
		s.tally(s.rep.Byes, i, fmt.Sprintf("%d %s", m.Code, m.Reason), nil)
	}
}
