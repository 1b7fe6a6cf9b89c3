// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/guard"
)

// ask sends a request from a source and returns the answer. A connection that became a
// WebSocket stays, until the end of the test or its close.
func (e *edge) ask(source, request string) (*raw, *http.Response, string) {
	e.t.Helper()
	c := dialFrom(e.t, source, e.Addr())
	c.send([]byte(request))
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		e.t.Fatal(err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		c.want("hello")
		return c, res, ""
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	if !res.Close {
		e.t.Errorf("%s without Connection: close", res.Status)
	}
	c.wantEOF()
	c.close()
	return nil, res, strings.TrimSuffix(string(body), "\n")
}

// wantRetry checks the advice of an answer, in seconds.
func wantRetry(t *testing.T, res *http.Response, least, most int) {
	t.Helper()
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || n < least || n > most {
		t.Errorf("%s with Retry-After %q, want %d to %d", res.Status, res.Header.Get("Retry-After"), least, most)
	}
}

func TestOrigin(t *testing.T) {
	for _, tc := range []struct {
		list, host, origin string
		status             int
	}{
		{"", "edge.example", "", 101},
		{"", "edge.example", "https://edge.example", 101},
		{"", "edge.example", "http://edge.example", 101},
		{"", "localhost:8080", "http://localhost:8080", 101},
		{"", "localhost:8080", "http://localhost", 403},
		{"", "edge.example", "https://evil.example", 403},
		{"", "edge.example", "https://edge.example.evil.example", 403},
		{"", "edge.example", "null", 403},
		{"https://app.example, https://*.app.example", "edge.example", "https://app.example", 101},
		{"https://app.example, https://*.app.example", "edge.example", "https://a.app.example", 101},
		{"https://app.example, https://*.app.example", "edge.example", "https://edge.example", 403},
		{"*", "edge.example", "https://evil.example", 101},
	} {
		t.Run(tc.list+" "+tc.host+" "+tc.origin, func(t *testing.T) {
			origins, err := auth.ParseOrigins(tc.list)
			if err != nil {
				t.Fatal(err)
			}
			e := serve(t, func(c *Config) { c.Origins, c.Loops, c.Pages = origins, 1, pages(testPage) })
			field := "X-None: 1"
			if tc.origin != "" {
				field = "Origin: " + tc.origin
			}
			upgrade := strings.Replace(upgradeWith("", field), "edge.example", tc.host, 1)
			c, res, body := e.ask("", upgrade)
			if res.StatusCode != tc.status {
				t.Fatalf("answered with %s %q, want %d", res.Status, body, tc.status)
			}
			if tc.status == 403 {
				if body != "this page (Origin) may not connect here" {
					t.Errorf("answered with %q", body)
				}
				until(t, func() bool { return e.refused("origin") == 1 }, "the refusal to be counted")
			} else {
				c.close()
			}
			// A page may be opened from anywhere.
			if _, res, _ := e.ask("", request("GET", "/", field)); res.StatusCode != 200 {
				t.Errorf("the page: %s", res.Status)
			}
			// It is of no interest whether it would have been a WebSocket.
			if tc.status == 403 {
				if _, res, _ := e.ask("", request("GET", "/ws", field)); res.StatusCode != 403 {
					t.Errorf("no upgrade: %s", res.Status)
				}
			}
		})
	}
	e := serve(t)
	if _, res, _ := e.ask("", upgradeWith("", "Origin: https://edge.example", "Origin: https://edge.example")); res.StatusCode != 400 {
		t.Errorf("two Origins: %s", res.Status)
	}
}

// As many as may are let in, however many come at once, on whichever loop.
func TestConnsPerPrefix(t *testing.T) {
	const most, come = 7, 60
	e := serve(t, func(c *Config) { c.Guard.ConnsPerPrefix = most })
	storm := func() (in []*raw) {
		var mu sync.Mutex
		var refused atomic.Int64
		var all sync.WaitGroup
		for range come {
			all.Go(func() {
				c, err := connectFrom("127.0.0.1", e.Addr(), patience)
				if err != nil {
					t.Error(err)
					return
				}
				c.t = t
				_, _ = c.Write([]byte(upgradeRequest("")))
				res, err := http.ReadResponse(c.br, &http.Request{Method: "GET"})
				switch {
				case err != nil:
					t.Error(err)
				case res.StatusCode == 101:
					mu.Lock()
					in = append(in, c)
					mu.Unlock()
					return
				case res.StatusCode == 429:
					wantRetry(t, res, 10, 29)
					refused.Add(1)
				default:
					t.Errorf("answered with %s", res.Status)
				}
				c.close()
			})
		}
		all.Wait()
		if len(in) != most || refused.Load() != come-most {
			t.Errorf("%d were let in and %d refused, want %d of %d", len(in), refused.Load(), most, come)
		}
		return in
	}
	in := storm()
	if _, res, body := e.ask("127.0.0.1", upgradeRequest("")); res.StatusCode != 429 || body != "too many connections from your address, close some or try again later" {
		t.Errorf("answered with %s %q", res.Status, body)
	}
	// It is the limit of one, and for everything that it may ask.
	if _, res, _ := e.ask("127.0.0.2", upgradeRequest("")); res.StatusCode != 101 {
		t.Errorf("another one: %s", res.Status)
	}
	if _, res, _ := e.ask("127.0.0.1", request("GET", "/")); res.StatusCode != 429 {
		t.Errorf("another request: %s", res.Status)
	}
	until(t, func() bool { return e.refused("client_limit") == come-most+2 }, "the refusals to be counted")
	if st := e.Guard(); st.Prefixes != 2 || st.Refused[guard.TooManyConns] != come-most+2 {
		t.Errorf("the guard counts %+v", st)
	}
	// The room comes back, however a conn ends, and once.
	in[0].reset()
	closeAll(in[1:])
	until(t, func() bool { return e.Guard().Prefixes == 1 && e.Conns() == 1 }, "the room to be free")
	closeAll(storm())
}

// Who is refused for its own limit waits in the room of refused ones, and takes no room
// from others. When that is full, the answer does not wait for the request.
func TestRefusedByTheGuardHoldsNoRoom(t *testing.T) {
	e := serve(t, func(c *Config) { c.Guard.ConnsPerPrefix, c.MaxConns = 1, 3 })
	e.ask("127.0.0.1", upgradeRequest(""))
	var silent []*raw
	for range RefuseRoom {
		silent = append(silent, dialFrom(t, "127.0.0.1", e.Addr()))
	}
	until(t, func() bool { return e.refusing.Load() == RefuseRoom && e.conns.Load() == 1 }, "the room for refusals to be full")
	c := dialFrom(t, "127.0.0.1", e.Addr())
	res, _ := c.answer("GET")
	if res.StatusCode != 429 {
		t.Errorf("answered with %s", res.Status)
	}
	wantRetry(t, res, 10, 29)
	c.wantEOF()
	for _, source := range []string{"127.0.0.2", "127.0.0.3"} {
		if _, res, _ := e.ask(source, upgradeRequest("")); res.StatusCode != 101 {
			t.Errorf("%s: %s", source, res.Status)
		}
	}
	closeAll(silent)
	until(t, func() bool { return e.refusing.Load() == 0 && e.conns.Load() == 3 }, "only those to be left")
	// Above the maximum the guard is not asked.
	e.ask("127.0.0.4", upgradeRequest(""))
	if st := e.Guard(); st.Prefixes != 3 || st.Refused[guard.TooManyConns] != RefuseRoom+1 {
		t.Errorf("the guard counts %+v", st)
	}
}

// The rates themselves are tested in package guard.
func TestConnRates(t *testing.T) {
	slow := guard.Rate{PerSecond: 1, Burst: 1}
	for _, tc := range []struct {
		name   string
		cfg    guard.Config
		status int
		most   int // Of Retry-After.
		body   string
	}{
		{"of one", guard.Config{PerPrefix: slow}, 429, 5, "too many new connections from your address, try again later"},
		{"of all", guard.Config{Total: slow}, 503, 60, "too many new connections, try again later"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := serve(t, func(c *Config) { c.Guard = tc.cfg })
			until(t, func() bool {
				_, res, body := e.ask("", upgradeRequest(""))
				if res.StatusCode == 101 {
					return false
				}
				if res.StatusCode != tc.status || body != tc.body {
					t.Errorf("answered with %s %q", res.Status, body)
				}
				wantRetry(t, res, 1, tc.most)
				return true
			}, "a refusal")
			until(t, func() bool { return e.refused("client_limit")+e.refused("unavailable") == 1 }, "it to be counted")
		})
	}
}

func trusting(t *testing.T, list string) guard.Trusted {
	t.Helper()
	trusted, err := guard.ParseTrusted(list)
	if err != nil {
		t.Fatal(err)
	}
	return trusted
}

// A client is who a trusted proxy says, and nobody is who he says himself.
func TestForwardedFor(t *testing.T) {
	e := serve(t, func(c *Config) {
		c.Guard.ConnsPerPrefix = 1
		c.Trusted = trusting(t, "127.0.0.1, 10.0.0.0/8")
	})
	for _, tc := range []struct {
		source, forwarded string
		status            int
	}{
		{"127.0.0.1", "198.51.100.1", 101},
		{"127.0.0.1", "198.51.100.1", 429},
		{"127.0.0.1", "198.51.100.2", 101},
		{"127.0.0.1", "203.0.113.9, 198.51.100.1", 429},           // What the client wrote before its own.
		{"127.0.0.1", "203.0.113.9, 198.51.100.1, 10.1.1.1", 429}, // The same through two proxies.
		{"127.0.0.1", "198.51.100.3, 10.1.1.1", 101},
		{"127.0.0.1", "10.9.9.9, 198.51.100.3", 429}, // It is no proxy for saying so.
		{"127.0.0.1", "", 101},                       // The proxy for itself.
		{"127.0.0.1", "rubbish", 429},                // The same.
		{"127.0.0.2", "203.0.113.7", 101},            // Not a proxy, so it is the client.
		{"127.0.0.2", "203.0.113.8", 429},
		{"127.0.0.1", "2001:db8::1", 101},
		{"127.0.0.1", "[2001:db8::ffff]:443", 429}, // The same /64.
	} {
		if _, res, body := e.ask(tc.source, upgradeWith("", "X-Forwarded-For: "+tc.forwarded)); res.StatusCode != tc.status {
			t.Errorf("%s for %q: %s %q, want %d", tc.source, tc.forwarded, res.Status, body, tc.status)
		}
	}
	if _, res, _ := e.ask("127.0.0.1", upgradeWith("", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 198.51.100.1")); res.StatusCode != 429 {
		t.Errorf("two fields: %s", res.Status)
	}
	if n := e.Guard().Prefixes; n != 6 {
		t.Errorf("%d sources, want 6", n)
	}
}

// Those who are refused after their head are refused at once, in the room for it or, when
// that is full, in none.
func TestForwardedForInAFullRoom(t *testing.T) {
	e := serve(t, func(c *Config) {
		c.Guard.ConnsPerPrefix, c.MaxConns = 1, 4
		c.Trusted = trusting(t, "127.0.0.1")
	})
	forwarded := upgradeWith("", "X-Forwarded-For: 198.51.100.1")
	e.ask("127.0.0.2", upgradeRequest(""))
	e.ask("127.0.0.1", forwarded)
	var silent []*raw
	for range RefuseRoom {
		silent = append(silent, dialFrom(t, "127.0.0.2", e.Addr()))
	}
	until(t, func() bool { return e.refusing.Load() == RefuseRoom }, "the room for refusals to be full")
	if _, res, _ := e.ask("127.0.0.1", forwarded); res.StatusCode != 429 {
		t.Errorf("answered with %s", res.Status)
	}
	until(t, func() bool { return e.conns.Load() == 2 }, "it to be gone, without its leave")
	closeAll(silent)
}

// Headers of version 1 and 2 of the same client.
func proxyHeaders(client string) map[string]string {
	ip := netip.MustParseAddr(client)
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + string(ip.AsSlice()) + "\x7f\x00\x00\x01"
	v2 = string(binary.BigEndian.AppendUint16([]byte(v2), 1234))
	v2 = string(binary.BigEndian.AppendUint16([]byte(v2), 8080))
	return map[string]string{"v1": "PROXY TCP4 " + client + " 127.0.0.1 1234 8080\r\n", "v2": v2}
}

// The header, the request and a first frame arrive in any two pieces.
func TestProxyProtocolCutAtEveryByte(t *testing.T) {
	e := serve(t, func(c *Config) { c.ProxyProtocol = true; c.Guard.ConnsPerPrefix = 1 })
	for version := range proxyHeaders("192.0.2.1") {
		t.Run(version, func(t *testing.T) {
			for at := 1; ; at++ {
				client := fmt.Sprintf("192.0.%d.%d", at>>8, at&0xff)
				all := proxyHeaders(client)[version] + upgradeRequest("") + string(command(`{"op":"ping"}`))
				if at == len(all) {
					break
				}
				c := dialRaw(t, e.Addr())
				before := e.read()
				c.send([]byte(all[:at]))
				until(t, func() bool { return e.read() == before+uint64(at) }, "the first piece to be read")
				c.send([]byte(all[at:]))
				if err := c.switched(); err != nil {
					t.Fatalf("cut at %d: %v", at, err)
				}
				c.want("hello")
				c.want("pong")
				want := guard.PrefixOf(netip.MustParseAddr(client))
				e.eachConn(func(_ *loop, c *conn) {
					if c.prefix != want || c.more != nil {
						t.Errorf("cut at %d: the source is %x, want %x; more is %+v", at, c.prefix, want, c.more)
					}
				})
				if n := e.Guard().Prefixes; n != 1 {
					t.Errorf("cut at %d: %d sources", at, n)
				}
				c.close()
				until(t, func() bool { return e.Conns() == 0 }, "it to be gone")
			}
		})
	}
}

func TestProxyProtocol(t *testing.T) {
	e := serve(t, func(c *Config) {
		c.ProxyProtocol = true
		c.Guard.ConnsPerPrefix = 1
		c.Trusted = trusting(t, "10.0.0.0/8")
		c.Pages = pages(testPage)
	})
	for _, tc := range []struct {
		name, header, fields string
		status               int
	}{
		{"a client", "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n", "", 101},
		{"the same", proxyHeaders("192.0.2.1")["v2"], "", 429},
		{"its own word", "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n", "X-Forwarded-For: 192.0.2.9", 429},
		{"a proxy before the proxy", "PROXY TCP4 10.0.0.1 127.0.0.1 1 2\r\n", "X-Forwarded-For: 192.0.2.3", 101},
		{"the same again", "PROXY TCP4 10.0.0.2 127.0.0.1 1 2\r\n", "X-Forwarded-For: 192.0.2.3", 429},
		{"that proxy for itself", "PROXY TCP4 10.0.0.2 127.0.0.1 1 2\r\n", "", 101},
		{"the proxy for itself", "PROXY UNKNOWN\r\n", "", 101},
		{"the same by version 2", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "", 429},
		{"a bad request", "PROXY TCP4 192.0.2.4 127.0.0.1 1 2\r\n", "Origin: x\r\nOrigin: y", 400},
	} {
		field := "X: y"
		if tc.fields != "" {
			field = tc.fields
		}
		if _, res, body := e.ask("", tc.header+upgradeWith("", field)); res.StatusCode != tc.status {
			t.Errorf("%s: %s %q, want %d", tc.name, res.Status, body, tc.status)
		}
	}
	until(t, func() bool { return e.Conns() == 4 }, "the refused ones to be gone")
	if n := e.Guard().Prefixes; n != 4 {
		t.Errorf("%d sources, want 4", n)
	}

	// What is no header is not answered, and a header is not waited for without end.
	bad := []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY TCP4 192.0.2.1\r\n", "\x16\x03\x01",
		"PROXY " + strings.Repeat("x", 200), "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff",
	}
	for _, b := range bad {
		c := dialRaw(t, e.Addr())
		c.send([]byte(b))
		if n, err := c.br.Read(make([]byte, 1)); n > 0 {
			t.Errorf("%.20q is answered (%v)", b, err)
		}
	}
	e.wantClosed("bad_proxy_header", "1006", uint64(len(bad)))
}

// The time for the handshake begins with the connection, not behind the header.
func TestProxyHeaderHasItsTime(t *testing.T) {
	e := serve(t, func(c *Config) { c.ProxyProtocol = true; c.Shard.HandshakeTimeout = 300 * time.Millisecond })
	for _, b := range []string{"", "PROXY TCP4 ", "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n", "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\nGET "} {
		c := dialRaw(t, e.Addr())
		c.send([]byte(b))
		c.wantEOF()
	}
	e.wantClosed("handshake_timeout", "1006", 4)
}

// Those above the maximum have a header too, and are told so behind it.
func TestProxyProtocolAboveTheMaximum(t *testing.T) {
	e := serve(t, func(c *Config) { c.ProxyProtocol = true; c.MaxConns = 1; c.Guard.ConnsPerPrefix = 1 })
	header := "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n"
	e.ask("", header+upgradeRequest(""))
	if _, res, _ := e.ask("", header+upgradeRequest("")); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("answered with %s %v", res.Status, res.Header)
	}
}

// Without permission a PROXY header is a bad request, and changes nobody's source.
func TestProxyHeaderWithoutPermission(t *testing.T) {
	e := serve(t, func(c *Config) { c.Guard.ConnsPerPrefix = 1; c.Trusted = trusting(t, "127.0.0.1") })
	for version, header := range proxyHeaders("192.0.2.1") {
		if _, res, _ := e.ask("", header+upgradeRequest("")); res.StatusCode != 400 {
			t.Errorf("%s: %s", version, res.Status)
		}
	}
	until(t, func() bool { return e.refused("bad_request") == 2 }, "the refusals to be counted")
}

// The log names the client, not the proxy, from the handshake to the end.
func TestLogNamesTheClient(t *testing.T) {
	var log testLog
	e := serve(t, func(c *Config) {
		c.ProxyProtocol = true
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Trusted = trusting(t, "10.0.0.0/8")
	})
	c, _, _ := e.ask("", "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n"+upgradeRequest("?token=hunter2"))
	c.close()
	d, _, _ := e.ask("", "PROXY TCP4 10.0.0.1 127.0.0.1 1 2\r\n"+upgradeWith("", "X-Forwarded-For: 192.0.2.3", "Authorization: Bearer hunter2"))
	d.send(closeFrame(1000, ""))
	d.wantClose(1000)
	until(t, func() bool { return strings.Count(log.String(), "connection closed") == 2 }, "both to be closed")
	for _, client := range []string{"192.0.2.1", "192.0.2.3"} {
		if n := strings.Count(log.String(), "remote="+client); n != 2 {
			t.Errorf("%s is named %d times, want when it opens and when it closes:\n%s", client, n, log.String())
		}
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("a token is in the log:\n%s", log.String())
	}
}
