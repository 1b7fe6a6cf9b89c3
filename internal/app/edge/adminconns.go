package edge

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// adminConns bounds the connections of the admin port. A new one is never made to wait, as a
// health check that waits has failed: another one is closed for it.
const adminConns = 32

// adminListener is the listener of the admin port, and the connections that it has.
type adminListener struct {
	net.Listener

	mu    sync.Mutex
	conns map[net.Conn]adminConn
}

// adminConn is what a connection does.
type adminConn struct {
	state http.ConnState
	since time.Time
}

func newAdminListener(ln net.Listener) *adminListener {
	return &adminListener{Listener: ln, conns: make(map[net.Conn]adminConn)}
}

// Accept implements [net.Listener].
func (l *adminListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= adminConns {
		victim := l.expendable()
		delete(l.conns, victim)
		victim.Close() // Which ends what reads it, or writes to it.
	}
	l.conns[c] = adminConn{http.StateNew, time.Now()}
	return c, nil
}

// expendable is the connection that is missed least: one between two requests, or else one
// without a request yet, or else any; of these the one that has been so for longest.
func (l *adminListener) expendable() (victim net.Conn) {
	rank := func(s http.ConnState) int {
		switch s {
		case http.StateIdle:
			return 0
		case http.StateNew:
			return 1
		}
		return 2
	}
	var worst adminConn
	for c, is := range l.conns {
		if r, w := rank(is.state), rank(worst.state); victim == nil || r < w || r == w && is.since.Before(worst.since) {
			victim, worst = c, is
		}
	}
	return victim
}

// note takes down what a connection does from now on: [http.Server.ConnState].
func (l *adminListener) note(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.conns[c]; !ok {
		return // It was closed for another.
	}
	if state == http.StateClosed || state == http.StateHijacked {
		delete(l.conns, c)
		return
	}
	l.conns[c] = adminConn{state, time.Now()}
}
