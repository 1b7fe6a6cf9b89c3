// SPDX-License-Identifier: Apache-2.0

package httphead_test

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

	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
	"tickedge/internal/wsproto"
)

var upgradeFields = []string{
	"Host: edge.example:8080",
	"Upgrade: websocket",
	"Connection: Upgrade",
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
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
	req     httphead.Request
	opening httphead.Query
	refusal *httphead.Refusal
}

// most is the limit of a head in most tests.
const most = 8 << 10

func handshake(in []byte) (a answer) {
	a.head, a.refusal = httphead.Head(in, 0, most)
	return finish(a, in)
}

// finish goes on after Head.
func finish(a answer, in []byte) answer {
	if a.refusal == nil && a.head == 0 {
		return a
	}
	if a.refusal == nil {
		a.req, a.refusal = httphead.ParseRequest(in[:a.head])
	}
	if a.refusal == nil {
		a.refusal = a.req.CheckHost()
	}
	if a.refusal == nil {
		a.refusal = wsproto.CheckUpgrade(&a.req)
	}
	if a.refusal == nil {
		a.opening, a.refusal = a.req.ParseQuery(protocol.ValidInterval)
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
func checkRefusal(t testing.TB, r *httphead.Refusal) {
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
	// net/http knows no empty line before the request line.
	other, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(in[:a.head], []byte("\r\n")))))
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
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(wsproto.AppendUpgrade(nil, &a.req, ""))), nil)
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

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func chunked(in []byte, n int) [][]byte { return slices.Collect(slices.Chunk(in, n)) }
