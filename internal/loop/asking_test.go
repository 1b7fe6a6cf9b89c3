// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

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

// Names of the source stand beside those that are held, once, and on each page that there may be more.
func TestTopicsOfTheSource(t *testing.T) {
	var all atomic.Bool
	e := serve(t, func(c *Config) {
		c.ListTopics = true
		c.SourceNames = func() ([]string, bool) { return []string{"C", "A", "B"}, all.Load() }
	})
	e.hold("B", "D")
	e.publish("B", `1`)
	e.publish("D", `1`)
	c := dialRaw(t, e.Addr())
	if _, body := c.get("/topics"); body != `{"topics":["A","B","C","D"],"truncated":true}` {
		t.Errorf("%q", body)
	}
	if _, body := c.get("/topics?limit=2"); body != `{"topics":["A","B"],"next":"B","truncated":true}` {
		t.Errorf("%q", body)
	}
	all.Store(true)
	until(t, func() bool {
		_, body := c.get("/topics?after=B")
		return body == `{"topics":["C","D"]}`
	}, "all names")
}
