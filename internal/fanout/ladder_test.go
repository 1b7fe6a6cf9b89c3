// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"testing"
	"time"
)

// Conns that were slowed down together are spread as they were when they have recovered:
// each is back at its place in the window.
func TestLadderKeepsPlaces(t *testing.T) {
	for _, age := range []time.Duration{0, wrapAge} {
		cfg := testConfig()
		cfg.SlowTimeout = 10 * time.Second
		cfg.PingInterval, cfg.Heartbeat = time.Hour, time.Hour
		w := newWorld(t, cfg, 8, age)
		ids := crowd(w, 3000)
		w.tick(time.Second)
		places := make([]beat, len(ids))
		for i, id := range ids {
			places[i] = w.shard.conn(id).flush
			w.sink.peer(id).backlog = 1
		}
		for range 140 {
			w.tick(50 * time.Millisecond)
		}
		w.check()
		for _, id := range ids {
			if step := w.shard.conn(id).pace.step(); step != lastStep {
				t.Fatalf("conn %d is at step %d after 7 s", id, step)
			}
			w.sink.peer(id).backlog = 0
		}
		for range 40 {
			w.tick(time.Second)
		}
		w.check()
		if st := w.shard.Stats(); st.Count[SlowedDown] != 3*3000 || st.Count[Recovered] != 3*3000 || st.Open != 3000 {
			t.Fatalf("%+v", st)
		}
		for i, id := range ids {
			if moved := w.shard.conn(id).flush - places[i]; moved%100 != 0 {
				t.Fatalf("the flush of conn %d has moved by %d ticks, its window is 100", id, moved)
			}
		}
	}
}

// Old conns go evenly over the half of MaxAge around it, though they came together.
func TestMaxAgeIsSpread(t *testing.T) {
	const conns = 4000
	cfg := testConfig()
	cfg.MaxAge = 80 * time.Second
	cfg.IdleTimeout, cfg.PingInterval, cfg.Heartbeat = time.Hour, time.Hour, time.Hour
	w := newWorld(t, cfg, 8, wrapAge)
	for range conns {
		w.sink.peer(w.connect(0)).gone = true
	}
	for second := range 102 {
		before := w.sink.evicted[MaxAge]
		w.tick(500 * time.Millisecond)
		w.tick(500 * time.Millisecond)
		n := int(w.sink.evicted[MaxAge] - before)
		switch {
		case second < 59 || second > 100:
			if n != 0 {
				t.Fatalf("%d go in second %d", n, second)
			}
		case second > 60 && second < 99:
			if n < conns/40*8/10 || n > conns/40*12/10 {
				t.Errorf("%d go in second %d, want about %d", n, second, conns/40)
			}
		}
	}
	if w.shard.Conns() != 0 {
		t.Errorf("%d conns are left", w.shard.Conns())
	}
}
