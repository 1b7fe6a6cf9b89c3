// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tickedge/internal/guard"
)

// Requests are answered in their order, whatever they wait for, and what comes in any parts.
func TestPipelining(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`, "B": `2`}, func(c *Config) { c.Loops = 1 })
	c := dialRaw(t, e.Addr())
	c.send([]byte(request("GET", "/prices/A") + request("GET", "/prices/NEW") + request("GET", "/prices/B") + request("HEAD", "/prices/A") + "GET /prices/A"))
	if _, body := c.reply("GET"); body != `{"s":"A","n":1,"v":1}` {
		t.Errorf("first: %q", body)
	}
	until(t, func() bool { return e.table.Subscriptions() == 3 }, "NEW to be wanted")
	c.send([]byte(" HTTP/1.1\r\nHost: x\r\n\r\n" + request("GET", "/prices/B", "Connection: close") + request("GET", "/prices/A")))
	e.publish("NEW", `3`)
	for _, want := range []string{`{"s":"NEW","n":1,"v":3}`, `{"s":"B","n":1,"v":2}`} {
		if _, body := c.reply("GET"); body != want {
			t.Errorf("%q, want %q", body, want)
		}
	}
	if res, _ := c.reply("HEAD"); res.StatusCode != 200 {
		t.Error("HEAD:", res.Status)
	}
	if _, body := c.reply("GET"); body != `{"s":"A","n":1,"v":1}` {
		t.Errorf("in two parts: %q", body)
	}
	if res, body := c.reply("GET"); body != `{"s":"B","n":1,"v":2}` || !res.Close {
		t.Errorf("the last: %v %q", res.Header, body)
	}
	c.wantEOF()
}

func TestByteByByte(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`})
	c := dialRaw(t, e.Addr())
	all := strings.Repeat(request("GET", "/prices/A"), 3)
	for i := range len(all) {
		before := e.read()
		c.send([]byte{all[i]})
		if i > 0 {
			until(t, func() bool { return e.read() > before }, "the byte to be read")
		}
	}
	for range 3 {
		if _, body := c.reply("GET"); body != `{"s":"A","n":1,"v":1}` {
			t.Errorf("%q", body)
		}
	}
}

// What two readers might take for different requests ends the connection.
func TestSmuggling(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`})
	first := request("GET", "/prices/A")
	for name, tc := range map[string]struct {
		request string
		status  int
	}{
		"length":               {request("GET", "/prices/A", "Content-Length: 5") + "AAAAA", 400},
		"chunks":               {request("GET", "/prices/A", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400},
		"both":                 {request("GET", "/prices/A", "Content-Length: 0", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400},
		"two lengths":          {request("GET", "/prices/A", "Content-Length: 0", "Content-Length: 5") + "AAAAA", 400},
		"list of lengths":      {request("GET", "/prices/A", "Content-Length: 0, 5") + "AAAAA", 400},
		"signed length":        {request("GET", "/prices/A", "Content-Length: +0"), 400},
		"blank before a colon": {request("GET", "/prices/A", "Content-Length : 5") + "AAAAA", 400},
		"folded":               {request("GET", "/prices/A", "X: a\r\n b"), 400},
		"bare line feed":       {"GET /prices/A HTTP/1.1\nHost: x\n\n", 400},
		"bare return":          {request("GET", "/prices/A", "X: a\rTransfer-Encoding: chunked"), 400},
		"two hosts":            {request("GET", "/prices/A", "Host: other"), 400},
		"no host":              {"GET /prices/A HTTP/1.1\r\n\r\n", 400},
		"garbage":              {"?", 400},
		"too long":             {request("GET", "/prices/A", "X: "+strings.Repeat("x", 9000)), 431},
		"not HTTP/1":           {"GET /prices/A HTTP/2.0\r\nHost: x\r\n\r\n", 505},
		"POST":                 {request("POST", "/prices/A", "Content-Length: 0"), 405},
		"page of others":       {request("GET", "/prices/A", "Origin: https://evil.example"), 403},
	} {
		for _, before := range []string{"", first} {
			t.Run(fmt.Sprintf("%s, after %d bytes", name, len(before)), func(t *testing.T) {
				t.Parallel()
				c := dialRaw(t, e.Addr())
				c.send([]byte(before + tc.request + request("GET", "/prices/A", "X: smuggled")))
				if before != "" {
					c.reply("GET")
				}
				res, body := c.reply("GET")
				if res.StatusCode != tc.status || !res.Close || body == "" {
					t.Errorf("%s %v %q, want %d", res.Status, res.Header, body, tc.status)
				}
				c.wantEOF()
			})
		}
	}
}

// A connection that has asked may become anything else, as a pool of connections is for all of them.
func TestConnIsUsedForSomethingElse(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`}, func(c *Config) { c.Pages, c.HealthPath = pages(testPage), "/well" })
	e.cfg.Ready.Store(true)
	asked := func() *raw {
		c := dialRaw(t, e.Addr())
		c.get("/prices/A")
		return c
	}
	c := asked()
	c.upgrade("?topics=A")
	if m := c.want("snapshot"); len(m.Rows) != 1 {
		t.Errorf("%+v", m)
	}
	e.publish("A", `2`)
	c.want("update")
	c = asked()
	c.send([]byte(request("GET", "/sse?topics=A")))
	if res, err := http.ReadResponse(c.br, nil); err != nil || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%v, %v", res, err)
	}
	for target, want := range map[string]int{"/": 200, "/well": 200, "/ws": 426, "/other": 404} {
		c := asked()
		c.send([]byte(request("GET", target) + request("GET", "/prices/A")))
		if res, _ := c.answer("GET"); res.StatusCode != want {
			t.Errorf("%s: %s", target, res.Status)
		}
		c.wantEOF()
	}
}

// Paths that operators have given to others are those of others.
func TestPathsOfPlainHTTPAreTaken(t *testing.T) {
	e := serve(t, func(c *Config) { c.Paths = []string{"/prices", "/price/A"} })
	for _, target := range []string{"/prices", "/price/A"} {
		if _, res, _ := e.ask("", request("GET", target)); res.StatusCode != 426 {
			t.Errorf("%s: %s", target, res.Status)
		}
	}
}

func TestConnEnds(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`})
	for name, head := range map[string]string{
		"close":           request("GET", "/prices/A", "Connection: close"),
		"close in a list": request("GET", "/prices/A", "Connection: x, Close"),
		"HTTP/1.0":        "GET /prices/A HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	} {
		c := dialRaw(t, e.Addr())
		c.send([]byte(head))
		if res, body := c.reply("GET"); res.StatusCode != 200 || !res.Close || body != `{"s":"A","n":1,"v":1}` {
			t.Errorf("%s: %s %v %q", name, res.Status, res.Header, body)
		}
		c.wantEOF()
		c.close()
	}
	e.wantClosed("http", "", 3)
	c := dialRaw(t, e.Addr())
	for i := range requestsMax {
		if res, _ := c.get("/prices/A"); res.Close != (i == requestsMax-1) {
			t.Fatalf("request %d: close %v", i, res.Close)
		}
	}
	c.wantEOF()
}

func TestSilentConnEnds(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`}, func(c *Config) { c.KeepAlive, c.Shard.HandshakeTimeout = 300*time.Millisecond, 500*time.Millisecond })
	c := dialRaw(t, e.Addr())
	c.get("/prices/A")
	c.wantEOF()
	c.close()
	e.wantClosed("keep_alive", "1006", 1)
	c = dialRaw(t, e.Addr())
	c.get("/prices/A")
	c.send([]byte("GET /prices/A HTTP/1.1\r\n"))
	c.wantEOF()
	e.wantClosed("handshake_timeout", "1006", 1)
}

func TestWhoeverAwaitsIsAnsweredInTheDrain(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`}, func(c *Config) { c.Loops = 1 })
	idle, polls, fetches := dialRaw(t, e.Addr()), dialRaw(t, e.Addr()), dialRaw(t, e.Addr())
	res, _ := idle.get("/prices/A")
	polls.send([]byte(request("GET", "/prices/A?wait=30s", "If-None-Match: "+res.Header.Get("ETag"))))
	fetches.send([]byte(request("GET", "/prices/NEW")))
	until(t, func() bool { return e.table.Subscriptions() == 3 }, "both to wait")
	ended := make(chan struct{})
	go func() { defer close(ended); e.Shutdown(t.Context(), time.Millisecond) }()
	if res, _ := polls.reply("GET"); res.StatusCode != 304 || !res.Close {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	res, body := fetches.reply("GET")
	if wantProblem(t, res, body, 503, 503); !res.Close {
		t.Errorf("%v", res.Header)
	}
	for _, c := range []*raw{idle, polls, fetches} {
		c.wantEOF()
		c.close()
	}
	<-ended
	e.ended = true
	e.endFeed()
}

// Whoever sends requests and reads no answer gets one, and then none.
func TestAnswersThatNobodyReads(t *testing.T) {
	rows := map[string]string{}
	var names []string
	for i := range 256 {
		name := fmt.Sprintf("T%d", i)
		rows[name], names = `"`+strings.Repeat("x", 4000)+`"`, append(names, name)
	}
	e := serveHeld(t, rows, func(c *Config) { c.Loops, c.Shard.SlowTimeout = 1, time.Second })
	one := request("GET", "/prices?topics="+url.QueryEscape(strings.Join(names, ",")))
	c := dialRaw(t, e.Addr())
	c.send([]byte(strings.Repeat(one, 4)))
	until(t, func() bool { sum, _ := e.backlog(); return sum > 0 }, "a backlog")
	e.wantClosed("slow_consumer", "1006", 1)
	if n := e.Stats().Loop[ValuesAnswered]; n > 2 {
		t.Errorf("%d answers", n)
	}
	c.close()

	// Who reads gets all of them, and a row that has no place is named.
	c = dialRaw(t, e.Addr())
	go io.WriteString(c.TCPConn, strings.Repeat(one, 4))
	for range 4 {
		_, body := c.reply("GET")
		l := parseList(t, body)
		if len(body) > priceBodyMax+20_000 || len(l.D)+len(l.Missing) != 256 || len(l.D) < 250 || len(l.Missing) > 0 && l.Missing[0].Code != 413 {
			t.Errorf("%d bytes, %d rows, missing %v", len(body), len(l.D), l.Missing)
		}
	}
}

// Input behind an answer that is awaited has a limit.
func TestFloodBehindAnAnswer(t *testing.T) {
	e := serve(t, func(c *Config) { c.FetchWait = 30 * time.Second })
	c := dialRaw(t, e.Addr())
	c.send([]byte(request("GET", "/prices/NEW")))
	until(t, func() bool { return e.table.Subscriptions() == 1 }, "the topic to be wanted")
	go io.WriteString(c.TCPConn, strings.Repeat(request("GET", "/prices/NEW"), 400))
	e.wantClosed("pipelined", "1006", 1)
	if n := e.table.Subscriptions(); n != 0 {
		t.Errorf("%d subscriptions", n)
	}
}

func TestRequestRates(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`}, func(c *Config) {
		c.Shard.CommandRate, c.Shard.CommandBurst = 1, 10
		c.Requests = guard.NewPrefixLimit(guard.Rate{PerSecond: 1, Burst: 100}, time.Now())
	})
	c := dialRaw(t, e.Addr())
	limited, last := 0, false
	for i := 0; !last; i++ {
		res, body := c.get("/prices/A")
		if res.StatusCode != 200 {
			wantProblem(t, res, body, 429, 429)
			limited++
		}
		if last = res.Close; i > 100 {
			t.Fatal("who goes on is not sent away")
		}
	}
	if limited < 10 {
		t.Errorf("sent away after %d refusals", limited)
	}
	c.wantEOF()
	for i := 0; ; i++ {
		c := dialRaw(t, e.Addr())
		res, body := c.get("/prices/A")
		c.close()
		if res.StatusCode == 429 {
			if p := wantProblem(t, res, body, 429, 429); !strings.Contains(p.Detail, "from your address") || res.Header.Get("Retry-After") == "" {
				t.Errorf("%+v %v", p, res.Header)
			}
			break
		}
		if i > 200 {
			t.Fatal("no limit for an address")
		}
	}
}

// Proxies send requests of several clients on one connection, unless it is closed.
func TestForwardedRequestsEndTheConn(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`}, func(c *Config) { c.Trusted, _ = guard.ParseTrusted("127.0.0.1") })
	c := dialRaw(t, e.Addr())
	if res, _ := c.get("/prices/A"); res.Close {
		t.Error("without X-Forwarded-For")
	}
	if res, _ := c.get("/prices/A", "X-Forwarded-For: 192.0.2.1"); !res.Close {
		t.Error("with X-Forwarded-For")
	}
	c.wantEOF()
}

func TestIdleConnsAreCheap(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`}, func(c *Config) { c.Loops = 1 })
	c := dialRaw(t, e.Addr())
	c.get("/prices/A")
	c.get("/prices?topics=A,A")
	e.eachConn(func(l *loop, c *conn) {
		if c.more != nil {
			t.Errorf("it has %+v", *c.more)
		}
		if info, _ := l.shard.Info(c.id); info.State != "http" || info.Topics != 0 {
			t.Errorf("%+v", info)
		}
	})
	until(t, func() bool { return e.Stats().Asking == 1 }, "the connection to be counted")
}

// Of a thousand that go away while they wait, or with an answer half read, nothing is left: the
// goroutines and descriptors are looked at by serve.
func TestAbandonedRequests(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`, "BIG": `"` + strings.Repeat("x", 4000) + `"`})
	c := dialRaw(t, e.Addr())
	res, _ := c.get("/prices/A")
	tag := "If-None-Match: " + res.Header.Get("ETag")
	before, held := e.table.Subscriptions(), e.table.Held()
	const waves, size = 5, 200
	for wave := range waves {
		var conns []*raw
		for i := range size {
			c := dialRaw(t, e.Addr())
			switch i % 4 {
			case 0:
				c.send([]byte(request("GET", "/prices/A?wait=30s", tag)))
			case 1: // Nobody answers for it.
				c.send([]byte(request("GET", fmt.Sprintf("/prices?topics=A,NEW%d", i%16))))
			default:
				c.send([]byte(strings.Repeat(request("GET", "/prices/BIG"), 4)))
				if _, err := io.ReadFull(c.br, make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
			}
			conns = append(conns, c)
		}
		until(t, func() bool { return e.table.Subscriptions() == before+size/4*3 }, "wave %d to wait", wave)
		for i, c := range conns {
			if i%2 == 0 {
				c.reset()
			} else {
				c.close()
			}
		}
		until(t, func() bool { return e.table.Subscriptions() == before && e.Conns() == 1 }, "wave %d to be gone", wave)
	}
	if n := e.table.Held(); n > held+16 {
		t.Errorf("%d topics held, had %d", n, held)
	}
	e.table.Sweep(time.Now().Add(2 * time.Minute)) // Those that lingered.
	until(t, func() bool { return e.table.Held() == held && e.Stats().Asking == 1 }, "the topics to be gone")
	if res, body := c.get("/prices/A"); res.StatusCode != 200 {
		t.Errorf("%s %q", res.Status, body)
	}
}
