// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"tickedge/internal/auth"
)

// The WebSocket is where it was put, however that is written, and the rest says where that is.
func TestPaths(t *testing.T) {
	e := serve(t, func(c *Config) { c.Paths, c.Pages = []string{"/feed", "/prices/ws"}, pages(testPage) })
	for _, tc := range []struct {
		target string
		status int
	}{
		{"/feed", 101}, {"/feed/", 101}, {"/feed?topics=A", 101}, {"/feed/?topics=A", 101}, {"/%66eed", 101}, {"/feed%2F", 404},
		{"/prices/ws", 101}, {"/prices/ws/", 101}, {"/prices%2fws", 404}, {"/pricesx", 404}, {"/feed/x", 404}, {"//feed", 404}, {"/feed//", 404},
		{"/FEED", 404}, {"/ws", 404}, {"/x/../feed", 404},
		{"ws://edge.example/feed", 101}, {"wss://edge.example/feed/", 101}, {"http://edge.example/prices/ws?topics=A", 101},
	} {
		upgrade := strings.Replace(upgradeRequest(""), "/ws ", tc.target+" ", 1)
		c, res, body := e.ask("", upgrade)
		if res.StatusCode != tc.status || tc.status == 404 && body != "not found: the WebSocket is at /feed, events are at /sse, values at /prices" {
			t.Errorf("%s: %s %q, want %d", tc.target, res.Status, body, tc.status)
		}
		if c != nil {
			c.close()
		}
	}
	// A target in absolute form may have no path.
	if head, body := e.one(request("GET", "http://edge.example")); !strings.HasPrefix(head, "HTTP/1.1 200 ") || body != testPage {
		t.Errorf("the page: %s and %q", head, body)
	}
}

// one answers one request, to the end of the connection.
func (e *edge) one(request string) (head, body string) {
	e.t.Helper()
	c := dialRaw(e.t, e.Addr())
	c.send([]byte(request))
	all, err := io.ReadAll(c.br)
	if err != nil {
		e.t.Fatalf("%.60q: %v", request, err)
	}
	c.close()
	head, body, ok := strings.Cut(string(all), "\r\n\r\n")
	if !ok {
		e.t.Fatalf("%.60q: answered with %q", request, all)
	}
	return head, body
}

// HEAD is answered as GET is, without the body: on every path, and whatever is wrong.
func TestHEADIsGETWithoutBody(t *testing.T) {
	origins, err := auth.ParseOrigins("https://app.example")
	if err != nil {
		t.Fatal(err)
	}
	e := serve(t, withTokens(t), func(c *Config) {
		c.Pages, c.HealthPath, c.Ready, c.Origins = pages(testPage), "/well", new(atomic.Bool), origins
	})
	for name, get := range map[string]string{
		"page":                  request("GET", "/"),
		"page with a query":     request("GET", "/?topics=A"),
		"nothing there":         request("GET", "/other"),
		"WebSocket":             request("GET", "/ws"),
		"WebSocket, slash":      request("GET", "/ws/"),
		"WebSocket, HTTP/1.0":   "GET /ws HTTP/1.0\r\n\r\n",
		"WebSocket, other page": request("GET", "/ws", "Origin: https://evil.example"),
		"health":                request("GET", "/well"),
		"page of HTTP/1.0":      "GET / HTTP/1.0\r\n\r\n",
		"empty line before":     "\r\n" + request("GET", "/ws"),
		"no host":               "GET / HTTP/1.1\r\n\r\n",
		"bad target":            request("GET", "/%zz"),
		"bad field":             request("GET", "/", "a b: c"),
		"bare line feed":        "GET / HTTP/1.1\nHost: a\n\n",
		"body":                  request("GET", "/", "Content-Length: 5"),
		"two hosts":             request("GET", "/", "Host: b"),
		"long":                  request("GET", "/", "X: "+strings.Repeat("x", 9000)),
		"HTTP/2":                "GET / HTTP/2.0\r\n\r\n",
		"no version":            "GET /\r\n\r\n",
	} {
		head, body := e.one(get)
		headOnly, none := e.one(strings.Replace(get, "GET", "HEAD", 1))
		if headOnly != head || none != "" || body == "" && name != "health" {
			t.Errorf("%s: GET is answered with\n%s\nand %q, HEAD with\n%s\nand %q", name, head, body, headOnly, none)
		}
	}
	// Who is refused whatever it asks for.
	e.end(0)
	full := serve(t, func(c *Config) { c.MaxConns = 1 })
	dialRaw(t, full.Addr()).upgrade("")
	if head, body := full.one(request("HEAD", "/ws")); !strings.HasPrefix(head, "HTTP/1.1 503 ") || body != "" {
		t.Errorf("answered with %s and %q", head, body)
	}
}

// The health path answers everybody, with next to nothing, and is no refusal.
func TestHealthPath(t *testing.T) {
	ready := new(atomic.Bool)
	e := serve(t, withTokens(t), func(c *Config) {
		c.HealthPath, c.Ready, c.Pages, c.MaxConns = "/well", ready, pages(testPage), 1
	})
	checks := uint64(0)
	for _, want := range []int{503, 200} {
		ready.Store(want == 200)
		for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
			for _, rest := range []string{
				" /well HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nUser-Agent: probe\r\n\r\n",
				" /well HTTP/1.0\r\n\r\n",
				" /well/ HTTP/1.0\r\nHost: edge.example\r\n\r\n",
				" /well?now HTTP/1.1\r\n\r\n", // Some say no Host, though they should.
				" /well HTTP/1.1\r\nHost:\r\n\r\n",
				" /well HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
				" http://edge.example/%77ell HTTP/1.1\r\nHost: edge.example\r\nAuthorization: Basic x\r\n\r\n",
			} {
				head, body := e.one(method + rest)
				checks++
				if !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", want)) || body != "" || len(head) > 128 || !strings.Contains(head, "\r\nContent-Length: 0") {
					t.Errorf("%s%s: answered with %q and %q, want %d", method, rest, head, body, want)
				}
			}
		}
	}
	for _, method := range []string{"POST", "DELETE"} {
		if head, body := e.one(request(method, "/well")); !strings.HasPrefix(head, "HTTP/1.1 405 ") || !strings.Contains(head, "\r\nAllow: GET, HEAD, OPTIONS") || body == "" {
			t.Errorf("%s: answered with %q and %q", method, head, body)
		}
	}
	// What is malformed is refused here too.
	if head, _ := e.one(request("GET", "/well", "Host: b")); !strings.HasPrefix(head, "HTTP/1.1 400 ") {
		t.Errorf("two hosts: answered with %q", head)
	}
	// An edge that is full is well: a platform that ended it would send all clients away.
	until(t, func() bool { return e.Conns() == 0 }, "all to be gone")
	alice := e.admit(tokenOf("alice", later(), ""), "")
	if head, _ := e.one(request("GET", "/ws")); !strings.HasPrefix(head, "HTTP/1.1 503 ") {
		t.Errorf("the edge is not full: %q", head)
	}
	if head, _ := e.one("GET /well HTTP/1.0\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		t.Errorf("of a full edge: answered with %q", head)
	}
	until(t, func() bool {
		st := e.Stats()
		return st.Loop[HealthChecks] == checks+1 && st.Refused["unavailable"] == 1 && st.Refused["method"] == 2 && st.Refused["bad_request"] == 1 && st.Loop[Pages] == 0
	}, "the checks to be counted, and none as refused")
	e.onLoops(func(l *loop) { l.shutting.shut = true })
	if head, _ := e.one("GET /well HTTP/1.0\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 503 ") {
		t.Errorf("while the edge goes down: answered with %q", head)
	}
	// It is off by default.
	alice.close()
	e.end(0)
	if _, res, _ := serve(t).ask("", request("GET", "/well")); res.StatusCode != 404 {
		t.Errorf("without one: %s", res.Status)
	}
}

// An old client gets a page, and is told what it needs for the rest.
func TestHTTP10(t *testing.T) {
	e := serve(t, func(c *Config) { c.Pages = pages(testPage) })
	for _, fields := range []string{"", "Host: edge.example\r\n", "Host:\r\nConnection: keep-alive\r\n"} {
		if head, body := e.one("GET / HTTP/1.0\r\n" + fields + "\r\n"); !strings.HasPrefix(head, "HTTP/1.1 200 ") || body != testPage {
			t.Errorf("%q: %s and %q", fields, head, body)
		}
	}
	if head, body := e.one(strings.Replace(upgradeRequest(""), "HTTP/1.1", "HTTP/1.0", 1)); !strings.HasPrefix(head, "HTTP/1.1 400 ") || !strings.Contains(body, "HTTP/1.1 is needed") {
		t.Errorf("a WebSocket: %s and %q", head, body)
	}
	if head, _ := e.one("GET /x HTTP/1.0\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 404 ") {
		t.Errorf("nothing there: %s", head)
	}
}

// Browsers bring a token as a sub-protocol. It is taken like any other, and not sent back.
func TestTokenAsSubprotocol(t *testing.T) {
	e := serve(t, withTokens(t))
	good, bad := tokenOf("alice", later(), ""), mint("another-secret-another-secret-anot", `{"sub":"alice","exp":99999999999}`)
	const offer = "Sec-WebSocket-Protocol: "
	for _, tc := range []struct {
		name, query string
		fields      []string
		status      int
		chosen      string
	}{
		{"behind", "", []string{offer + "tickedge.v1, bearer." + good}, 101, "tickedge.v1"},
		{"before", "", []string{offer + "bearer." + good + ",tickedge.v1"}, 101, "tickedge.v1"},
		{"two fields", "", []string{offer + "bearer." + good, offer + "tickedge.v1"}, 101, "tickedge.v1"},
		{"token in the field", "", []string{offer + "tickedge.v1", "Authorization: Bearer " + good}, 101, "tickedge.v1"},
		{"token in the query", "?token=" + good, []string{offer + "chat"}, 101, ""},
		{"a proxy's own password", "", []string{offer + "tickedge.v1,bearer." + good, "Authorization: Basic YTpi"}, 101, "tickedge.v1"},
		{"a proxy's own password, token in the query", "?token=" + good, []string{"Authorization: Basic YTpi"}, 101, ""},
		{"none", "", []string{offer + "tickedge.v1"}, 401, ""},
		{"empty", "", []string{offer + "tickedge.v1,bearer."}, 401, ""},
		{"bad", "", []string{offer + "tickedge.v1,bearer." + bad}, 401, ""},
		{"alone", "", []string{offer + "bearer." + good}, 400, ""},
		{"twice", "", []string{offer + "tickedge.v1,bearer." + good + ",bearer." + good}, 400, ""},
		{"in the query too", "?token=" + good, []string{offer + "tickedge.v1,bearer." + good}, 400, ""},
		{"in the field too", "", []string{offer + "tickedge.v1,bearer." + good, "Authorization: Bearer " + good}, 400, ""},
		{"everywhere", "?token=", []string{offer + "tickedge.v1,bearer." + good, "Authorization: Bearer " + good}, 400, ""},
	} {
		c, res, body := e.ask("", upgradeWith(tc.query, tc.fields...))
		if res.StatusCode != tc.status || res.Header.Get("Sec-WebSocket-Protocol") != tc.chosen {
			t.Errorf("%s: %s %v %q, want %d and %q", tc.name, res.Status, res.Header, body, tc.status, tc.chosen)
		}
		if strings.Contains(fmt.Sprint(res.Header)+body, good) {
			t.Errorf("%s: the token comes back", tc.name)
		}
		if tc.status == 400 && tc.name != "alone" && !strings.HasPrefix(body, "a token comes once") {
			t.Errorf("%s: %q", tc.name, body)
		}
		if c != nil {
			if tc.name == "behind" {
				e.eachConn(func(_ *loop, c *conn) {
					if c.more == nil || c.more.user != "alice" {
						t.Errorf("the conn is not of its user: %+v", c.more)
					}
				})
			}
			c.close()
		}
	}
	// Where no token is asked for, it is of no interest.
	e.end(0)
	e = serve(t)
	if _, res, _ := e.ask("", upgradeWith("", offer+"tickedge.v1,bearer.x")); res.StatusCode != 101 || res.Header.Get("Sec-WebSocket-Protocol") != "tickedge.v1" {
		t.Errorf("without tokens: %s %v", res.Status, res.Header)
	}
	if _, res, _ := e.ask("", upgradeWith("", offer+"bearer.x")); res.StatusCode != 400 {
		t.Errorf("without tokens, alone: %s", res.Status)
	}
}

// A head may be as long as the edge lets it, in any number of reads, and not a byte longer.
func TestMaxHead(t *testing.T) {
	e := serve(t, func(c *Config) { c.MaxHead = 64 })
	empty := len(upgradeWith("", "Cookie: "))
	for n, want := range map[int]int{64 << 10: 101, 64<<10 + 1: 431, 20 << 10: 101} {
		c, res, body := e.ask("", upgradeWith("", "Cookie: "+strings.Repeat("c", n-empty)))
		if res.StatusCode != want || want == 431 && body != "the request head is longer than 64 KiB" {
			t.Errorf("%d bytes: %s %q, want %d", n, res.Status, body, want)
		}
		if c != nil {
			c.close()
		}
	}
	// What is kept of a slow head is what has come of it, and not much more.
	c := dialRaw(t, e.Addr())
	part := upgradeWith("", "Cookie: "+strings.Repeat("c", 60<<10))[:60<<10]
	before := e.read()
	for at := 0; at < len(part); at += 3000 {
		c.send([]byte(part[at:min(at+3000, len(part))]))
		until(t, func() bool { return e.read() == before+uint64(min(at+3000, len(part))) }, "a part to be read")
	}
	e.eachConn(func(_ *loop, c *conn) {
		if c.more != nil && (len(c.more.head) != len(part) || cap(c.more.head) > 2*len(part)) {
			t.Errorf("%d bytes of %d are kept, in room for %d", len(c.more.head), len(part), cap(c.more.head))
		}
	})
}

// A key is 16 bytes: how its last letter's spare bits stand changes the answer, and nothing else.
func TestKeyWithSpareBits(t *testing.T) {
	e := serve(t)
	for _, key := range []string{"AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAB==", "AAAAAAAAAAAAAAAAAAAAAP=="} {
		if b, err := base64.StdEncoding.DecodeString(key); err != nil || len(b) != 16 {
			t.Fatal(key, err)
		}
		c, res, body := e.ask("", strings.Replace(upgradeRequest(""), "dGhlIHNhbXBsZSBub25jZQ==", key, 1))
		if res.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("%s: %s %q", key, res.Status, body)
			continue
		}
		c.close()
	}
}

// Queries that links and proxies add to do no harm, and what is ours is told by its name.
func TestQueriesOfOthers(t *testing.T) {
	e := serve(t)
	for query, want := range map[string]string{
		"?ref=100%": "", "?a;b": "", "?utm=%E4&topics=A": "", "?%": "",
		"?topics=%zz":   "topics in the query is malformed: a % stands before two hexadecimal digits, or is written %25",
		"?topics=A;B":   "topics in the query is malformed: parameters are separated by &, and a ; is written %3B",
		"?token=hun%":   "token in the query is malformed: a % stands before two hexadecimal digits, or is written %25",
		"?interval=5%%": "interval in the query is malformed: a % stands before two hexadecimal digits, or is written %25",
	} {
		c, res, body := e.ask("", upgradeRequest(query))
		if (res.StatusCode == 101) != (want == "") || body != want {
			t.Errorf("%s: %s %q, want %q", query, res.Status, body, want)
		}
		if c != nil {
			c.close()
		}
	}
}
