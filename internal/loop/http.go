package loop

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"tickedge/internal/httphead"
)

func pageResponse(html string) []byte {
	// The page's own inline script and style, this host, and nothing else.
	csp := "default-src 'none'; script-src " + inlineHash(html, "script") + "; style-src " + inlineHash(html, "style") +
		"; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return httphead.AppendResponse(nil, 200, "text/html; charset=utf-8",
		"Content-Security-Policy: "+csp+"\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-cache\r\n", html)
}

// inlineHash returns the CSP source that allows the page's one inline element of a
// kind (CSP Level 3, section 2.3.1), or 'none' if it has none.
func inlineHash(html, element string) string {
	_, text, ok1 := strings.Cut(html, "<"+element+">")
	text, _, ok2 := strings.Cut(text, "</"+element+">")
	if !ok1 || !ok2 {
		return "'none'"
	}
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// fullResponse is for connections that find no room even to wait for an answer.
var fullResponse = (&httphead.Refusal{
	Status: 503, Reason: "too many connections, try again later", Header: "Retry-After: 5\r\n",
}).Append(nil)

// whyRefused is the answer to a connection that is refused whatever it asks for.
func (l *loop) whyRefused(c *conn) *httphead.Refusal {
	if c.more != nil && c.more.refusal != nil {
		return c.more.refusal
	}
	return l.tooMany()
}

// tooMany is the answer to connections above the maximum, and to those that come
// while the edge goes down. The advice is spread over some seconds.
func (l *loop) tooMany() *httphead.Refusal {
	reason := "too many connections, try again later"
	if l.server.draining.Load() {
		reason = "going down, try again later"
	}
	return &httphead.Refusal{Status: 503, Reason: reason, Header: retryAfter[l.rng.IntN(len(retryAfter))]}
}

var retryAfter = [...]string{"Retry-After: 2\r\n", "Retry-After: 3\r\n", "Retry-After: 4\r\n", "Retry-After: 5\r\n", "Retry-After: 6\r\n"}

// otherPath answers a request for something else than the WebSocket.
func (l *loop) otherPath(c *conn, req *httphead.Request) {
	if string(req.Path) != "/" || l.server.page == nil {
		l.refuse(c, &httphead.Refusal{Status: 404, Reason: "not found: the WebSocket is at /ws"})
		return
	}
	switch string(req.Method) {
	case "GET":
		l.counts.pages++
		l.closeWith(c, causeHTTP, l.server.page)
	case "HEAD":
		head, _, _ := bytes.Cut(l.server.page, []byte("\r\n\r\n"))
		l.counts.pages++
		l.closeWith(c, causeHTTP, append(append(l.out[:0], head...), "\r\n\r\n"...))
	default:
		l.refuse(c, &httphead.Refusal{Status: 405, Reason: "the page is read with GET", Header: "Allow: GET, HEAD\r\n"})
	}
}
