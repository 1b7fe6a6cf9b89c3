package wsproto

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"net/url"
	"strconv"

	"golang.org/x/net/http/httpguts"
)

const (
	// HeadMax bounds a request head: its first line and all its header fields.
	// Beyond it the answer is 431.
	HeadMax = 8 << 10
	// fieldsMax bounds the number of header fields. Browsers send about 15.
	fieldsMax = 100
)

// Request is what the edge wants to know of a request head. The slices point into
// the bytes that it was parsed from: nothing of a usual head is copied.
type Request struct {
	Method []byte
	Path   []byte
	Query  []byte // Raw, without the question mark. It may hold a token: never log it.
	Host   []byte

	Origin        []byte   // Empty if there is none.
	Authorization []byte   // Empty if there is none. Never log it.
	Forwarded     []string // The values of X-Forwarded-For, in their order.

	upgrade    bool // Upgrade holds the token websocket.
	connection bool // Connection holds the token upgrade.
	keys       int
	key        []byte
	versions   int
	version    []byte
	body       bool // It announces a body.
}

// Refusal is an HTTP answer that ends the conn. It is also used for pages, which
// end it too.
type Refusal struct {
	Status int
	Reason string // The body: one line that says what is wrong.
	Header string // More header lines, each with its CRLF.
}

func refuse(status int, reason string) *Refusal { return &Refusal{Status: status, Reason: reason} }

// Append appends the refusal as an HTTP/1.1 response (RFC 9112, 4).
func (r *Refusal) Append(dst []byte) []byte {
	return AppendResponse(dst, r.Status, "text/plain; charset=utf-8", r.Header, r.Reason+"\n")
}

var statusText = map[int]string{
	200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 426: "Upgrade Required", 429: "Too Many Requests",
	431: "Request Header Fields Too Large", 503: "Service Unavailable",
	505: "HTTP Version Not Supported",
}

// AppendResponse appends a whole HTTP/1.1 response after which the connection is
// closed. header holds more header lines, each with its CRLF.
func AppendResponse(dst []byte, status int, contentType, header, body string) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, statusText[status]...)
	dst = append(dst, "\r\nContent-Type: "...)
	dst = append(dst, contentType...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n"...)
	dst = append(dst, header...)
	dst = append(dst, "\r\n"...)
	return append(dst, body...)
}

var headEnd = []byte("\r\n\r\n")

// Head looks for the end of a request head in b, of which the first seen bytes were
// looked at before. It returns the head's size with its empty line, 0 if more bytes
// are needed, or a refusal if what is there can't become a head any more: it is too
// long, no HTTP (a TLS hello, say), or has a bare line feed.
func Head(b []byte, seen int) (size int, r *Refusal) {
	if len(b) > 0 && (b[0] < 'A' || b[0] > 'Z') {
		return 0, refuse(400, "not an HTTP/1.1 request (is this TLS on a plain port?)")
	}
	size = -1
	if i := bytes.Index(b[max(0, seen-3):], headEnd); i >= 0 {
		size = max(0, seen-3) + i + 4
	}
	look := b[:min(len(b), HeadMax)]
	if size > 0 {
		look = b[:min(size, HeadMax)]
	}
	for i := max(0, seen-1); ; i++ {
		feed := bytes.IndexByte(look[min(i, len(look)):], '\n')
		if feed < 0 {
			break
		}
		if i += feed; i == 0 || look[i-1] != '\r' {
			return 0, refuse(400, "lines of a request head end in CR LF")
		}
	}
	if size > HeadMax || size < 0 && len(b) >= HeadMax {
		return 0, refuse(431, "the request head is longer than 8 KiB")
	}
	return max(0, size), nil
}

// ParseRequest parses one whole request head, its empty line included, strictly by
// RFC 9112: what two readers might read in two ways is refused.
func ParseRequest(head []byte) (req Request, r *Refusal) {
	line, fields, ok := bytes.Cut(head, headEnd[:2])
	if !ok {
		return req, refuse(400, "no request line")
	}
	target, r := req.requestLine(line)
	if r != nil {
		return req, r
	}
	var hosts, origins, authorizations int
	for n := 0; ; n++ {
		var field []byte
		field, fields, ok = bytes.Cut(fields, headEnd[:2])
		if !ok {
			return req, refuse(400, "the request head is cut off")
		}
		if len(field) == 0 {
			break
		}
		if n == fieldsMax {
			return req, refuse(431, "more than 100 header fields")
		}
		colon := bytes.IndexByte(field, ':')
		// A blank before the colon and a folded line have no valid name either.
		if colon < 0 || !isToken(field[:colon]) {
			return req, refuse(400, "a header field has no valid name")
		}
		name, value := field[:colon], trim(field[colon+1:])
		if !validValue(value) {
			return req, refuse(400, "a header field has a control character")
		}
		switch {
		case is(name, "host"):
			hosts++
			req.Host = value
		case is(name, "upgrade"):
			req.upgrade = req.upgrade || hasToken(value, "websocket")
		case is(name, "connection"):
			req.connection = req.connection || hasToken(value, "upgrade")
		case is(name, "sec-websocket-key"):
			req.keys++
			req.key = value
		case is(name, "sec-websocket-version"):
			req.versions++
			req.version = value
		case is(name, "origin"):
			origins++
			req.Origin = value
		case is(name, "authorization"):
			authorizations++
			req.Authorization = value
		case is(name, "x-forwarded-for"):
			req.Forwarded = append(req.Forwarded, string(value))
		case is(name, "content-length"):
			req.body = req.body || string(value) != "0"
		case is(name, "transfer-encoding"):
			req.body = true
		}
	}
	if hosts != 1 || len(req.Host) == 0 || !httpguts.ValidHostHeader(string(req.Host)) {
		return req, refuse(400, "a request has exactly one valid Host field")
	}
	// RFC 6454, 7.3, and RFC 9110, 5.3. Of two, a proxy may have looked at the other.
	if origins > 1 || authorizations > 1 {
		return req, refuse(400, "a request has at most one Origin and one Authorization field")
	}
	if r := req.target(target); r != nil {
		return req, r
	}
	if req.body {
		return req, refuse(400, "a request with a body is not taken here")
	}
	return req, nil
}

// requestLine parses the first line (RFC 9112, 3).
func (req *Request) requestLine(line []byte) (target []byte, r *Refusal) {
	method, rest, ok1 := bytes.Cut(line, blank)
	target, version, ok2 := bytes.Cut(rest, blank)
	if !ok1 || !ok2 || !isToken(method) || len(target) == 0 {
		return nil, refuse(400, "malformed request line")
	}
	for _, c := range target {
		if c <= ' ' || c >= 0x7f {
			return nil, refuse(400, "malformed request target")
		}
	}
	switch {
	case string(version) == "HTTP/1.1":
	case string(version) == "HTTP/1.0":
		return nil, refuse(400, "HTTP/1.1 is needed (RFC 6455, section 4.1)")
	case len(version) == len("HTTP/2.0") && string(version[:len("HTTP/")]) == "HTTP/":
		return nil, refuse(505, "HTTP/1.1 is needed")
	default:
		return nil, refuse(400, "malformed request line")
	}
	req.Method = method
	return target, nil
}

// target splits the request target, in origin or absolute form (RFC 9112, 3.2).
func (req *Request) target(target []byte) *Refusal {
	if bytes.IndexByte(target, '#') >= 0 {
		return refuse(400, "malformed request target")
	}
	if target[0] != '/' {
		return req.absolute(string(target))
	}
	req.Path, req.Query, _ = bytes.Cut(target, []byte{'?'})
	if !validEscapes(req.Path) {
		return refuse(400, "malformed request target")
	}
	return nil
}

// absolute splits a target in absolute form.
func (req *Request) absolute(target string) *Refusal {
	u, err := url.ParseRequestURI(target)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return refuse(400, "malformed request target")
	}
	// RFC 9112, 3.2.2: the target's host goes before the Host field.
	req.Host, req.Path, req.Query = []byte(u.Host), []byte(u.EscapedPath()), []byte(u.RawQuery)
	if len(req.Path) == 0 {
		req.Path = []byte{'/'}
	}
	return nil
}

// CheckUpgrade checks that the request opens a WebSocket (RFC 6455, 4.2.1).
func (req *Request) CheckUpgrade() *Refusal {
	const more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	switch {
	case string(req.Method) != "GET":
		return &Refusal{405, "a WebSocket is opened with GET", "Allow: GET\r\n"}
	case !req.upgrade || !req.connection:
		return &Refusal{426, "this is a WebSocket address: open it with a WebSocket client", more}
	case req.versions != 1 || string(req.version) != "13":
		return &Refusal{426, "Sec-WebSocket-Version 13 is needed", more}
	case req.keys != 1 || !validKey(req.key):
		return refuse(400, "Sec-WebSocket-Key is not 16 bytes in base64")
	}
	return nil
}

func validKey(key []byte) bool {
	var nonce [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Strict().Decode(nonce[:], key)
	return err == nil && n == 16
}

// acceptGUID is the constant of RFC 6455, section 4.2.2.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// AppendUpgrade appends the 101 response to a request that [Request.CheckUpgrade]
// has passed. No extension and no sub-protocol is ever chosen.
func (req *Request) AppendUpgrade(dst []byte) []byte {
	var in [24 + len(acceptGUID)]byte
	copy(in[copy(in[:], req.key):], acceptGUID)
	sum := sha1.Sum(in[:])
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	return append(dst, "\r\n\r\n"...)
}

// Opening is what a client asks for in the query of its request, to spare a round
// trip: ?topics=AAPL,MSFT&interval=500; and the token of a browser, which can set no
// field: ?token=. Unknown parameters are ignored.
type Opening struct {
	Topics   [][]byte
	Interval int    // Milliseconds, 0 if it is not there.
	Token    []byte // Nil if it is not there. Never log it.
}

// Opening parses the query, an application/x-www-form-urlencoded one. What it returns may
// point into the request's bytes.
func (req *Request) Opening() (o Opening, r *Refusal) {
	intervals, tokens := 0, 0
	for rest := req.Query; len(rest) > 0; {
		var pair []byte
		pair, rest, _ = bytes.Cut(rest, []byte{'&'})
		key, value, _ := bytes.Cut(pair, []byte{'='})
		key, ok1 := unescape(key)
		value, ok2 := unescape(value)
		if !ok1 || !ok2 || bytes.IndexByte(pair, ';') >= 0 {
			return o, refuse(400, "malformed query")
		}
		switch string(key) {
		case "topics":
			for more := true; more; {
				var topic []byte
				if topic, value, more = bytes.Cut(value, comma); len(topic) > 0 {
					o.Topics = append(o.Topics, topic)
				}
			}
		case "interval":
			intervals++
			ms, err := strconv.Atoi(string(value))
			if err != nil || intervals > 1 || !ValidInterval(ms) {
				return o, refuse(400, "interval is a whole number of milliseconds from 100 to 60000")
			}
			o.Interval = ms
		case "token":
			tokens++
			// RFC 6750, 2: a token comes in one way only.
			if tokens > 1 || len(req.Authorization) > 0 {
				return o, refuse(400, "a token comes once: in Authorization or as ?token=")
			}
			o.Token = value
		}
	}
	return o, nil
}
