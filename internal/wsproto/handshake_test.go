// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bufio"
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tickedge/internal/httphead"
)

// rfcKey and rfcAccept are the example of RFC 6455, section 1.3.
const (
	rfcKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	rfcAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

var upgradeFields = []string{
	"Host: edge.example:8080",
	"Upgrade: websocket",
	"Connection: Upgrade",
	"Sec-WebSocket-Key: " + rfcKey,
	"Sec-WebSocket-Version: 13",
}

// headOf is a request head of these lines.
func headOf(line string, fields ...string) []byte {
	return []byte(line + "\r\n" + strings.Join(append(slices.Clone(fields), ""), "\r\n") + "\r\n")
}

// with is upgradeFields with the named field replaced by these lines, or left out if
// there are none.
func with(name string, lines ...string) []string {
	i := slices.IndexFunc(upgradeFields, func(f string) bool { return strings.HasPrefix(f, name+":") })
	if i < 0 {
		panic("no field " + name)
	}
	return slices.Replace(slices.Clone(upgradeFields), i, i+1, lines...)
}

// plus is upgradeFields and more.
func plus(lines ...string) []string { return append(slices.Clone(upgradeFields), lines...) }

// wantStatus runs a handshake, sees its answer through a client's eyes, and returns the
// request. Package httphead has the tests of heads that are no handshake's alone.
func wantStatus(t testing.TB, in []byte, want int) (req httphead.Request) {
	t.Helper()
	size, refusal := httphead.Head(in, 0, 8<<10)
	if refusal == nil {
		req, refusal = httphead.ParseRequest(in[:size])
	}
	if refusal == nil {
		refusal = req.CheckHost()
	}
	if refusal == nil {
		refusal = CheckUpgrade(&req)
	}
	var out []byte
	if refusal != nil {
		out = refusal.Append(nil)
	} else {
		out = AppendUpgrade(nil, &req, "")
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), nil)
	if err != nil {
		t.Fatal(err)
	}
	h := res.Header
	if res.StatusCode != want {
		t.Errorf("got %s (%+v), want %d for\n%.300q", res.Status, refusal, want, in)
	}
	switch res.StatusCode {
	case 101:
		if _, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in[:size]))); err != nil {
			t.Errorf("accepted, but net/http says %v of\n%.300q", err, in[:size])
		}
		if !strings.EqualFold(h.Get("Upgrade"), "websocket") || !strings.EqualFold(h.Get("Connection"), "upgrade") {
			t.Errorf("upgrade answer %s %v", res.Status, h)
		}
		if len(h["Sec-Websocket-Extensions"])+len(h["Sec-Websocket-Protocol"]) > 0 {
			t.Errorf("the upgrade chooses extensions or protocols: %v", h)
		}
	case 405:
		if h.Get("Allow") != "GET" {
			t.Errorf("405 with Allow %q", h.Get("Allow"))
		}
	case 426: // RFC 6455, 4.4; RFC 9110, 15.5.22.
		if h.Get("Sec-WebSocket-Version") != "13" || h.Get("Upgrade") != "websocket" {
			t.Errorf("426 with header %v", h)
		}
	}
	return req
}

// 1.3 and 4.2.2: the key of the example gives the accept value of the example.
func TestRFC6455_4_2_2_Accept(t *testing.T) {
	req := wantStatus(t, headOf("GET /chat HTTP/1.1",
		"Host: server.example.com", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: "+rfcKey,
		"Origin: http://example.com", "Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Version: 13"), 101)
	want := "before" + "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + rfcAccept + "\r\n\r\n"
	if got := AppendUpgrade([]byte("before"), &req, ""); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if string(req.Path) != "/chat" || string(req.Host) != "server.example.com" || len(req.Query) > 0 {
		t.Errorf("got %+v", req)
	}
}

// 4.2.1: what a client's opening handshake MUST have.
func TestRFC6455_4_2_1_OpeningHandshake(t *testing.T) {
	const get = "GET /ws HTTP/1.1"
	key := func(k string) []string { return with("Sec-WebSocket-Key", "Sec-WebSocket-Key: "+k) }
	version := func(v string) []string { return with("Sec-WebSocket-Version", "Sec-WebSocket-Version: "+v) }
	tests := []struct {
		name   string
		line   string
		fields []string
		want   int
	}{
		{"plain", get, upgradeFields, 101},
		{"names in capitals", get, []string{"HOST: a", "UPGRADE: WebSocket", "CONNECTION: UPGRADE", "SEC-WEBSOCKET-KEY: " + rfcKey, "SEC-WEBSOCKET-VERSION: 13"}, 101},
		{"names in lower case", get, []string{"host: a", "upgrade: WEBSOCKET", "connection: upgrade", "sec-websocket-key: " + rfcKey, "sec-websocket-version: 13"}, 101},
		{"no blank after the colon", get, []string{"Host:a", "Upgrade:websocket", "Connection:Upgrade", "Sec-WebSocket-Key:" + rfcKey, "Sec-WebSocket-Version:13"}, 101},
		{"blanks around values", get, []string{"Host: \t a \t", "Upgrade:  websocket ", "Connection:\tUpgrade", "Sec-WebSocket-Key:  " + rfcKey + " ", "Sec-WebSocket-Version: 13\t"}, 101},

		{"1. POST", "POST /ws HTTP/1.1", upgradeFields, 405},
		{"1. HEAD of a WebSocket", "HEAD /ws HTTP/1.1", upgradeFields, 405},
		{"1. HEAD, as GET", "HEAD /ws HTTP/1.1", with("Upgrade"), 426},
		{"1. methods have a case", "Get /ws HTTP/1.1", upgradeFields, 405},
		{"1. HTTP/1.0", "GET /ws HTTP/1.0", upgradeFields, 400},
		{"1. HTTP/1.2", "GET /ws HTTP/1.2", upgradeFields, 505},
		{"1. HTTP/2.0", "GET /ws HTTP/2.0", upgradeFields, 505},

		{"2. no host", get, with("Host"), 400},
		{"2. empty host", get, with("Host", "Host:"), 400},
		{"2. two hosts", get, plus("Host: other.example"), 400},
		{"2. the same host twice", get, plus("Host: edge.example:8080"), 400},
		{"2. host with a slash", get, with("Host", "Host: a/b"), 400},
		{"2. host with a user", get, with("Host", "Host: user@a"), 400},
		{"2. host with a blank", get, with("Host", "Host: a b"), 400},
		{"2. host of IPv6", get, with("Host", "Host: [::1]:8080"), 101},

		{"3. no upgrade", get, with("Upgrade"), 426},
		{"3. upgrade to something else", get, with("Upgrade", "Upgrade: h2c"), 426},
		{"3. upgrade in a list", get, with("Upgrade", "Upgrade: h2c, websocket"), 101},
		{"3. upgrade in two fields", get, with("Upgrade", "Upgrade: h2c", "Upgrade: WebSocket"), 101},
		{"3. upgrade in the first of two fields", get, with("Upgrade", "Upgrade: websocket", "Upgrade: h2c"), 101},
		{"3. upgrade is a token", get, with("Upgrade", "Upgrade: websockets"), 426},
		{"4. no connection", get, with("Connection"), 426},
		{"4. keep-alive, Upgrade", get, with("Connection", "Connection: keep-alive, Upgrade"), 101},
		{"4. list without blanks", get, with("Connection", "Connection: keep-alive,upgrade,x"), 101},
		{"4. list with empty members", get, with("Connection", "Connection: ,, upgrade ,"), 101},
		{"4. connection in two fields", get, with("Connection", "Connection: keep-alive", "Connection: Upgrade"), 101},
		{"4. connection in the first of two fields", get, with("Connection", "Connection: Upgrade", "Connection: keep-alive"), 101},
		{"4. keep-alive", get, with("Connection", "Connection: keep-alive"), 426},
		{"4. connection is a token", get, with("Connection", "Connection: upgraded"), 426},

		{"5. no key", get, with("Sec-WebSocket-Key"), 400},
		{"5. two keys", get, plus("Sec-WebSocket-Key: " + rfcKey), 400},
		{"5. empty key", get, key(""), 400},
		{"5. key of 15 bytes", get, key("MTIzNDU2Nzg5MDEyMzQ1"), 400},
		{"5. key of 17 bytes", get, key("MTIzNDU2Nzg5MDEyMzQ1Njc="), 400},
		{"5. key of 18 bytes", get, key("MTIzNDU2Nzg5MDEyMzQ1Njc4"), 400},
		{"5. key of 16 bytes", get, key("MTIzNDU2Nzg5MDEyMzQ1Ng=="), 101},
		{"5. key of zeros", get, key("AAAAAAAAAAAAAAAAAAAAAA=="), 101},
		{"5. key that is no base64", get, key("dGhlIHNhbXBsZSBub25jZ!=="), 400},
		{"5. key without padding", get, key("dGhlIHNhbXBsZSBub25jZQ"), 400},
		{"5. key in the URL alphabet", get, key("____________________-Q=="), 400},
		{"5. key in the standard alphabet", get, key("////////////////////+Q=="), 101},
		{"5. key with trailing bits", get, key("dGhlIHNhbXBsZSBub25jZR=="), 101},
		{"5. key with other trailing bits", get, key("AAAAAAAAAAAAAAAAAAAAAP=="), 101},
		{"5. key with something after it", get, key(rfcKey + ", " + rfcKey), 400},
		{"5. key with a blank inside", get, key("dGhlIHNhbXBs ZSBub25jZQ="), 400},

		{"6. no version", get, with("Sec-WebSocket-Version"), 426},
		{"6. empty version", get, version(""), 426},
		{"6. version 8", get, version("8"), 426},
		{"6. version 14", get, version("14"), 426},
		{"6. version 013", get, version("013"), 426},
		{"6. a list of versions", get, version("13, 8"), 426},
		{"6. two versions", get, plus("Sec-WebSocket-Version: 13"), 426},

		{"8. to 10. are optional", get, plus("Origin: http://a", "Sec-WebSocket-Protocol: x", "Sec-WebSocket-Extensions: permessage-deflate", "Cookie: a=b"), 101},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantStatus(t, headOf(tt.line, tt.fields...), tt.want) })
	}
}
