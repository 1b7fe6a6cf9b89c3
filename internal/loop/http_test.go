// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tickedge/internal/httphead"
)

func listenPlain(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

const testPage = "<!doctype html><title>edge</title>\n<p>The page.\n"

// pages is one page at /.
func pages(html string) map[string]*httphead.Page {
	return map[string]*httphead.Page{"/": httphead.NewPage("text/html; charset=utf-8",
		"Content-Security-Policy: default-src 'none'\r\n", html)}
}

// request is a request head for a page.
func request(method, target string, fields ...string) string {
	return method + " " + target + " HTTP/1.1\r\n" + strings.Join(append(fields, "Host: edge.example"), "\r\n") + "\r\n\r\n"
}

// answer reads a response of which the connection's end is a part.
func (c *raw) answer(method string) (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("body of %s: %v", res.Status, err)
	}
	if !res.Close {
		c.t.Errorf("%s without Connection: close", res.Status)
	}
	return res, string(body)
}

func TestHTTPRefusals(t *testing.T) {
	e := serve(t, func(c *Config) { c.Pages = pages(testPage) })
	long := "X-Long: " + strings.Repeat("x", 9000)
	upgrade := upgradeRequest("")
	for _, tc := range []struct {
		name, request string
		status        int
		header, value string
	}{
		{"no request", "\x16\x03\x01\x02\x00\x01\x00", 400, "", ""},
		{"bare line feeds", "GET /ws HTTP/1.1\nHost: a\n\n", 400, "", ""},
		{"no host", "GET /ws HTTP/1.1\r\n\r\n", 400, "", ""},
		{"body", request("GET", "/ws", "Content-Length: 5"), 400, "", ""},
		{"bad key", strings.Replace(upgrade, "dGhl", "????", 1), 400, "", ""},
		{"bad interval", upgradeRequest("?interval=7"), 400, "", ""},
		{"bad query", upgradeRequest("?topics=%zz"), 400, "", ""},
		{"another path", request("GET", "/other"), 404, "", ""},
		{"another path, upgrade", strings.Replace(upgrade, "/ws", "/wss", 1), 404, "", ""},
		{"POST", request("POST", "/ws"), 405, "Allow", "GET"},
		{"POST to the page", request("POST", "/"), 405, "Allow", "GET, HEAD"},
		{"no upgrade", request("GET", "/ws"), 426, "Upgrade", "websocket"},
		{"old version", strings.Replace(upgrade, "Version: 13", "Version: 8", 1), 426, "Sec-WebSocket-Version", "13"},
		{"long head", "GET /ws HTTP/1.1\r\n" + long, 431, "", ""},
		{"many fields", request("GET", "/ws", strings.Split(strings.Repeat("a:b ", 101), " ")[:101]...), 431, "", ""},
		{"HTTP/2", "GET /ws HTTP/2.0\r\nHost: a\r\n\r\n", 505, "", ""},
		{"page", request("GET", "/"), 200, "Content-Type", "text/html; charset=utf-8"},
	} {
		for _, more := range []string{"", strings.Repeat("more", 50_000)} {
			name := tc.name
			if more != "" {
				name += ", and more"
			}
			if tc.name == "bare line feeds" && more != "" {
				continue // That is also a head too long, and either answer is right.
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := dialRaw(t, e.Addr())
				go io.WriteString(c.TCPConn, tc.request+more)
				res, body := c.answer("GET")
				if res.StatusCode != tc.status || body == "" || res.Header.Get(tc.header) != tc.value {
					t.Errorf("%s %v %q, want %d", res.Status, res.Header, body, tc.status)
				}
				// A FIN at once and not when the server's patience ends, though we say
				// nothing of going. What is sent after it brings no reset either.
				_ = c.SetReadDeadline(time.Now().Add(patience)) // Before CloseTimeout.
				c.wantEOF()
				if _, err := io.WriteString(c.TCPConn, "still here"); err != nil {
					t.Errorf("write after the end: %v", err)
				}
				c.wantEOF()
			})
		}
	}
}

func TestHTTPRefusalsAreCounted(t *testing.T) {
	e := serve(t)
	for _, r := range []string{request("GET", "/ws"), request("GET", "/"), request("GET", "/x"), request("PUT", "/ws"), "?"} {
		c := dialRaw(t, e.Addr())
		c.send([]byte(r))
		c.answer("GET")
		c.wantEOF()
		c.close()
	}
	e.wantClosed("http", "", 5)
	for reason, want := range map[string]uint64{"upgrade_required": 1, "not_found": 2, "method": 1, "bad_request": 1, "unavailable": 0} {
		if got := e.refused(reason); got != want {
			t.Errorf("%d refused for %s, want %d", got, reason, want)
		}
	}
}

// The page is prepared once. Whatever is written in between must not get into it.
func TestPage(t *testing.T) {
	e := serve(t, func(c *Config) { c.Pages = pages(testPage); c.Loops = 1 })
	client := conforming(t, e, "?topics=A")
	hear(t, client, "hello")
	hear(t, client, "ack")
	for i := range 50 {
		for _, method := range []string{"GET", "HEAD"} {
			c := dialRaw(t, e.Addr())
			c.send([]byte(request(method, "/")))
			res, body := c.answer(method)
			want := testPage
			if method == "HEAD" {
				want = ""
			}
			if res.StatusCode != 200 || res.ContentLength != int64(len(testPage)) || body != want ||
				!strings.Contains(res.Header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Fatalf("%s number %d: %s %v %q", method, i, res.Status, res.Header, body)
			}
			c.wantEOF()
			c.close()
		}
		c := dialRaw(t, e.Addr())
		c.send([]byte(request("GET", "/"+strings.Repeat("x", i+1))))
		c.answer("GET")
		c.close()
		say(t, client, `{"op":"list","id":%d}`, i)
		hear(t, client, "topics")
	}
	until(t, func() bool { return e.Stats().Loop[Pages] == 100 }, "100 pages to be counted")
}

// A client that has the page is not sent it again, and one that takes it zipped gets it so.
func TestPageInItsForms(t *testing.T) {
	e := serve(t, func(c *Config) { c.Pages = pages(testPage) })
	ask := func(method string, fields ...string) *http.Response {
		t.Helper()
		c := dialRaw(t, e.Addr())
		defer c.close()
		c.send([]byte(request(method, "/", fields...)))
		res, body := c.answer(method)
		if (method == "HEAD" || res.StatusCode == 304) && body != "" {
			t.Errorf("%s %s has a body: %q", method, res.Status, body)
		}
		c.wantEOF()
		return res
	}
	tag := ask("GET").Header.Get("ETag")
	for _, method := range []string{"GET", "HEAD"} {
		if res := ask(method, "If-None-Match: "+tag, "Accept-Encoding: gzip"); res.StatusCode != 304 || res.Header.Get("ETag") != tag {
			t.Errorf("%s: %s %v, want 304", method, res.Status, res.Header)
		}
		if res := ask(method, "Accept-Encoding: gzip"); res.StatusCode != 200 || res.Header.Get("Content-Encoding") != "gzip" || res.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %s %v, want gzip", method, res.Status, res.Header)
		}
		if res := ask(method, "Accept-Encoding: gzip;q=0"); res.StatusCode != 200 || res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %s %v, want it plain", method, res.Status, res.Header)
		}
	}
}

// A page that does not fit into the socket at once arrives whole as well, and the end
// of the connection right behind it.
func TestBigPage(t *testing.T) {
	page := strings.Repeat(testPage, 20_000)
	e := serve(t, func(c *Config) { c.Pages = pages(page) })
	c := dialRaw(t, e.Addr())
	c.send([]byte(request("GET", "/")))
	if _, body := c.answer("GET"); body != page {
		t.Fatalf("got %d bytes, want %d", len(body), len(page))
	}
	_ = c.SetReadDeadline(time.Now().Add(patience)) // Before CloseTimeout.
	c.wantEOF()
}

// One that does not take the page is not waited for.
func TestBigPageIsNotRead(t *testing.T) {
	e := serve(t, func(c *Config) {
		c.Pages, c.Loops = pages(strings.Repeat(testPage, 20_000)), 1
		c.Shard.SlowTimeout, c.Shard.CloseTimeout = 300*time.Millisecond, 300*time.Millisecond
	})
	c := dialRaw(t, e.Addr())
	c.send([]byte(request("GET", "/")))
	until(t, func() bool { sum, _ := e.backlog(); return sum > 0 }, "a backlog")
	e.wantClosed("http", "", 1)
	c.wantReset()
}
