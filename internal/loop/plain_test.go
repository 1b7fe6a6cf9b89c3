// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/topics"
)

// reply reads the answer to a request whose connection goes on, unless it says otherwise.
func (c *raw) reply(method string) (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.ContentLength < 0 && res.StatusCode != 304 && res.StatusCode != 204 {
		c.t.Fatalf("%s %v: %q, %v", res.Status, res.Header, body, err)
	}
	return res, string(body)
}

// get asks for something and reads the answer.
func (c *raw) get(target string, fields ...string) (*http.Response, string) {
	c.t.Helper()
	c.send([]byte(request("GET", target, append(fields, "X: y")...)))
	return c.reply("GET")
}

// hold has the table keep topics until the test ends, as clients of another loop would.
func (e *edge) hold(names ...string) {
	e.t.Helper()
	for _, name := range names {
		id, err := e.table.Acquire([]byte(name), 0)
		if err != nil {
			e.t.Fatal(err)
		}
		e.t.Cleanup(func() { e.table.Release(id, time.Now()) })
	}
}

// serveHeld is a server whose table holds rows from elsewhere: they are released before it is checked.
func serveHeld(t *testing.T, rows map[string]string, change ...func(*Config)) *edge {
	t.Helper()
	e := serve(t, change...)
	for name, value := range rows {
		e.hold(name)
		e.publish(name, value)
	}
	return e
}

// problem is an error in JSON.
type problem struct {
	Title  string
	Status int
	Code   int
	Detail string
}

func wantProblem(t *testing.T, res *http.Response, body string, status, code int) (p problem) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &p); err != nil || res.StatusCode != status || p.Status != status || p.Code != code ||
		p.Title == "" || p.Detail == "" || res.Header.Get("Content-Type") != "application/problem+json" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %v %q (%v), want %d with code %d", res.Status, res.Header, body, err, status, code)
	}
	return p
}

// list is an answer with several rows.
type list struct {
	D       []row
	Missing []struct {
		Topic string
		Index *int
		Code  int
	}
}

func parseList(t *testing.T, body string) (l list) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &l); err != nil || l.D == nil || l.Missing == nil {
		t.Fatalf("%q: %v", body, err)
	}
	return l
}

func TestPrice(t *testing.T) {
	e := serveHeld(t, map[string]string{"AAPL": `{"p":1}`, "BTC/USD": `2`, "EURUSD=X": `3`, "币": `4`, "100%": `5`})
	c := dialRaw(t, e.Addr())
	for target, want := range map[string]string{
		"/prices/AAPL": `{"s":"AAPL","n":1,"v":{"p":1}}`, "/price/AAPL": `{"s":"AAPL","n":1,"v":{"p":1}}`, "/prices/AAPL/": `{"s":"AAPL","n":1,"v":{"p":1}}`,
		"/%70rices/A%41PL": `{"s":"AAPL","n":1,"v":{"p":1}}`, "/prices/BTC/USD": `{"s":"BTC/USD","n":1,"v":2}`, "/prices/BTC%2FUSD": `{"s":"BTC/USD","n":1,"v":2}`,
		"/prices/EURUSD=X?x=%zz": `{"s":"EURUSD=X","n":1,"v":3}`, "/prices/%E5%B8%81": `{"s":"币","n":1,"v":4}`, "/prices/100%25": `{"s":"100%","n":1,"v":5}`,
	} {
		res, body := c.get(target)
		if res.StatusCode != 200 || body != want || res.Close || res.Header.Get("Content-Type") != "application/json" ||
			res.Header.Get("Cache-Control") != "no-cache" || res.Header.Get("Vary") != "Origin" || res.ContentLength != int64(len(want)) {
			t.Errorf("%s: %s %v %q, want %q", target, res.Status, res.Header, body, want)
		}
	}
	c.send([]byte(request("HEAD", "/prices/AAPL")))
	if res, body := c.reply("HEAD"); res.StatusCode != 200 || body != "" || res.ContentLength != int64(len(`{"s":"AAPL","n":1,"v":{"p":1}}`)) {
		t.Errorf("HEAD: %s %v %q", res.Status, res.Header, body)
	}
	if res, body := c.get("/prices/AAPL?interval=2500"); res.Header.Get("Cache-Control") != "max-age=2" {
		t.Errorf("interval: %s %v %q", res.Status, res.Header, body)
	}
	res, body := c.get("/prices/no%20name")
	wantProblem(t, res, body, 422, 422)
	until(t, func() bool { return e.Stats().Loop[ValuesAnswered] == 11 && e.Stats().Loop[ProblemsAnswered] == 1 }, "12 answers to be counted")
	if n := e.Stats().Loop[PlainConns]; n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestPrices(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`, "B": `"x"`})
	c := dialRaw(t, e.Addr())
	for query, want := range map[string]string{
		"?topics=A":                      `{"d":[{"s":"A","n":1,"v":1}],"missing":[]}`,
		"?topics=B,A,B":                  `{"d":[{"s":"B","n":1,"v":"x"},{"s":"A","n":1,"v":1}],"missing":[]}`,
		"?topics=A&topics=%2CB":          `{"d":[{"s":"A","n":1,"v":1},{"s":"B","n":1,"v":"x"}],"missing":[]}`,
		"?topics=no%20name,A,%ff,%22%5C": `{"d":[{"s":"A","n":1,"v":1}],"missing":[{"topic":"no name","code":422},{"index":2,"code":422},{"topic":"\"\\","code":422}]}`,
	} {
		if res, body := c.get("/prices" + query); res.StatusCode != 200 || body != want {
			t.Errorf("%s: %s %q, want %q", query, res.Status, body, want)
		}
	}
	for query, detail := range map[string]string{
		"": "no topics: want /prices?topics=AAPL,MSFT or /prices/AAPL", "?topics=A&interval=5": "interval is a whole number of milliseconds from 100 to 60000",
		"?topics=A&wait=31s": "wait is a time of at most 30s, such as 10s or 500ms", "?topics=A&wait=-1s": "wait is a time of at most 30s, such as 10s or 500ms",
		"?topics=A&wait=1s&wait=2s": "wait in the query is malformed, or there twice", "?topics=" + strings.Repeat("A,", 257): "more than 256 topics in the query",
		"?topics=%zz": "topics in the query is malformed: a % stands before two hexadecimal digits, or is written %25",
	} {
		c := dialRaw(t, e.Addr())
		res, body := c.get("/prices" + query)
		if p := wantProblem(t, res, body, 400, 400); p.Detail != detail || !res.Close {
			t.Errorf("%s: %q, close %v", query, p.Detail, res.Close)
		}
		c.wantEOF()
		c.close()
	}
}

// What nobody held is got, told once it is there, and given up when the answer is out.
func TestPriceIsFetched(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops = 1 })
	c := dialRaw(t, e.Addr())
	c.send([]byte(request("GET", "/prices/NEW")))
	until(t, func() bool { return e.table.Subscriptions() == 1 }, "the topic to be wanted")
	mark, _ := e.table.Mark("NEW")
	e.table.Repair("NEW", `7`, mark, topics.Meta{})
	if res, body := c.reply("GET"); res.StatusCode != 200 || body != `{"s":"NEW","n":0,"v":7}` {
		t.Errorf("%s %q", res.Status, body)
	}
	if n := e.table.Subscriptions(); n != 0 || e.table.Held() != 1 {
		t.Errorf("%d subscriptions, %d topics held: want it to linger", n, e.table.Held())
	}
	c.send([]byte(request("GET", "/prices?topics=NEW,NONE,DENIED")))
	until(t, func() bool { return e.table.Subscriptions() == 3 }, "the topics to be wanted")
	e.table.Absent("NONE")
	mark, _ = e.table.Mark("DENIED")
	e.table.GoStale("DENIED", mark, topics.NotPermitted)
	res, body := c.reply("GET")
	if want := `{"d":[{"s":"NEW","n":0,"v":7}],"missing":[{"topic":"NONE","code":404},{"topic":"DENIED","code":403}]}`; body != want {
		t.Errorf("%s %q, want %q", res.Status, body, want)
	}
	res, body = c.get("/prices/NONE")
	wantProblem(t, res, body, 404, 404)
	res, body = c.get("/prices/DENIED")
	wantProblem(t, res, body, 403, 403)
}

// 404 is for what the source has said. Who does not answer, or is down, is not there now.
func TestPriceThatDoesNotCome(t *testing.T) {
	e := serveHeld(t, map[string]string{"HELD": `1`}, func(c *Config) { c.FetchWait = 200 * time.Millisecond })
	c := dialRaw(t, e.Addr())
	res, body := c.get("/prices/SLOW")
	if wantProblem(t, res, body, 503, 503); res.Header.Get("Retry-After") == "" || res.Close {
		t.Errorf("%v", res.Header)
	}
	_, body = c.get("/prices?topics=HELD,SLOW")
	if want := `{"d":[{"s":"HELD","n":1,"v":1}],"missing":[{"topic":"SLOW","code":503}]}`; body != want {
		t.Errorf("%q, want %q", body, want)
	}
	e.table.SetSourceState(0, false, 2)
	held := e.table.Held()
	res, body = c.get("/prices/OTHER")
	if p := wantProblem(t, res, body, 503, 503); p.Detail != "the source of the topic is down" || e.table.Held() != held {
		t.Errorf("%+v, %d topics held", p, e.table.Held())
	}
	if res, body := c.get("/prices/HELD"); res.StatusCode != 200 || body != `{"s":"HELD","n":1,"v":1}` || res.Header.Get("Tickedge-Feed") != "down" {
		t.Errorf("%s %v %q", res.Status, res.Header, body)
	}
}

func TestEntityTag(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`, "B": `2`})
	c := dialRaw(t, e.Addr())
	tagOf := func(target string) string {
		t.Helper()
		res, _ := c.get(target)
		tag := res.Header.Get("ETag")
		if len(tag) != 24 || tag[0] != '"' {
			t.Fatalf("%s: tag %q", target, tag)
		}
		return tag
	}
	one, both := tagOf("/prices/A"), tagOf("/prices?topics=A,B")
	if one == both || both == tagOf("/prices?topics=B,A") || one != tagOf("/price/A") {
		t.Error("tags do not tell what is there")
	}
	for _, list := range []string{one, "W/" + one, `"x", ` + one, "*", `"a,b",W/` + one} {
		res, body := c.get("/prices/A", "If-None-Match: "+list)
		if res.StatusCode != 304 || body != "" || res.Header.Get("ETag") != one || res.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %s %v %q", list, res.Status, res.Header, body)
		}
	}
	if res, _ := c.get("/prices/A", `If-None-Match: "x"`, "If-None-Match: "+one); res.StatusCode != 304 {
		t.Error("two fields:", res.Status)
	}
	e.publish("A", `2`)
	if res, _ := c.get("/prices/A", "If-None-Match: "+one); res.StatusCode != 200 {
		t.Error("changed:", res.Status)
	}
	e.publish("A", `1`) // n is another one, and the value is what it was.
	if res, _ := c.get("/prices/A", "If-None-Match: "+one); res.StatusCode != 304 {
		t.Error("changed back:", res.Status)
	}
}

func TestLongPoll(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": `1`, "B": `1`})
	c := dialRaw(t, e.Addr())
	res, _ := c.get("/prices?topics=A,B")
	tag := "If-None-Match: " + res.Header.Get("ETag")
	before := e.table.Subscriptions()
	c.send([]byte(request("GET", "/prices?topics=A,B&wait=30s", tag)))
	until(t, func() bool { return e.table.Subscriptions() == before+2 }, "the topics to be held")
	e.publish("B", `2`)
	if res, body := c.reply("GET"); res.StatusCode != 200 || body != `{"d":[{"s":"A","n":1,"v":1},{"s":"B","n":2,"v":2}],"missing":[]}` {
		t.Errorf("%s %q", res.Status, body)
	}
	res, _ = c.get("/prices?topics=A,B")
	tag = "If-None-Match: " + res.Header.Get("ETag")
	begin := time.Now()
	if res, _ := c.get("/prices?topics=A,B&wait=300ms", tag); res.StatusCode != 304 || time.Since(begin) < 300*time.Millisecond {
		t.Errorf("%s after %v", res.Status, time.Since(begin))
	}
	begin = time.Now()
	if res, _ := c.get("/prices?topics=A,B&wait=1ms", tag); res.StatusCode != 304 || time.Since(begin) < e.cfg.Shard.Interval {
		t.Errorf("less than a window: %s after %v", res.Status, time.Since(begin))
	}
	if res, _ := c.get("/prices?topics=A,B&wait=30s"); res.StatusCode != 200 {
		t.Error("without a tag:", res.Status)
	}
	if n := e.table.Subscriptions(); n != before {
		t.Errorf("%d subscriptions, had %d", n, before)
	}
}

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
	c.send([]byte(strings.Repeat(one, 3)))
	until(t, func() bool { sum, _ := e.backlog(); return sum > 0 }, "a backlog")
	e.wantClosed("slow_consumer", "1006", 1)
	if n := e.Stats().Loop[ValuesAnswered]; n > 3 {
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

func TestPricesWithTokens(t *testing.T) {
	e := serve(t, withTokens(t), func(c *Config) { c.ListTopics = true })
	e.hold("A", "FX:1", "FX:2", "SECRET")
	for _, name := range []string{"A", "FX:1", "FX:2", "SECRET"} {
		e.publish(name, `1`)
	}
	c := dialRaw(t, e.Addr())
	res, body := c.get("/prices/A")
	if wantProblem(t, res, body, 401, 401); !res.Close || res.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("%v", res.Header)
	}
	bearer := "Authorization: Bearer " + tokenOf("alice", later(), `,"topics":["A","FX:*","Z"]`)
	c = dialRaw(t, e.Addr())
	if res, body := c.get("/prices?topics=A,SECRET", bearer); body != `{"d":[{"s":"A","n":1,"v":1}],"missing":[{"topic":"SECRET","code":403}]}` ||
		res.Header.Get("Cache-Control") != "private, no-cache" {
		t.Errorf("%v %q", res.Header, body)
	}
	res, body = c.get("/prices/SECRET", bearer)
	wantProblem(t, res, body, 403, 403)
	if _, body := c.get("/topics", bearer); body != `{"topics":["A","FX:1","FX:2"]}` {
		t.Errorf("%q", body)
	}
	if _, body := c.get("/topics?limit=2", bearer); body != `{"topics":["A","FX:1"],"next":"FX:1"}` {
		t.Errorf("%q", body)
	}
	// A token that ends meanwhile is not good for longer.
	res, _ = c.get("/prices/A", bearer)
	short := "Authorization: Bearer " + tokenOf("alice", time.Now().Add(time.Second), "")
	begin := time.Now()
	if res, _ := c.get("/prices/A?wait=30s", short, "If-None-Match: "+res.Header.Get("ETag")); res.StatusCode != 304 || time.Since(begin) > 20*time.Second {
		t.Errorf("%s after %v", res.Status, time.Since(begin))
	}
}

func TestCORSOfPrices(t *testing.T) {
	const page = "https://app.example.com"
	e := serveHeld(t, map[string]string{"A": `1`}, func(c *Config) { c.Origins = origins(t, page) })
	c := dialRaw(t, e.Addr())
	check := func(res *http.Response) {
		t.Helper()
		h := res.Header
		if h.Get("Access-Control-Allow-Origin") != page || h.Get("Vary") != "Origin" || !strings.Contains(h.Get("Access-Control-Expose-Headers"), "ETag") {
			t.Errorf("%s %v", res.Status, h)
		}
	}
	res, _ := c.get("/prices/A", "Origin: "+page)
	check(res)
	res, _ = c.get("/prices/A", "Origin: "+page, "If-None-Match: *")
	check(res)
	res, _ = c.get("/topics", "Origin: "+page)
	check(res)
	c.send([]byte(request("OPTIONS", "/prices/A", "Origin: "+page, "Access-Control-Request-Method: GET")))
	res, _ = c.reply("OPTIONS")
	if check(res); res.StatusCode != 204 || res.Close || !strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "If-None-Match") {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	res, body := c.get("/prices/A", "Origin: https://evil.example")
	if wantProblem(t, res, body, 403, 403); res.Header.Get("Access-Control-Allow-Origin") != "" || !res.Close {
		t.Errorf("%v", res.Header)
	}
}

func TestTopics(t *testing.T) {
	e := serve(t, func(c *Config) { c.ListTopics = true })
	rows := []string{"B", "A", "fx:EUR", "fx:USD", "fx:GBP", "fy"}
	e.hold(append(rows, "MADE-UP")...)
	for _, name := range rows {
		e.publish(name, `1`)
	}
	c := dialRaw(t, e.Addr())
	for query, want := range map[string]string{
		"":                                 `{"topics":["A","B","fx:EUR","fx:GBP","fx:USD","fy"]}`,
		"?prefix=fx:":                      `{"topics":["fx:EUR","fx:GBP","fx:USD"]}`,
		"?prefix=fx:&limit=2":              `{"topics":["fx:EUR","fx:GBP"],"next":"fx:GBP"}`,
		"?prefix=fx:&limit=2&after=fx:GBP": `{"topics":["fx:USD"]}`,
		"?prefix=fx:&limit=3":              `{"topics":["fx:EUR","fx:GBP","fx:USD"]}`,
		"?after=fx":                        `{"topics":["fx:EUR","fx:GBP","fx:USD","fy"]}`,
		"?prefix=fx:&after=A":              `{"topics":["fx:EUR","fx:GBP","fx:USD"]}`,
		"?after=zz":                        `{"topics":[]}`,
		"?prefix=none":                     `{"topics":[]}`,
	} {
		if res, body := c.get("/topics" + query); res.StatusCode != 200 || body != want || res.Close {
			t.Errorf("%s: %s %q, want %q", query, res.Status, body, want)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=1001", "?limit=x", "?limit=1&limit=2", "?prefix=%zz"} {
		c := dialRaw(t, e.Addr())
		res, body := c.get("/topics" + query)
		wantProblem(t, res, body, 400, 400)
		c.close()
	}
}

func TestTopicsAreNotListed(t *testing.T) {
	e := serve(t)
	res, body := dialRaw(t, e.Addr()).get("/topics")
	if p := wantProblem(t, res, body, 404, 404); !strings.Contains(p.Detail, "-list-topics") {
		t.Errorf("%+v", p)
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
