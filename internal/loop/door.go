package loop

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/httphead"
	"tickedge/internal/proxyproto"
	"tickedge/internal/wsproto"
)

// What a connection passes on its way in: the maximum (OnOpen), the PROXY header, the
// guard, the request head, its Origin, the rules of an upgrade, its token. What costs
// little stands before what costs more, and the guard before everything that a client
// could have us do again and again.

// peerOf is the far end of a connection's socket: a client or a proxy.
func peerOf(c *conn) netip.Addr {
	tcp, ok := c.gc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

// client is who a conn is from, as far as that is known.
func (c *conn) client() netip.Addr {
	if c.more != nil && c.more.addr.IsValid() {
		return c.more.addr
	}
	return peerOf(c)
}

// remote is the same for the log, with the port where that is the client's.
func (c *conn) remote() string {
	if c.more != nil && c.more.addr.IsValid() {
		return c.more.addr.String()
	}
	return c.gc.RemoteAddr().String()
}

// meet has the guard look at a conn, if it is not from a trusted proxy: whom that one
// speaks for is in the request head. It reports false if the conn is to be closed.
func (l *loop) meet(c *conn) bool {
	if c.refuse || l.server.cfg.Trusted.Has(c.client()) {
		return true
	}
	return l.enter(c)
}

// enter asks the guard for room for a conn whose client is known now. A conn that gets
// none is told so when its request head is there. enter reports false if there is no
// room even for waiting: then it has been told, and is to be closed.
func (l *loop) enter(c *conn) bool {
	source := guard.SourceOf(c.client())
	verdict := l.server.guard.Enter(source, time.Now())
	if verdict.Outcome == guard.OK {
		c.source = source
		return true
	}
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
	in, _ = c.gather(in)
	header, size, err := proxyproto.Parse(in)
	if err != nil {
		if l.debug() {
			l.server.cfg.Log.Debug("no PROXY header", "conn_id", connName(c.name), "remote", c.remote(), "error", err)
		}
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

// examine decides about a request for the WebSocket.
func (l *loop) examine(req *httphead.Request) (o httphead.Opening, claims auth.Claims, r *httphead.Refusal) {
	if !l.server.cfg.Origins.Allow(req.Origin, req.Host) {
		return o, claims, &httphead.Refusal{Status: 403, Reason: "this page (Origin) may not connect here"}
	}
	if r = wsproto.CheckUpgrade(req); r != nil {
		return o, claims, r
	}
	if o, r = req.Opening(wsproto.ValidInterval); r != nil || l.server.cfg.Verifier == nil {
		return o, claims, r
	}
	token := o.Token
	if bearer, ok := auth.Bearer(req.Authorization); ok {
		token = bearer
	}
	claims, err := l.server.cfg.Verifier.Verify(token, time.Now())
	if err != nil {
		why := l.tokenRefused(err)
		return o, claims, &httphead.Refusal{Status: why.Status(), Reason: why.Error(), Header: why.Header()}
	}
	return o, claims, nil
}

// tokenRefused counts an error of the verifier.
func (l *loop) tokenRefused(err error) auth.Reason {
	why := err.(auth.Reason) // See auth.Verifier.Verify.
	l.counts.tokens[why]++
	return why
}

// authorize takes a newer token of a conn, or says why the old one stays. Where no token is
// asked for, any is good.
func (l *loop) authorize(c *conn, token []byte) *wsproto.CommandError {
	if l.server.cfg.Verifier == nil {
		return nil
	}
	claims, err := l.server.cfg.Verifier.Verify(token, time.Now())
	if err != nil {
		why := l.tokenRefused(err)
		return &wsproto.CommandError{Code: why.Status(), Reason: why.Error()}
	}
	if claims.User != c.more.user {
		l.counts.tokens[otherUser]++
		return &wsproto.CommandError{Code: wsproto.ErrToken, Reason: "the token is of another user: open another connection for it"}
	}
	l.renew(c, &claims)
	return nil
}

// carryOut carries out a command, as far as its rate and its token allow. The conn is to be
// evicted for the reason why, if there is one.
func (l *loop) carryOut(c *conn, cmd *wsproto.Command, out []byte) (_ []byte, why fanout.Reason) {
	out, ok, why := l.shard.Charge(c.id, cmd, out)
	if !ok {
		return out, why
	}
	rights := fanout.Rights{Existing: l.server.cfg.Existing}
	if cmd.Op == wsproto.OpAuth {
		rights.Refusal = l.authorize(c, cmd.Token)
	}
	var allowed *auth.Patterns // All.
	if c.more != nil {
		allowed = c.more.topics
	}
	rights.Allowed = allowed
	return l.shard.Command(c.id, cmd, rights, out), 0
}

// Source implements [fanout.Sink]. A conn that is talking was let in by the guard.
func (l *loop) Source(id fanout.ConnID) guard.Source { return l.conn(id).source }
