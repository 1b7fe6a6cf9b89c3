// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"strconv"
	"time"

	"tickedge/internal/httphead"
)

// route answers a whole request: it makes the conn one of another stage, or says the last
// word to it. rest is what has come behind the request's head.
type route func(l *loop, c *conn, req httphead.Request, rest []byte)

// routes are by the path, in its clean form. That of "" answers all other paths.
type routes map[string]route

var echoRoutes = routes{"": (*loop).echo}

// edgeRoutes are those of the edge.
func edgeRoutes(cfg *Config) routes {
	r := routes{"": (*loop).elsewhere, EventsPath: (*loop).eventStream}
	for _, path := range cfg.Paths {
		r[path] = (*loop).webSocket
	}
	return r
}

func (r routes) find(path []byte) route {
	if answer, ok := r[string(httphead.CleanPath(path))]; ok {
		return answer
	}
	return r[""]
}

// handshake takes bytes of a request head. A whole one goes to its route, unless the conn
// is refused whatever it asks for.
func (l *loop) handshake(c *conn, in []byte) {
	in, seen := c.collect(in)
	size, refusal := httphead.Head(in, seen, l.server.cfg.MaxHead<<10)
	if size == 0 && refusal == nil {
		if c.keep(in) {
			return
		}
		refusal = tooManyReads
	}
	var req httphead.Request
	if refusal == nil {
		req, refusal = httphead.ParseRequest(in[:size])
	}
	if refusal != nil && httphead.BeginsWithHEAD(in) {
		req.Method = []byte("HEAD")
	}
	switch {
	case refusal != nil:
	case !l.introduce(c, req.Forwarded):
		l.part(c)
		return
	case l.isHealthCheck(&req): // It is answered whether or not there is room for clients.
		l.health(c, &req)
		return
	default:
		if refusal = req.CheckHost(); refusal == nil && c.refuse {
			refusal = l.whyRefused(c)
		}
	}
	if refusal != nil {
		if refusal.Status == 431 {
			l.away.client(byHead, c.client(), "reason", refusal.Reason)
		}
		l.refuse(c, &req, refusal)
		return
	}
	l.server.cfg.routes.find(req.Path)(l, c, req, in[size:])
}

// headReads is how many reads a request head may come in, with the PROXY header before
// it. Most come in one, and one of some hundred bytes may still come byte by byte.
const headReads = 1024

// gather returns what has come of a header: in, and what was kept before it.
func (c *conn) collect(in []byte) (all []byte, seen int) {
	if c.more == nil || c.more.head == nil {
		return in, 0
	}
	seen = len(c.more.head)
	c.more.head = append(c.more.head, in...)
	return c.more.head, seen
}

// keep keeps what gather has returned. It is at most the longest header and one read:
// whoever looks at it refuses what is longer. It reports false if the header has come in too
// many reads.
func (c *conn) keep(all []byte) bool {
	more := c.details()
	if more.head == nil {
		more.head = bytes.Clone(all)
	}
	more.reads++
	return more.reads <= headReads
}

// page answers with the page that the path has, if any.
func (l *loop) page(c *conn, req httphead.Request, _ []byte) {
	page, ok := l.server.cfg.Pages[string(httphead.CleanPath(req.Path))]
	switch method := string(req.Method); {
	case !ok:
		l.refuse(c, &req, l.server.notFound)
	case method == "GET" || method == "HEAD":
		l.counts.Loop[Pages]++
		l.respond(c, &req, page.Answer(&req))
	default:
		l.refuse(c, &req, &httphead.Refusal{Status: 405, Reason: "the page is read with GET", Header: "Allow: GET, HEAD\r\n"})
	}
}

// whyRefused is the answer to a connection that is refused whatever it asks for: by the
// guard, or for want of room.
func (l *loop) whyRefused(c *conn) *httphead.Refusal {
	if c.more != nil && c.more.refusal != nil {
		return c.more.refusal
	}
	return l.unavailable()
}

// unavailable is the answer to connections above the maximum, and to those that come while the
// edge goes down.
func (l *loop) unavailable() *httphead.Refusal {
	reason := "too many connections, try again later"
	if l.shutting.shut {
		reason = "going down, try again later"
	}
	return &httphead.Refusal{Status: 503, Reason: reason, Header: l.retryAfter()}
}

// retryAfter is the header line of a 503 that says when to come back (RFC 9110, 10.2.3):
// after 1 to RetrySpread seconds, all of them alike often.
func (l *loop) retryAfter() string {
	seconds := (l.set.retrySpread + time.Second - 1) / time.Second
	return "Retry-After: " + strconv.Itoa(1+l.rng.IntN(max(1, int(seconds)))) + "\r\n"
}

var tooManyReads = &httphead.Refusal{Status: 400, Reason: "the request head comes in too many parts"}
