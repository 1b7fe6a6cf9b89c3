// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

// pipeListener hands out the connections that it is given.
type pipeListener struct {
	net.Listener
	conns chan net.Conn
}

func (l pipeListener) Accept() (net.Conn, error) { return <-l.conns, nil }

// The connection that is closed for a new one is the one that is missed least.
func TestAdminClosesTheLeastMissed(t *testing.T) {
	pipe := pipeListener{conns: make(chan net.Conn, 1)}
	l := newListener(pipe)
	add := func(states ...http.ConnState) net.Conn {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { theirs.Close() })
		pipe.conns <- ours
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			l.Note(c, s)
		}
		return c
	}
	var active []net.Conn
	for range maxConns - 4 {
		active = append(active, add(http.StateActive))
	}
	waiting1, idle1 := add(), add(http.StateActive, http.StateIdle)
	waiting2, idle2 := add(), add(http.StateActive, http.StateIdle)
	l.Note(idle1, http.StateActive)
	l.Note(idle1, http.StateIdle) // It is the younger one now.
	open := func(c net.Conn) bool { l.mu.Lock(); defer l.mu.Unlock(); _, ok := l.conns[c]; return ok }
	for i, victim := range slices.Concat([]net.Conn{idle2, idle1, waiting1, waiting2}, active) {
		if !open(victim) {
			t.Fatalf("victim %d went before its turn", i)
		}
		add(http.StateActive)
		_ = victim.SetDeadline(time.Now()) // It is not read.
		if _, err := victim.Write([]byte{0}); open(victim) || !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("victim %d is still there: %v", i, err)
		}
		l.Note(victim, http.StateClosed)
		if len(l.conns) != maxConns {
			t.Fatalf("%d connections", len(l.conns))
		}
	}
}

// -admin listens where it says.
func TestAdminListens(t *testing.T) {
	t.Parallel()
	if ln, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("this host has no IPv6: %v", err)
	} else {
		ln.Close()
	}
	for _, c := range []struct{ admin, bound, reached, not string }{
		{"0.0.0.0:0", "0.0.0.0", "127.0.0.1", "::1"},
		{":0", "::", "127.0.0.1", ""},
		{"[::]:0", "::", "127.0.0.1", ""},
		{"[::]:0", "::", "::1", ""},
		{"[::1]:0", "::1", "::1", "127.0.0.1"},
	} {
		a, err := Listen(c.admin, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		host, port, _ := net.SplitHostPort(a.Addr().String())
		if host != c.bound {
			t.Errorf("%s is bound to %s, want %s", c.admin, host, c.bound)
		}
		if conn, err := net.Dial("tcp", net.JoinHostPort(c.reached, port)); err != nil {
			t.Errorf("%s: %v", c.admin, err)
		} else {
			conn.Close()
		}
		if c.not == "" {
			continue
		}
		if conn, err := net.Dial("tcp", net.JoinHostPort(c.not, port)); err == nil {
			conn.Close()
			t.Errorf("%s is reached at %s", c.admin, c.not)
		}
	}
}
