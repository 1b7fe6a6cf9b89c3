// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/wire"
)

// plainPair is a plain conn that has sent its request, and the server's end.
func plainPair(t *testing.T) (p *plainConns, server int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if p, err = newPlain(&lab.Server{Addr: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	p.conns = []plainConn{{fd: fds[0]}}
	t.Cleanup(func() {
		p.closeAll()
		_ = unix.Close(fds[1]) // It may be closed.
	})
	return p, fds[1]
}

const serverAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "

// serverFrame is a frame as servers send it.
func serverFrame(op wire.Op, payload []byte) []byte {
	b := []byte{0x80 | byte(op), byte(len(payload))}
	switch n := len(payload); {
	case n >= 1<<16:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	case n > 125:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	}
	return append(b, payload...)
}

func TestPlainCountsFramesCutAnywhere(t *testing.T) {
	answer := []byte(serverAnswer + wire.Accept([16]byte{}) + "\r\n\r\n")
	var stream []byte
	for _, n := range []int{0, 125, 126, 500} {
		stream = append(stream, serverFrame(wire.OpText, bytes.Repeat([]byte{0x89}, n))...)
	}
	stream = append(stream, serverFrame(wire.OpPing, []byte("hello"))...)
	const texts = 4
	for cut := range stream {
		p, server := plainPair(t)
		for _, part := range [][]byte{answer[:cut%len(answer)], answer[cut%len(answer):], stream[:cut], stream[cut:]} {
			if _, err := unix.Write(server, part); err != nil {
				t.Fatal(err)
			}
			if err := p.readAll(); err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		if got := p.frames.Load(); got != texts || p.conns[0].frames != texts || p.conns[0].skip != 0 {
			t.Fatalf("cut at %d: %d frames, %d bytes to come; want %d frames", cut, got, p.conns[0].skip, texts)
		}
		pong := make([]byte, 100)
		n, _, err := unix.Recvfrom(server, pong, unix.MSG_DONTWAIT)
		if want := wire.AppendFrame(nil, wire.OpPong, [4]byte{}, []byte("hello")); err != nil || !bytes.Equal(pong[:max(n, 0)], want) {
			t.Fatalf("cut at %d: answered the ping with %q, %v", cut, pong[:max(n, 0)], err)
		}
		p.closeAll()
		_ = unix.Close(server)
	}
}

func TestPlainCountsLongFrames(t *testing.T) {
	p, server := plainPair(t)
	p.conns[0].shaken = true
	stream := serverFrame(wire.OpText, make([]byte, 65535))
	stream = append(stream, serverFrame(wire.OpText, make([]byte, 65536))...)
	stream = append(stream, serverFrame(wire.OpText, []byte("end"))...)
	for len(stream) > 0 {
		n := min(len(stream), 10_000)
		if _, err := unix.Write(server, stream[:n]); err != nil {
			t.Fatal(err)
		}
		stream = stream[n:]
		if err := p.readAll(); err != nil {
			t.Fatal(err)
		}
	}
	if p.frames.Load() != 3 || p.full.Load() != 0 {
		t.Errorf("%d frames, %d full reads", p.frames.Load(), p.full.Load())
	}
}

func TestPlainSaysWhatTheServerDidWrong(t *testing.T) {
	for _, c := range []struct{ sent, want string }{
		{"HTTP/1.1 503 Service Unavailable\r\n\r\n", "status 503"},
		{"HTTP/1.0 what\r\n\r\n", "not HTTP"},
		{serverAnswer + "bm90IHRoZSBrZXk=\r\n\r\n", "wrong Sec-WebSocket-Accept"},
		{serverAnswer + wire.Accept([16]byte{}) + "\r\n\r\n\x88\x02\x03\xe8", "closed by the server"},
		{serverAnswer + wire.Accept([16]byte{}) + "\r\n\r\n\xff\x02\x03\xe8", "reserved bits"},
		{"", "ended by the server"},
	} {
		p, server := plainPair(t)
		if _, err := unix.Write(server, []byte(c.sent)); err != nil {
			t.Fatal(err)
		}
		if c.sent == "" {
			_ = unix.Close(server)
		}
		if err := p.readAll(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.sent, err, c.want)
		}
	}
}

func TestPlainSubscribesTopicsOfItsOwn(t *testing.T) {
	p, server := plainPair(t)
	if err := p.subscribe([]string{"A", "B", "C"}, 2, 7); err != nil {
		t.Fatal(err)
	}
	in := make([]byte, 200)
	n, err := unix.Read(server, in)
	if err != nil {
		t.Fatal(err)
	}
	// The mask is 0, so the text stands there as it is.
	text := string(in[6:n])
	if in[0] != 0x81 || !strings.HasPrefix(text, `{"op":"subscribe","topics":["`) || strings.Count(text, `"`) != 12 {
		t.Errorf("%q", in[:n])
	}
}

func TestPauseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pause(ctx, time.Hour); err == nil {
		t.Error("no error")
	}
}
