// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"net"
	"sync"
	"testing"
)

// relay stands between a feed and its server, and can hold what passes.
type relay struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	conns []*relayed // In the order in which they were dialled.
	hold  int        // The index of a connection whose requests are held from the beginning.
}

// relayed is one connection through a relay: that for messages comes first, then that
// for values.
type relayed struct{ up, down *valve }

func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, server: server}
	go r.accept()
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range r.conns {
			c.close()
		}
	})
	return r
}

func (r *relay) url() string { return "redis://" + r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.server)
		if err != nil {
			near.Close()
			continue
		}
		c := &relayed{up: newValve(near, far), down: newValve(far, near)}
		r.mu.Lock()
		c.up.held = r.hold > 0 && r.hold == len(r.conns)
		r.conns = append(r.conns, c)
		r.mu.Unlock()
		go c.up.run()
		go c.down.run()
	}
}

// conn waits for a connection to be dialled.
func (r *relay) conn(g *rig, index int) (c *relayed) {
	g.t.Helper()
	g.eventually("a connection through the relay", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if index < len(r.conns) {
			c = r.conns[index]
		}
		return c != nil
	})
	return c
}

func (c *relayed) close() {
	c.up.close()
	c.down.close()
}

// valve is one direction. What comes while it is held waits.
type valve struct {
	from, to net.Conn

	mu     sync.Mutex
	change sync.Cond
	held   bool
	closed bool
	passed int // Bytes.
}

func newValve(from, to net.Conn) *valve {
	v := &valve{from: from, to: to}
	v.change.L = &v.mu
	return v
}

func (v *valve) run() {
	defer v.close()
	b := make([]byte, 64<<10)
	for {
		n, err := v.from.Read(b)
		if err != nil {
			return
		}
		v.mu.Lock()
		for v.held && !v.closed {
			v.change.Wait()
		}
		v.mu.Unlock()
		if _, err := v.to.Write(b[:n]); err != nil {
			return
		}
		v.mu.Lock()
		v.passed += n
		v.mu.Unlock()
	}
}

func (v *valve) hold(held bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held = held
	v.change.Broadcast()
}

func (v *valve) bytes() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.passed
}

func (v *valve) close() {
	v.mu.Lock()
	v.closed = true
	v.change.Broadcast()
	v.mu.Unlock()
	v.from.Close()
	v.to.Close()
}
