// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/topics"
)

// streamed is a config that reads the stream "ticks".
func streamed(url string) config {
	cfg := At(url)
	cfg.Mode, cfg.Stream = ModeStream, "ticks"
	return cfg
}

// add sets and adds as a publisher has to.
func add(s *redistest.Server, topic, value string) {
	s.Do("SET", "price:"+topic, value)
	s.Do("XADD", "ticks", "*", "topic", topic, "value", value)
}

func TestStream(t *testing.T) {
	s := redistest.Start(t)
	add(s, "AAPL", "1")
	add(s, "MSFT", "2")
	s.Do("SET", "price:AAPL", "3")
	r := run(t, streamed(s.URL()), topics.Config{Max: 10, Linger: 0})
	r.acquire("AAPL", "NEW")
	r.eventually("the newest value is that of the key", func() bool { return r.row("AAPL") == `{"s":"AAPL","n":0,"v":3}` })
	r.settled()
	add(s, "AAPL", "4")
	add(s, "MSFT", "not JSON, but nobody wants it")
	add(s, "NEW", "5")
	r.eventually("the entries are rows", func() bool { return r.value("AAPL") == "4" && r.value("NEW") == "5" })
	if st := r.Stats(); st.Counts[broker.Ticks] != 2 || st.Counts[broker.Unwanted] != 1 || st.Flaws[broker.NotJSON] != 0 || st.Counts[broker.Repairs] != 1 || st.Counts[broker.Gaps] != 0 || !r.table.Health().Up {
		t.Errorf("stats = %+v", st)
	}

	s.Do("XADD", "ticks", "*", "topic", "AAPL")
	s.Do("XADD", "ticks", "*", "value", "6")
	s.Do("XADD", "ticks", "*", "a", "b")
	add(s, "AAPL", "NaN")
	add(s, "AAPL", "7")
	r.eventually("the entry after flawed ones", func() bool { return r.value("AAPL") == "7" })
	if st := r.Stats(); st.Flaws[broker.NoFields] != 3 || st.Flaws[broker.NotJSON] != 1 {
		t.Errorf("stats = %+v", st)
	}

	// What is wanted later, and again, has its newest value.
	for i := range 20 {
		r.release("AAPL")
		r.table.Sweep(time.Now().Add(time.Second))
		s.Do("SET", "price:AAPL", fmt.Sprint(i))
		r.acquire("AAPL")
		r.eventually("the value is fetched", func() bool { return r.value("AAPL") == fmt.Sprint(i) })
	}
	if st := r.Stats(); st.Counts[broker.Connects] != 1 || st.Counts[broker.Gaps] != 0 {
		t.Errorf("stats = %+v", st)
	}
}

// The position survives connections: no entry is lost, none comes twice, and there is no
// gap to be repaired.
func TestStreamLosesNothing(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, streamed(s.URL()), limits)
	r.acquire("AAPL", "MSFT")
	r.settled()
	c := s.Client()
	defer c.Close()
	ctx := context.Background()
	const rounds, entries = 5, 2000
	for round := range rounds {
		connects := r.Stats().Counts[broker.Connects]
		for from := 0; from < entries; from += 100 {
			pipe := c.Pipeline()
			for i := range 100 {
				n := round*entries + from + i + 1
				pipe.XAdd(ctx, &goredis.XAddArgs{Stream: "ticks", Values: []any{"topic", "AAPL", "value", n}})
			}
			if _, err := pipe.Exec(ctx); err != nil {
				t.Fatal(err)
			}
			if from == entries/2 {
				if err := c.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.eventually("a new connection", func() bool { return r.Stats().Counts[broker.Connects] > connects })
		want := fmt.Sprintf(`{"s":"AAPL","n":%d,"v":%d}`, (round+1)*entries, (round+1)*entries)
		r.eventually("the row "+want, func() bool { return r.row("AAPL") == want })
	}
	r.eventually("up", func() bool { return r.table.Health().Up })
	if st := r.Stats(); st.Counts[broker.Gaps] != 0 || st.Counts[broker.Ticks] != rounds*entries {
		t.Errorf("stats = %+v, want %d ticks and no gap", st, rounds*entries)
	}
}

// What is trimmed before it was read is a gap, and repaired.
func TestStreamTrimmed(t *testing.T) {
	s := redistest.Start(t)
	y := newRelay(t, s.Addr())
	cfg := streamed(y.url())
	r := run(t, cfg, limits)
	reads := y.conn(r, 0)
	r.acquire("AAPL", "MSFT", "GOOGL")
	r.settled()
	gaps := uint64(0)
	// away lets what f does happen between two reads.
	away := func(f func()) {
		t.Helper()
		reads.up.hold(true)
		f()
		add(s, "GOOGL", fmt.Sprint(time.Now().UnixNano()))
		reads.up.hold(false)
		newest := s.Do("GET", "price:GOOGL")
		r.eventually("the newest entry", func() bool { return r.value("GOOGL") == newest })
	}
	add(s, "AAPL", "1")
	add(s, "MSFT", "1")
	r.eventually("entries", func() bool { return r.value("AAPL") == "1" && r.value("MSFT") == "1" })

	away(func() { s.Do("XTRIM", "ticks", "MAXLEN", 0) })
	away(func() { add(s, "AAPL", "2"); s.Do("XTRIM", "ticks", "MAXLEN", 1) })
	if st := r.Stats(); st.Counts[broker.Gaps] != 0 || r.value("AAPL") != "2" {
		t.Fatalf("value %s, stats %+v: entries were trimmed that had been read, or came anyhow", r.value("AAPL"), st)
	}
	gap := func(what string, f func()) {
		t.Helper()
		away(f)
		gaps++
		r.eventually(what+" is a gap", func() bool { return r.Stats().Counts[broker.Gaps] == gaps })
	}
	gap("trimming", func() {
		add(s, "AAPL", "3")
		add(s, "MSFT", "3")
		s.Do("XTRIM", "ticks", "MAXLEN", 1)
	})
	r.eventually("the trimmed value is repaired", func() bool { return r.value("AAPL") == "3" && r.value("MSFT") == "3" })
	gap("trimming all", func() {
		add(s, "AAPL", "4")
		s.Do("XTRIM", "ticks", "MAXLEN", 0)
	})
	r.eventually("the trimmed value is repaired", func() bool { return r.value("AAPL") == "4" })
	gap("an entry deleted", func() {
		s.Do("SET", "price:AAPL", "5")
		id := s.Do("XADD", "ticks", "*", "topic", "AAPL", "value", "5")
		s.Do("XDEL", "ticks", id)
	})
	r.eventually("the deleted value is repaired", func() bool { return r.value("AAPL") == "5" })
	gap("a new stream", func() {
		add(s, "AAPL", "6")
		s.Do("DEL", "ticks")
		add(s, "MSFT", "7")
	})
	r.eventually("the lost value is repaired", func() bool { return r.value("AAPL") == "6" && r.value("MSFT") == "7" })
	gap("a new stream of as many entries", func() {
		add(s, "AAPL", "8")
		s.Do("DEL", "ticks")
		s.Do("XADD", "ticks", "1-1", "topic", "OTHER", "value", "8")
	})
	r.eventually("the lost value is repaired", func() bool { return r.value("AAPL") == "8" })

	// One whose ids are lower is read from its beginning.
	reads.up.hold(true)
	ticks := r.Stats().Counts[broker.Ticks]
	s.Do("MSET", "price:AAPL", "9", "price:MSFT", "9")
	s.Do("DEL", "ticks")
	s.Do("XADD", "ticks", "1-1", "topic", "MSFT", "value", "9")
	reads.up.hold(false)
	gaps++
	r.eventually("the first entry is read", func() bool { return r.Stats().Counts[broker.Ticks] == ticks+1 && r.value("MSFT") == "9" })
	r.eventually("the lost value is repaired", func() bool { return r.value("AAPL") == "9" })
	if st := r.Stats(); st.Counts[broker.Gaps] != gaps || st.Counts[broker.Connects] != 1 || r.log.Count("entries of the stream were lost") != int(gaps) {
		t.Errorf("stats = %+v, want %d gaps on one connection, and as many log lines", st, gaps)
	}
}

// A fetched value waits for the entries before it.
func TestStreamValueWaitsForOlderEntries(t *testing.T) {
	s := redistest.Start(t)
	y := newRelay(t, s.Addr())
	r := run(t, streamed(y.url()), limits)
	reads := y.conn(r, 0)
	r.acquire("FIRST")
	r.settled()
	values := y.conn(r, 1)
	reads.down.hold(true)
	answered := values.down.bytes()
	add(s, "AAPL", "0") // Lets a read come back that is held, so that AAPL is read after it is wanted.
	r.acquire("AAPL")
	add(s, "AAPL", "1")
	add(s, "AAPL", "2")
	r.eventually("the value is fetched", func() bool { return values.down.bytes() > answered })
	r.eventually("the value waits", func() bool {
		st := r.config.made.(*stream)
		st.mu.Lock()
		defer st.mu.Unlock()
		return len(st.waiting) == 1
	})
	if got := r.value("AAPL"); got != "" {
		t.Errorf("value = %s while older entries are on their way", got)
	}
	reads.down.hold(false)
	r.settled()
	r.eventually("the newest entry", func() bool { return r.value("AAPL") == "2" })
	if st := r.Stats(); st.Counts[broker.Connects] != 1 || st.Counts[broker.Gaps] != 0 {
		t.Errorf("stats = %+v", st)
	}
}

// A fetch that its link did not live to see is done over the next, though there is no gap.
func TestStreamFetchesAgain(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "price:AAPL", "1")
	y := newRelay(t, s.Addr())
	r := run(t, streamed(y.url()), limits)
	r.acquire("FIRST")
	r.settled()
	values := y.conn(r, 1)
	asked := values.up.bytes()
	values.down.hold(true)
	r.acquire("AAPL")
	r.eventually("the value is asked for", func() bool { return values.up.bytes() > asked })
	s.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	r.eventually("the value comes over the next link", func() bool { return r.value("AAPL") == "1" && r.Stats().Counts[broker.Connects] == 2 })
	if st := r.Stats(); st.Counts[broker.Gaps] != 0 {
		t.Errorf("stats = %+v", st)
	}
}

func TestStreamOfFrozenServer(t *testing.T) {
	s := redistest.Start(t)
	cfg := streamed(s.URL())
	cfg.Timeout = 300 * time.Millisecond
	r := run(t, cfg, limits)
	r.acquire("AAPL")
	r.settled()
	add(s, "AAPL", "1")
	s.Freeze()
	defer s.Thaw()
	r.eventually("the silence is noticed", func() bool { return !r.table.Health().Up && !r.Stats().Connected })
	s.Thaw()
	r.eventually("up", func() bool { return r.table.Health().Up })
	add(s, "AAPL", "2")
	r.eventually("entries come again", func() bool { return r.value("AAPL") == "2" })
	if st := r.Stats(); st.Counts[broker.Gaps] != 0 {
		t.Errorf("stats = %+v, want no gap: the position was kept", st)
	}
}

func TestStreamOfWrongType(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "ticks", "1")
	r := run(t, streamed(s.URL()), limits)
	r.eventually("an error", func() bool { return strings.Contains(r.Stats().LastError, "WRONGTYPE") })
	r.eventually("that says what to do", func() bool { return r.log.Count("a stream a stream") == 1 })
}

// A Redis that is full refuses every transaction, also of those who only read. What is in the
// stream is read all the same, and so are the values of topics that are wanted now.
func TestStreamOfFullRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	r := run(t, streamed(s.URL()), limits)
	add(s, "NEW", "1")
	r.acquire("AAPL")
	r.settled()
	s.Do("CONFIG", "SET", "maxmemory", "1")
	r.acquire("NEW")
	r.eventually("the value of a new topic", func() bool { return r.value("NEW") == "1" })
	s.Do("CONFIG", "SET", "maxmemory", "0")
	c := s.Client()
	defer c.Close()
	if _, err := c.TxPipelined(t.Context(), func(tx goredis.Pipeliner) error {
		tx.Do(t.Context(), "XADD", "ticks", "*", "topic", "AAPL", "value", "2")
		return tx.ConfigSet(t.Context(), "maxmemory", "1").Err() // It is full again before the entry is read.
	}); err != nil {
		t.Fatal(err)
	}
	r.eventually("an entry", func() bool { return r.value("AAPL") == "2" })
	if st := r.Stats(); st.Counts[broker.Connects] != 1 || st.Counts[broker.Gaps] != 0 || !r.table.Health().Up {
		t.Errorf("stats = %+v", st)
	}
	s.Do("CONFIG", "SET", "maxmemory", "0")
	add(s, "AAPL", "3")
	r.eventually("another entry", func() bool { return r.value("AAPL") == "3" })
	if st := r.Stats(); st.Counts[broker.Connects] != 1 || st.Counts[broker.Gaps] != 0 {
		t.Errorf("stats = %+v", st)
	}
}

func TestStreamID(t *testing.T) {
	for _, bad := range []string{"", "1", "-", "1-", "-1", "a-1", "1-a", "1-2-3", "18446744073709551616-0"} {
		if id, err := parseStreamID(bad); err == nil {
			t.Errorf("%q is %v", bad, id)
		}
	}
	id, err := parseStreamID("18446744073709551615-7")
	if err != nil || id.String() != "18446744073709551615-7" {
		t.Errorf("%v, %v", id, err)
	}
	if (streamID{1, 2}).compare(streamID{1, 3}) >= 0 || (streamID{2, 0}).compare(streamID{1, 9}) <= 0 || id.compare(id) != 0 {
		t.Error("ids are not in order")
	}
}
