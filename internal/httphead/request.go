// SPDX-License-Identifier: Apache-2.0

// Package httphead is HTTP/1.1 as far as the edge needs it (RFC 9110 and 9112): the head of
// a request and its query, read strictly, and responses. Bytes in, bytes out: it has no
// socket and no clock, and what becomes of a request is decided by its caller.
//
//	request.go   where a head ends, and what it says
//	query.go     what a client asks for in the query
//	path.go      which paths are the same
//	response.go  responses and refusals
//	page.go      pages, in the forms that a request may get
//	text.go      the small words of HTTP
package httphead

import (
	"bytes"
	"net/url"
	"strconv"

	"golang.org/x/net/http/httpguts"
)

// fieldsMax bounds the number of header fields. Browsers send about 15.
const fieldsMax = 100

// Request is what the edge wants to know of a request head. The slices point into
// the bytes that it was parsed from: nothing of a usual head is copied.
type Request struct {
	Method []byte
	Path   []byte // As it came, see [CleanPath].
	Query  []byte // Raw, without the question mark. It may hold a token: never log it.
	Host   []byte // Empty if there is none, see [Request.CheckHost].
	Old    bool   // It is of HTTP/1.0, and so opens no WebSocket.

	Origin        []byte   // Empty if there is none.
	Authorization []byte   // Empty if there is none. Never log it.
	Forwarded     []string // The values of X-Forwarded-For, in their order.

	Upgrade Upgrade

	hosts, origins, authorizations int // Fields of these names.

	fields []byte // The lines of all header fields, for what only few requests are asked for.
	body   bool   // It announces a body.
}

// Upgrade is what a request says of a WebSocket, unchecked (RFC 6455, 4.1).
type Upgrade struct {
	WebSocket  bool // Upgrade holds the token websocket.
	Connection bool // Connection holds the token upgrade.
	Keys       int  // Fields with a key.
	Key        []byte
	Versions   int // Fields with a version.
	Version    []byte
	Protocols  [][]byte // The values of Sec-WebSocket-Protocol. One may hold a token: never log them.
}

var (
	headEnd = []byte("\r\n\r\n")
	lineEnd = headEnd[:2]
)

// Head looks for the end of a request head in b, of which the first seen bytes were
// looked at before. It returns the head's size with its empty line, 0 if more bytes
// are needed, or a refusal if what is there can't become a head any more: it has more than
// most bytes, is no HTTP (a TLS hello, say), or has a bare line feed. One empty line may
// stand before the request line, and is a part of the head (RFC 9112, 2.2).
func Head(b []byte, seen, most int) (size int, r *Refusal) {
	if r := begin(b); r != nil {
		return 0, r
	}
	size = -1
	if i := bytes.Index(b[max(0, seen-3):], headEnd); i >= 0 {
		size = max(0, seen-3) + i + 4
	}
	look := b[:min(len(b), most)]
	if size > 0 {
		look = b[:min(size, most)]
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
	if size > most || size < 0 && len(b) >= most {
		return 0, refuse(431, "the request head is longer than "+strconv.Itoa(most>>10)+" KiB")
	}
	return max(0, size), nil
}

// begin refuses what begins like nothing that is HTTP.
func begin(b []byte) *Refusal {
	if len(b) > 0 && (b[0] == 0x16 || b[0] >= 0x80) { // RFC 8446, 5.1, and SSL 2.
		return refuse(400, "this is TLS, and the port speaks HTTP/1.1 without it: use ws:// or http://, or a proxy that ends TLS")
	}
	line := bytes.TrimPrefix(b, lineEnd)
	switch {
	case len(b) == 0, len(line) == 0, len(b) == 1 && b[0] == '\r', line[0] >= 'A' && line[0] <= 'Z':
		return nil
	}
	return refuse(400, "not an HTTP/1.1 request")
}

// BeginsWithHEAD reports whether a request that begins with b has the method HEAD. It is for
// heads that can't be parsed: an answer to HEAD has no body, whatever it says.
func BeginsWithHEAD(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimPrefix(b, lineEnd), []byte("HEAD "))
}

// ParseRequest parses one whole request head, its empty line included, strictly by
// RFC 9112: what two readers might read in two ways is refused.
func ParseRequest(head []byte) (req Request, r *Refusal) {
	line, fields, ok := bytes.Cut(bytes.TrimPrefix(head, lineEnd), lineEnd)
	if !ok {
		return req, refuse(400, "no request line")
	}
	req.fields = fields
	target, r := req.requestLine(line)
	if r != nil {
		return req, r
	}
	for n := 0; ; n++ {
		var field []byte
		field, fields, ok = bytes.Cut(fields, lineEnd)
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
		req.note(name, value)
	}
	if req.hosts > 1 || !httpguts.ValidHostHeader(string(req.Host)) {
		return req, refuse(400, badHost)
	}
	// RFC 6454, 7.3, and RFC 9110, 5.3. Of two, a proxy may have looked at the other.
	if req.origins > 1 || req.authorizations > 1 {
		return req, refuse(400, "a request has at most one Origin and one Authorization field")
	}
	named := len(req.Host) > 0
	if r := req.target(target); r != nil {
		return req, r
	}
	if !named { // A target in absolute form does not make up for it.
		req.Host = nil
	}
	if req.body {
		return req, refuse(400, "a request with a body is not taken here")
	}
	return req, nil
}

// note keeps a header field, if it is one that matters here.
func (req *Request) note(name, value []byte) {
	switch {
	case is(name, "host"):
		req.hosts++
		req.Host = value
	case is(name, "upgrade"):
		req.Upgrade.WebSocket = req.Upgrade.WebSocket || hasToken(value, "websocket")
	case is(name, "connection"):
		req.Upgrade.Connection = req.Upgrade.Connection || hasToken(value, "upgrade")
	case is(name, "sec-websocket-key"):
		req.Upgrade.Keys++
		req.Upgrade.Key = value
	case is(name, "sec-websocket-version"):
		req.Upgrade.Versions++
		req.Upgrade.Version = value
	case is(name, "sec-websocket-protocol"):
		req.Upgrade.Protocols = append(req.Upgrade.Protocols, value)
	case is(name, "origin"):
		req.origins++
		req.Origin = value
	case is(name, "authorization"):
		req.authorizations++
		req.Authorization = value
	case is(name, "x-forwarded-for"):
		req.Forwarded = append(req.Forwarded, string(value))
	case is(name, "content-length"):
		req.body = req.body || string(value) != "0"
	case is(name, "transfer-encoding"):
		req.body = true
	}
}

const badHost = "a request has exactly one valid Host field"

// CheckHost refuses a request that does not say for which host it is (RFC 9112, 3.2). Those
// of HTTP/1.0 need not.
func (req *Request) CheckHost() *Refusal {
	if len(req.Host) == 0 && !req.Old {
		return refuse(400, badHost)
	}
	return nil
}

// requestLine parses the first line (RFC 9112, 3). A query may hold bytes beyond ASCII, which RFC 3986 would have escaped.
func (req *Request) requestLine(line []byte) (target []byte, r *Refusal) {
	method, rest, ok1 := bytes.Cut(line, blank)
	target, version, ok2 := bytes.Cut(rest, blank)
	switch {
	case string(method) == "PROXY":
		return nil, refuse(400, "this is a PROXY header, and the edge does not expect one (-proxy-protocol)")
	case !ok1 || !ok2 || !isToken(method) || len(target) == 0:
		return nil, refuse(400, "malformed request line")
	}
	req.Method = method
	query := false
	for _, c := range target {
		query = query || c == '?'
		// Scripts write queries as they stand, in UTF-8. Browsers escape them.
		if c <= ' ' || c == 0x7f || c >= 0x80 && !query {
			return nil, refuse(400, "malformed request target")
		}
	}
	switch {
	case string(version) == "HTTP/1.1":
	case string(version) == "HTTP/1.0":
		req.Old = true
	case len(version) == len("HTTP/2.0") && string(version[:len("HTTP/")]) == "HTTP/":
		return nil, refuse(505, "HTTP/1.1 is needed: a proxy in between has to speak it to the edge")
	default:
		return nil, refuse(400, "malformed request line")
	}
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
	if err != nil || u.Host == "" {
		return refuse(400, "malformed request target")
	}
	switch u.Scheme {
	case "http", "https", "ws", "wss":
	default:
		return refuse(400, "malformed request target")
	}
	// RFC 9112, 3.2.2: the target's host goes before the Host field.
	req.Host, req.Path, req.Query = []byte(u.Host), []byte(u.EscapedPath()), []byte(u.RawQuery)
	if len(req.Path) == 0 {
		req.Path = []byte{'/'}
	}
	return nil
}
