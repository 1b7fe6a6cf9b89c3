package wsproto

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
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

// answer is what a server says to the first bytes of a conn: 101, a refusal, or 0
// while it waits for more.
type answer struct {
	status  int
	head    int // The head's size.
	req     Request
	opening Opening
	refusal *Refusal
}

func handshake(in []byte) (a answer) {
	a.head, a.refusal = Head(in, 0)
	return finish(a, in)
}

// finish goes on after Head.
func finish(a answer, in []byte) answer {
	if a.refusal == nil && a.head == 0 {
		return a
	}
	if a.refusal == nil {
		a.req, a.refusal = ParseRequest(in[:a.head])
	}
	if a.refusal == nil {
		a.refusal = a.req.CheckUpgrade()
	}
	if a.refusal == nil {
		a.opening, a.refusal = a.req.Opening()
	}
	a.status = 101
	if a.refusal != nil {
		a.status = a.refusal.Status
	}
	return a
}

// wantStatus runs a handshake and checks what holds for all of them. If it is accepted,
// net/http reads the same in it.
func wantStatus(t testing.TB, in []byte, want int) answer {
	t.Helper()
	a := handshake(in)
	if a.status != want {
		t.Errorf("got %d (%+v), want %d for\n%.300q", a.status, a.refusal, want, in)
	}
	if a.refusal != nil {
		checkRefusal(t, a.refusal)
	}
	if a.status == 101 {
		checkUpgraded(t, in, a)
	}
	return a
}

// checkRefusal sees the refusal through a client's eyes.
func checkRefusal(t testing.TB, r *Refusal) {
	t.Helper()
	if strings.ContainsAny(r.Reason, "\r\n") || r.Reason == "" {
		t.Errorf("refusal reason %q is not one line", r.Reason)
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(r.Append(nil))), nil)
	if err != nil {
		t.Fatalf("refusal %+v: %v", r, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != r.Reason+"\n" {
		t.Errorf("refusal %+v: body %q (%v)", r, body, err)
	}
	if res.StatusCode != r.Status || res.Status != fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status)) {
		t.Errorf("refusal %+v: status %q", r, res.Status)
	}
	if !res.Close || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("refusal %+v: close %v, content type %q", r, res.Close, res.Header.Get("Content-Type"))
	}
	switch r.Status {
	case 405:
		if res.Header.Get("Allow") != "GET" {
			t.Errorf("405 with Allow %q", res.Header.Get("Allow"))
		}
	case 426: // RFC 6455, 4.4; RFC 9110, 15.5.22.
		if res.Header.Get("Sec-WebSocket-Version") != "13" || res.Header.Get("Upgrade") != "websocket" {
			t.Errorf("426 with header %v", res.Header)
		}
	}
}

// checkUpgraded compares an accepted request with what net/http makes of it, and the
// answer with RFC 6455, 4.2.2.
func checkUpgraded(t testing.TB, in []byte, a answer) {
	t.Helper()
	other, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in[:a.head])))
	if err != nil {
		t.Fatalf("accepted, but net/http says %v of\n%.300q", err, in[:a.head])
	}
	path := other.URL.Path
	if path == "" {
		path = "/"
	}
	ours, err := url.PathUnescape(string(a.req.Path))
	if other.Method != string(a.req.Method) || other.Host != string(a.req.Host) || path != ours || other.URL.RawQuery != string(a.req.Query) {
		t.Errorf("read as %q %q %q %q (%v), net/http reads %q %q %q %q", a.req.Method, a.req.Host, ours, a.req.Query, err,
			other.Method, other.Host, path, other.URL.RawQuery)
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(a.req.AppendUpgrade(nil))), nil)
	if err != nil {
		t.Fatal(err)
	}
	h := res.Header
	if res.StatusCode != 101 || !strings.EqualFold(h.Get("Upgrade"), "websocket") || !strings.EqualFold(h.Get("Connection"), "upgrade") {
		t.Errorf("upgrade answer %s %v", res.Status, h)
	}
	if len(h["Sec-Websocket-Extensions"])+len(h["Sec-Websocket-Protocol"]) > 0 {
		t.Errorf("the upgrade chooses extensions or protocols: %v", h)
	}
}

// 1.3 and 4.2.2: the key of the example gives the accept value of the example.
func TestRFC6455_4_2_2_Accept(t *testing.T) {
	a := wantStatus(t, headOf("GET /chat HTTP/1.1",
		"Host: server.example.com", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: "+rfcKey,
		"Origin: http://example.com", "Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Version: 13"), 101)
	want := "before" + "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + rfcAccept + "\r\n\r\n"
	if got := a.req.AppendUpgrade([]byte("before")); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if string(a.req.Path) != "/chat" || string(a.req.Host) != "server.example.com" || len(a.req.Query) > 0 {
		t.Errorf("got %+v", a.req)
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
		{"1. HEAD", "HEAD /ws HTTP/1.1", upgradeFields, 405},
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
		{"5. key with trailing bits", get, key("dGhlIHNhbXBsZSBub25jZR=="), 400},
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

// A request that is no WebSocket's gets its path and method, for pages.
func TestParseRequestOfAPage(t *testing.T) {
	req, r := ParseRequest(headOf("GET /healthz?verbose HTTP/1.1", "Host: a", "Accept: */*"))
	if r != nil || string(req.Method) != "GET" || string(req.Path) != "/healthz" || string(req.Query) != "verbose" || string(req.Host) != "a" {
		t.Fatalf("got %+v, %+v", req, r)
	}
	if r := req.CheckUpgrade(); r == nil || r.Status != 426 {
		t.Errorf("a page is upgraded: %+v", r)
	}
}

func TestAppendResponse(t *testing.T) {
	for status, text := range statusText {
		if text != http.StatusText(status) {
			t.Errorf("%d %q, net/http says %q", status, text, http.StatusText(status))
		}
		out := AppendResponse([]byte("before"), status, "text/html", "Retry-After: 5\r\n", "<p>é")
		rest, ok := bytes.CutPrefix(out, []byte("before"))
		if !ok {
			t.Fatalf("dst is overwritten: %q", out)
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(rest)), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || string(body) != "<p>é" || res.ContentLength != 5 || !res.Close ||
			res.Header.Get("Retry-After") != "5" || res.Header.Get("Content-Type") != "text/html" {
			t.Errorf("%d: %+v %q (%v)", status, res, body, err)
		}
	}
}
