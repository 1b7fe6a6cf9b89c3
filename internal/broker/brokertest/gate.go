// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Gate passes connections on to a server, unless it is closed. It ends with its test.
type Gate struct {
	listener net.Listener
	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]struct{}
}

// NewGate returns a gate to an address, which is open.
func NewGate(t testing.TB, to string) *Gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &Gate{listener: l, conns: make(map[net.Conn]struct{})}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go g.pass(near, to)
		}
	}()
	t.Cleanup(func() { l.Close(); g.Outage() })
	return g
}

// Addr is where the gate is to be dialled.
func (g *Gate) Addr() string { return g.listener.Addr().String() }

func (g *Gate) pass(near net.Conn, to string) {
	defer near.Close()
	far, err := net.Dial("tcp", to)
	if err != nil || !g.enter(near, far) {
		return
	}
	defer far.Close()
	go func() {
		_, _ = io.Copy(far, near)
		far.Close()
	}()
	_, _ = io.Copy(near, far)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, near)
	delete(g.conns, far)
}

func (g *Gate) enter(conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range conns {
		if g.closed {
			c.Close()
			continue
		}
		g.conns[c] = struct{}{}
	}
	return !g.closed
}

// Outage ends all connections, and each new one at once, until over is called. It is an Outage of a [Rig].
func (g *Gate) Outage() (over func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for c := range g.conns {
		c.Close()
	}
	clear(g.conns)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.closed = false
	}
}
