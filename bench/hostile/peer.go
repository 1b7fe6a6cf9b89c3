// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/wire"
)

// peer is one hostile client. It does nothing by itself.
type peer struct {
	*net.TCPConn
	in []byte // Read, and not yet looked at.
}

// smallBuffer is a receive buffer that is full after a frame or two.
const smallBuffer = 4096

// key masks all frames. The edge can't know that it is always the same.
var key = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// connect opens a conn from one of many addresses of the loopback, as one address has
// only 28,000 ports, and a limit of what it may ask for. i chooses which. A buffer above 0 is
// that of the socket's input.
func (e *edge) connect(i, buffer int) (*peer, error) {
	return e.connectFrom(net.IPv4(127, 2, byte(i/16), byte(1+i%16)), buffer)
}

// connectFrom is the same from an address.
func (e *edge) connectFrom(ip net.IP, buffer int) (*peer, error) {
	d := net.Dialer{
		Timeout:   patience,
		LocalAddr: &net.TCPAddr{IP: ip},
		Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				// The port only has to be free towards this server.
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
				if buffer > 0 {
					_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
				}
			})
		},
	}
	c, err := d.Dial("tcp", e.addr)
	if err != nil {
		return nil, err
	}
	e.dialed.Add(1)
	_ = c.SetDeadline(time.Now().Add(patience))
	return &peer{TCPConn: c.(*net.TCPConn)}, nil
}

// goodRequest opens a WebSocket. query begins with a question mark or is empty.
func goodRequest(query string) string {
	return string(wire.AppendRequest(nil, "/ws"+query, "edge.example", [16]byte{}))
}

// upgraded opens a WebSocket and reads the 101.
func (e *edge) upgraded(query string) (*peer, error) { return e.upgradedBy(query, 0, 0) }

func (e *edge) upgradedBy(query string, i, buffer int) (*peer, error) {
	p, err := e.connect(i, buffer)
	if err != nil {
		return nil, err
	}
	return p, p.upgrade(query)
}

// upgrade sends a request and reads the 101. If that fails it closes the conn.
func (p *peer) upgrade(query string) error {
	_, err := io.WriteString(p, goodRequest(query))
	if err == nil {
		var status int
		if status, err = p.head(); err == nil && status != 101 {
			err = fmt.Errorf("HTTP %d", status)
		}
	}
	if err != nil {
		_ = p.Close()
	}
	return err
}

// open opens a WebSocket from one of many addresses, has do something done with it, and
// closes it. It returns what do has seen.
func (e *edge) open(query string, i, buffer int, do func(p *peer) string) string {
	p, err := e.upgradedBy(query, i, buffer)
	return using(p, err, do)
}

// dial is open without a request.
func (e *edge) dial(i int, do func(p *peer) string) string {
	p, err := e.connect(i, 0)
	return using(p, err, do)
}

// peers are conns that are kept open for a while.
type peers []*peer

// reset ends those that were opened.
func (all peers) reset() {
	for _, p := range all {
		if p != nil {
			p.reset()
		}
	}
}

func using(p *peer, err error, do func(p *peer) string) string {
	if err != nil {
		return err.Error()
	}
	defer p.Close()
	return do(p)
}

// reset ends the conn with an RST.
func (p *peer) reset() {
	_ = p.SetLinger(0)
	_ = p.Close()
}

// fill reads once.
func (p *peer) fill() error {
	var buf [8 << 10]byte
	n, err := p.Read(buf[:])
	p.in = append(p.in, buf[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// head reads the head of a response.
func (p *peer) head() (status int, err error) {
	for {
		size, status, err := wire.ParseAnswer(p.in, [16]byte{})
		if err != nil || size > 0 {
			p.in = p.in[size:]
			return status, err
		}
		if err := p.fill(); err != nil {
			return 0, err
		}
	}
}

// frame reads one frame, which has to be as a server sends it.
func (p *peer) frame() (wire.Op, []byte, error) {
	for {
		h, err := wire.ParseHeader(p.in)
		if err != nil && !errors.Is(err, wire.ErrShort) {
			return 0, nil, err
		}
		if err == nil && len(p.in) >= h.Size+h.Length {
			payload := p.in[h.Size : h.Size+h.Length]
			p.in = p.in[h.Size+h.Length:]
			return h.Op, payload, nil
		}
		if err := p.fill(); err != nil {
			return 0, nil, err
		}
	}
}

// heard reads one frame. It answers a ping, and a close frame is an error.
func (p *peer) heard() (wire.Op, []byte, error) {
	op, payload, err := p.frame()
	switch {
	case err != nil:
	case op == wire.OpClose:
		code, reason, _ := wire.ParseClose(payload)
		err = fmt.Errorf("close %d %s", code, reason)
	case op == wire.OpPing:
		_, err = p.Write(wire.AppendFrame(nil, wire.OpPong, key, payload))
	}
	return op, payload, err
}

// list is n texts.
func list(n int, text func(i int) string) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = text(i)
	}
	return texts
}

// message is a text message as a frame.
func message(text string) []byte { return wire.AppendFrame(nil, wire.OpText, key, []byte(text)) }

const aliveID = "alive"

// alive asks for a sign of life. Its answer is seen as "goes on".
var alive = message(`{"op":"ping","id":"` + aliveID + `"}`)

// answer is the reaction to a request.
func (p *peer) answer() string {
	status, err := p.head()
	switch {
	case err != nil:
		return ending(err)
	case status == 101:
		return "101, " + p.reaction()
	}
	what := "HTTP " + strconv.Itoa(status)
	if end := p.end(); end != "ended" {
		what += ", then " + end
	}
	return what
}

// end reads to the end.
func (p *peer) end() string {
	for {
		if err := p.fill(); err != nil {
			return ending(err)
		}
		p.in = p.in[:0]
	}
}

// reaction is what comes from an open WebSocket until the conn ends or goes on: errors
// and rejected topics by code, acks, pongs, and the close code. Hello, rows, heartbeats,
// pings and byes are not told.
func (p *peer) reaction() string {
	var s seen
	for {
		op, payload, err := p.frame()
		if err != nil {
			s.add("%s", ending(err))
			return s.String()
		}
		switch op {
		case wire.OpClose:
			code, _, err := wire.ParseClose(payload)
			if err != nil {
				s.add("%v", err)
				return s.String()
			}
			s.add("close %d", code)
			// RFC 6455, 7.1.1: the connection ends. Without our reading all, by a reset.
			if end := p.end(); end != "ended" && end != "reset" {
				s.add("then %s", end)
			}
			return s.String()
		case wire.OpPong:
			s.add("pong")
		case wire.OpText:
			if p.text(&s, payload) {
				return s.String()
			}
		case wire.OpBinary, wire.OpContinuation:
			s.add("opcode %d", op)
		}
	}
}

// text tells of one message. It reports whether that was the sign of life.
func (p *peer) text(s *seen, payload []byte) (goesOn bool) {
	if bytes.Contains(payload[:min(20, len(payload))], []byte(`"t":"update"`)) {
		return false // The most frequent, and of no interest.
	}
	var m struct {
		T        string
		ID       json.RawMessage
		Code     int
		Rejected []struct{ Code int }
	}
	if word := string(payload); word == "pong" || word == `"pong"` {
		s.add("the word pong")
		return false
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		s.add("no JSON: %v", err)
		return false
	}
	switch {
	case m.T == "pong" && string(m.ID) == `"`+aliveID+`"`:
		s.add("goes on")
		return true
	case m.T == "error":
		s.add("error %d", m.Code)
	case m.T == "ack" && len(m.Rejected) == 0:
		s.add("ack")
	case m.T == "ack":
		for _, of := range m.Rejected {
			s.add("rejected %d", of.Code)
		}
	case m.T == "pong":
		s.add("pong")
	}
	return false
}

// frames opens a WebSocket and sends bytes on it.
func frames(parts ...[]byte) func(*run) string {
	return func(r *run) string {
		return r.edge.open("", 0, 0, func(p *peer) string { return p.send(slices.Concat(parts...)) })
	}
}

// talk is frames with a sign of life behind them.
func talk(parts ...[]byte) func(*run) string { return frames(append(parts, alive)...) }

// send sends bytes on an open WebSocket while it looks for the reaction, which may come
// before all is sent.
func (p *peer) send(b []byte) string {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = p.Write(b) // If it fails, that is a part of the reaction.
	}()
	what := p.reaction()
	_ = p.SetWriteDeadline(time.Now())
	<-sent
	return what
}

// request sends a request head, with a sign of life right behind it.
func request(head string) func(*run) string {
	return func(r *run) string {
		return r.edge.dial(0, func(p *peer) string {
			_, _ = p.Write(append([]byte(head), alive...))
			return p.answer()
		})
	}
}
