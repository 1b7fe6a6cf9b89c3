// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"tickedge/internal/broker/redis/redistest"
)

// Each way in, from redis-cli to a client, with versions.
func TestModes(t *testing.T) {
	for mode, publish := range map[string]func(r *redisServer, value string){
		"channel": func(r *redisServer, value string) { r.cli("PUBLISH", "channel:prices:AAPL", value) },
		"pattern": func(r *redisServer, value string) { r.cli("PUBLISH", "channel:prices:AAPL", value) },
		"stream":  func(r *redisServer, value string) { r.cli("XADD", "ticks", "*", "topic", "AAPL", "value", value) },
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			redis := startRedis(t)
			redis.cli("SET", "price:AAPL", `{"seq":5}`)
			args := []string{"-redis", redis.URL(), "-redis-mode", mode, "-tick-version-field", "seq"}
			if mode == "stream" {
				args = append(args, "-redis-stream", "ticks")
			}
			e := start(t, args...)
			metric := func(name, want string) {
				t.Helper()
				redistest.Eventually(t, name+" is "+want, func() bool { return e.metric(name) == want })
			}
			metric(`edge_feed_connected{source="*"}`, "1")
			c := e.dial("?topics=AAPL&interval=100")
			c.next("hello")
			c.next("ack")
			if m := c.next("snapshot"); string(m.D[0].V) != `{"seq":5}` {
				t.Fatalf("snapshot %+v", m)
			}
			for _, value := range []string{`{"seq":4}`, `{"seq":5}`, `{"p":1}`, `{"seq":6}`} {
				publish(redis, value)
			}
			if m := c.next("update"); string(m.D[0].V) != `{"seq":6}` || m.D[0].N != 1 {
				t.Errorf("update %+v", m)
			}
			metric("edge_feed_ticks_total", "1")
			metric("edge_feed_older_total", "1")
			metric("edge_feed_repeated_total", "1")
			metric(`edge_feed_invalid_total{reason="no_version"}`, "1")
			metric("edge_feed_version_resets_total", "0")
			redistest.Eventually(t, "a lag is measured", func() bool { return e.metric(`edge_feed_lag_seconds{source="*"}`) != "0" })
		})
	}
}
