// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// maxConns bounds the connections of the admin port. A new one is never made to wait, as a
// health check that waits has failed: another one is closed for it.
const maxConns = 32

// Files is how many files a port has open at most: its connections, the listener, and one
// that is just accepted.
const Files = maxConns + 2

// Listener is the listener of a port for operators, and the connections that it has.
type Listener struct {
	net.Listener

	mu    sync.Mutex
	conns map[net.Conn]conn
}

// conn is what a connection does.
type conn struct {
	state http.ConnState
	since time.Time
}

// Bind listens on host:port. 0.0.0.0 is all addresses of IPv4, an empty host and [::] those of IPv6 too.
func Bind(addr string) (ln *Listener, host string, err error) {
	network := "tcp"
	if h, _, err := net.SplitHostPort(addr); err == nil {
		host = h
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		network = "tcp4" // Package net would take 0.0.0.0 for all of IPv6 too.
	}
	bound, err := net.Listen(network, addr)
	if err != nil {
		return nil, "", err
	}
	return newListener(bound), host, nil
}

func newListener(ln net.Listener) *Listener {
	return &Listener{Listener: ln, conns: make(map[net.Conn]conn)}
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
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
func (l *Listener) expendable() (victim net.Conn) {
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

// Note takes down what a connection does from now on: [http.Server.ConnState].
func (l *Listener) Note(c net.Conn, state http.ConnState) {
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
