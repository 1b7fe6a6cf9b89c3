// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercentMin is the room that the garbage collector lets grow on top of what is
	// alive. Half of an edge's memory would be such room at Go's 100, and it has little
	// to collect: ticks die young.
	gcPercentMin = 20
	// gcPercentMax bounds the room where little is alive and much is thrown away.
	gcPercentMax = 800
	// gcPeriod is how long a collection is to last at least. What a tick throws away
	// is little, but 100,000 of them a second fill 20 % of a small heap 25 times a
	// second, and each time the collector looks at every conn.
	gcPeriod = 250 * time.Millisecond
	// gcLook is how often the room is fitted to the ticks of the time before.
	gcLook = 2 * time.Second
)

// fitCollector sets how often garbage is collected, until ctx ends: as rarely as a room
// of gcPercentMin allows, and at most once in gcPeriod. GOGC in the environment goes
// before it. GOMEMLIMIT holds in any case.
//
// docs/BUDGET.md has what it is worth.
func fitCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	now := gcPercentMin
	debug.SetGCPercent(now)
	look := time.NewTicker(gcLook)
	defer look.Stop()
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	before, at := samples[0].Value.Uint64(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		metrics.Read(samples)
		thrown, passed := samples[0].Value.Uint64()-before, time.Since(at)
		before, at = before+thrown, at.Add(passed)
		rate := float64(thrown) / passed.Seconds()
		// Each change stops the world for some 10 µs, so small ones are left out.
		if fit := gcPercent(rate, float64(samples[1].Value.Uint64())); fit > now+now/4 || fit < now-now/4 {
			now = fit
			debug.SetGCPercent(now)
		}
	}
}

// gcPercent is the room for a program that allocates so many bytes per second and has
// so many alive.
func gcPercent(rate, live float64) int {
	if live < 1 {
		return gcPercentMin // There was no collection yet.
	}
	return int(min(max(100*rate*gcPeriod.Seconds()/live, gcPercentMin), gcPercentMax))
}
