// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/httphead"
)

// Plain HTTP: a conn whose requests are answered one after the other, and that goes on behind
// them (RFC 9112, 9.3). Its stage is asking from its first such request on. A request for
// something else, such as a WebSocket, takes it back to where it was.
//
// While an answer is awaited, or was not taken, what comes is kept: at most as much as a head may
// have. So requests are answered in their order, and a peer that does not read gets one answer.

const (
	// DefaultKeepAlive is what [Config.KeepAlive] is unless something else is set: proxies
	// keep a connection of theirs for as long, or less.
	DefaultKeepAlive = time.Minute
	keepAliveMax     = time.Hour
	// requestsMax is how many requests a conn may make, so that clients are spread anew over
	// loops and edges.
	requestsMax = 1000
	// heldLook is when a conn is looked at whose answer was not taken, and that has asked more.
	heldLook = 100 * time.Millisecond
)

// elsewhere answers requests for paths that are no route's own.
func (l *loop) elsewhere(c *conn, req httphead.Request, rest []byte) {
	kind, name := l.server.plainKind(httphead.CleanPath(req.Path))
	if kind == notPlain {
		l.page(c, req, rest)
		return
	}
	l.shed(c)
	c.stage, c.controlled = asking, 0
	l.counts.Loop[PlainConns]++
	if l.debug() {
		l.server.cfg.Log.Debug("connection opened", "conn_id", connName(c.name), "remote", c.remote(), "transport", Metrics[PlainConns].Value)
	}
	l.shard.Ask(c.id, l.server.cfg.KeepAlive)
	l.plain(c, &req, kind, name)
	l.goOn(c, rest, 0)
}

// takeRequests takes what comes on a conn that asks.
func (l *loop) takeRequests(c *conn, in []byte) {
	l.shard.HeardRequest(c.id)
	in, seen := c.collect(in)
	if c.more != nil && c.more.held {
		seen = 0 // It was kept as it came.
	}
	l.goOn(c, in, seen)
}

// goOn answers the requests in what has come, of which the first seen bytes were looked at before,
// as long as nothing has to be awaited, and keeps the rest.
func (l *loop) goOn(c *conn, in []byte, seen int) {
	for c.gc != nil && c.stage == asking {
		switch {
		case len(in) == 0:
			if c.more != nil && c.more.ask == nil {
				l.shed(c)
			} else if c.more != nil {
				c.more.head, c.more.held, c.more.reads = nil, false, 0
			}
			return
		case c.more != nil && c.more.ask != nil:
			l.hold(c, in)
			return
		case l.backlog(c) > 0:
			if l.hold(c, in) {
				l.shard.Await(c.id, heldLook)
			}
			return
		}
		size, refusal := httphead.Head(in, seen, l.server.cfg.MaxHead<<10)
		if size == 0 && refusal == nil {
			l.keepHead(c, in, seen == 0)
			return
		}
		seen = 0
		l.request(c, in, size, refusal)
		in = in[size:]
	}
}

// request answers one request, of which the head has size bytes.
func (l *loop) request(c *conn, in []byte, size int, refusal *httphead.Refusal) {
	var req httphead.Request
	if refusal == nil {
		req, refusal = httphead.ParseRequest(in[:size])
	}
	if refusal != nil && httphead.BeginsWithHEAD(in) {
		req.Method = []byte("HEAD")
	}
	if refusal == nil && l.isHealthCheck(&req) {
		l.health(c, &req)
		return
	}
	if refusal == nil {
		refusal = req.CheckHost()
	}
	if refusal != nil {
		l.refuse(c, &req, refusal)
		return
	}
	path := httphead.CleanPath(req.Path)
	if _, own := l.server.cfg.routes[string(path)]; !own {
		if kind, name := l.server.plainKind(path); kind != notPlain {
			l.plain(c, &req, kind, name)
			return
		}
	}
	l.shed(c)
	c.stage = handshaking
	l.shard.Reopen(c.id)
	l.server.cfg.routes.find(req.Path)(l, c, req, in[size:])
}

// keepHead keeps the beginning of a request, whose whole head is to come in time.
func (l *loop) keepHead(c *conn, in []byte, begins bool) {
	more := c.details()
	if begins {
		l.shard.Await(c.id, l.server.cfg.Shard.HandshakeTimeout)
		more.reads = 0
	}
	more.head, more.held = append(more.head[:0], in...), false
	if more.reads++; more.reads > headReads {
		l.refuse(c, new(httphead.Request), tooManyReads)
	}
}

// hold keeps what has come behind a request that is not answered. It reports whether the conn
// goes on.
func (l *loop) hold(c *conn, in []byte) bool {
	more := c.details()
	more.head, more.held = append(more.head[:0], in...), true
	if more.reads++; len(in) <= l.server.cfg.MaxHead<<10 && more.reads <= headReads {
		return true
	}
	l.shard.Evict(c.id, fanout.Pipelined)
	return false
}

// Due implements [fanout.Sink].
func (l *loop) Due(id fanout.ConnID) {
	c := l.conn(id)
	l.now = time.Now()
	switch more := c.more; {
	case more != nil && more.ask != nil:
		if !l.tryAnswer(c, more.ask, false) {
			return
		}
		if c.gc != nil && c.stage == asking {
			held := c.more.head
			c.more.ask, c.more.reads = nil, 0
			l.goOn(c, held, 0)
		}
	case more != nil && more.held:
		l.goOn(c, more.head, 0)
	case more != nil && more.head != nil:
		l.shard.Evict(id, fanout.HandshakeTimeout)
	default:
		l.shard.Evict(id, fanout.KeepAlive)
	}
}

// endAsking ends a conn that asks. Who awaits an answer gets one.
func (l *loop) endAsking(c *conn, r fanout.Reason) {
	switch r {
	case fanout.HandshakeTimeout, fanout.CloseTimeout, fanout.Pipelined:
		l.drop(c)
		return
	case fanout.Drain, fanout.MaxAge:
		if c.more != nil && c.more.ask != nil {
			c.more.ask.last = true
			l.now = time.Now()
			l.tryAnswer(c, c.more.ask, true)
			return
		}
	case fanout.Revoked:
		if c.more != nil && c.more.ask != nil {
			l.refusePlain(c, c.more.ask, refusalOf(auth.Revoked))
			return
		}
	}
	l.closeWith(c, c.cause, nil)
}
