// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// nullSink takes everything and keeps nothing.
type nullSink struct{ writes, bytes int }

func (n *nullSink) Write(_ ConnID, p []byte) { n.writes++; n.bytes += len(p) }
func (n *nullSink) Backlog(ConnID) int       { return 0 }
func (n *nullSink) Drained(ConnID)           {}
func (n *nullSink) Evict(ConnID, Reason)     { panic("fanout: an eviction in a steady state") }

func (n *nullSink) Prefix(ConnID) guard.Prefix       { return 1 }
func (n *nullSink) Acked(ConnID, time.Duration) bool { return false }

// anything is the rights of a client that may have whatever it likes.
var anything = Rights{Allowed: nameSet(nil), Existing: prefixSet("")}

// market is a shard of conns with some topics each, and no far ends.
type market struct {
	table *topics.Table
	shard *Shard
	sink  *nullSink
	now   time.Time
	names []string
	ids   []ConnID
}

// tickValue is about as long as what exchanges send.
const tickValue = `{"p":"189.3100","q":"12.500","b":"189.3000","a":"189.3200","t":17000000`

func newMarket(tb testing.TB, cfg Config, topicCount, conns, each int) *market {
	m := &market{now: epoch, sink: &nullSink{}}
	m.table = topics.New(topics.Config{Max: topicCount + 1, Linger: time.Minute, StaleAfter: time.Minute})
	m.table.SetSourceState(0, true, epoch.UnixMilli())
	m.shard = New(cfg, m.table, m.sink, epoch)
	for i := range topicCount {
		m.names = append(m.names, "binance:trade:T"+strconv.Itoa(i))
	}
	for i := range conns {
		id := m.shard.Add()
		m.shard.Open(id, WebSocket, 1, 0, nil)
		cmd := protocol.Command{Op: protocol.OpSubscribe}
		for j := range each {
			cmd.Topics = append(cmd.Topics, []byte(m.names[(i*7+j*(topicCount/each)+j)%topicCount]))
		}
		m.command(id, &cmd, nil)
		m.ids = append(m.ids, id)
		if n := m.shard.conn(id).topics.n; int(n) != each {
			tb.Fatalf("conn %d has %d topics", id, n)
		}
	}
	m.publish(0)
	return m
}

func (m *market) command(id ConnID, cmd *protocol.Command, out []byte) {
	out, _, _ = m.shard.Charge(id, cmd, out)
	m.shard.Command(id, cmd, anything, out)
}

func (m *market) publish(n int) {
	for _, name := range m.names {
		m.table.Publish(name, fmt.Sprintf(`%s%06d"}`, tickValue, n), topics.Meta{At: m.now.UnixMilli()})
	}
}

// forget has all conns take all rows for news, but not that the feed came up.
func (m *market) forget() { m.serve(1) }

func (m *market) serve(seq uint64) {
	for _, id := range m.ids {
		c := m.shard.conn(id)
		c.served, c.snapped = seq, seq
		m.shard.aside(id).told = 0
	}
}

func (m *market) tick(d time.Duration) {
	m.now = m.now.Add(d)
	for m.shard.Turn(m.now) {
	}
}

// turns goes through all that slots, frames and conns grow to: with a window of 100
// ticks and a wheel of 128 slots, the same picture comes back every 3200 ticks.
func (m *market) turns() {
	for range 3200 {
		m.tick(SlotTime)
	}
}

func steadyConfig() Config {
	cfg := testConfig()
	cfg.PingInterval, cfg.Heartbeat, cfg.IdleTimeout = 24*time.Hour, 24*time.Hour, 24*time.Hour
	return cfg
}

// A flush of new ticks allocates nothing. Publishing does, so only the turns of the
// wheel are measured.
func TestFlushDoesNotAllocate(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const conns, each, windows = 100, 10, 50
	m := newMarket(t, steadyConfig(), 100, conns, each)
	m.turns()
	before, mallocs := m.shard.Stats(), uint64(0)
	var from, to runtime.MemStats
	for n := range windows {
		m.publish(n)
		runtime.ReadMemStats(&from)
		for range 100 {
			m.tick(SlotTime)
		}
		runtime.ReadMemStats(&to)
		mallocs += to.Mallocs - from.Mallocs
	}
	st := m.shard.Stats()
	if rows := st.Count[UpdateRows] - before.Count[UpdateRows]; rows != windows*conns*each || st.Count[Flushes]-before.Count[Flushes] != windows*conns {
		t.Fatalf("%d rows in %d flushes, want %d in %d", rows, st.Count[Flushes]-before.Count[Flushes], windows*conns*each, windows*conns)
	}
	// The runtime itself may allocate now and then, far from once a window.
	if mallocs > windows/10 {
		t.Errorf("%d allocations in %d windows", mallocs, windows)
	}
}

// The same with the same rows again and again, so that nothing but the shard runs.
func TestVisitsDoNotAllocate(t *testing.T) {
	const conns, each = 100, 10
	ping := steadyConfig()
	ping.PongTimeout = 25 * time.Hour
	beat := steadyConfig()
	beat.Heartbeat = 100 * time.Millisecond
	for _, c := range []struct {
		name string
		cfg  Config
		prep func(m *market)
		did  func(st Stats) uint64
		want uint64
	}{
		{"flush", steadyConfig(), (*market).forget, func(st Stats) uint64 { return st.Count[UpdateRows] }, conns * each},
		{"nothing new", steadyConfig(), func(*market) {}, func(st Stats) uint64 { return st.Count[Visits] }, conns},
		{"slowed down", steadyConfig(), func(m *market) {
			for _, id := range m.ids {
				m.shard.conn(id).pace = untold // As after a step that the next flush ends.
			}
		}, func(st Stats) uint64 { return st.Count[Visits] }, conns},
		{"feed", steadyConfig(), func(m *market) { m.serve(0) }, func(st Stats) uint64 { return st.Count[FeedsTold] }, conns},
		{"stale", steadyConfig(), func(m *market) {
			m.table.Watch(epoch.Add(time.Hour).UnixMilli())
			m.forget()
		}, func(st Stats) uint64 { return st.Count[StaleTold] }, conns},
		{"heartbeat", beat, func(*market) {}, func(st Stats) uint64 { return st.Count[Heartbeats] }, conns},
		{"ping", ping, func(m *market) {
			for _, id := range m.ids {
				c := m.shard.conn(id)
				c.ping, c.heard, c.flags = m.shard.now, m.shard.now-m.shard.times.ping, 0
			}
		}, func(st Stats) uint64 { return st.Count[Pings] }, conns},
	} {
		m := newMarket(t, c.cfg, 100, conns, each)
		m.turns()
		// Each run is a window, so that every conn is met once.
		run := func() {
			c.prep(m)
			for range 100 {
				m.tick(SlotTime)
			}
		}
		before := c.did(m.shard.Stats())
		const runs = 20
		allocs := testing.AllocsPerRun(runs, run)
		if allocs != 0 {
			t.Errorf("%s: %v allocations in %d visits", c.name, allocs, conns)
		}
		// AllocsPerRun runs once more, to warm up.
		if did := c.did(m.shard.Stats()) - before; did != (runs+1)*c.want {
			t.Errorf("%s: %d in %d runs, want %d in each", c.name, did, runs+1, c.want)
		}
	}
}

// An update in pieces allocates as little.
func TestPiecesDoNotAllocate(t *testing.T) {
	const conns, each = 100, 10
	m := newMarket(t, steadyConfig(), 100, conns, each)
	m.shard.piece = 600 // Four rows, so there are three pieces.
	run := func() {
		m.forget()
		for range 100 {
			m.tick(SlotTime)
		}
	}
	for range 32 { // See turns.
		run()
	}
	before := m.shard.Stats()
	const runs = 20
	if allocs := testing.AllocsPerRun(runs, run); allocs != 0 {
		t.Errorf("%v allocations in a window", allocs)
	}
	// A pass that begins at the end of one run goes on in the next one.
	st := m.shard.Stats()
	if pieces := st.Count[Flushes] - before.Count[Flushes]; pieces < runs*conns*2 {
		t.Errorf("%d pieces in %d windows of %d conns", pieces, runs+1, conns)
	}
}
