// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"tickedge/internal/doctor"
	"tickedge/internal/feed"
	"tickedge/internal/loop"
	"tickedge/internal/panics"
)

// resource is something of which an edge has only so much.
type resource uint8

const (
	ofConns resource = iota
	ofFlush
	ofMemory
	ofFiles
	ofFeed
	resources
)

// resourceNames are the values of the label of.
var resourceNames = [resources]string{"connections", "flush", "memory", "files", "feed"}

const (
	// headroomEvery is how old the figures may be.
	headroomEvery = time.Second
	// headroomSmooth is the time constant of those that jump. A balancer that took each second
	// for what it is would send all new clients to another edge every other second.
	headroomSmooth = 5 * time.Second
	// lateSmooth is the same for rows that are flushed late. They come in bursts, such as while garbage
	// is collected, and it is their part of all that counts.
	lateSmooth = 10 * time.Second
	// lateMost is the part of rows that may be too old: the 99th percentile is within its window then.
	lateMost = 0.01
	// lateLook bounds what one look adds to that: many who come at once make a second late, and that
	// is no reason to take none for half a minute.
	lateLook = 5 * lateMost
)

// headroom keeps how much of each resource is in use, from 0 to 1. The greatest is that of the edge.
type headroom struct {
	mu    sync.Mutex
	loads [resources]float64

	// Owned by who looks.
	before     []loop.Load
	at         time.Time
	busy, late float64 // Of the loop that is busiest, and of the one that is latest.
}

// usage is what is looked at.
type usage struct {
	conns, connsMax int64
	loops           []loop.Load
	window          time.Duration
	memory          float64 // Of the host, or its control group.
	goMemory        float64 // Of GOMEMLIMIT.
	files, filesMax int64
	sources         []feed.SourceStats
	topics          int64
}

// read returns what is left, and what is in use.
func (h *headroom) read() (left float64, loads [resources]float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	left = 1
	for _, load := range h.loads {
		left = min(left, 1-load)
	}
	return left, h.loads
}

// take takes in what is in use now.
func (h *headroom) take(u *usage, now time.Time) {
	busy, late := u.flush(h.before, now)
	var passed time.Duration // At first nothing is known of the time before.
	if !h.at.IsZero() {
		passed = now.Sub(h.at)
	}
	h.before, h.at = u.loops, now
	h.busy, h.late = smooth(h.busy, busy, passed, headroomSmooth), smooth(h.late, min(late, lateLook), passed, lateSmooth)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loads = [resources]float64{
		ofConns:  part(float64(u.conns), float64(u.connsMax)),
		ofFlush:  max(h.busy, part(h.late, lateMost)),
		ofMemory: max(u.memory, u.goMemory),
		ofFiles:  part(float64(u.files), float64(u.filesMax)),
		ofFeed:   smooth(h.loads[ofFeed], u.feed(), passed, headroomSmooth),
	}
}

// smooth moves the old value towards the new one, by as much as the time that has passed allows.
func smooth(old, now float64, passed, constant time.Duration) float64 {
	return old + (now-old)*(1-math.Exp(-passed.Seconds()/constant.Seconds()))
}

// part is n of most, from 0 to 1. Nothing is the most if that is not known.
func part(n, most float64) float64 {
	if most <= 0 {
		return 0
	}
	return min(1, max(0, n/most))
}

// flush is the part of its time for which the busiest loop is busy, and of the rows that are too old.
func (u *usage) flush(before []loop.Load, now time.Time) (busy, late float64) {
	for i := range min(len(before), len(u.loops)) {
		b, l := u.loops[i].Shares(before[i], now)
		busy, late = max(busy, b), max(late, l)
	}
	return busy, late
}

// feed is the lag of the source that has most of it, in windows, or the share of topics that are not
// current yet. A source that is not connected is no load: what it brings can't be too much.
func (u *usage) feed() (most float64) {
	for i := range u.sources {
		if of := &u.sources[i]; of.Connected {
			most = max(most, part(of.Lag.Seconds(), u.window.Seconds()), part(float64(of.Behind), float64(u.topics)))
		}
	}
	return most
}

// keepHeadroom keeps the headroom up to date until the edge ends. Clients that leave an edge that
// drains make room, and so it says.
func (e *edge) keepHeadroom() {
	if e.ops == nil && e.agent == nil {
		return // Nobody asks.
	}
	limit, err := loop.FileLimit()
	if err != nil {
		limit = 0 // It counts as free.
	}
	e.working.Go(func() {
		panics.Keep(e.work, panics.Ready, e.log, func(ctx context.Context) {
			look := time.NewTicker(headroomEvery)
			defer look.Stop()
			for ctx.Err() == nil {
				e.headroom.take(e.usage(limit), time.Now())
				select {
				case <-ctx.Done():
				case <-look.C:
				}
			}
		})
	})
}

func (e *edge) usage(fileLimit uint64) *usage {
	conns := int64(e.server.Conns())
	host := doctor.ReadUsage(os.DirFS("/"), conns)
	u := &usage{
		conns: conns, connsMax: int64(e.running().maxConns), loops: e.server.Loads(), window: e.cfg.loop.Shard.Interval,
		memory: host.Memory, goMemory: goMemory(),
		files: int64(host.Files), filesMax: int64(min(fileLimit, math.MaxInt64)),
		sources: e.feed.Stats().Sources, topics: e.table.Held(),
	}
	if host.Files == doctor.Unknown {
		u.files = conns + int64(e.cfg.fileReserve())
	}
	return u
}

// goMemory is the share of GOMEMLIMIT that is in use, and 0 without one. Garbage does not count, but
// for the room that the collector leaves at least: it fills what it is given, at any load.
func goMemory() float64 {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return 0
	}
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	of := func(i int) float64 { return float64(s[i].Value.Uint64()) }
	heap := min(of(4), of(5)*(1+gcPercentMin/100.0))
	if of(5) == 0 {
		heap = of(4) // There was no collection yet.
	}
	return part(of(0)-of(1)-of(2)-of(3)-of(4)+heap, float64(limit))
}

// headroomMetrics are metrics of what is left.
var headroomMetrics = []metric{
	{"headroom_ratio", "How much this edge has left: 1 less the greatest edge_load_ratio. 1 is idle, 0 is full.", "", func(s *scrape, to sink) {
		left, _ := s.headroom.read()
		to.put(left)
	}},
	{"load_ratio", "How much is in use of what this edge has, 0 to 1, by what of: connections of -max-conns, the time of the busiest loop, memory, " +
		"open files, and the lag of the feed in windows of -interval.", "of", func(s *scrape, to sink) {
		_, loads := s.headroom.read()
		for of, load := range loads {
			to.put(load, resourceNames[of])
		}
	}},
}
