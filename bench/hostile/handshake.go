// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"tickedge/bench/internal/wire"
)

// Fields of a good request.
const (
	hostField       = "Host: edge.example"
	upgradeField    = "Upgrade: websocket"
	connectionField = "Connection: Upgrade"
	versionField    = "Sec-WebSocket-Version: 13"
	keyField        = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
)

var goodFields = []string{hostField, upgradeField, connectionField, versionField, keyField}

const goodLine = "GET /ws HTTP/1.1"

func head(line string, fields ...string) string {
	return line + "\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
}

// replaced is a good request with other fields in place of one. None takes it away.
func replaced(field string, by ...string) string {
	i := slices.Index(goodFields, field)
	return head(goodLine, slices.Replace(slices.Clone(goodFields), i, i+1, by...)...)
}

// with is a good request with more fields.
func with(fields ...string) string {
	return head(goodLine, append(slices.Clone(goodFields), fields...)...)
}

const (
	rfcHTTP = "RFC 9112, "
	welcome = "101, goes on" // What a good request leads to.
)

func handshakeInputs(p *plan) []input {
	var all inputs
	all.fields()
	all.bodies()
	all.requestLines()
	all.sizes()
	all.manyRequests(p)
	return all
}

// request adds a request head.
func (all *inputs) request(demand, source, name, head string) {
	all.add(demand, source, name, request(head))
}

func (all *inputs) fields() {
	add, http := all.request, rfcHTTP
	add(welcome, "PROTOCOL.md", "good request, first frame in its packet", with())

	// What a field's absence and its being there twice mean.
	for _, f := range []struct{ field, without, twice, source string }{
		{hostField, "HTTP 400", "HTTP 400", http + "3.2"},
		{upgradeField, "HTTP 426", welcome, rfc + "4.2.1"},
		{connectionField, "HTTP 426", welcome, rfc + "4.2.1"},
		{versionField, "HTTP 426", "HTTP 426", rfc + "4.2.1, 11.3.5"},
		{keyField, "HTTP 400", "HTTP 400", rfc + "4.2.1, 11.3.1"},
	} {
		name, value, _ := strings.Cut(f.field, ": ")
		add(f.without, f.source, "no "+name, replaced(f.field))
		add(f.twice, f.source, name+" twice", replaced(f.field, f.field, f.field))
		add(welcome, "RFC 9110, 5.1", name+" in other case", replaced(f.field, strings.ToUpper(name)+": "+value))
		add("HTTP 400", "RFC 9110, 5.5", name+" with NUL", replaced(f.field, f.field+"\x00"))
		add("HTTP 400", http+"5.1", name+" with NUL in the name", replaced(f.field, name+"\x00: "+value))
		add("HTTP 400", http+"5.1", name+", blank before the colon", replaced(f.field, name+" : "+value))
		add("HTTP 400", http+"5.2", name+" folded", replaced(f.field, name+":\r\n "+value))
		add("HTTP 400", http+"2.2", name+" before a bare LF", strings.Replace(with(), f.field+"\r\n", f.field+"\n", 1))
		add("HTTP 400", http+"2.2", name+" with a bare CR", replaced(f.field, f.field+"\r"))
	}
	add("HTTP 400", http+"3.2", "two different Hosts", replaced(hostField, hostField, "Host: other.example"))
	add("HTTP 400", http+"3.2", "Host that is none", replaced(hostField, "Host: a b/c"))
	add(welcome, rfc+"4.2.1", "values in other case", replaced(upgradeField, "Upgrade: WebSocket"))
	add("HTTP 426", rfc+"4.2.1", "Upgrade to something else", replaced(upgradeField, "Upgrade: h2c"))
	for _, v := range []string{"0", "8", "12", "14", "-1", "013", "13, 8", "13a", "", "99999999999999999999"} {
		add("HTTP 426", rfc+"4.2.2", fmt.Sprintf("version %q", v), replaced(versionField, "Sec-WebSocket-Version: "+v))
	}
	for _, k := range []string{"", "short", "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAA", "????????????????????????", strings.Repeat("A", 4000)} {
		add("HTTP 400", rfc+"4.2.1", fmt.Sprintf("key %.30q of %d bytes", k, len(k)), replaced(keyField, "Sec-WebSocket-Key: "+k))
	}
	add(welcome, http+"2.2", "an empty line before the request line", "\r\n"+with())
	add("HTTP 400", http+"2.2", "two empty lines before the request line", "\r\n\r\n"+with())
	add(welcome, "PROTOCOL.md", "a sub-protocol and a token, where none is asked for", with("Sec-WebSocket-Protocol: bearer.x", "Sec-WebSocket-Protocol: tickedge.v1"))
	add("HTTP 400", "PROTOCOL.md", "a token alone as a sub-protocol", with("Sec-WebSocket-Protocol: bearer.x"))
	add("HTTP 400", "PROTOCOL.md", "tokens in two places", with("Sec-WebSocket-Protocol: bearer.x, tickedge.v1", "Authorization: Bearer x"))
	add(welcome, "PROTOCOL.md", "extensions and sub-protocols", with("Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: a, b"))
}

// bodies are what another reader might take for a body.
func (all *inputs) bodies() {
	add, http := all.request, rfcHTTP
	add("HTTP 400", "PROTOCOL.md", "Content-Length and a body", with("Content-Length: 5")+"hello")
	add("HTTP 400", "PROTOCOL.md", "Transfer-Encoding and a body", with("Transfer-Encoding: chunked")+"5\r\nhello\r\n0\r\n\r\n")
	add("HTTP 400", http+"6.1", "both", with("Content-Length: 5", "Transfer-Encoding: chunked"))
	for _, n := range []string{"-1", "+0", "0x0", "0, 5", "99999999999999999999", " "} {
		add("HTTP 400", http+"6.2", fmt.Sprintf("Content-Length %q", n), with("Content-Length: "+n))
	}
	add("HTTP 400", "PROTOCOL.md", "two Content-Lengths", with("Content-Length: 0", "Content-Length: 7"))
}

func (all *inputs) requestLines() {
	add, http := all.request, rfcHTTP
	line := func(demand, source, line string) {
		add(demand, source, fmt.Sprintf("%.60q", line), head(line, goodFields...))
	}
	for _, method := range []string{"POST", "HEAD", "PUT", "OPTIONS", "get", "QWERTY"} {
		demand := "HTTP 405"
		if method == "get" {
			demand = "HTTP 400" // No HTTP on this port begins with a small letter.
		}
		line(demand, "PROTOCOL.md", method+" /ws HTTP/1.1")
	}
	line("HTTP 400", rfc+"4.1", "GET /ws HTTP/1.0")
	line("HTTP 505", "PROTOCOL.md", "GET /ws HTTP/2.0")
	line("HTTP 400", http+"3", "GET /ws")
	line("HTTP 400", http+"3", "GET /ws HTTP/1.1 HTTP/1.1")
	line("HTTP 400", http+"3", "GET  /ws HTTP/1.1")
	line("HTTP 400", http+"3", "GET\t/ws\tHTTP/1.1")
	line("HTTP 400", http+"3", "GET /ws\x00 HTTP/1.1")
	line("HTTP 400", http+"3", "GET /ws# HTTP/1.1")
	line("HTTP 400", http+"3", "GET ws HTTP/1.1")
	line("HTTP 400", http+"3.2", "GET * HTTP/1.1")
	line("HTTP 400", http+"3.2.3", "CONNECT edge.example:80 HTTP/1.1")
	line(welcome, http+"3.2.2", "GET http://edge.example/ws HTTP/1.1")
	line("HTTP 400", http+"3.2.2", "GET ftp://edge.example/ws HTTP/1.1")
	line("HTTP 400", http+"3.2.2", "GET http:///ws HTTP/1.1")
	line("HTTP 404", "PROTOCOL.md", "GET /../ws HTTP/1.1")
	line("HTTP 404", "PROTOCOL.md", "GET /ws// HTTP/1.1")
	line(welcome, "PROTOCOL.md", "GET /ws/ HTTP/1.1")
	line(welcome, "RFC 3986, 6.2.2", "GET /%77s HTTP/1.1")
	line(welcome, http+"3.2.2", "GET wss://edge.example/ws HTTP/1.1")
	line(welcome, "PROTOCOL.md", "GET /ws?ref=100%&a;b&%zz=%=& HTTP/1.1")
	line("HTTP 400", "PROTOCOL.md", "GET /ws?interval=-1 HTTP/1.1")
	line("HTTP 400", "PROTOCOL.md", "GET /ws?topics=%zz HTTP/1.1")
	line("101, 3 × rejected 422, goes on", "PROTOCOL.md", "GET /ws?topics=%00,%0d%0aX,%ff HTTP/1.1")
}

// sizes are heads that are long, and what is no HTTP.
func (all *inputs) sizes() {
	add := all.request
	add("HTTP 431", "PROTOCOL.md", "field of 9,000 bytes", with("X: "+strings.Repeat("x", 9000)))
	add("HTTP 431", "PROTOCOL.md", "target of 9,000 bytes", head("GET /ws?"+strings.Repeat("x", 9000)+" HTTP/1.1", goodFields...))
	add("HTTP 431", "PROTOCOL.md", "10,000 fields", with(slices.Repeat([]string{"X: y"}, 10_000)...))
	add("HTTP 431", "PROTOCOL.md", "101 fields", with(slices.Repeat([]string{"X: y"}, 96)...))
	add(welcome, "PROTOCOL.md", "100 fields", with(slices.Repeat([]string{"X: y"}, 95)...))
	add("HTTP 431", "PROTOCOL.md", "10 MiB without an end of line", "GET /"+strings.Repeat("x", 10<<20))
	add("HTTP 400", "PROTOCOL.md", "TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+strings.Repeat("\xa5", 512))
	add("HTTP 505", "PROTOCOL.md", "HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	add("HTTP 400", "PROTOCOL.md", "PROXY v1 without permission", "PROXY TCP4 192.0.2.1 192.0.2.2 5000 80\r\n"+with())
	add("HTTP 400", "PROTOCOL.md", "PROXY v2 without permission",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x13\x88\x00\x50"+with())
}

// manyRequests are requests changed at random, cut, or slow.
func (all *inputs) manyRequests(p *plan) {
	many := all.add
	many(fmt.Sprintf("%d × as documented", p.mutations), "PROTOCOL.md", fmt.Sprintf("%d requests with random mutations, or random bytes", p.mutations), mutatedRequests)
	cuts := len(with()) - 1
	many(fmt.Sprintf("%d × %s", cuts, welcome), "PROTOCOL.md", "request cut in two at every byte", requestCut)
	many(fmt.Sprintf("%d × ended", cuts), "RFC 9112, 8", "request that ends at every byte", requestEnds)
	many(fmt.Sprintf("%d × ended", p.drips), "OPERATIONS.md", fmt.Sprintf("%d conns send a request, a byte per half second", p.drips), drip)
	many(fmt.Sprintf("%d × ended", p.silent), "OPERATIONS.md", fmt.Sprintf("%d conns say nothing", p.silent), func(r *run) string {
		return crowd(p.silent, p.silent, func(i int) string { return r.edge.dial(i, (*peer).answer) })
	})
}

// mutatedRequests half closes behind each request, so that it comes to an end.
func mutatedRequests(r *run) string {
	return crowd(r.mutations, 16, func(i int) string {
		rng := rand.New(rand.NewPCG(r.seed, uint64(i)))
		b := mutate(rng, []byte(with()))
		if i%4 == 0 {
			b = make([]byte, 1+rng.IntN(600))
			for k := range b {
				b[k] = byte(rng.Uint32())
			}
		}
		switch what := r.edge.dial(i, lastWords(b)); what {
		case string(wire.ErrAccept): // Right for the key that the mutation has made of ours.
			if bytes.Contains(b, []byte(keyField)) {
				return fmt.Sprintf("number %d: %s", i, what)
			}
			return "as documented"
		case "HTTP 400", "HTTP 404", "HTTP 405", "HTTP 426", "HTTP 431", "HTTP 505", "101, ended", "101, close 1002", "ended":
			return "as documented"
		default:
			return fmt.Sprintf("number %d: %s", i, what)
		}
	})
}

// requestCut sends a request in two parts. To the first there is no answer.
func requestCut(r *run) string {
	whole := []byte(with())
	return crowd(len(whole)-1, 16, func(i int) string {
		return r.edge.dial(i, func(p *peer) string {
			_, _ = p.Write(whole[:i+1])
			_ = p.SetReadDeadline(time.Now().Add(quiet))
			if what := ending(p.fill()); len(p.in) > 0 || what != "silence" {
				return fmt.Sprintf("after %d bytes: %q, %s", i+1, p.in, what)
			}
			_ = p.SetReadDeadline(time.Now().Add(patience))
			_, _ = p.Write(append(slices.Clone(whole[i+1:]), alive...))
			return p.answer()
		})
	})
}

// requestEnds sends a part of a request and a FIN.
func requestEnds(r *run) string {
	whole := []byte(with())
	return crowd(len(whole)-1, 16, func(i int) string { return r.edge.dial(i, lastWords(whole[:i+1])) })
}

// lastWords sends b and a FIN, and waits for the answer.
func lastWords(b []byte) func(*peer) string {
	return func(p *peer) string {
		_, _ = p.Write(b)
		_ = p.CloseWrite()
		return p.answer()
	}
}

// drip sends a request so slowly that it does not come in time.
func drip(r *run) string {
	whole := []byte(with())
	return crowd(r.drips, r.drips, func(i int) string {
		return r.edge.dial(i, func(p *peer) string {
			ended := make(chan struct{})
			go func() {
				tick := time.NewTicker(500 * time.Millisecond)
				defer tick.Stop()
				for k := range whole {
					_, _ = p.Write(whole[k : k+1])
					select {
					case <-ended:
						return
					case <-tick.C:
					}
				}
			}()
			defer close(ended)
			// The edge may be sent a byte after its end, which is answered with a reset.
			if what := p.answer(); what != "reset" {
				return what
			}
			return "ended"
		})
	})
}
