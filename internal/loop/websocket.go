// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"

	"tickedge/internal/fanout"
	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
	"tickedge/internal/wsproto"
)

// webSocket opens a WebSocket for commands.
func (l *loop) webSocket(c *conn, req httphead.Request, rest []byte) {
	if !l.server.cfg.Origins.Allow(req.Origin, req.Host) {
		if x := l.away.add(byOrigin); x != nil {
			x.what, x.more = shownHost(req.Origin), []any{"host", shownHost(req.Host), "why", l.server.cfg.Origins.Why(req.Origin, req.Host)}
		}
		l.refuse(c, &req, &httphead.Refusal{Status: 403, Reason: "this page (Origin) may not connect here"})
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
	out := l.upgrade(c, &req, asked.protocol)
	if asked.claims.User != "" {
		l.begin(c, &asked.claims)
	}
	out = l.shard.Open(c.id, fanout.WebSocket, c.name, asked.Interval, out)
	if len(asked.Topics) > 0 {
		out = l.opening(c, asked.Topics, out)
	}
	l.frames(c, rest, out)
}

// upgrade makes a conn one that talks in frames, and returns the 101 that says so, with the
// sub-protocol that is chosen, if one is.
func (l *loop) upgrade(c *conn, req *httphead.Request, protocol string) (out []byte) {
	l.shed(c)
	c.stage = talking
	l.counts.Loop[Upgraded]++
	if l.debug() {
		l.server.cfg.Log.Debug("connection opened", "conn_id", connName(c.name), "remote", c.remote())
	}
	return wsproto.AppendUpgrade(l.out[:0], req, protocol)
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
