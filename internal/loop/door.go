// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/panjf2000/gnet/v2"

	"tickedge/internal/guard"
	"tickedge/internal/httphead"
	"tickedge/internal/proxyproto"
)

// What a connection passes on its way in: the maximum (OnOpen), the PROXY header, the
// guard, the request head, and what its route asks for (websocket.go). What costs
// little stands before what costs more, and the guard before everything that a client
// could have us do again and again.

// client is the address of a conn's client, as far as that is known: that of the far end of
// its socket may be a proxy's.
func (c *conn) client() netip.Addr {
	if c.more != nil && c.more.addr.IsValid() {
		return c.more.addr
	}
	return addrOf(c.gc)
}

// addrOf is the address of the far end of a socket.
func addrOf(gc gnet.Conn) (addr netip.Addr) {
	if tcp, ok := gc.RemoteAddr().(*net.TCPAddr); ok {
		addr = tcp.AddrPort().Addr().Unmap()
	}
	return addr
}

// remote is the same for the log, with the port where that is the client's.
func (c *conn) remote() string {
	if c.more != nil && c.more.addr.IsValid() {
		return c.more.addr.String()
	}
	return c.gc.RemoteAddr().String()
}

// meet has the guard look at a conn, if it is not from a trusted proxy: for whom that one
// speaks is in the request head. It reports false if the conn is to be closed.
func (l *loop) meet(c *conn) bool {
	if c.refuse || l.server.cfg.Trusted.Has(c.client()) {
		return true
	}
	return l.enter(c)
}

// introduce has the guard look at a conn whose trusted proxy has said now for whom it
// speaks. It reports false if the conn is to be closed.
func (l *loop) introduce(c *conn, forwarded []string) bool {
	if c.refuse || c.prefix != 0 {
		return true
	}
	if addr := l.server.cfg.Trusted.ClientAddr(c.client(), forwarded); addr != c.client() {
		c.details().addr = addr
	}
	return l.enter(c)
}

// enter asks the guard for room for a conn whose client is known now. A conn that gets
// none is told so when its request head is there. enter reports false if there is no
// room even for waiting: then it has been told, and is to be closed.
func (l *loop) enter(c *conn) bool {
	prefix := guard.PrefixOf(c.client())
	verdict := l.server.guard.Enter(prefix, time.Now())
	if verdict.Outcome == guard.OK {
		c.prefix = prefix
		return true
	}
	l.away.client(turnedBy(verdict.Outcome), c.client())
	refusal := limited(verdict)
	if l.server.demote() {
		c.refuse = true
		c.details().refusal = refusal
		return true
	}
	l.counts.refuse(refusal.Status)
	c.cause = causeHTTP
	l.write(c, refusal.Append(l.out[:0]))
	return false
}

// turnedBy is what the log says of a conn that the guard has refused.
func turnedBy(o guard.Outcome) turned {
	switch o {
	case guard.TooManyConns:
		return byConnsPerPrefix
	case guard.TooFast:
		return byRatePerPrefix
	}
	return byRate
}

// limited is the answer to a conn that the guard has refused.
func limited(v guard.Verdict) *httphead.Refusal {
	r := &httphead.Refusal{Status: 429, Header: "Retry-After: " + strconv.Itoa(v.RetryAfter) + "\r\n"}
	switch v.Outcome {
	case guard.TooManyConns:
		r.Reason = "too many connections from your address, close some or try again later"
	case guard.TooFast:
		r.Reason = "too many new connections from your address, try again later"
	default:
		r.Status, r.Reason = 503, "too many new connections, try again later"
	}
	return r
}

// proxied takes bytes of the header that a proxy puts before a connection.
func (l *loop) proxied(c *conn, in []byte) {
	in, _ = c.collect(in)
	header, size, err := proxyproto.Parse(in)
	if err != nil {
		if l.debug() {
			l.server.cfg.Log.Debug("no PROXY header", "conn_id", connName(c.name), "remote", c.remote(), "error", err)
		}
		l.away.client(byProxyHeader, c.client(), "error", err)
		c.cause = causeProxy
		l.drop(c)
		return
	}
	if size == 0 {
		c.keep(in) // Fewer than proxyproto.HeaderMax.
		return
	}
	rest := in[size:]
	c.stage = handshaking
	more := c.details()
	more.head = nil
	if !header.Local {
		more.addr = header.Source.Addr()
	}
	if !l.meet(c) {
		l.part(c)
		return
	}
	if len(rest) > 0 {
		l.handshake(c, rest)
	}
}

// part closes a conn that has been told why, if the telling has not closed it.
func (l *loop) part(c *conn) {
	if c.gc != nil {
		l.drop(c)
	}
}
