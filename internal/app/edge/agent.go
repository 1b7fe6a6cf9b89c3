// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/flags"
	"tickedge/internal/panics"
)

// agent tells HAProxy how many new clients an edge takes (agent-check). A connection gets one line and
// is closed; nothing is read of it. They are answered one after the other: a line fits into any
// socket that is new, so none of them holds up the next.
type agent struct {
	listener net.Listener
	log      *slog.Logger
	began    time.Time
	ready    time.Duration // For how long from then on it says so.
	left     func() float64
	stopping func() bool
}

const (
	// agentFiles are the listener, and the connection that is answered.
	agentFiles = 2
	// agentWrite bounds the answer to one connection.
	agentWrite = time.Second
	// agentPause is the time from an accept that failed to the next one.
	agentPause = 100 * time.Millisecond
	// agentReady is for how long beside the time of a drain an edge says that it is ready again. HAProxy keeps the drain that
	// the edge before it asked for until then, which may go on while this one is there, at an upgrade on one port. From then on
	// one that an operator asks for stays.
	agentReady = time.Minute
)

// listenAgent binds the port for HAProxy.
func (e *edge) listenAgent() error {
	if e.cfg.agent == "" {
		return nil
	}
	ln, err := (&net.ListenConfig{Control: app.SharePort}).Listen(e.work, "tcp", e.cfg.agent)
	if err != nil {
		return app.ListenHint(err, "-agent", e.cfg.agent, "edges that share the port of -listen can share this one too, but not with another program or another user's edge")
	}
	e.agent = &agent{ready: agentReady + e.cfg.drainDelay + e.cfg.drain + stopTime, listener: ln, log: e.log, left: func() float64 { left, _ := e.headroom.read(); return left }}
	context.AfterFunc(e.work, func() { _ = ln.Close() })
	return nil
}

// serveAgent answers until the edge has ended. From the end of ctx on new clients are to go elsewhere.
func (e *edge) serveAgent(ctx context.Context) {
	a := e.agent
	if a == nil {
		return
	}
	a.began, a.stopping = time.Now(), func() bool { return ctx.Err() != nil }
	e.working.Go(func() { panics.Keep(e.work, panics.Admin, e.log, a.serve) })
	e.log.Info("agent port open", "addr", a.listener.Addr().String())
}

func (a *agent) serve(ctx context.Context) {
	for {
		conn, err := a.listener.Accept()
		switch {
		case err == nil:
			a.answer(conn)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default:
			a.log.Warn("can't accept a connection of the agent port", "error", err)
			select {
			case <-time.After(agentPause):
			case <-ctx.Done():
				return
			}
		}
	}
}

func (a *agent) answer(conn net.Conn) {
	defer conn.Close()
	if conn.SetWriteDeadline(time.Now().Add(agentWrite)) == nil {
		_, _ = conn.Write([]byte(a.line(time.Now()))) // Who does not take it asks again.
	}
}

// line is what HAProxy is told. An edge that is not ready says nothing else: the health check sees to
// that, and down would be undone by nobody but another line of this port.
func (a *agent) line(now time.Time) string {
	if a.stopping() {
		return "drain\n"
	}
	line := fmt.Sprintf("up %d%%\n", min(100, max(1, int(math.Round(100*a.left())))))
	if now.Sub(a.began) < a.ready {
		return "ready " + line
	}
	return line
}

// validateAgent returns what is wrong with -agent, or nil.
func (c *Config) validateAgent() error {
	var errs problems
	if c.agent != "" && !app.IsHostPort(c.agent) {
		errs.bad("-agent is %s, want host:port such as 127.0.0.1:8084, or nothing", flags.Quote(c.agent))
	}
	for _, other := range []struct{ flag, addr string }{
		{"-listen", c.loop.Listen}, {"-admin", c.admin}, {"-api", c.api.Addr}, {"-grpc", c.rpc.Listen},
	} {
		if samePort(other.addr, c.agent) {
			errs.bad("-agent is %s and %s is %s: want another port for one of them", c.agent, other.flag, other.addr)
		}
	}
	return errors.Join(errs...)
}
