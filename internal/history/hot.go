// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"container/list"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"tickedge/internal/bars"
)

// HotConfig bounds what a [Hot] keeps. What is 0 has the default that is named.
type HotConfig struct {
	Bars  int   // Of a series: 1,000.
	Bytes int64 // In all: 64 MiB. The series that was not asked for for the longest time goes first.
	// MaxAge is for how long a series is used that was read from the store. 0 is without an end: right for a store
	// into which this process alone writes, through this Hot. Where others write too, their bars show after that.
	MaxAge time.Duration
}

// barBytes is what a bar takes in memory.
const barBytes = 240

// Hot keeps the newest bars of the series that are asked for in memory, in front of a store. It is a [Store] itself: all that
// is put goes through it.
type Hot struct {
	Store
	cfg HotConfig

	mu     sync.Mutex
	series map[seriesKey]*list.Element // Of *hotSeries.
	used   *list.List                  // The one that was asked for last is in front.
	bytes  int64
	epoch  uint64 // Rises with each change of the store.
	stats  HotStats
}

// hotSeries has all bars of a series from a time on, in their order. Its bars are never written to once they are there, as
// those who asked read them too: a bar at the end is added behind them, and any other change is one of a copy.
type hotSeries struct {
	key   seriesKey
	bars  []bars.Bar
	since int64
	until time.Time // Zero is without an end.
}

// usable reports whether it may still be answered from a series.
func (s *hotSeries) usable() bool { return s.until.IsZero() || time.Now().Before(s.until) }

// HotStats says what a [Hot] has.
type HotStats struct {
	Series       int
	Bytes        int64
	Hits, Misses uint64 // Queries that were answered from memory, and by the store.
}

// NewHot returns a cache in front of a store.
func NewHot(s Store, c HotConfig) *Hot {
	c.Bars = cmp.Or(c.Bars, 1000)
	c.Bytes = cmp.Or(c.Bytes, 64<<20)
	return &Hot{Store: s, cfg: c, series: make(map[seriesKey]*list.Element), used: list.New()}
}

// putBars is how many bars are put into memory before those who ask have their turn.
const putBars = 32

// Put implements [Store].
func (h *Hot) Put(ctx context.Context, b []bars.Bar) error {
	err := h.Store.Put(ctx, b)
	h.mu.Lock()
	h.epoch++
	h.mu.Unlock()
	for part := range slices.Chunk(b, putBars) {
		h.put(part, err)
	}
	return err
}

// put puts bars into memory that were put into the store. If that failed it is not known what the store has.
func (h *Hot) put(b []bars.Bar, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range b {
		if b[i].Symbol == nil || b[i].Interval == nil {
			continue
		}
		switch e := h.series[seriesKey{b[i].Symbol.Name, b[i].Interval.Name}]; {
		case err != nil || e != nil && !e.Value.(*hotSeries).usable(): // What is not used any more is not kept up either.
			h.forget(e)
		case e != nil:
			h.merge(e, &b[i])
		}
	}
	h.shrink()
}

// merge puts a bar into a series, and lets go of the oldest if these are too many.
func (h *Hot) merge(e *list.Element, b *bars.Bar) {
	s := e.Value.(*hotSeries)
	if b.Start < s.since {
		return
	}
	kept := *b
	kept.Closed, kept.First, kept.Last = true, bars.Bar{}.First, bars.Bar{}.Last
	i, has := slices.BinarySearchFunc(s.bars, b.Start, func(a bars.Bar, start int64) int { return cmp.Compare(a.Start, start) })
	switch {
	case has && Newer(&s.bars[i], b):
	case has:
		s.bars = slices.Clone(s.bars)
		s.bars[i] = kept
	case i == len(s.bars):
		s.bars = append(s.bars, kept)
		h.bytes += barBytes
	default:
		s.bars = slices.Concat(s.bars[:i], []bars.Bar{kept}, s.bars[i:])
		h.bytes += barBytes
	}
	// The oldest go a quarter at a time, so that few bars are moved for each one.
	if most := h.cfg.Bars + h.cfg.Bars/4; len(s.bars) > most {
		n := len(s.bars) - h.cfg.Bars
		s.bars = append(make([]bars.Bar, 0, most+1), s.bars[n:]...)
		s.since = s.bars[0].Start
		h.bytes -= int64(n) * barBytes
	}
}

// Bars implements [Store]. What it returns is to be read only.
func (h *Hot) Bars(ctx context.Context, q Query) ([]bars.Bar, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if q.Limit <= 0 || q.To <= q.From {
		return nil, nil
	}
	k := seriesKey{q.Symbol, q.Interval}
	found, ok, older, epoch := h.find(k, q)
	if ok {
		return found, nil
	}
	n := h.cfg.Bars
	if q.Limit > n || older {
		return h.Store.Bars(ctx, q)
	}
	if h.cfg.MaxAge > 0 { // They are not used for long: no more than are wanted now.
		n = q.Limit
	}
	newest, err := h.Store.Bars(ctx, Query{Symbol: q.Symbol, Interval: q.Interval, From: 0, To: math.MaxInt64, Limit: n})
	if err != nil {
		return nil, err
	}
	part, ok := slice(newest, since(newest, n), q)
	h.keep(k, newest, since(newest, n), epoch)
	if ok {
		return part, nil
	}
	return h.Store.Bars(ctx, q)
}

// since returns from when on the newest bars of a store are all that it has.
func since(newest []bars.Bar, asked int) int64 {
	if len(newest) < asked {
		return math.MinInt64
	}
	return newest[0].Start
}

// slice answers a query from all bars since a time, if that is enough. The answer is a part of them.
func slice(all []bars.Bar, since int64, q Query) (part []bars.Bar, ok bool) {
	at := func(t int64) int {
		i, _ := slices.BinarySearchFunc(all, t, func(b bars.Bar, start int64) int { return cmp.Compare(b.Start, start) })
		return i
	}
	from, to := at(q.From), at(q.To)
	if q.From < since && to-from < q.Limit {
		return nil, false
	}
	return slices.Clip(all[max(from, to-q.Limit):max(from, to)]), true
}

// find looks for bars in memory. If they are not there, older says that the newest ones are not what is wanted.
func (h *Hot) find(k seriesKey, q Query) (found []bars.Bar, ok, older bool, epoch uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats.Misses++
	e := h.series[k]
	if e == nil {
		return nil, false, false, h.epoch
	}
	s := e.Value.(*hotSeries)
	if s.usable() {
		if found, ok = slice(s.bars, s.since, q); ok {
			h.used.MoveToFront(e)
			h.stats.Misses--
			h.stats.Hits++
			return found, true, false, 0
		}
	}
	// A series that was used for as long as may be stays until it is read anew, changes, or others need the room.
	n := len(s.bars)
	return nil, false, n > 0 && q.To <= s.bars[n-1].Start, h.epoch
}

// keep keeps what was read from the store, unless the store has changed since. The bars are not written to from then on.
func (h *Hot) keep(k seriesKey, newest []bars.Bar, since int64, epoch uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.epoch != epoch {
		return
	}
	if e := h.series[k]; e != nil && ahead(e.Value.(*hotSeries).bars, newest) {
		return // A Put is under way: somebody else has read behind it, and this one before.
	}
	h.forget(h.series[k])
	s := &hotSeries{key: k, bars: newest, since: since}
	if h.cfg.MaxAge > 0 {
		s.until = time.Now().Add(h.cfg.MaxAge)
	}
	h.series[k] = h.used.PushFront(s)
	h.bytes += seriesBytes + int64(len(s.bars))*barBytes
	h.shrink()
}

// ahead reports whether the last of some bars is newer than that of others.
func ahead(a, b []bars.Bar) bool {
	switch {
	case len(a) == 0:
		return false
	case len(b) == 0:
		return true
	}
	x, y := &a[len(a)-1], &b[len(b)-1]
	return x.Start > y.Start || x.Start == y.Start && Newer(x, y)
}

// seriesBytes is what a series without bars takes.
const seriesBytes = 400

// shrink lets go of series until there is room.
func (h *Hot) shrink() {
	for h.bytes > h.cfg.Bytes && h.used.Len() > 0 {
		h.forget(h.used.Back())
	}
}

func (h *Hot) forget(e *list.Element) {
	if e == nil {
		return
	}
	s := h.used.Remove(e).(*hotSeries)
	delete(h.series, s.key)
	h.bytes -= seriesBytes + int64(len(s.bars))*barBytes
}

// Trim implements [Store].
func (h *Hot) Trim(ctx context.Context, interval string, before int64) (int64, error) {
	n, err := h.Store.Trim(ctx, interval, before)
	if n > 0 || err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.epoch++
		for k, e := range h.series {
			if k.interval == interval {
				h.forget(e)
			}
		}
	}
	return n, err
}

// Stats says how the cache is.
func (h *Hot) Stats() HotStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Series, s.Bytes = len(h.series), h.bytes
	return s
}
