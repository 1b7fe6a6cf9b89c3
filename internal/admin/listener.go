// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// maxConns bounds the connections of the admin port. A new one is never made to wait, as a
// health check that waits has failed: another one is closed for it.
const maxConns = 32

// Files is how many files a port has open at most: its connections, the listener, and one
// that is just accepted.
const Files = maxConns + 2

// listener is the listener of the admin port, and the connections that it has.
type listener struct {
	net.Listener

	mu    sync.Mutex
	conns map[net.Conn]conn
}

// conn is what a connection does.
type conn struct {
	state http.ConnState
	since time.Time
}

func newListener(ln net.Listener) *listener {
	return &listener{Listener: ln, conns: make(map[net.Conn]conn)}
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= maxConns {
		victim := l.expendable()
		delete(l.conns, victim)
		victim.Close() // Which ends what reads it, or writes to it.
	}
	l.conns[c] = conn{http.StateNew, time.Now()}
	return c, nil
}

// expendable is the connection that is missed least: one between two requests, or else one
// without a request yet, or else any; of these the one that has been so for longest.
func (l *listener) expendable() (victim net.Conn) {
	rank := func(s http.ConnState) int {
		switch s {
		case http.StateIdle:
			return 0
		case http.StateNew:
			return 1
		}
		return 2
	}
	var worst conn
	for c, is := range l.conns {
		if r, w := rank(is.state), rank(worst.state); victim == nil || r < w || r == w && is.since.Before(worst.since) {
			victim, worst = c, is
		}
	}
	return victim
}

// note takes down what a connection does from now on: [http.Server.ConnState].
func (l *listener) note(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.conns[c]; !ok {
		return // It was closed for another.
	}
	if state == http.StateClosed || state == http.StateHijacked {
		delete(l.conns, c)
		return
	}
	l.conns[c] = conn{state, time.Now()}
}
