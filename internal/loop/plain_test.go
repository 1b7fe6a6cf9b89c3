// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

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

func wantProblem(t testing.TB, res *http.Response, body string, status, code int) (p problem) {
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

func parseList(t testing.TB, body string) (l list) {
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
	res, body = c.get("/prices?topics=HELD,SLOW&interval=5000")
	if cache := res.Header.Get("Cache-Control"); cache != "no-cache" {
		t.Errorf("what may be there in a moment is cached: %q", cache)
	}
	if want := `{"d":[{"s":"HELD","n":1,"v":1}],"missing":[{"topic":"SLOW","code":503}]}`; body != want {
		t.Errorf("%q, want %q", body, want)
	}
	e.table.SetSourceState(0, false, 2)
	held := e.table.Held()
	res, body = c.get("/prices/OTHER")
	if p := wantProblem(t, res, body, 503, 503); p.Detail != "the source of the topic is down" || e.table.Held() != held {
		t.Errorf("%+v, %d topics held", p, e.table.Held())
	}
	if res, body := c.get("/prices/HELD?interval=60000"); res.StatusCode != 200 || body != `{"s":"HELD","n":1,"v":1}` || res.Header.Get("Tickedge-Feed") != "down" || res.Header.Get("Cache-Control") != "no-cache" {
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
	before, begin := e.table.Subscriptions(), time.Now()
	c.send([]byte(request("GET", "/prices?topics=A,B&wait=30s", tag)))
	until(t, func() bool { return e.table.Subscriptions() == before+2 }, "the topics to be held")
	e.publish("B", `2`)
	if res, body := c.reply("GET"); res.StatusCode != 200 || body != `{"d":[{"s":"A","n":1,"v":1},{"s":"B","n":2,"v":2}],"missing":[]}` {
		t.Errorf("%s %q", res.Status, body)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("answered after %v, which is no window", took)
	}
	res, _ = c.get("/prices?topics=A,B")
	tag = "If-None-Match: " + res.Header.Get("ETag")
	begin = time.Now()
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

// Who has a value of something that has none awaits nothing.
func TestNothingIsAwaitedWithoutValue(t *testing.T) {
	e := serve(t)
	e.hold("NONE")
	e.table.Absent("NONE")
	begin := time.Now()
	res, body := dialRaw(t, e.Addr()).get("/prices/NONE?wait=30s", "If-None-Match: *")
	wantProblem(t, res, body, 404, 404)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("answered after %v", took)
	}
}

// Nothing is new to a star, and a tag says which topics of a list have no value.
func TestStarsAndTagsOfLists(t *testing.T) {
	e := serveHeld(t, map[string]string{"A": "7"})
	begin := time.Now()
	if res, _ := dialRaw(t, e.Addr()).get("/prices/A?wait=30s", "If-None-Match: *"); res.StatusCode != 304 {
		t.Errorf("%s, want 304", res.Status)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("answered after %v", took)
	}
	one, _ := dialRaw(t, e.Addr()).get("/prices?topics=A,not+a+name")
	two, _ := dialRaw(t, e.Addr()).get("/prices?topics=not+a+name,A")
	if tag := one.Header.Get("ETag"); tag == "" || tag == two.Header.Get("ETag") {
		t.Errorf("both have the tag %s", tag)
	}
}

// raceDetector is whether the test runs under it.
var raceDetector bool

// What is got again and again costs next to no garbage.
func TestPricesAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	e := serveHeld(t, map[string]string{"A": `1`, "B": `2`}, func(c *Config) { c.Loops = 1 })
	for target, most := range map[string]float64{"/prices/A": 3, "/prices?topics=A,B": 5} {
		c := dialRaw(t, e.Addr())
		ask := []byte(request("GET", target))
		c.get(target)
		res, body := c.get(target)
		size := 0
		for name, values := range res.Header {
			size += len(name) + len(": \r\n") + len(values[0])
		}
		answer := make([]byte, len("HTTP/1.1 200 OK\r\n\r\n")+size+len(body))
		allocs := testing.AllocsPerRun(500, func() {
			c.send(ask)
			if _, err := io.ReadFull(c.br, answer); err != nil || answer[len(answer)-1] != '}' {
				t.Fatalf("%q, %v", answer, err)
			}
		})
		if allocs > most {
			t.Errorf("%s: %.1f allocations, want at most %.0f", target, allocs, most)
		}
	}
}
