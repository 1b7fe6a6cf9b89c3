// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/topics"
)

// whole is a config with one subscription for all topics.
func whole(url string) config {
	cfg := At(url)
	cfg.Mode = ModePattern
	return cfg
}

func TestPattern(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "q?AAPL", "1")
	cfg := whole(s.URL())
	cfg.Channel, cfg.Key = "q?[{topic}]", "q?{topic}"
	r := run(t, cfg, topics.Config{Max: 10, Linger: 0})
	r.acquire("AAPL", "NEW")
	r.eventually("the newest value is fetched", func() bool { return r.row("AAPL") == `{"s":"AAPL","n":0,"v":1}` })
	r.settled()
	send := func(channel, value string) { s.Do("PUBLISH", channel, value) }
	send("q?[AAPL]", "2")
	send("qx[AAPL]", "3") // The ? of the template is no wildcard.
	send("q?[OTHER]", "not JSON, but nobody wants it")
	send("q?[NEW]", "4")
	r.eventually("the ticks are rows", func() bool { return r.value("AAPL") == "2" && r.value("NEW") == "4" })
	if st := r.Stats(); st.Counts[broker.Ticks] != 2 || st.Counts[broker.Unwanted] != 1 || st.Flaws[broker.NotJSON] != 0 || st.Counts[broker.Repairs] != 1 || st.Channels != 1 || st.Counts[broker.Gaps] != 0 {
		t.Errorf("stats = %+v", st)
	}
	if n := calls(s, "psubscribe") + calls(s, "subscribe"); n != 1 {
		t.Errorf("%d subscriptions, want 1", n)
	}

	// What is wanted later, and again, has its newest value.
	for i := range 20 {
		r.release("AAPL")
		r.table.Sweep(time.Now().Add(time.Second))
		s.Do("SET", "q?AAPL", fmt.Sprint(i))
		r.acquire("AAPL")
		r.eventually("the value is fetched", func() bool { return r.value("AAPL") == fmt.Sprint(i) })
	}
}

func TestPatternIsRepaired(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, whole(s.URL()), limits)
	const n = 3000
	for i := range n {
		r.acquire(fmt.Sprint("T", i))
	}
	r.settled()
	publish(s, "T7", "1")
	r.eventually("the tick", func() bool { return r.value("T7") == "1" })
	s.Do("SET", "price:T7", "2") // Missed, as it were.
	s.Do("SET", "price:T8", "3")
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
	r.eventually("a new connection", func() bool { return r.Stats().Counts[broker.Connects] == 2 })
	r.eventually("up", func() bool { return r.table.Health().Up })
	if a, b := r.value("T7"), r.value("T8"); a != "2" || b != "3" {
		t.Errorf("values %q and %q when the feed came up", a, b)
	}
	publish(s, "T9", "4")
	r.eventually("ticks go on", func() bool { return r.value("T9") == "4" })
	if st := r.Stats(); st.Counts[broker.Gaps] != 1 || st.Counts[broker.Connects] != 2 {
		t.Errorf("stats = %+v, want one gap", st)
	}
}

// A pattern that is not permitted is no feed.
func TestPatternIsNotPermitted(t *testing.T) {
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "edge", "on", ">"+secret, "+@all", "~*", "resetchannels", "&channel:prices:A*")
	r := run(t, whole("redis://edge:"+secret+"@"+s.Addr()), limits)
	r.eventually("an error", func() bool { return r.Stats().LastError != "" })
	r.eventually("that says what to do", func() bool { return r.log.Count("permit the Redis user") > 0 })
}
