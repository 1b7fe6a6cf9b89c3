// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
	"testing"

	"tickedge/internal/broker/redis/redistest"
)

// What Redis has is told by plain HTTP, and what it has not; while it is gone, that.
func TestPricesOfRedis(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	redis.cli("SET", "price:AAPL", `{"p":189.9}`)
	redis.cli("SET", "price:BAD", `no JSON`)
	e := start(t, "-redis", redis.URL(), "-list-topics", "held", "-fetch-timeout", "20s")
	get := func(target string, fields ...string) (*http.Response, string) {
		t.Helper()
		return answer(t, e.addr, "GET "+target+" HTTP/1.1\r\nHost: e\r\n"+strings.Join(append(fields, ""), "\r\n")+"\r\n")
	}
	redistest.Eventually(t, "health", func() bool { res, _ := get("/health"); return res.StatusCode == http.StatusOK })
	res, body := get("/prices/AAPL")
	if res.StatusCode != http.StatusOK || body != `{"s":"AAPL","n":0,"v":{"p":189.9}}` {
		t.Errorf("%s %q", res.Status, body)
	}
	tag := "If-None-Match: " + res.Header.Get("ETag")
	if res, body := get("/prices?topics=NONE,AAPL"); body != `{"d":[{"s":"AAPL","n":0,"v":{"p":189.9}}],"missing":[{"topic":"NONE","code":404}]}` {
		t.Errorf("%s %q", res.Status, body)
	}
	if res, body := get("/prices/BAD"); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("no JSON: %s %q", res.Status, body)
	}
	redistest.Eventually(t, "the names", func() bool { _, body := get("/topics"); return body == `{"topics":["AAPL"]}` })
	redistest.Eventually(t, "no subscription to be left", func() bool { return e.metric("edge_subscriptions") == "0" })

	changed := make(chan string, 1)
	go func() {
		res, body := get("/prices/AAPL?wait=30s", tag)
		changed <- res.Status + " " + body
	}()
	redistest.Eventually(t, "the wait", func() bool { return e.metric("edge_subscriptions") == "1" })
	redis.cli("PUBLISH", "channel:prices:AAPL", `{"p":190.1}`)
	if got := <-changed; got != `200 OK {"s":"AAPL","n":1,"v":{"p":190.1}}` {
		t.Error(got)
	}

	watcher := e.dial("?topics=AAPL") // Or its row would be let go.
	watcher.next("hello")
	redis.Kill()
	watcher.await("feed")
	if res, body := get("/prices/AAPL"); res.StatusCode != http.StatusOK || res.Header.Get("Tickedge-Feed") != "down" {
		t.Errorf("with Redis gone: %s %v %q", res.Status, res.Header, body)
	}
	for _, topic := range []string{"NEW", "NONE"} {
		if res, body := get("/prices/" + topic); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("%s, with Redis gone: %s %q", topic, res.Status, body)
		}
	}
}

// With -list-topics source /topics has what Redis has, and while that is not permitted what is held.
func TestTopicsOfRedis(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	redis.cli("SET", "price:AAPL", "1")
	redis.cli("SET", "price:a b", "1")
	redis.cli("SET", "other", "1")
	redis.cli("ACL", "SETUSER", "edge", "on", ">"+tokenSecret, "~price:*", "&channel:prices:*", "+ping", "+getrange", "+subscribe", "+unsubscribe")
	topics := func(e *edge) string {
		_, body := answer(t, e.addr, "GET /topics HTTP/1.1\r\nHost: e\r\n\r\n")
		return body
	}
	e := start(t, "-redis", redis.URL(), "-list-topics", "source")
	redistest.Eventually(t, "the names of Redis", func() bool { return topics(e) == `{"topics":["AAPL"]}` })
	e = start(t, "-redis", strings.Replace(redis.URL(), "://", "://edge:"+tokenSecret+"@", 1), "-list-topics", "source")
	e.dial("?topics=AAPL").await("snapshot")
	redistest.Eventually(t, "what is held", func() bool { return topics(e) == `{"topics":["AAPL"],"truncated":true}` })
	redistest.Eventually(t, "the cure", func() bool { return e.stderr.Count("+scan") > 0 })
}
