// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tickedge/internal/broker/redis/redistest"
)

// relay passes connections on to a Redis, or to what else is at an address, until it is told not to.
type relay struct {
	t        *testing.T
	listener *net.TCPListener
	// passing is held for writing while nothing may pass.
	passing  sync.RWMutex
	dropping bool // The test's own, as is holding.
	holding  bool
	waiting  atomic.Int32 // Parts of connections that may not pass.

	mu       sync.Mutex
	to       string
	edges    map[*net.TCPConn]struct{} // The ends towards edges.
	refusing bool
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // Its sockets take no filter.
	l, err := plain.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := l.(*net.TCPListener)
	r := &relay{t: t, listener: listener, to: to, edges: make(map[*net.TCPConn]struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			edge, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			wg.Go(func() { r.pass(edge) })
		}
	})
	t.Cleanup(func() {
		if r.dropping {
			r.heal()
		}
		r.release()
		listener.Close()
		r.cut()
		wg.Wait()
	})
	return r
}

func (r *relay) url() string  { return "redis://" + r.addr() }
func (r *relay) addr() string { return r.listener.Addr().String() }

// pass passes one connection on, both ways, until an end of it closes.
func (r *relay) pass(edge *net.TCPConn) {
	defer edge.Close()
	r.mu.Lock()
	turnedAway, to := r.refusing, r.to
	if !turnedAway {
		r.edges[edge] = struct{}{}
	}
	r.mu.Unlock()
	if turnedAway {
		return
	}
	defer func() {
		r.mu.Lock()
		delete(r.edges, edge)
		r.mu.Unlock()
	}()
	redis, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer redis.Close()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{edge, redis}, {redis, edge}} {
		wg.Go(func() {
			_, _ = io.Copy(gated{way[1], r}, way[0]) // Whatever ended it ends the other way too.
			way[0].Close()
			way[1].Close()
		})
	}
	wg.Wait()
}

// gated is a writer that waits while nothing may pass.
type gated struct {
	io.Writer
	relay *relay
}

func (g gated) Write(b []byte) (int, error) {
	g.relay.waiting.Add(1)
	defer g.relay.waiting.Add(-1)
	g.relay.passing.RLock()
	defer g.relay.passing.RUnlock()
	return g.Writer.Write(b)
}

// hold keeps what is on its way from now on, until release, and returns when there is something.
func (r *relay) hold() {
	r.t.Helper()
	r.passing.Lock()
	r.holding = true
	redistest.Eventually(r.t, "something is on its way", func() bool { return r.waiting.Load() > 0 })
}

// release passes on what was held, if anything is.
func (r *relay) release() {
	if r.holding {
		r.holding = false
		r.passing.Unlock()
	}
}

// refuse closes each new connection at once, until admit.
func (r *relay) refuse() { r.setRefusing(true) }

func (r *relay) admit() { r.setRefusing(false) }

// turn has new connections passed on to another address.
func (r *relay) turn(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
}

func (r *relay) setRefusing(refusing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing = refusing
}

// cut closes all connections, and refuses new ones until admit.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing = true
	for edge := range r.edges {
		edge.Close()
	}
}

// drop has every packet lost between the edges and Redis, until heal: what edges send is
// dropped by the kernel before TCP sees it, so nothing is acknowledged and nobody can
// connect, and what Redis sends is held back.
func (r *relay) drop() {
	r.t.Helper()
	r.passing.Lock()
	r.dropping = true
	r.filter(func(fd int) error {
		all := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0} // Keeps 0 bytes of a packet.
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &all})
	})
}

func (r *relay) heal() {
	r.t.Helper()
	r.filter(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	r.dropping = false
	r.passing.Unlock()
}

// filter changes the socket filters of the listener and of all ends towards edges.
func (r *relay) filter(change func(fd int) error) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	sockets := []syscall.Conn{r.listener}
	for edge := range r.edges {
		sockets = append(sockets, edge)
	}
	for _, socket := range sockets {
		raw, err := socket.SyscallConn()
		var failed error
		if err == nil {
			err = raw.Control(func(fd uintptr) { failed = change(int(fd)) })
		}
		if err = errors.Join(err, failed); err != nil && !errors.Is(err, unix.ENOENT) { // No filter: it came while all were dropped.
			r.t.Fatal(err)
		}
	}
}
