// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2"

	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
	"tickedge/internal/wsproto"
)

// conn is one connection. Its fan-out half has the same id in the loop's shard.
// Owned by the loop; its slot is used again after OnClose.
type conn struct {
	gc      gnet.Conn // nil when the slot is free.
	more    *details  // What it has beside this, if anything.
	dec     wsproto.Decoder
	prefix  guard.Prefix // The client that has got room for it from the guard; 0 if it was not let in.
	id      fanout.ConnID
	name    uint32 // What it is called in its hello and in the log.
	replies uint32 // Bytes of answers that joined its backlog since that was empty.
	fd      int32  // Its socket, as long as gc is not nil.

	controlled uint16 // The second of its last control frame, of which there were controls; or the requests of one that asks.
	controls   uint8
	watched    bool // It is in the loop's list of unfinished conns.
	stage      stage
	behind     bool // The socket did not take everything; gnet holds the rest, or held it.
	refuse     bool // It is refused, whatever it asks for.
	cause      cause
}

const connSizeMax = 64 // A million conns in 64 MB.
const _ = uint(connSizeMax - unsafe.Sizeof(conn{}))

// details is what only some conns have: those with a token, and others while their
// handshake lasts.
type details struct {
	session
	head    []byte // The part of a PROXY header or a request head that has come.
	reads   uint16 // As many.
	held    bool   // What head holds has come behind a request that is not answered, or behind an answer that was not taken.
	issued  uint32 // Of its token, as is tokenID: see [auth.Claims].
	tokenID uint64
	addr    netip.Addr        // The client's, where a proxy has said it.
	refusal *httphead.Refusal // What the guard has to say to it.
	ask     *ask              // The request that is not answered yet, of a conn that asks.
}

const detailsSizeMax = 128 // What Go has for it: a byte more is 16.
const _ = uint(detailsSizeMax - unsafe.Sizeof(details{}))

// details returns the conn's details, which it has from now on.
func (c *conn) details() *details {
	if c.more == nil {
		c.more = new(details)
	}
	return c.more
}

// stage says what holds of a conn. Its shard has a state for it beside that:
//
//	stage                 state    moved on by                          ended for not doing so
//	proxied, handshaking  opening  opened, and Shard.Open behind it     HandshakeTimeout
//	talking, streaming    open     leave, which calls Shard.Closing     what visits find
//	asking                asking   a request for another route, or leave   what visits find, see keepalive.go
//	leaving               closing  the peer, which closes: OnClose      CloseTimeout
//	none: gc is nil       free     OnOpen, which calls Shard.Add
//
// OnClose may come in any stage, and calls Shard.Remove.
type stage uint8

const (
	handshaking stage = iota // The request head is awaited.
	proxied                  // The PROXY header is awaited, and then the request head.
	talking                  // WebSocket frames go both ways.
	streaming                // Events go out; nothing is to come.
	asking                   // Requests are answered, see keepalive.go.
	leaving                  // Our last word is written; input is thrown away.
)

func connName(name uint32) string { return fmt.Sprintf("%08x", name) }

// closed answers the close frame of a peer (RFC 6455, 5.5.1), which has the answer then, or
// will have it behind what it has not read yet.
func (l *loop) closed(c *conn, code protocol.Code, answer []byte) {
	w := l.write(c, answer)
	if w == gone {
		return // For the cause of that.
	}
	c.cause = causeOfPeer(code)
	if w == joined {
		l.leave(c)
		return
	}
	l.drop(c)
}

// refuse answers a request and ends the conn.
func (l *loop) refuse(c *conn, req *httphead.Request, r *httphead.Refusal) {
	l.counts.refuse(r.Status)
	l.respond(c, req, r.Append(l.out[:0]))
}

// respond answers a request with a whole response, of which HEAD gets the head, and ends the
// conn.
func (l *loop) respond(c *conn, req *httphead.Request, response []byte) {
	if string(req.Method) == "HEAD" {
		response = httphead.WithoutBody(response)
	}
	l.closeWith(c, causeHTTP, response)
}

// closeWith writes the last bytes to a conn and awaits its end.
func (l *loop) closeWith(c *conn, why cause, out []byte) {
	c.cause = why
	if l.write(c, out) != gone {
		l.leave(c)
	}
}

// leave waits for the peer to close, after our last word was written. Our side of
// the connection is closed behind it, so that even a peer that knows nothing of close
// frames sees the end.
func (l *loop) leave(c *conn) {
	c.stage = leaving
	l.shed(c)
	c.dec = wsproto.Decoder{}
	limitLeaving(int(c.fd))
	l.shard.Closing(c.id)
	if l.backlog(c) == 0 {
		shutdownWrite(int(c.fd))
	}
}

// drop closes a conn's socket now.
func (l *loop) drop(c *conn) {
	// The error says that closing the descriptor failed, of which nothing follows.
	_ = c.gc.EventLoop().Close(c.gc)
}

// written says what became of bytes that were to be written.
type written uint8

const (
	sent   written = iota // The socket has taken all there was.
	joined                // Some of them are in the conn's backlog.
	gone                  // The write has failed and closed the conn, which is forgotten.
)

// write hands bytes to the socket. Only what that does not take at once goes by way of
// gnet, which keeps it and writes it when the socket is ready.
func (l *loop) write(c *conn, p []byte) written {
	if len(p) == 0 {
		return sent
	}
	l.counts.Loop[BytesOut] += uint64(len(p))
	if !c.behind {
		n := send(c.fd, p)
		if n == len(p) {
			return sent
		}
		p = p[n:]
		c.behind = true
	}
	l.shard.Joined(c.id, len(p)) // Before, as a write that fails ends the conn inside.
	_, _ = c.gc.Write(p)
	switch {
	case c.gc == nil:
		return gone
	case l.backlog(c) > 0:
		return joined
	}
	return sent
}

// backlog is how many bytes of what was written the socket has not taken yet.
func (l *loop) backlog(c *conn) int {
	if !c.behind {
		return 0
	}
	n := c.gc.OutboundBuffered()
	c.behind = n > 0
	return n
}

// Write, Backlog and Prefix implement [fanout.Sink], as those below do. A conn that is
// talking was let in by the guard; where the last word is out, the peer may see the end.
func (l *loop) Write(id fanout.ConnID, p []byte)     { l.write(l.conn(id), p) }
func (l *loop) Backlog(id fanout.ConnID) int         { return l.backlog(l.conn(id)) }
func (l *loop) Prefix(id fanout.ConnID) guard.Prefix { return l.conn(id).prefix }

// Acked implements [fanout.Sink]. The kernel is asked some time after since was measured, so it
// gets a second more: who died in that one is found the next time.
func (l *loop) Acked(id fanout.ConnID, since time.Duration) bool {
	return ackedWithin(int(l.conn(id).fd), since+time.Second)
}

// Drained implements [fanout.Sink].
func (l *loop) Drained(id fanout.ConnID) { shutdownWrite(int(l.conn(id).fd)) }

// Evict implements [fanout.Sink].
func (l *loop) Evict(id fanout.ConnID, r fanout.Reason) {
	c := l.conn(id)
	l.remember(c)
	if c.cause == 0 {
		c.cause = cause(r)
	}
	switch {
	case r.Hard():
		_ = c.gc.SetLinger(0) // A reset, which also drops what the kernel holds.
		l.drop(c)
	case c.stage == asking:
		l.endAsking(c, r)
	case c.stage != talking && c.stage != streaming:
		l.drop(c)
	case r == fanout.Operator:
		l.closeWith(c, c.cause, l.shard.ByeWith(id, l.bye.Code, l.bye.Reason, l.bye.Retry, l.out[:0]))
	default:
		l.closeWith(c, c.cause, l.shard.Bye(id, r, l.retryMS(r), l.out[:0]))
	}
}

// drainRetry is the most that bye of a drain advises to wait. Each conn has a moment of its own
// in the drain, which spreads them: a longer wait would only keep clients without ticks where
// another edge is there for them.
const drainRetry = time.Second

// retryMS advises when to come back, spread so that those who are sent away together
// do not come back together. 0 is no advice.
func (l *loop) retryMS(r fanout.Reason) int {
	switch r {
	case fanout.Drain:
		return 1 + l.rng.IntN(int(drainRetry.Milliseconds()))
	case fanout.NoPong, fanout.Panic:
		return 500 + l.rng.IntN(1500)
	}
	return 0
}

func (l *loop) debug() bool {
	return l.server.cfg.Log.Enabled(context.Background(), slog.LevelDebug)
}

func (l *loop) logEnd(c *conn, err error) {
	if !l.debug() {
		return
	}
	detail := ""
	if err != nil && !errors.Is(err, io.EOF) {
		detail = err.Error()
	}
	identity := c.identity()
	l.server.cfg.Log.Debug("connection closed", "conn_id", identity.Conn, "user", identity.User, "remote", identity.Remote,
		"close_reason", c.cause.String(), "lag", l.shard.Lag(), "error", detail)
}
