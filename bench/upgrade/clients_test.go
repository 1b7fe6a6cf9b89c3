// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"tickedge/bench/internal/wire"
)

// serve listens until the test ends, and has f answer each connection. It returns the address.
func serve(t *testing.T, f func(conn *net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				f(conn.(*net.TCPConn))
			}()
		}
	}()
	return ln.Addr().String()
}

// answer reads a request and answers it with text.
func answer(text string) func(conn *net.TCPConn) {
	return func(conn *net.TCPConn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, text)
			_, _ = conn.Read(make([]byte, 1)) // Until the client goes.
		}
	}
}

// What becomes of a connect is told apart, also where its handshake takes a while.
func TestConnectsAreToldApart(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := ln.Addr().String()
	ln.Close()
	hello := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + wire.Accept([16]byte{1}) +
		"\r\n\r\n\x81\x20{\"t\":\"hello\",\"v\":1,\"conn\":\"1\"}  "
	for name, c := range map[string]struct {
		addr string
		want func(*seen) int64
	}{
		"served":  {serve(t, answer(hello)), func(s *seen) int64 { return s.served.Load() }},
		"503":     {serve(t, answer("HTTP/1.1 503 Service Unavailable\r\n\r\n")), func(s *seen) int64 { return s.unavailable.Load() }},
		"refused": {gone, func(s *seen) int64 { return s.refused.Load() }},
		"reset":   {serve(t, func(conn *net.TCPConn) { _ = conn.SetLinger(0) }), func(s *seen) int64 { return s.reset.Load() }},
		"another": {serve(t, answer("HTTP/1.1 101 Switching Protocols\r\n\r\n")), func(s *seen) int64 { return s.reset.Load() }},
	} {
		for _, away := range []time.Duration{0, 5 * time.Millisecond} {
			crowd := newCrowd(c.addr, away)
			crowd.tryOnce()
			if s := &crowd.seen; s.connects.Load() != 1 || c.want(s) != 1 {
				t.Errorf("%s, %v: %d served, %d refused, %d reset, %d 503, %d late", name, away,
					s.served.Load(), s.refused.Load(), s.reset.Load(), s.unavailable.Load(), s.late.Load())
			}
			crowd.end()
		}
	}
}

// Those who stay come back when they are sent away, and all are counted.
func TestThoseWhoStayComeBack(t *testing.T) {
	hello := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + wire.Accept([16]byte{1}) +
		"\r\n\r\n\x81\x20{\"t\":\"hello\",\"v\":1,\"conn\":\"1\"}  "
	conns := make(chan *net.TCPConn, 100)
	addr := serve(t, func(conn *net.TCPConn) { conns <- conn; answer(hello)(conn) })
	crowd := newCrowd(addr, 0)
	defer crowd.end()
	if err := crowd.hold(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		(<-conns).Close()
	}
	for end := time.Now().Add(wholeMost); crowd.seen.back.Load() < 5; {
		if err := pause(t.Context(), time.Millisecond); err != nil || time.Now().After(end) {
			t.Fatalf("%d of 5 came back: %v", crowd.seen.back.Load(), err)
		}
	}
	if away := crowd.seen.sentAway.Load(); away != 5 {
		t.Errorf("%d were sent away, want 5", away)
	}
}
