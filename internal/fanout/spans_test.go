// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tickedge/internal/topics"
)

func (h *Histogram) total() (n uint64) {
	for _, of := range h.Buckets {
		n += of
	}
	return n
}

// stepped is an age as a shard takes it down.
func stepped(window, age time.Duration) time.Duration {
	step := int64(128)
	if window <= 1500*time.Millisecond {
		step = 4
	}
	steps := min((age.Milliseconds()+ageBias)/step, 1023)
	return time.Duration(max(0, steps*step-ageBias)) * time.Millisecond
}

// What is up to a bound is in its bucket.
func TestBucketsOfSpans(t *testing.T) {
	for i, bound := range SpanBounds {
		for d, want := range map[time.Duration]int{bound: i, bound + 1: i + 1} {
			if got := bucketOf(d); got != want {
				t.Errorf("%v is in bucket %d, want %d", d, got, want)
			}
		}
	}
}

// The age of each row that is sent in an update is taken down, under the window of who it is sent to.
func TestAgeOfRows(t *testing.T) {
	cfg := testConfig()
	cfg.PingInterval = 10 * time.Minute
	w := newWorld(t, cfg, 5000, 0)
	w.hold("A", "B")
	w.publish("A", 0)
	for _, of := range []struct {
		span   Span
		window int
		slow   bool
	}{{RowAge, 0, false}, {RowAge, 500, false}, {RowAgeAsked, 2000, false}, {RowAgeAsked, 30_000, false}, {RowAgeAsked, 100, false}, {RowAgeSlowed, 0, true}} {
		id := w.connect(of.window)
		w.subscribe(id, "A", "B")
		w.advance(3 * time.Second)
		if of.slow {
			w.shard.stand(id, w.shard.conn(id), 2)
		}
		before := w.shard.Stats()
		var sum time.Duration
		rows := uint64(0)
		at := w.now
		w.publish("A", 1)
		w.publish("B", 1)
		for range 31 * time.Second / SlotTime {
			sent := w.shard.Stats().Count[UpdateRows]
			w.tick(SlotTime)
			if n := w.shard.Stats().Count[UpdateRows] - sent; n > 0 {
				rows += n
				sum += time.Duration(n) * stepped(duration(w.shard.conn(id).window()), w.now.Sub(at))
			}
		}
		st := w.shard.Stats()
		h := &st.Spans[of.span]
		if rows != 2 || h.Sum-before.Spans[of.span].Sum != sum || h.total() != before.Spans[of.span].total()+2 {
			t.Errorf("%+v: %d rows, %v of %v in %d", of, rows, h.Sum-before.Spans[of.span].Sum, sum, h.total())
		}
		w.shard.Remove(id)
	}
}

// A row that has come in since the turn began is no older than nothing, and there is an age beyond which all are the same.
func TestAgesAtTheEnds(t *testing.T) {
	const ms = time.Millisecond
	for age, want := range map[time.Duration]time.Duration{
		-5 * ms: 0, 0: 0, 3 * ms: 0, 4 * ms: 4 * ms, 1027 * ms: 1024 * ms, 3835 * ms: 3832 * ms, 3836 * ms: 3836 * ms, 7 * time.Second: 3836 * ms, time.Hour: 3836 * ms,
	} {
		m := newMarket(t, steadyConfig(), 1, 1, 1)
		m.turns()
		m.table.Publish(m.names[0], "1", topics.Meta{At: m.now.Add(-age).UnixMilli()})
		c := m.shard.conn(m.ids[0])
		before := *m.shard.rows.ages.fold()
		m.shard.Rows(&c.Cursor, &m.shard.aside(m.ids[0]).Pass, m.table.Watermark(), 0, nil)
		after := m.shard.rows.ages.fold()
		if after.total() != before.total()+1 || after.Sum-before.Sum != want || after.Buckets[bucketOf(want)] != before.Buckets[bucketOf(want)]+1 {
			t.Errorf("a row of %v is taken down as %v in %d", age, after.Sum-before.Sum, after.total()-before.total())
		}
	}
}

// A row that has no room in a piece counts when it is sent.
func TestAgeWithoutRoom(t *testing.T) {
	m := newMarket(t, steadyConfig(), 31, 1, 30)
	m.turns()
	m.shard.piece = 200
	sent, sum := m.shard.Stats(), time.Duration(0)
	at := m.now
	for i, name := range m.names {
		came := at.Add(-time.Duration(i) * time.Millisecond)
		value := `"` + strings.Repeat("x", 50+10*(i%9)) + `"`
		m.table.Publish(name, value, topics.Meta{At: came.UnixMilli()})
	}
	c, aside := m.shard.conn(m.ids[0]), m.shard.aside(m.ids[0])
	for pieces := 0; ; pieces++ {
		m.shard.rows.ages = &m.shard.ages[RowAge].fine
		out := m.shard.Rows(&c.Cursor, &aside.Pass, m.table.Watermark(), 0, nil)
		for i, name := range m.names {
			if strings.Contains(string(out), `"`+name+`"`) {
				sum += stepped(0, time.Duration(i)*time.Millisecond)
			}
		}
		if !c.More() {
			if pieces < 5 {
				t.Fatalf("%d pieces", pieces)
			}
			break
		}
	}
	st := m.shard.Stats()
	rows := st.Count[UpdateRows] - sent.Count[UpdateRows]
	if got := st.Spans[RowAge].total() - sent.Spans[RowAge].total(); rows != 30 || got != rows {
		t.Errorf("%d ages of %d rows", got, rows)
	}
	if got := st.Spans[RowAge].Sum - sent.Spans[RowAge].Sum; got != sum {
		t.Errorf("they are %v old together, want %v", got, sum)
	}
}

// What is not visited in time is flushed late.
func TestLagOfFlushes(t *testing.T) {
	w := newWorld(t, testConfig(), 5000, 0)
	id := w.connect(0)
	w.advance(2 * time.Second)
	h := &w.shard.stats.Spans[FlushLag]
	w.shard.Stats()
	if h.total() != 4 || h.Sum != 0 {
		t.Fatalf("%+v, want four flushes in time", h)
	}
	late := w.shard.conn(id).flush
	w.tick(400 * time.Millisecond)
	w.tick(400 * time.Millisecond) // It is due in one of these.
	w.shard.Stats()
	if want := duration(w.shard.now - late); h.total() != 5 || h.Sum > want || h.Sum == 0 || h.Sum%SlotTime != 0 {
		t.Errorf("%+v, want up to %v", h, want)
	}
}

// A pong is looked at while it is awaited, and the round trip is taken down when it is there.
func TestPongsAndRoundTrips(t *testing.T) {
	w := newWorld(t, testConfig(), 5000, 0)
	w.hold("A")
	id := w.connect(0)
	w.subscribe(id, "A")
	pings := &w.shard.stats.Count[Pings]
	for *pings == 0 {
		w.tick(SlotTime)
	}
	asked := w.now
	ages, trips := &w.shard.stats.Spans[PongAge], &w.shard.stats.Spans[RoundTrip]
	w.advance(3 * time.Second)
	if n, last := ages.total(), bucketOf(3*time.Second); n < 6 || ages.Buckets[last] == 0 || ages.Sum < 9*time.Second/2 || trips.total() != 0 {
		t.Errorf("%d looks, of %v together; %d round trips", n, ages.Sum, trips.total())
	}
	looks := ages.total()
	w.shard.At(w.now)
	w.shard.Heard(id)
	if want := w.now.Sub(asked) + SlotTime; trips.total() != 1 || trips.Sum != want {
		t.Errorf("%d round trips of %v, want one of %v", trips.total(), trips.Sum, want)
	}
	w.advance(3 * time.Second)
	w.shard.Heard(id)
	if ages.total() != looks || trips.total() != 1 {
		t.Errorf("%d looks, %d round trips, with nothing to await", ages.total()-looks, trips.total())
	}
}

// What a subscribe waits for is taken down: its answer, and its snapshots at once or when the feed has the values.
func TestSnapshotsAreWaitedFor(t *testing.T) {
	w := newWorld(t, testConfig(), 5000, 0)
	w.hold("A", "late", "tick", "never")
	w.publish("A", 1)
	acks, snaps := &w.shard.stats.Spans[SubscribeAck], &w.shard.stats.Spans[SubscribeSnapshot]
	wait := func(names ...string) (id ConnID) {
		id = w.connect(0)
		w.subscribe(id, names...)
		return id
	}
	wait("A")
	if acks.total() != 1 || snaps.total() != 1 || len(w.shard.waits) != 0 {
		t.Errorf("%d answers, %d snapshots, %d wait", acks.total(), snaps.total(), len(w.shard.waits))
	}
	wait("A", "late")
	if acks.total() != 2 || snaps.total() != 2 || len(w.shard.waits) != 1 {
		t.Errorf("%d answers, %d snapshots, %d wait", acks.total(), snaps.total(), len(w.shard.waits))
	}
	from := w.now
	mark, _ := w.table.Mark("late")
	w.advance(time.Second)
	w.table.Repair("late", "1", mark, topics.Meta{At: w.now.UnixMilli()})
	for snaps.total() == 2 {
		w.tick(SlotTime)
	}
	if want := w.now.Sub(from); snaps.Sum != want || len(w.shard.waits) != 0 {
		t.Errorf("waited for %v, want %v; %d wait still", snaps.Sum, want, len(w.shard.waits))
	}
	wait("tick") // Its first value is an update, and no snapshot.
	w.publish("tick", 1)
	w.advance(time.Second)
	if len(w.shard.waits) != 0 || snaps.total() != 3 {
		t.Errorf("%d wait for what has come, %d snapshots", len(w.shard.waits), snaps.total())
	}
	wait("never")
	w.advance(waitMax / 2)
	if len(w.shard.waits) != 1 {
		t.Errorf("%d wait, want one", len(w.shard.waits))
	}
	w.advance(waitMax/2 + 2*time.Second)
	if len(w.shard.waits) != 0 {
		t.Errorf("%d wait for ever", len(w.shard.waits))
	}
	mark, _ = w.table.Mark("never")
	w.table.Repair("never", "1", mark, topics.Meta{At: w.now.UnixMilli()})
	w.advance(time.Second)
	if len(w.shard.waits) != 0 || snaps.total() != 3 {
		t.Errorf("%d wait too long; %d snapshots", len(w.shard.waits), snaps.total())
	}
}

// Of how many it is known is bounded, and who goes is forgotten.
func TestWaitsEnd(t *testing.T) {
	w := newWorld(t, testConfig(), 5000, 0)
	var ids []ConnID
	for i := range waitsMax + 10 {
		id := w.connect(0)
		w.subscribe(id, fmt.Sprint("known", i))
		ids = append(ids, id)
	}
	if len(w.shard.waits) != waitsMax {
		t.Errorf("%d are known to wait", len(w.shard.waits))
	}
	for i, id := range ids {
		if i%2 == 0 {
			w.shard.Remove(id)
		} else {
			w.shard.Closing(id)
		}
	}
	if len(w.shard.waits) != 0 {
		t.Errorf("%d are known that have gone", len(w.shard.waits))
	}
}
