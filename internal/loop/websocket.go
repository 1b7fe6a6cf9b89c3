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
	if !l.server.cfg.Origins.Allow(req.Origin, req.Host) {
		l.refuse(c, &httphead.Refusal{Status: 403, Reason: "this page (Origin) may not connect here"})
		return
	}
	if refusal := wsproto.CheckUpgrade(&req); refusal != nil {
		l.refuse(c, refusal)
		return
	}
	opening, claims, refusal := l.identify(c, &req)
	if refusal != nil {
		l.refuse(c, refusal)
		return
	}
	l.opened(c, talking, WebSockets, &claims)
	out := wsproto.AppendUpgrade(l.out[:0], &req)
	out = l.shard.Open(c.id, fanout.WebSocket, c.name, opening.Interval, out)
	if len(opening.Topics) > 0 {
		out = l.opening(c, opening.Topics, out)
	}
	l.frames(c, rest, out)
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
func (l *loop) opening(c *conn, names [][]byte, out []byte) []byte {
	if limit := l.server.cfg.Shard.MaxTopics; len(names) > limit {
		out, _ = l.shard.Refuse(c.id, &protocol.CommandError{
			Code: protocol.ErrTooManyTopics, Reason: fmt.Sprintf("more than %d topics in the query", limit),
		}, out)
		return out
	}
	out, _ = l.carryOut(c, &protocol.Command{Op: protocol.OpSubscribe, Topics: names}, out)
	return out
}
