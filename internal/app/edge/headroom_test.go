// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/feed"
	"tickedge/internal/loop"
)

// busy is a loop at a moment that was busy for a share of the time since before.
func busy(before loop.Load, passed time.Duration, share float64) loop.Load {
	return loop.Load{Busy: before.Busy + time.Duration(share*float64(passed)), At: before.At.Add(passed)}
}

func nearly(a, b float64) bool { return math.Abs(a-b) < 1e-6 }

func TestHeadroomIsWhatIsLeftOfTheGreatestLoad(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	start := loop.Load{At: at}
	source := func(connected bool, lag time.Duration, behind int64) feed.SourceStats {
		return feed.SourceStats{Stats: broker.Stats{Connected: connected, Lag: lag, Behind: behind}}
	}
	for name, c := range map[string]struct {
		u    usage
		of   resource
		want float64
	}{
		"idle":                  {usage{connsMax: 100, filesMax: 100}, ofConns, 0},
		"connections":           {usage{conns: 70, connsMax: 100}, ofConns, 0.7},
		"more than the most":    {usage{conns: 170, connsMax: 100}, ofConns, 1},
		"the busiest loop":      {usage{loops: []loop.Load{busy(start, time.Second, 0.1), busy(start, time.Second, 0.6)}}, ofFlush, 0.6},
		"a loop that is late":   {usage{loops: []loop.Load{{At: at.Add(time.Second), Late: 5 * time.Millisecond}, {}}}, ofFlush, 0.5},
		"a loop that is later":  {usage{loops: []loop.Load{{At: at.Add(time.Second), Late: time.Second}, {}}}, ofFlush, 1},
		"memory of the host":    {usage{memory: 0.3, goMemory: 0.2}, ofMemory, 0.3},
		"memory of Go":          {usage{memory: 0.3, goMemory: 0.8}, ofMemory, 0.8},
		"files":                 {usage{files: 80, filesMax: 100}, ofFiles, 0.8},
		"no limit of files":     {usage{files: 80}, ofFiles, 0},
		"lag of a feed":         {usage{sources: []feed.SourceStats{source(true, 100*time.Millisecond, 0), source(true, 250*time.Millisecond, 0)}, topics: 100}, ofFeed, 0.5},
		"a feed that is behind": {usage{sources: []feed.SourceStats{source(true, 0, 25)}, topics: 100}, ofFeed, 0.25},
		"a feed that is down":   {usage{sources: []feed.SourceStats{source(false, time.Hour, 100)}, topics: 100}, ofFeed, 0},
	} {
		c.u.window = 500 * time.Millisecond
		// So long ago that nothing of what was before is left in the smoothed ones.
		h := headroom{before: []loop.Load{start, start}, at: at.Add(-time.Hour)}
		h.take(&c.u, at.Add(time.Second))
		left, loads := h.read()
		if !nearly(loads[c.of], c.want) || !nearly(left, 1-c.want) {
			t.Errorf("%s: left %v, loads %v, want %v of %s", name, left, loads, c.want, resourceNames[c.of])
		}
	}
}

// What jumps is smoothed over some seconds, whatever the time between two looks is, and comes to where it is.
func TestHeadroomIsSmooth(t *testing.T) {
	at, l := time.Unix(1_000_000, 0), loop.Load{At: time.Unix(1_000_000, 0)}
	h := headroom{}
	look := func(passed time.Duration, share float64) float64 {
		at = at.Add(passed)
		l = busy(l, passed, share)
		h.take(&usage{loops: []loop.Load{l}, window: 500 * time.Millisecond}, at)
		_, loads := h.read()
		return loads[ofFlush]
	}
	if got := look(time.Second, 1); got != 0 {
		t.Errorf("%v at the first look, of which it is not known what was before", got)
	}
	before := 0.0
	for second := range 5 {
		got := look(time.Second, 1)
		if step := got - before; step < 0.05 || step > 0.2 {
			t.Errorf("from %v to %v in second %d", before, got, second)
		}
		before = got
	}
	if !nearly(before, 1-1/math.E) {
		t.Errorf("%v after headroomSmooth", before)
	}
	if got := look(10*headroomSmooth, 1); got < 0.999 {
		t.Errorf("%v in the end", got)
	}
	if got := look(headroomSmooth, 0); !nearly(math.Round(100*got), 37) {
		t.Errorf("%v after headroomSmooth without load", got)
	}
}

// A second in which all is late is half of the load, and one in a hundred flushes that is late again and again is all of it.
func TestHeadroomOfLateFlushes(t *testing.T) {
	at, l, h := time.Unix(1_000_000, 0), loop.Load{At: time.Unix(1_000_000, 0)}, headroom{}
	look := func(late time.Duration) float64 {
		at = at.Add(time.Second)
		all := l.Late + late
		l = busy(l, time.Second, 0)
		l.Late = all
		h.take(&usage{loops: []loop.Load{l}, window: 500 * time.Millisecond}, at)
		_, loads := h.read()
		return loads[ofFlush]
	}
	look(0)
	if got := look(time.Second); got < 0.4 || got > 0.5 {
		t.Errorf("%v after one second", got)
	}
	for range 10 {
		look(0)
	}
	if got := look(0); got > 0.2 {
		t.Errorf("%v after ten good ones", got)
	}
	for range 50 {
		look(10 * time.Millisecond)
	}
	if got := look(10 * time.Millisecond); got < 0.98 {
		t.Errorf("%v with one flush in a hundred", got)
	}
}

// GOMEMLIMIT counts, and garbage does not: the collector fills what it is given.
func TestGoMemory(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	if got := goMemory(); got != 0 {
		t.Errorf("%v without a limit", got)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC()
	debug.SetMemoryLimit(1 << 30)
	before := goMemory()
	const size = 100 << 20
	kept := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		kept[i] = 1
	}
	runtime.GC()
	alive := goMemory()
	if more := alive - before; more < 0.09 || more > 0.15 {
		t.Errorf("100 MiB of a GiB that are alive are %v", more)
	}
	runtime.KeepAlive(kept)
	kept = nil
	for range 3 {
		kept = make([]byte, size)
	}
	kept[0] = 1
	if got := goMemory(); got > alive+0.04 {
		t.Errorf("%v with garbage, %v without", got, alive)
	}
}
