// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"testing"
	"time"
)

// crowd makes n conns that are open at once, each with one topic.
func crowd(w *world, n int) []ConnID {
	w.t.Helper()
	ids := make([]ConnID, n)
	for i := range ids {
		ids[i] = w.connect(0)
		w.subscribe(ids[i], "AAPL")
	}
	w.check()
	return ids
}

// A call of Tick makes a bounded number of visits and says that it wants another.
func TestTickIsBounded(t *testing.T) {
	const conns = 3*visitsMax + 17
	for _, age := range []time.Duration{0, wrapAge} {
		w := newWorld(t, testConfig(), 8, age)
		w.shard.Add() // So that the wheel has something to turn for.
		w.advance(2 * SlotTime)
		ids := crowd(w, conns)
		w.publish("AAPL", 1)
		w.now = w.now.Add(10 * time.Second)
		calls := 0
		for more := true; more; calls++ {
			before := w.shard.stats.Count[Visits]
			more = w.shard.Turn(w.now)
			visits := w.shard.stats.Count[Visits] - before
			if more && visits != visitsMax || visits > visitsMax {
				t.Fatalf("call %d made %d visits, more = %v", calls, visits, more)
			}
			if more != (w.shard.Lag() > 0) {
				t.Fatalf("more = %v with a lag of %v", more, w.shard.Lag())
			}
			w.check()
			// Time goes on meanwhile, and frames come and go.
			w.now = w.now.Add(500 * time.Microsecond)
			w.shard.At(w.now)
			w.subscribe(ids[calls], "MSFT")
			w.check()
		}
		if calls != conns/visitsMax+1 {
			t.Errorf("%d conns took %d calls", conns, calls)
		}
		for _, id := range ids {
			if visits := w.sink.peer(id).visits; visits != 1 {
				t.Fatalf("conn %d was visited %d times", id, visits)
			}
		}
		if w.shard.stats.Count[Flushes] != conns || w.shard.stats.rows() != conns {
			t.Errorf("%d conns were sent %d updates with %d rows", conns, w.shard.stats.Count[Flushes], w.shard.stats.rows())
		}
	}
}

// After a stall of any length each conn is visited once, and its windows are where
// they were.
func TestStallVisitsOnce(t *testing.T) {
	for _, age := range []time.Duration{0, wrapAge} {
		for _, stall := range []time.Duration{
			600 * time.Millisecond, wheelSize * SlotTime, (wheelSize + 1) * SlotTime, (2*wheelSize + 1) * SlotTime,
			10 * time.Second, time.Hour,
		} {
			cfg := testConfig()
			cfg.PingInterval = 10 * time.Hour
			w := newWorld(t, cfg, 8, age)
			ids := crowd(w, 500)
			w.tick(500 * time.Millisecond)
			w.tick(500 * time.Millisecond)
			flushes := make([]beat, len(ids))
			for i, id := range ids {
				flushes[i] = w.shard.conn(id).flush
				w.sink.peer(id).visits, w.sink.peer(id).writes = 0, 0
			}
			w.publish("AAPL", 1)
			w.tick(stall)
			w.check()
			for i, id := range ids {
				p := w.sink.peer(id)
				if p.visits != 1 || p.writes != 1 {
					t.Fatalf("stall of %v: conn %d was visited %d times and written to %d times", stall, id, p.visits, p.writes)
				}
				if moved := w.shard.conn(id).flush - flushes[i]; moved == 0 || moved%100 != 0 {
					t.Fatalf("stall of %v: the flush of conn %d has moved by %d ticks, its window is 100", stall, id, moved)
				}
			}
			stalls := uint64(0)
			if stall > wheelSize*SlotTime {
				stalls = 1
			}
			if w.shard.stats.Count[Stalls] != stalls {
				t.Errorf("a stall of %v counts as %d", stall, w.shard.stats.Count[Stalls])
			}
		}
	}
}

// With more to do than there is time for, windows get longer for all conns alike. No
// conn is left out.
func TestOverloadIsFair(t *testing.T) {
	const conns = 3 * visitsMax
	// So long do visitsMax visits take: fast enough for all windows, for a half, for a
	// fifth and for a twentieth of them.
	for _, per := range []time.Duration{160, 333, 833, 3333} {
		per *= time.Millisecond
		cfg := testConfig()
		cfg.PingInterval = 10 * time.Hour
		w := newWorld(t, cfg, 8, 0)
		ids := crowd(w, conns)
		last := make([]time.Time, conns)
		for i := range last {
			last[i] = w.now
		}
		worst := time.Duration(0)
		w.sink.onVisit = func(id ConnID) {
			worst = max(worst, w.now.Sub(last[id]))
			last[id] = w.now
		}
		for range 120 {
			w.now = w.now.Add(per)
			w.shard.Turn(w.now)
		}
		for _, id := range ids {
			worst = max(worst, w.now.Sub(last[id]))
		}
		w.check()
		fair := max(cfg.Interval, per*conns/visitsMax)
		t.Logf("%v for %d visits: a fair window is %v, the longest was %v", per, visitsMax, fair, worst)
		if worst > 3*fair {
			t.Errorf("a conn was not visited for %v, its fair share is every %v", worst, fair)
		}
	}
}

// A conn that goes inside of its own visit may be the first, the last or the only
// one of its slot.
func TestRemoveInsideWrite(t *testing.T) {
	const conns = 5
	for broken := range 1 << conns {
		cfg := testConfig()
		w := newWorld(t, cfg, 8, 0)
		ids := crowd(w, conns)
		// All of them in one slot, and one more that passes there a turn later.
		at := w.shard.now + 50
		for _, id := range ids {
			c := w.shard.conn(id)
			w.shard.unplace(c)
			c.flush = at
			w.shard.place(id, c, at)
		}
		w.shard.At(w.now)
		late := w.shard.Add()
		c := w.shard.conn(late)
		w.shard.unplace(c)
		w.shard.place(late, c, at+wheelSize)
		w.check()
		for i, id := range ids {
			w.sink.peer(id).broken = broken>>i&1 == 1
			w.sink.peer(id).writes = 0
		}
		w.publish("AAPL", 1)
		w.advance(50 * SlotTime)
		for i, id := range ids {
			gone := broken>>i&1 == 1
			if (w.shard.conn(id).state == free) != gone {
				t.Fatalf("broken %05b: conn %d is in state %d", broken, id, w.shard.conn(id).state)
			}
			if writes := w.sink.peer(id).writes; !gone && writes != 1 {
				t.Fatalf("broken %05b: conn %d was written to %d times", broken, id, writes)
			}
		}
		// The freed ids come back, and are theirs alone.
		for range conns + 1 {
			w.connect(0)
			w.check()
		}
		w.advance(time.Second)
	}
}

// A conn that goes may take its last topic along, and the wheel with it.
func TestLastConnGoes(t *testing.T) {
	w := newWorld(t, testConfig(), 8, 0)
	got := w.record()
	for range 3 {
		id := w.connect(0)
		w.subscribe(id, "AAPL")
		w.sink.peer(id).broken = true
		w.publish("AAPL", 1)
		w.advance(time.Second)
		if w.shard.Conns() != 0 {
			t.Fatal("the conn is still there")
		}
		// Nobody turns the wheel while it is empty.
		w.now = w.now.Add(time.Hour)
		w.shard.At(w.now)
	}
	id := w.connect(0)
	delete(got, id)
	w.subscribe(id, "MSFT")
	w.publish("MSFT", 1)
	w.advance(500 * time.Millisecond)
	got.want(t, id, "ack subscribe topics=1", "update MSFT#1=1")
	if w.shard.stats.Count[Stalls] != 0 {
		t.Errorf("%d stalls", w.shard.stats.Count[Stalls])
	}
}

// An empty wheel that is turned after a long sleep is behind with nothing.
func TestEmptyWheelDoesNotStall(t *testing.T) {
	w := newWorld(t, testConfig(), 8, 0)
	w.shard.Remove(w.connect(0))
	w.tick(time.Hour)
	if w.shard.stats.Count[Stalls] != 0 {
		t.Errorf("%d stalls of a shard without conns", w.shard.stats.Count[Stalls])
	}
	w.tick(240 * 24 * time.Hour)
	if lag := w.shard.Lag(); lag != 0 {
		t.Errorf("an empty wheel is %v behind", lag)
	}
}

// A panic in a visit leaves a shard that goes on, and says whose visit it was.
func TestPanicInVisit(t *testing.T) {
	w := newWorld(t, testConfig(), 8, 0)
	ids := crowd(w, 10)
	bad := ids[4]
	w.sink.onFrames = func(id ConnID, _ []byte) {
		if id == bad {
			panic("a bug")
		}
	}
	w.publish("AAPL", 1)
	panics := 0
	turn := func(now time.Time) (more bool) {
		defer func() {
			if recover() != nil {
				panics++
				id, ok := w.shard.Visiting()
				if !ok || id != bad {
					t.Fatalf("visiting %d, %v", id, ok)
				}
				w.shard.Evict(id, Panic)
				more = true
			}
		}()
		return w.shard.Turn(now)
	}
	for range 100 {
		w.now = w.now.Add(SlotTime)
		for turn(w.now) {
		}
		w.check()
	}
	if panics != 1 || w.shard.stats.Evicted[Panic] != 1 || w.shard.counts[closing] != 1 {
		t.Errorf("%d panics, %+v", panics, w.shard.Stats())
	}
	for _, id := range ids {
		if id != bad && w.sink.peer(id).writes != 3 { // hello, ack, update
			t.Errorf("conn %d got %d writes", id, w.sink.peer(id).writes)
		}
	}
	if _, ok := w.shard.Visiting(); ok {
		t.Error("a visit is still going on")
	}
}
