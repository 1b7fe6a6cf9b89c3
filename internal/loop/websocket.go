// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
	"tickedge/internal/wsproto"
)

// webSocket opens a WebSocket for commands.
func (l *loop) webSocket(c *conn, req httphead.Request, rest []byte) {
	if l.foreign(c, &req) {
		return
	}
	// Before the upgrade, so that a page whose WebSocket was refused can find out why: browsers do not tell, but any
	// request to the same path is refused for the same reasons.
	asked, refusal := l.identify(c, &req)
	if refusal == nil {
		refusal = wsproto.CheckUpgrade(&req)
	}
	if refusal != nil {
		l.refuse(c, &req, refusal)
		return
	}
	l.opened(c, talking, WebSockets, &asked.claims)
	out := wsproto.AppendUpgrade(l.out[:0], &req, asked.protocol)
	out = l.shard.Open(c.id, fanout.WebSocket, c.name, asked.Interval, out)
	if asked.HasResume {
		l.shard.Resumable(c.id)
	}
	if len(asked.Topics) > 0 {
		out = l.opening(c, &asked.Query, out)
	}
	l.frames(c, rest, out)
}

// foreign refuses the request of a page that may not connect, and reports whether it is one.
func (l *loop) foreign(c *conn, req *httphead.Request) bool {
	if l.set.origins.Allow(req.Origin, req.Host) {
		return false
	}
	l.alien(req)
	l.refuse(c, req, &httphead.Refusal{Status: 403, Reason: "this page (Origin) may not connect here"})
	return true
}

// alien notes that a request was refused as its page may not connect.
func (l *loop) alien(req *httphead.Request) {
	if x := l.away.add(byOrigin); x != nil {
		x.what, x.more = shownHost(req.Origin), []any{"host", shownHost(req.Host), "why", l.set.origins.Why(req.Origin, req.Host)}
	}
}

// opened has a conn enter a stage in which it is served, with what its token says.
func (l *loop) opened(c *conn, in stage, as Counter, claims *auth.Claims) {
	l.shed(c)
	c.stage = in
	l.counts.Loop[as]++
	if l.debug() {
		l.server.cfg.Log.Debug("connection opened", "conn_id", connName(c.name), "remote", c.remote(), "transport", Metrics[as].Value)
	}
	if claims.User != "" {
		l.begin(c, claims)
	}
}

// opening subscribes the topics of the request's query, as if a command had come.
func (l *loop) opening(c *conn, q *httphead.Query, out []byte) []byte {
	if limit := l.set.shard.MaxTopics; len(q.Topics) > limit {
		out, _ = l.shard.Refuse(c.id, &protocol.CommandError{
			Code: protocol.ErrTooManyTopics, Reason: fmt.Sprintf("more than %d topics in the query", limit),
		}, out)
		return out
	}
	if hasScreen(q) {
		out, _ = l.carryOut(c, screenCommand(q), out)
		return out
	}
	out, _ = l.carryOut(c, &protocol.Command{
		Op: protocol.OpSubscribe, Topics: q.Topics, HasSince: q.HasResume, Since: q.Resume, Fresh: q.Fresh,
	}, out)
	return out
}
