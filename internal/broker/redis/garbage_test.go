// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/feed"
	"tickedge/internal/topics"
)

// garbage is what no publisher should publish, and what it is counted as.
var garbage = []struct {
	payload string
	counted func(feed.Stats) uint64
}{
	{"", func(s feed.Stats) uint64 { return s.Flaws[broker.NotJSON] }},
	{`{"p":`, func(s feed.Stats) uint64 { return s.Flaws[broker.NotJSON] }},
	{`{"p":1}{"p":2}`, func(s feed.Stats) uint64 { return s.Flaws[broker.NotJSON] }},
	{"\x00\x01\r\n$5\r\n*3\r\n", func(s feed.Stats) uint64 { return s.Flaws[broker.NotJSON] }},
	{"\"\xff\xfe\xc3\"", func(s feed.Stats) uint64 { return s.Flaws[broker.NotUTF8] }},
	{strings.Repeat("[", broker.ValueMax), func(s feed.Stats) uint64 { return s.Flaws[broker.TooDeep] }},
	{`["\ud83d"]`, func(s feed.Stats) uint64 { return s.Flaws[broker.LoneSurrogate] }},
	{`"` + strings.Repeat("x", broker.ValueMax) + `"`, func(s feed.Stats) uint64 { return s.Flaws[broker.TooBig] }},
}

// huge is published once among thousands of others.
var huge = `"` + strings.Repeat("x", 10<<20) + `"`

func (r *rig) flawed() (n uint64) {
	for _, count := range r.Stats().Flaws {
		n += count
	}
	return n
}

// pour publishes n payloads of garbage, as fast as the feed takes them, so that Redis
// does not cut it off. It returns how many it has published.
func pour(r *rig, s *redistest.Server, n int) (poured uint64) {
	c := s.Client()
	defer c.Close()
	ctx := context.Background()
	before := r.flawed()
	for round := 0; poured < uint64(n); round++ {
		pipe := c.Pipeline()
		for i := range 1000 {
			pipe.Publish(ctx, "channel:prices:AAPL", garbage[i%len(garbage)].payload)
		}
		if round%50 == 0 {
			pipe.Publish(ctx, "channel:prices:AAPL", huge)
			poured++
		}
		if _, err := pipe.Exec(ctx); err != nil {
			r.t.Fatal(err)
		}
		poured += 1000
		r.eventually("all are counted", func() bool { return r.flawed() == before+poured })
	}
	return poured
}

// heap is the memory in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Whatever is published: it is dropped and counted, leaves a line or two in the log, and
// costs nobody the next tick.
func TestGarbage(t *testing.T) {
	s := redistest.Start(t)
	_, buf := newLog(t)
	table, cfg := topics.New(limits), plain(s)
	// As programs have it: a line for each would be as much as the garbage.
	log := app.LogConfig{Level: "debug", Format: "text"}.Logger(buf)
	r := runFeed(t, cfg.feed(t, table, log), table, buf)
	r.wants = cfg.server().wants
	r.acquire("AAPL")
	r.settled()
	for _, g := range garbage {
		before := g.counted(r.Stats())
		s.Do("PUBLISH", "channel:prices:AAPL", g.payload)
		r.eventually("it is counted for what it is", func() bool { return g.counted(r.Stats()) == before+1 })
	}
	s.Do("PUBLISH", "channel:prices:AAPL", huge)
	r.eventually("it is counted for what it is", func() bool { return r.Stats().Flaws[broker.TooBig] == 2 })
	// The same as newest values.
	for _, g := range append(garbage[1:], garbage[0]) { // An empty key is as good as none.
		s.Do("SET", "price:MSFT", g.payload)
		r.acquire("MSFT")
		r.settled()
		if got := r.value("MSFT"); got != "" {
			t.Errorf("value %.20q is a row", got)
		}
		r.release("MSFT")
		r.table.Sweep(time.Now().Add(time.Hour))
		r.eventually("the topic is given up", func() bool { return r.Stats().Channels == 1 })
	}

	pour(r, s, 2000)
	before, lines, begin := heap(), strings.Count(r.log.String(), "\n"), time.Now()
	pour(r, s, 20_000)
	if after := heap(); after > before+4<<20 {
		t.Errorf("%d bytes in use, %d before", after, before)
	}
	// Ten in 10 s, and how many there were.
	if more, most := strings.Count(r.log.String(), "\n")-lines, 11*(1+int(time.Since(begin)/(10*time.Second))); more > most {
		t.Errorf("%d log lines, want at most %d", more, most)
	}
	publish(s, "AAPL", "1")
	r.eventually("the tick after all that", func() bool { return r.value("AAPL") == "1" })
	if st := r.Stats(); st.Counts[broker.Connects] != 1 || st.Counts[broker.Ticks] != 1 {
		t.Errorf("stats = %+v", st)
	}
}
