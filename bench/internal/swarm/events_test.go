// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"strings"
	"testing"
	"time"

	"tickedge/bench/internal/fakeedge"
	"tickedge/bench/internal/wire"
)

// streams are conns that read events.
func streams(t *testing.T, conns int, script func(*fakeedge.Conn)) Config {
	cfg := config(fakeedge.Scripted(t, script), conns)
	cfg.Target, cfg.Events = "/sse?interval=500", true
	return cfg
}

// Whatever way TCP cuts them, events are checked and counted as frames are.
func TestStreams(t *testing.T) {
	cfg := streams(t, 5, func(c *fakeedge.Conn) {
		topics := c.Stream()
		if len(topics) != 3 || c.Head.URL.Path != "/sse" || c.Head.URL.Query().Get("interval") != "500" || c.Head.Header.Get("Upgrade") != "" {
			t.Errorf("asked for %v", c.Head.URL)
		}
		c.Event("snapshot", fakeedge.Rows("snapshot", topics, 1, time.Hour))
		update := "data: " + fakeedge.Rows("update", topics, 2, 10*time.Second) + "\nevent: update\n\n"
		for i := range update {
			c.Raw(update[i : i+1])
		}
		c.Raw(":\n\n")
		c.Gone()
	})
	sum := run(t, cfg, func(r *Report) bool { return r.Pings == 5 })
	if len(sum.Violations)+len(sum.Lost)+len(sum.Refused) > 0 {
		t.Errorf("violations %s, lost %s, refused %s", kinds(sum.Violations), kinds(sum.Lost), kinds(sum.Refused))
	}
	if sum.Connected != 5 || sum.Acked != 5 || sum.Rows != 30 || sum.Frames() != 20 || sum.Types[wire.Update] != 5 || sum.WindowMax != 500 {
		t.Errorf("%+v, %+v", sum.Gauges, sum.Counts)
	}
	if p50 := time.Duration(sum.Update.Quantile(0.5)) * time.Microsecond; sum.Update.N() != 15 || p50 < 9900*time.Millisecond || p50 > time.Minute {
		t.Errorf("staleness of %d rows: p50 %v, want about 10s", sum.Update.N(), p50)
	}
}

func TestBadStreams(t *testing.T) {
	open := func(then string) func(*fakeedge.Conn) {
		return func(c *fakeedge.Conn) {
			c.Stream()
			c.Raw(then)
			c.Gone()
		}
	}
	for _, c := range []struct {
		violation, lost, refused string
		script                   func(*fakeedge.Conn)
	}{
		{EventName, "", "", open("data: {\"t\":\"heartbeat\"}\nevent: update\n\n")},
		{RowNotAsked, "", "", open("data: " + row("update", "OTHER", 1) + "\nevent: update\n\n")},
		{NoAck, "", "", func(c *fakeedge.Conn) {
			c.Raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
			c.Event("hello", fakeedge.Hello)
			c.Gone()
		}},
		{string(wire.ErrField), "dropped by bench: " + string(wire.ErrField), "", open("data: {\n}\n\n")},
		{"", "stream ended", "", func(c *fakeedge.Conn) { c.Stream() }},
		{string(wire.ErrStream), "", string(wire.ErrStream), func(c *fakeedge.Conn) { c.Raw("HTTP/1.1 200 OK\r\n\r\n"); c.Gone() }},
		{"", "", "HTTP 503", func(c *fakeedge.Conn) { c.Raw("HTTP/1.1 503 Service Unavailable\r\n\r\n"); c.Gone() }},
	} {
		t.Run(strings.ReplaceAll(c.violation+c.lost+c.refused, " ", "_"), func(t *testing.T) {
			cfg := streams(t, 1, c.script)
			cfg.AckTimeout = time.Second
			sum := run(t, cfg, func(r *Report) bool { return r.Violations.Total()+r.Lost.Total()+r.Refused.Total() > 0 })
			only := func(of Tallies, kind string) bool {
				return (kind == "") == (len(of) == 0) && (kind == "" || of[kind] != nil && of[kind].Count == 1)
			}
			if !only(sum.Violations, c.violation) || !only(sum.Lost, c.lost) || !only(sum.Refused, c.refused) {
				t.Errorf("violations %s, lost %s, refused %s", kinds(sum.Violations), kinds(sum.Lost), kinds(sum.Refused))
			}
		})
	}
	cfg := streams(t, 1, func(*fakeedge.Conn) {})
	cfg.Churn = 1
	if _, err := New(cfg); err == nil {
		t.Error("a churn of streams was taken")
	}
}
