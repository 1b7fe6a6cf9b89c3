package loop

import (
	"bytes"

	"tickedge/internal/httphead"
)

// route answers a whole request: it makes the conn one of another stage, or says the last
// word to it. rest is what has come behind the request's head.
type route func(l *loop, c *conn, req httphead.Request, rest []byte)

// routes are by the path. That of "" answers all other paths.
type routes map[string]route

var (
	edgeRoutes = routes{"/ws": (*loop).webSocket, "/sse": (*loop).eventStream, "": (*loop).page}
	echoRoutes = routes{"": (*loop).echo}
)

func (r routes) find(path []byte) route {
	if answer, ok := r[string(path)]; ok {
		return answer
	}
	return r[""]
}

// handshake takes bytes of a request head. A whole one goes to its route, unless the conn
// is refused whatever it asks for.
func (l *loop) handshake(c *conn, in []byte) {
	in, seen := c.collect(in)
	size, refusal := httphead.Head(in, seen)
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
	switch {
	case refusal != nil:
	case !l.introduce(c, req.Forwarded):
		l.part(c)
		return
	case c.refuse:
		refusal = l.whyRefused(c)
	}
	if refusal != nil {
		l.refuse(c, refusal)
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
	page, ok := l.server.cfg.Pages[string(req.Path)]
	switch method := string(req.Method); {
	case !ok:
		l.refuse(c, &httphead.Refusal{Status: 404, Reason: "not found: the WebSocket is at /ws, events are at /sse"})
	case method == "GET":
		l.counts.Loop[Pages]++
		l.closeWith(c, causeHTTP, page)
	case method == "HEAD":
		head, _, _ := bytes.Cut(page, []byte("\r\n\r\n"))
		l.counts.Loop[Pages]++
		l.closeWith(c, causeHTTP, append(append(l.out[:0], head...), "\r\n\r\n"...))
	default:
		l.refuse(c, &httphead.Refusal{Status: 405, Reason: "the page is read with GET", Header: "Allow: GET, HEAD\r\n"})
	}
}

// fullResponse is for connections that find no room even to wait for an answer.
var fullResponse = (&httphead.Refusal{
	Status: 503, Reason: "too many connections, try again later", Header: "Retry-After: 5\r\n",
}).Append(nil)

// whyRefused is the answer to a connection that is refused whatever it asks for: by the
// guard, or as it is above the maximum or comes while the edge goes down. The advice of
// these is spread over some seconds.
func (l *loop) whyRefused(c *conn) *httphead.Refusal {
	if c.more != nil && c.more.refusal != nil {
		return c.more.refusal
	}
	reason := "too many connections, try again later"
	if l.server.draining.Load() {
		reason = "going down, try again later"
	}
	return &httphead.Refusal{Status: 503, Reason: reason, Header: retryAfter[l.rng.IntN(len(retryAfter))]}
}

var retryAfter = [...]string{"Retry-After: 2\r\n", "Retry-After: 3\r\n", "Retry-After: 4\r\n", "Retry-After: 5\r\n", "Retry-After: 6\r\n"}

var tooManyReads = &httphead.Refusal{Status: 400, Reason: "the request head comes in too many parts"}
