// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

var stall = flag.Bool("stall", false, "measure how long others wait for the registry, and what it takes of memory")

// TestStall measures what a loop waits for that attaches screens, and a source that offers a topic, beside 200 screens of
// 10,000 topics; and what 500 of them take of memory.
func TestStall(t *testing.T) {
	if !*stall {
		t.Skip("it measures, with -stall")
	}
	table, r := testRegistry(20_000, func(c *Config) { c.MaxScreens, c.MaxPerUser, c.MaxTopics, c.Share = 500, 500, 20_000, 1e9 })
	start := time.Now()
	r.cfg.Clock = func() time.Duration { return time.Since(start) + 1 }
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go r.Run(ctx)
	first := attach(t, r, "t:*", "p > 1", 0, "")
	for i := range 10_000 {
		publish(table, r, fmt.Sprint("t:", i), fmt.Sprintf(`{"p":%d,"v":%d,"chg":%d}`, i%100, i, i%17))
	}
	waitReady(t, first)
	var mu sync.Mutex
	var offers []time.Duration
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			began := time.Now()
			r.Offer(fmt.Sprint("t:", i%100))
			mu.Lock()
			offers = append(offers, time.Since(began))
			mu.Unlock()
			time.Sleep(100 * time.Microsecond)
		}
	}()
	report := func(what string, list []time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(list)
		t.Logf("%s: %d, median %v, p99 %v, longest %v", what, len(list), list[len(list)/2], list[len(list)*99/100], list[len(list)-1])
	}
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc >> 20
	}
	before := memory()
	for _, n := range []int{199, 300} {
		var attaches []time.Duration
		began := time.Now()
		var v *View
		for i := range n {
			at := time.Now()
			where, top, by := fmt.Sprintf("p >= 0 && v > %d && chg != %d", i%7, i+100*n), 0, ""
			if i%4 == 0 {
				top, by = 20, "-p"
			}
			v = attach(t, r, "t:*", where, top, by)
			attaches = append(attaches, time.Since(at))
			time.Sleep(5 * time.Millisecond)
		}
		waitReady(t, v)
		t.Logf("%d screens are ready after %v, heap %d MiB, was %d", n, time.Since(began), memory(), before)
		report("attach", attaches)
		report("offer", offers)
		mu.Lock()
		offers = nil
		mu.Unlock()
	}
	began := time.Now()
	for i := range 10_000 {
		publish(table, r, fmt.Sprint("t:", i), fmt.Sprintf(`{"p":%d,"v":%d,"chg":%d}`, i%100+1, i, i%17))
	}
	t.Logf("a tick takes %v with 500 screens, and %d MiB of heap", time.Since(began)/10_000, memory())
	r.mu.Lock()
	views := r.views
	r.mu.Unlock()
	for _, v := range views {
		for range v.refs {
			r.Detach(v, "me", time.Now().Add(-time.Hour))
		}
	}
	for r.Stats().Covered > 0 {
		time.Sleep(time.Millisecond)
	}
	report("offer while all end", offers)
}
