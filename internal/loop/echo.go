// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"log/slog"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/httphead"
	"tickedge/internal/topics"
	"tickedge/internal/wsproto"
)

// echoLimits leave room for what conformance suites send: Autobahn's largest message
// has 16 MiB, and its most fragments are 65,536 and an empty last one.
var echoLimits = limits{
	Limits: wsproto.Limits{Message: 16 << 20, Fragments: 1 << 16, Binary: true},
	// Four messages, for clients that send a few before they read the first.
	replies:    64 << 20,
	pongs:      true,
	unfinished: echoSlow,
}

const (
	// echoSlow is how long a backlog or an incomplete message may last: enough for
	// 16 MiB at 280 KiB a second.
	echoSlow = time.Minute
	// echoNever is for what an echo server does not do: 30 days, within what the shard
	// can count.
	echoNever = 30 * 24 * time.Hour
)

// StartEcho runs a server that sends every message back, on the code that serves the
// edge's clients: handshake, frames, backlog and close are the same. It takes any path
// and binary messages, says nothing by itself, answers each ping and has no topics: what
// is its own are its routes, its limits, and what it answers to a message.
// A separate function, as nothing that configures the edge may lead here. The server
// must be ended with [Server.Shutdown].
func StartEcho(listen string, log *slog.Logger) (*Server, error) {
	return Start(Config{
		Listen: listen, Loops: 1, MaxConns: 1000, Log: log,
		Shard: fanout.Config{
			Interval: time.Minute, Heartbeat: echoNever, PingInterval: echoNever, PongTimeout: echoNever,
			SlowRate: 4000, SlowTimeout: echoSlow, IdleTimeout: echoNever, HandshakeTimeout: 10 * time.Second,
			CloseTimeout: 2 * time.Second, MaxTopics: 1,
		},
		limits: echoLimits, routes: echoRoutes, answer: (*loop).sendBack,
	}, topics.New(topics.Config{Max: 1, Linger: time.Second}))
}

// echo opens a WebSocket on which messages are sent back.
func (l *loop) echo(c *conn, req httphead.Request, rest []byte) {
	if refusal := wsproto.CheckUpgrade(&req); refusal != nil {
		l.refuse(c, &req, refusal)
		return
	}
	l.opened(c, talking, WebSockets, &auth.Claims{})
	out := wsproto.AppendUpgrade(l.out[:0], &req, "")
	l.shard.Open(c.id, fanout.WebSocket, c.name, 0, out) // Its hello is not sent.
	l.frames(c, rest, out)
}

// sendBack answers a message with itself.
func (l *loop) sendBack(_ *conn, msg wsproto.Event, out []byte) ([]byte, fanout.Reason) {
	return wsproto.AppendMessage(out, msg.Kind, msg.Payload), 0
}
