// SPDX-License-Identifier: Apache-2.0

package httphead_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tickedge/internal/httphead"
	"tickedge/internal/wsproto"
)

// RFC 9112, 5: what two readers might read in two ways is refused.
func TestRFC9112_5_FieldSyntax(t *testing.T) {
	tests := []struct {
		name  string
		field string
		want  int
	}{
		{"plain", "X-A: b", 101},
		{"empty value", "X-A:", 101},
		{"colons in the value", "X-A: b:c:d", 101},
		{"bytes above ASCII in the value", "X-A: \xe4\xff", 101},
		{"every token character in the name", "!#$%&'*+-.^_`|~09azAZ: b", 101},
		{"5.1 blank before the colon", "X-A : b", 400},
		{"5.1 tab before the colon", "X-A\t: b", 400},
		{"5.2 folded line", "X-A: b\r\n c", 400},
		{"5.2 line folded with a tab", "X-A: b\r\n\tc", 400},
		{"no colon", "X-A b", 400},
		{"no name", ": b", 400},
		{"blank in the name", "X A: b", 400},
		{"slash in the name", "X/A: b", 400},
		{"byte above ASCII in the name", "X-\xe4: b", 400},
		{"NUL in the name", "X-\x00: b", 400},
		{"5.5 NUL in the value", "X-A: b\x00c", 400},
		{"DEL in the value", "X-A: b\x7f", 400},
		{"control in the value", "X-A: b\x1bc", 400},
		{"2.2 bare CR in the value", "X-A: b\rc", 400},
		{"2.2 bare CR at the end", "X-A: b\r", 400},
		{"2.2 bare LF in the value", "X-A: b\nc", 400},
		{"6.1 transfer encoding", "Transfer-Encoding: chunked", 400},
		{"6.1 transfer encoding, identity", "transfer-encoding: identity", 400},
		{"6.2 content length", "Content-Length: 5", 400},
		{"6.2 content length of 0", "Content-Length: 0", 101},
		{"6.2 negative content length", "Content-Length: -1", 400},
		{"6.2 content length that is no number", "Content-Length: a", 400},
		{"6.2 empty content length", "Content-Length:", 400},
		{"6.3 two content lengths", "Content-Length: 0\r\nContent-Length: 5", 400},
		{"6.3 two content lengths, 0 last", "Content-Length: 5\r\nContent-Length: 0", 400},
		{"6.3 both", "Content-Length: 0\r\nTransfer-Encoding: chunked", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantStatus(t, headOf("GET /ws HTTP/1.1", plus(tt.field)...), tt.want)
			// At the front as well.
			wantStatus(t, headOf("GET /ws HTTP/1.1", append([]string{tt.field}, upgradeFields...)...), tt.want)
		})
	}
}

// The bytes that matter, in every field that matters.
func TestControlsInFieldsThatMatter(t *testing.T) {
	for _, field := range upgradeFields {
		name, value, _ := strings.Cut(field, ": ")
		for _, c := range []string{"\x00", "\x01", "\r", "\n", "\x1f", "\x7f"} {
			for _, bad := range []string{name + c + ": " + value, name + ":" + c + value, name + ": " + value + c, c + field} {
				wantStatus(t, headOf("GET /ws HTTP/1.1", with(name, bad)...), 400)
			}
		}
	}
}

// RFC 9112, 3: the request line.
func TestRFC9112_3_RequestLine(t *testing.T) {
	tests := []struct {
		line string
		want int
	}{
		{"GET / HTTP/1.1", 101},
		{"GET  / HTTP/1.1", 400},
		{"GET /  HTTP/1.1", 400},
		{"GET / HTTP/1.1 ", 400},
		{"GET /a b HTTP/1.1", 400},
		{"GET\t/ HTTP/1.1", 400},
		{"GET /", 400},
		{"GET", 400},
		{"G", 400},
		{"GET / ", 400},
		{"GET  HTTP/1.1", 400},
		{"GET / http/1.1", 400},
		{"GET / HTTP/1.1x", 400},
		{"GET / HTTP/1", 400},
		{"GET / HTTP/11", 400},
		{"GET / HTTPS/1.1", 400},
		{"GET / HTTP/2.0", 505},
		{"GET / HTTP/3.0", 505},
		{"GET / HTTP/1.0", 400},
		{"GET / HTTP/0.9", 505},
		{"G(T / HTTP/1.1", 400},
		{"G\x00T / HTTP/1.1", 400},
		{"G\xe4T / HTTP/1.1", 400},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) { wantStatus(t, headOf(tt.line, upgradeFields...), tt.want) })
	}
	wantStatus(t, headOf("POST / HTTP/1.0", upgradeFields...), 405)
	wantStatus(t, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505)
	wantStatus(t, headOf("GET / HTTP/1.1"), 400)
	for c := range 256 {
		if c > ' ' && c < 0x7f {
			continue
		}
		for _, target := range []string{"/a%cb", "/?topics=%c", "%c/"} {
			raw := bytes.Replace([]byte(target), []byte("%c"), []byte{byte(c)}, 1)
			want := 400
			if c >= 0x80 && target[1] == '?' {
				want = 101 // As scripts write it.
			}
			wantStatus(t, headOf("GET "+string(raw)+" HTTP/1.1", upgradeFields...), want)
		}
	}
}

// RFC 9112, 3.2: the request target.
func TestRFC9112_3_2_RequestTarget(t *testing.T) {
	tests := []struct {
		target            string
		want              int
		host, path, query string
	}{
		{"/", 101, "edge.example:8080", "/", ""},
		{"/ws", 101, "edge.example:8080", "/ws", ""},
		{"/ws?", 101, "edge.example:8080", "/ws", ""},
		{"/ws?a", 101, "edge.example:8080", "/ws", "a"},
		{"/ws?a=/?b", 101, "edge.example:8080", "/ws", "a=/?b"},
		{"//ws", 101, "edge.example:8080", "//ws", ""},
		{"/a:b@c", 101, "edge.example:8080", "/a:b@c", ""},
		{"/%77s", 101, "edge.example:8080", "/%77s", ""},
		// 3.2.2: the target goes before the Host field.
		{"http://other.example/ws?a=b", 101, "other.example", "/ws", "a=b"},
		{"https://other.example:443/ws", 101, "other.example:443", "/ws", ""},
		{"HTTP://other.example/ws", 101, "other.example", "/ws", ""},
		{"http://other.example", 101, "other.example", "/", ""},
		{"http://other.example?a=b", 101, "other.example", "/", "a=b"},
		{"http://[::1]:80/ws", 101, "[::1]:80", "/ws", ""},
		{"ws://other.example/ws?a=b", 101, "other.example", "/ws", "a=b"},
		{"wss://other.example:8443/ws", 101, "other.example:8443", "/ws", ""},
		{"WSS://other.example", 101, "other.example", "/", ""},
		{"ws:///ws", 400, "", "", ""},
		{"wsx://other.example/ws", 400, "", "", ""},
		{"http:///ws", 400, "", "", ""},
		{"http:/ws", 400, "", "", ""},
		{"http:ws", 400, "", "", ""},
		{"ftp://other.example/ws", 400, "", "", ""},
		{"http://a b/ws", 400, "", "", ""},
		{"http://a%00/ws", 400, "", "", ""},
		{"http://a:b/ws", 400, "", "", ""},
		{"http://[::1/ws", 400, "", "", ""},
		{"ws", 400, "", "", ""},
		{"?a=b", 400, "", "", ""},
		{"*", 400, "", "", ""},
		{"edge.example:8080", 400, "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			a := wantStatus(t, headOf("GET "+tt.target+" HTTP/1.1", upgradeFields...), tt.want)
			if tt.want == 101 && a.status == 101 && (string(a.req.Host) != tt.host || string(a.req.Path) != tt.path || string(a.req.Query) != tt.query) {
				t.Errorf("got %q %q %q", a.req.Host, a.req.Path, a.req.Query)
			}
		})
	}
}

// A target that RFC 9112, 3.2 has no form for, and that net/http refuses or reads in
// another way, is refused.
func TestRFC9112_3_2_TargetsOfNoForm(t *testing.T) {
	for _, target := range []string{
		"/%zz", "/ws%", "/ws%4", // RFC 3986, 2.1.
		"http://other.example/ws#part", // 7.1 of RFC 9110: no fragment is sent.
	} {
		t.Run(target, func(t *testing.T) { wantStatus(t, headOf("GET "+target+" HTTP/1.1", upgradeFields...), 400) })
	}
}

func TestOpening(t *testing.T) {
	tests := []struct {
		query    string
		want     int
		topics   string // With blanks between them.
		interval int
	}{
		{"", 101, "", 0},
		{"topics=AAPL", 101, "AAPL", 0},
		{"topics=AAPL,MSFT&interval=500", 101, "AAPL MSFT", 500},
		{"interval=100&topics=AAPL", 101, "AAPL", 100},
		{"topics=AAPL&topics=MSFT,GOOG", 101, "AAPL MSFT GOOG", 0},
		{"topics=", 101, "", 0},
		{"topics", 101, "", 0},
		{"topics=,,AAPL,,MSFT,", 101, "AAPL MSFT", 0},
		{"topics=kline:1m:BTC-USD", 101, "kline:1m:BTC-USD", 0},
		{"topics=kline%3A1m%3ABTC-USD", 101, "kline:1m:BTC-USD", 0},
		{"topics=AAPL%2CMSFT", 101, "AAPL MSFT", 0},
		{"topics=%41%41PL", 101, "AAPL", 0},
		{"%74opics=AAPL", 101, "AAPL", 0},
		{"topics=^GSPC,ES1!,btcusdt@depth5,EURUSD=X", 101, "^GSPC ES1! btcusdt@depth5 EURUSD=X", 0},
		{"topics=M%26M.NS,A%2BB,A%23B,100%25", 101, "M&M.NS A+B A#B 100%", 0},
		{"topics=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT", 101, "币安人生USDT", 0},
		{"topics=M&M.NS", 101, "M", 0},
		{"topics=%00", 101, "\x00", 0}, // Whether a name is valid is not decided here.
		{"token=a.b.c&topics=AAPL&debug", 101, "AAPL", 0},
		{"Topics=AAPL", 101, "", 0},
		{"&&topics=AAPL&", 101, "AAPL", 0},
		{"topics=%zz", 400, "", 0},
		{"topics=%", 400, "", 0},
		{"topics=A;B", 400, "", 0},
		{"topics=A%3BB", 101, "A;B", 0},
		// Parameters of others, however broken.
		{"ref=100%", 101, "", 0},
		{"ref=%zz&topics=AAPL", 101, "AAPL", 0},
		{"a;b", 101, "", 0},
		{"a;topics=MSFT&topics=AAPL", 101, "AAPL", 0},
		{"topics=AAPL&%=%&%zz;=1&=&==&interval=500", 101, "AAPL", 500},
		{"utm=%E4&topics=AAPL", 101, "AAPL", 0},
		{"token=%", 400, "", 0},
		{"token=a;b", 400, "", 0},
		{"interval=5%", 400, "", 0},
		{"%74opics=%", 400, "", 0},
		{"interval=60000", 101, "", 60000},
		{"interval=99", 400, "", 0},
		{"interval=60001", 400, "", 0},
		{"interval=0", 400, "", 0},
		{"interval=-500", 400, "", 0},
		{"interval=", 400, "", 0},
		{"interval", 400, "", 0},
		{"interval=500.0", 400, "", 0},
		{"interval=5e2", 400, "", 0},
		{"interval=0x1f4", 400, "", 0},
		{"interval=500ms", 400, "", 0},
		{"interval=99999999999999999999", 400, "", 0},
		{"interval=500&interval=500", 400, "", 0},
		{"token=a&token=a", 400, "", 0},
		{"token=a&%74oken=b", 400, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			a := wantStatus(t, headOf("GET /ws?"+tt.query+" HTTP/1.1", upgradeFields...), tt.want)
			if got := string(bytes.Join(a.opening.Topics, []byte(" "))); tt.want == 101 && (got != tt.topics || a.opening.Interval != tt.interval) {
				t.Errorf("got %q and %d", got, a.opening.Interval)
			}
		})
	}
	// As many as fit into a head.
	var names []string
	for i := range 256 {
		names = append(names, fmt.Sprintf("T%d", i))
	}
	a := wantStatus(t, headOf("GET /ws?topics="+strings.Join(names, ",")+" HTTP/1.1", upgradeFields...), 101)
	if len(a.opening.Topics) != 256 || string(a.opening.Topics[255]) != "T255" {
		t.Errorf("got %d topics", len(a.opening.Topics))
	}
}

// Only ASCII's letters have a small and a capital one: Unicode folds the sign of Kelvin to
// k, and the long s to s, and no proxy does.
func TestCaseIsOfASCIIOnly(t *testing.T) {
	wantStatus(t, headOf("GET /ws HTTP/1.1", with("Upgrade", "Upgrade: web\u017focket")...), 426)
	wantStatus(t, headOf("GET /ws HTTP/1.1", with("Upgrade", "Upgrade: websoc\u212aet")...), 426)
	wantStatus(t, headOf("GET /ws HTTP/1.1", with("Host", "Ho\u017ft: a")...), 400)
}

// Who the client is, by what it and the proxies before it say.
func TestWhoAsks(t *testing.T) {
	a := wantStatus(t, headOf("GET /ws?token=a.b-c_d&topics=AAPL HTTP/1.1", plus(
		"oRIGIN:  https://app.example\t", "X-Forwarded-For: 192.0.2.1, 10.0.0.1", "x-forwarded-for:  10.0.0.2 ", "X-Forwarded-For:")...), 101)
	if string(a.req.Origin) != "https://app.example" || string(a.opening.Token) != "a.b-c_d" || len(a.req.Authorization) != 0 ||
		!slices.Equal(a.req.Forwarded, []string{"192.0.2.1, 10.0.0.1", "10.0.0.2", ""}) {
		t.Errorf("got %+v and %+v", a.req, a.opening)
	}
	a = wantStatus(t, headOf("GET /ws HTTP/1.1", plus("Authorization: Bearer a.b.c")...), 101)
	if string(a.req.Authorization) != "Bearer a.b.c" || a.opening.HasToken || a.req.Origin != nil || a.req.Forwarded != nil {
		t.Errorf("got %+v and %+v", a.req, a.opening)
	}
}

// What may be there once is not there twice, wherever it is said and if it is empty.
func TestOnlyOneOriginAndOneToken(t *testing.T) {
	for _, fields := range [][]string{
		{"Origin: https://a.example", "Origin: https://a.example"},
		{"Origin:", "Origin: https://a.example"},
		{"origin: https://a.example", "ORIGIN:"},
		{"Authorization: Bearer a", "Authorization: Bearer a"},
		{"Authorization:", "authorization: Bearer a"},
	} {
		wantStatus(t, headOf("GET /ws HTTP/1.1", plus(fields...)...), 400)
		wantStatus(t, headOf("GET /ws HTTP/1.1", append(fields, upgradeFields...)...), 400)
		wantStatus(t, headOf("GET /ws HTTP/1.1", plus(fields[0])...), 101)
	}
}

// What says that it has to be there is refused where it matters, and not by those who need no
// host. HTTP/1.0 knows none.
func TestCheckHost(t *testing.T) {
	for _, tt := range []struct {
		line   string
		fields []string
		parsed bool
		host   string
		ok     bool
	}{
		{"GET / HTTP/1.1", []string{"Host: a"}, true, "a", true},
		{"GET / HTTP/1.1", []string{"X: y"}, true, "", false},
		{"GET / HTTP/1.1", []string{"Host:"}, true, "", false},
		{"GET http://b/ HTTP/1.1", []string{"X: y"}, true, "", false},
		{"GET / HTTP/1.0", []string{"X: y"}, true, "", true},
		{"GET / HTTP/1.0", nil, true, "", true},
		{"GET / HTTP/1.0", []string{"Host: a:80"}, true, "a:80", true},
		{"GET / HTTP/1.0", []string{"Host: a", "Host: b"}, false, "", false},
		{"GET / HTTP/1.0", []string{"Host: a/b"}, false, "", false},
	} {
		req, r := httphead.ParseRequest(headOf(tt.line, tt.fields...))
		if (r == nil) != tt.parsed || r != nil && r.Status != 400 {
			t.Errorf("%s %q: %+v", tt.line, tt.fields, r)
			continue
		}
		if r == nil && (string(req.Host) != tt.host || (req.CheckHost() == nil) != tt.ok || req.Old != strings.HasSuffix(tt.line, "1.0")) {
			t.Errorf("%s %q: %+v", tt.line, tt.fields, req)
		}
	}
}

// A request that is no WebSocket's gets its path and method, for pages.
func TestParseRequestOfAPage(t *testing.T) {
	req, r := httphead.ParseRequest(headOf("GET /healthz?verbose HTTP/1.1", "Host: a", "Accept: */*"))
	if r != nil || string(req.Method) != "GET" || string(req.Path) != "/healthz" || string(req.Query) != "verbose" || string(req.Host) != "a" {
		t.Fatalf("got %+v, %+v", req, r)
	}
	if r := wsproto.CheckUpgrade(&req); r == nil || r.Status != 426 {
		t.Errorf("a page is upgraded: %+v", r)
	}
}
