// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"tickedge/internal/protocol"
)

// load is how many visits there are in each slot time of a window.
func load(w *world, window time.Duration) []int {
	counts := make([]int, window/SlotTime)
	for i := range counts {
		before := w.shard.stats.Count[Visits]
		w.tick(SlotTime)
		counts[i] = int(w.shard.stats.Count[Visits] - before)
	}
	return counts
}

// wantFlat fails the test if a slot has more or less than its share by more than a
// part of it and one run.
func wantFlat(t *testing.T, what string, counts []int, part float64) {
	t.Helper()
	sum, low, high := 0, math.MaxInt, 0
	for _, n := range counts {
		sum, low, high = sum+n, min(low, n), max(high, n)
	}
	mean := float64(sum) / float64(len(counts))
	t.Logf("%s: %d visits in %d slots: %.1f on the average, %d to %d", what, sum, len(counts), mean, low, high)
	if float64(low) < mean*(1-part)-runLength || float64(high) > mean*(1+part)+runLength {
		t.Errorf("%s: from %d to %d visits in a slot, the mean is %.1f", what, low, high, mean)
	}
}

// Visits are spread evenly over the window, however the conns came.
func TestSpread(t *testing.T) {
	const conns = 10_000
	cfg := testConfig()
	cfg.IdleTimeout = time.Hour
	cfg.PingInterval = time.Hour
	cfg.Heartbeat = time.Hour
	w := newWorld(t, cfg, 8, 0)
	ids := make([]ConnID, conns)
	for i := range ids {
		ids[i] = w.connect(0)
	}
	w.check()
	w.tick(500 * time.Millisecond)
	wantFlat(t, "opened at once", load(w, cfg.Interval), 0.05)
	w.tick(10 * time.Second)
	wantFlat(t, "after a stall of 10 s", load(w, cfg.Interval)[1:], 0.05)

	// Every third one goes, and as many come.
	random := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < conns; i += 3 {
		w.shard.Remove(ids[i])
	}
	w.check()
	for i := 0; i < conns; i += 3 {
		if i%300 == 0 {
			w.tick(time.Duration(random.IntN(20)) * SlotTime)
		}
		ids[i] = w.connect(0)
	}
	w.tick(cfg.Interval)
	wantFlat(t, "a third renewed", load(w, cfg.Interval), 0.15)

	// They all ask for other windows, some of them again and again.
	windows := []int{100, 250, 333, 500, 1000}
	for i, id := range ids {
		for range 1 + i%3 {
			w.command(id, protocol.Command{Op: protocol.OpInterval, MS: windows[random.IntN(len(windows))]})
		}
	}
	w.tick(time.Second)
	wantFlat(t, "five windows", load(w, 5*time.Second), 0.25)
	for _, id := range ids {
		w.command(id, protocol.Command{Op: protocol.OpInterval, MS: 500})
	}
	w.tick(time.Second)
	wantFlat(t, "back to one window", load(w, cfg.Interval), 0.05)
	for i, id := range ids {
		if i%7 != 0 {
			w.shard.Remove(id)
		}
	}
	w.check()
	wantFlat(t, "a seventh left", load(w, cfg.Interval), 0.4)
	w.check()
}

var raced bool // The race detector is in.

// Thousands of conns that come one after the other, at any pace, are spread too.
func TestSpreadOfArrivals(t *testing.T) {
	paces := []time.Duration{0, time.Millisecond, SlotTime, 7 * time.Millisecond, 31 * time.Millisecond, 500 * time.Millisecond}
	if raced {
		paces = paces[3:4]
	}
	for _, pace := range paces {
		cfg := testConfig()
		cfg.IdleTimeout = time.Hour
		cfg.PingInterval = time.Hour
		cfg.Heartbeat = time.Hour
		w := newWorld(t, cfg, 8, 0)
		for range 6000 {
			w.connect(0)
			w.tick(pace)
		}
		w.tick(cfg.Interval)
		wantFlat(t, "one every "+pace.String(), load(w, cfg.Interval), 0.5)
	}
}

// The first pings of many conns, and the next ones of those that answer, are spread
// over PingInterval ±25 %.
func TestPingJitter(t *testing.T) {
	const conns = 2000
	cfg := testConfig()
	cfg.IdleTimeout = time.Hour
	cfg.Heartbeat = time.Hour
	cfg.PingInterval = 20 * time.Second
	w := newWorld(t, cfg, 8, 0)
	since := make(map[ConnID]time.Time)
	var gaps []time.Duration
	var pinged []ConnID
	w.sink.onFrames = func(id ConnID, frames []byte) {
		if text(t, frames) == "ping" {
			gaps = append(gaps, w.now.Sub(since[id]))
			pinged = append(pinged, id)
		}
	}
	for range conns {
		since[w.connect(0)] = w.now
	}
	for range 1800 { // 90 s.
		w.tick(50 * time.Millisecond)
		for _, id := range pinged {
			w.shard.Heard(id)
			since[id] = w.now
		}
		pinged = pinged[:0]
	}
	const visits = 550 * time.Millisecond // A ping waits for a visit, and for our steps.
	var sum time.Duration
	quarters := [4]int{}
	for _, gap := range gaps {
		sum += gap
		if gap < 15*time.Second || gap > 25*time.Second+visits {
			t.Fatalf("a ping after %v", gap)
		}
		quarters[min(3, (gap-15*time.Second)/(2500*time.Millisecond))]++
	}
	if len(gaps) < 3*conns {
		t.Fatalf("%d pings of %d conns in 90 s", len(gaps), conns)
	}
	mean := sum / time.Duration(len(gaps))
	t.Logf("%d pings, %v apart on the average, by quarters of the jitter: %v", len(gaps), mean, quarters)
	if mean < 19500*time.Millisecond || mean > 20500*time.Millisecond+visits/2 {
		t.Errorf("pings are %v apart on the average", mean)
	}
	for _, n := range quarters {
		if n < len(gaps)/5 || n > len(gaps)*3/10 {
			t.Errorf("pings by quarters of the jitter: %v", quarters)
		}
	}
}

// A drain ends as many conns in each second of it.
func TestDrainIsSpread(t *testing.T) {
	cfg := testConfig()
	cfg.CloseTimeout = time.Hour
	w := newWorld(t, cfg, 8, wrapAge)
	ids := crowd(w, 5000)
	for i := 0; i < len(ids); i += 2 {
		w.command(ids[i], protocol.Command{Op: protocol.OpInterval, MS: 60_000})
	}
	w.advance(300 * time.Millisecond)
	w.shard.Drain(10 * time.Second)
	counts := make([]int, 10)
	for i := range counts {
		before := w.sink.evicted[Drain]
		w.tick(500 * time.Millisecond)
		w.tick(500 * time.Millisecond)
		counts[i] = int(w.sink.evicted[Drain] - before)
	}
	t.Logf("%d conns in a drain of 10 s: %v a second", len(ids), counts)
	for i, n := range counts {
		// Up to a second's worth comes a second late.
		if low := 350; n > 650 || n < low && i > 0 {
			t.Errorf("%d conns were ended in second %d", n, i)
		}
	}
	w.tick(time.Second)
	if st := w.shard.Stats(); st.Open != 0 || w.sink.evicted[Drain] != uint64(len(ids)) {
		t.Errorf("%d conns are open a second after the drain, %d were drained", st.Open, w.sink.evicted[Drain])
	}
	w.check()
}
