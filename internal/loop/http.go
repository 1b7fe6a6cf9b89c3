package loop

import (
	"bytes"

	"tickedge/internal/wsproto"
)

// pageCSP lets the page run its own inline script and style and talk to this host,
// and nothing else.
const pageCSP = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func pageResponse(html string) []byte {
	return wsproto.AppendResponse(nil, 200, "text/html; charset=utf-8",
		"Content-Security-Policy: "+pageCSP+"\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-cache\r\n", html)
}

// fullResponse is for connections that find no room even to wait for an answer.
var fullResponse = (&wsproto.Refusal{
	Status: 503, Reason: "too many connections, try again later", Header: "Retry-After: 5\r\n",
}).Append(nil)

// tooMany is the answer to connections above the maximum, and to those that come
// while the edge goes down. The advice is spread over some seconds.
func (l *loop) tooMany() *wsproto.Refusal {
	reason := "too many connections, try again later"
	if l.server.draining.Load() {
		reason = "going down, try again later"
	}
	return &wsproto.Refusal{Status: 503, Reason: reason, Header: retryAfter[l.rng.IntN(len(retryAfter))]}
}

var retryAfter = [...]string{"Retry-After: 2\r\n", "Retry-After: 3\r\n", "Retry-After: 4\r\n", "Retry-After: 5\r\n", "Retry-After: 6\r\n"}

// otherPath answers a request for something else than the WebSocket.
func (l *loop) otherPath(c *conn, req *wsproto.Request) {
	if req.Path != "/" || l.server.page == nil {
		l.refuse(c, &wsproto.Refusal{Status: 404, Reason: "not found: the WebSocket is at /ws"})
		return
	}
	switch req.Method {
	case "GET":
		l.counts.pages++
		l.closeWith(c, causeHTTP, l.server.page)
	case "HEAD":
		head, _, _ := bytes.Cut(l.server.page, []byte("\r\n\r\n"))
		l.counts.pages++
		l.closeWith(c, causeHTTP, append(append(l.out[:0], head...), "\r\n\r\n"...))
	default:
		l.refuse(c, &wsproto.Refusal{Status: 405, Reason: "the page is read with GET", Header: "Allow: GET, HEAD\r\n"})
	}
}
