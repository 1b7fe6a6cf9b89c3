// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"tickedge/internal/broker/redis/redistest"
)

// screening is a client that keeps what it is told of screens, by their names.
type screening struct {
	*client
	rows  map[string]map[string]string
	order map[string][]string
}

// until reads until ok.
func (s *screening) until(what string, ok func() bool) {
	s.t.Helper()
	for !ok() {
		m, err := s.read()
		if err != nil {
			s.t.Fatalf("no sign of %s: %v; has %v %v", what, err, s.rows, s.order)
		}
		if m.T != "screen" {
			continue
		}
		if m.Full {
			s.rows[m.Screen], s.order[m.Screen] = make(map[string]string), nil
		}
		for _, row := range m.D {
			s.rows[m.Screen][row.S] = string(row.V)
		}
		for _, name := range m.Out {
			delete(s.rows[m.Screen], name)
		}
		if m.Order != nil {
			s.order[m.Screen] = m.Order
		}
	}
}

// has reports whether a screen has these names inside, and no others.
func (s *screening) has(name string, want ...string) func() bool {
	return func() bool {
		var inside []string
		for topic := range s.rows[name] {
			inside = append(inside, topic)
		}
		slices.Sort(inside)
		return s.rows[name] != nil && slices.Equal(inside, want)
	}
}

// Screens have what Redis holds, what comes for the first time, and what goes on after Redis was gone, whatever way ticks
// come. When the last screen has ended nothing is left of them.
func TestScreensOfRedis(t *testing.T) {
	for mode, publish := range map[string]func(r *redisServer, topic, value string){
		"channel": func(r *redisServer, topic, value string) { r.cli("PUBLISH", "channel:prices:"+topic, value) },
		"pattern": func(r *redisServer, topic, value string) { r.cli("PUBLISH", "channel:prices:"+topic, value) },
		"stream":  func(r *redisServer, topic, value string) { r.cli("XADD", "ticks", "*", "topic", topic, "value", value) },
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			redis := startRedis(t)
			both := func(topic, value string) {
				redis.cli("SET", "price:"+topic, value)
				publish(redis, topic, value)
			}
			redis.cli("SET", "price:a:quiet", `{"p":9}`)
			redis.cli("SET", "price:a:low", `{"p":1}`)
			redis.cli("SET", "price:b:other", `{"p":9}`)
			redis.cli("SET", "price:alerts:me", `{"p":9}`)
			args := []string{"-redis", redis.URL(), "-redis-mode", mode}
			if mode == "stream" {
				args = append(args, "-redis-stream", "ticks")
			}
			e := start(t, args...)
			redistest.Eventually(t, "the feed", func() bool { return e.metric(`edge_feed_connected{source="*"}`) == "1" })
			s := &screening{e.dial("?interval=100"), make(map[string]map[string]string), make(map[string][]string)}
			s.send(`{"op":"screen","screen":"s","topics":"a:*","where":"p > 5"}`)
			s.until("what Redis holds", s.has("s", "a:quiet"))
			both("a:new", `{"p":7}`)
			s.until("a topic that ticks for the first time", s.has("s", "a:new", "a:quiet"))
			both("a:quiet", `{"p":2}`)
			s.until("the end of a topic", s.has("s", "a:new"))
			s.send(`{"op":"screen","screen":"top","topics":"*","top":2,"by":"-p"}`)
			s.until("a ranked one", func() bool { return slices.Equal(s.order["top"], []string{"b:other", "a:new"}) })

			redis.Kill()
			redistest.Eventually(t, "the feed to be down", func() bool { return e.metric(`edge_feed_connected{source="*"}`) == "0" })
			redis.Start()
			redistest.Eventually(t, "the feed", func() bool { return e.metric(`edge_feed_connected{source="*"}`) == "1" })
			both("a:low", `{"p":8}`)
			s.until("ticks after Redis was gone", func() bool { return s.rows["s"]["a:low"] == `{"p":8}` })
			both("a:newer", `{"p":11}`)
			s.until("a new topic after that", func() bool { return s.rows["s"]["a:newer"] == `{"p":11}` && slices.Contains(s.order["top"], "a:newer") })
			if got := redis.cli("PUBSUB", "NUMPAT"); mode == "channel" && strings.TrimSpace(got) == "0" {
				t.Error("new topics have come without a pattern")
			}

			s.send(`{"op":"unscreen","screen":"s"}`)
			s.send(`{"op":"unscreen","screen":"top"}`)
			redistest.Eventually(t, "the end of screens", func() bool {
				return e.metric("edge_screens") == "0" && e.metric("edge_screen_topics") == "0" && e.metric("edge_subscriptions") == "0"
			})
			if mode == "channel" {
				redistest.Eventually(t, "the end of the pattern", func() bool { return strings.TrimSpace(redis.cli("PUBSUB", "NUMPAT")) == "0" })
			}
		})
	}
}

// The same condition in five spellings is one, and ends with the last of its clients; /prices and a stream of events have it too.
func TestOneScreenForAll(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo", "-demo-symbols", "AAPL,MSFT,NVDA")
	var clients []*screening
	for i, where := range []string{"p > 1 && b > 1e0", "b > 1 && p > 1.0", "1 < p && 1 < b", "((p>1)&&(b>1))", "!!(p > 1) && b > 1 && p > 1"} {
		s := &screening{e.dial("?interval=100"), make(map[string]map[string]string), make(map[string][]string)}
		s.send(fmt.Sprintf(`{"op":"screen","screen":"s%d","topics":["*"],"where":%q}`, i, where))
		name := fmt.Sprint("s", i)
		s.until("all of it", s.has(name, "AAPL", "MSFT", "NVDA"))
		clients = append(clients, s)
	}
	for metric, want := range map[string]string{"edge_screens": "1", "edge_screen_conditions": "1", "edge_screen_subscriptions": "5", "edge_screen_topics": "3"} {
		if got := e.metric(metric); got != want {
			t.Errorf("%s is %s, want %s", metric, got, want)
		}
	}
	res, body := answer(t, e.addr, "GET /prices?topics=*&where="+url.QueryEscape("b > 1 && p > 1")+" HTTP/1.1\r\nHost: e\r\n\r\n")
	var prices struct{ D []struct{ S string } }
	if err := json.Unmarshal([]byte(body), &prices); err != nil || res.StatusCode != http.StatusOK || len(prices.D) != 3 || prices.D[0].S != "AAPL" {
		t.Errorf("%s %s: %v", res.Status, body, err)
	}
	if got := e.metric("edge_screens"); got != "1" {
		t.Errorf("%s screens with a request, want 1", got)
	}
	for _, s := range clients {
		s.ws.CloseNow()
	}
	redistest.Eventually(t, "the end of the condition", func() bool { return e.metric("edge_screen_conditions") == "0" && e.metric("edge_screen_topics") == "0" })
}

// What is wrong with a screen is told at each door, with its place, and what there is is listed.
func TestScreensAtEveryDoor(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo", "-demo-symbols", "AAPL,MSFT", "-command-rate", "0")
	c := e.dial("?topics=A*&where=" + url.QueryEscape("p > 0") + "&interval=100")
	s := &screening{c, make(map[string]map[string]string), make(map[string][]string)}
	s.until("the screen of the URL", s.has("screen", "AAPL"))
	answered := func(command, kind string) message {
		t.Helper()
		c.send(command)
		for {
			m, err := c.read()
			if err != nil || m.T == "ack" || m.T == "error" || m.T == "topics" {
				if err != nil || m.T != kind {
					t.Fatalf("%s: %+v, %v; want %s", command, m, err, kind)
				}
				return m
			}
		}
	}
	for command, want := range map[string]struct{ code, at int }{
		`{"op":"screen","screen":"x","topics":"*","where":"p > 1 and b > 2"}`: {400, 6},
		`{"op":"screen","screen":"x","topics":"*","where":"p > 'a"}`:          {400, 4},
		`{"op":"screen","screen":"x","topics":"*","top":3}`:                   {400, 0},
		`{"op":"screen","screen":"x","topics":"a b*"}`:                        {422, 0},
		`{"op":"screen","screen":"x*","topics":"*"}`:                          {422, 0},
		`{"op":"screen","screen":"x","topics":"alerts:*"}`:                    {403, 0},
		`{"op":"screen","screen":"x","topics":"tickedge:*"}`:                  {403, 0},
	} {
		if m := answered(command, "error"); m.Code != want.code || m.At != want.at || m.Reason == "" {
			t.Errorf("%s: %d at %d (%s), want %d at %d", command, m.Code, m.At, m.Reason, want.code, want.at)
		}
	}
	answered(`{"op":"subscribe","topics":["M*"]}`, "ack")
	if m := answered(`{"op":"list"}`, "topics"); string(m.Screens) != `[{"screen":"screen","topics":["A*"],"where":"0 < p"},{"screen":"M*","topics":["M*"]}]` {
		t.Errorf("list: %s", m.Screens)
	}
	answered(`{"op":"unsubscribe","topics":["M*"]}`, "ack")
	answered(`{"op":"unscreen","screen":"screen"}`, "ack")
	if m := answered(`{"op":"list"}`, "topics"); m.Screens != nil {
		t.Errorf("list: %s", m.Screens)
	}
	get := func(target string) (*http.Response, string) {
		t.Helper()
		return answer(t, e.addr, "GET "+target+" HTTP/1.1\r\nHost: e\r\n\r\n")
	}
	for _, target := range []string{"/prices?topics=*&where=p%3E", "/sse?topics=*&where=p%3E"} {
		if res, body := get(target); res.StatusCode != http.StatusBadRequest || !strings.Contains(body, "at byte 2") {
			t.Errorf("%s: %s %q", target, res.Status, body)
		}
	}
	if res, body := get("/prices?topics=*&top=1&by=p"); res.StatusCode != http.StatusOK || !strings.HasPrefix(body, `{"d":[{"s":"AAPL",`) || strings.Contains(body, "MSFT") {
		t.Errorf("%s %q", res.Status, body)
	}
	none := start(t, "-demo", "-demo-symbols", "AAPL", "-max-screens-per-conn", "0")
	c = none.dial("")
	if m := answered(`{"op":"screen","screen":"x","topics":"*"}`, "error"); m.Code != http.StatusNotImplemented {
		t.Errorf("without screens: %+v", m)
	}
}

// Rows that have no room in an answer are told so, to the byte: none is left out without a word.
func TestScreenOfAMegabyte(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	// 262 rows of 4,001 bytes, of which one is longer: with the commas between them they have a MiB but for 2 bytes, and what
	// stands before them is 6.
	const rest = "local function set(i, n) redis.call('SET', 'price:big:' .. i, '\"' .. string.rep('x', n - 28) .. '\"') end "
	redis.cli("EVAL", rest+"for i = 100, 360 do set(i, 4001) end set(361, 4051) return 1", "0")
	e := start(t, "-redis", redis.URL())
	get := func() (*http.Response, string) {
		t.Helper()
		return answer(t, e.addr, "GET /prices?topics=big:* HTTP/1.1\r\nHost: e\r\n\r\n")
	}
	redistest.Eventually(t, "the feed", func() bool { return e.metric(`edge_feed_connected{source="*"}`) == "1" })
	if res, body := get(); res.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(body, "narrower patterns") {
		t.Errorf("%s %.200q, %d bytes", res.Status, body, len(body))
	}
	short := strings.Repeat("x", 10)
	redis.cli("SET", "price:big:361", `"`+short+`"`)
	redis.cli("PUBLISH", "channel:prices:big:361", `"`+short+`"`)
	redistest.Eventually(t, "an answer with all rows", func() bool {
		res, body := get()
		return res.StatusCode == http.StatusOK && strings.Count(body, `{"s":`) == 262 && strings.HasSuffix(body, `],"missing":[]}`)
	})
}
