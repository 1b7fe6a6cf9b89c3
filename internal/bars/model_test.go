// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"cmp"
	"flag"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	_ "time/tzdata"

	"tickedge/internal/trade"
)

var million = flag.Bool("million", false, "TestOrder with a million trades")

// modelBar is a bar of the model, which is slow and simple.
type modelBar struct {
	open, high, low, close, count int64
	volume, turnover              *big.Int
}

func (b modelBar) String() string {
	return fmt.Sprintf("o %d h %d l %d c %d n %d v %s q %s", b.open, b.high, b.low, b.close, b.count, b.volume, b.turnover)
}

func (b modelBar) equal(o modelBar) bool {
	same := b.open == o.open && b.high == o.high && b.low == o.low && b.close == o.close && b.count == o.count
	return same && b.volume.Cmp(o.volume) == 0 && b.turnover.Cmp(o.turnover) == 0
}

type barKey struct {
	symbol, interval string
	start            int64
}

// modelStart is what a bar's start should be, from the date that clocks show.
func modelStart(interval string, at time.Time) int64 {
	switch interval {
	case "1d":
		y, m, d := at.Date()
		for noon := time.Date(y, m, d, 12, 0, 0, 0, at.Location()); ; noon = noon.Add(-time.Second) {
			if noon.Add(-time.Second).Day() != d {
				return noon.UnixMilli()
			}
		}
	case "1s":
		return at.Truncate(time.Second).UnixMilli()
	case "1m":
		return at.Truncate(time.Minute).UnixMilli()
	case "5m":
		return at.Truncate(5 * time.Minute).UnixMilli()
	}
	return at.Truncate(time.Hour).UnixMilli()
}

// model makes the bars of trades, sorted, without duplicates.
func model(trades []trade.Trade, intervals []*Interval, filled int64) map[barKey]modelBar {
	bars := make(map[barKey]modelBar)
	days := make(map[string]int64)
	newest := make(map[barKey]int64) // Of start 0: the close, and the start before.
	starts := make(map[barKey][]int64)
	for _, t := range trades {
		at := time.UnixMicro(t.Time).In(t.Symbol.Zone)
		for _, i := range intervals {
			var start int64
			if i.Name == "1d" {
				key := t.Symbol.Zone.String() + at.Format("2006-01-02")
				if start = days[key]; start == 0 {
					start = modelStart("1d", at)
					days[key] = start
				}
			} else {
				start = modelStart(i.Name, at)
			}
			k := barKey{t.Symbol.Name, i.Name, start}
			b, ok := bars[k]
			if !ok {
				b = modelBar{open: t.Price, high: t.Price, low: t.Price, volume: new(big.Int), turnover: new(big.Int)}
				starts[barKey{k.symbol, k.interval, 0}] = append(starts[barKey{k.symbol, k.interval, 0}], start)
			}
			b.high, b.low, b.close, b.count = max(b.high, t.Price), min(b.low, t.Price), t.Price, b.count+1
			b.volume.Add(b.volume, big.NewInt(t.Size))
			b.turnover.Add(b.turnover, new(big.Int).Mul(big.NewInt(t.Size), big.NewInt(t.Price)))
			bars[k] = b
			if t.Symbol.Fill {
				newest[barKey{k.symbol, k.interval, 0}] = 0
			}
		}
	}
	for series := range newest {
		for n, start := range starts[series] {
			close, next := bars[barKey{series.symbol, series.interval, start}].close, filled
			if n+1 < len(starts[series]) {
				next = starts[series][n+1]
			}
			i, _ := ParseInterval(series.interval)
			for at := start + i.Millis; at < next && at+i.Millis <= filled; at += i.Millis {
				bars[barKey{series.symbol, series.interval, at}] = modelBar{close, close, close, close, 0, new(big.Int), new(big.Int)}
			}
		}
	}
	return bars
}

// delivery is a trade, or the time of a source, that comes at a time.
type delivery struct {
	at    int64
	trade *trade.Trade
	heard string
}

// feed is trades and how they come.
type feed struct {
	table      *trade.Table
	trades     []trade.Trade // In order, without duplicates.
	deliveries []delivery
	end        int64
}

// newFeed makes n trades of four symbols at three sources over the hours in which clocks of two zones go forward:
// A is regular, B is ahead by up to 4 s, C has no ids and falls silent in the middle.
func newFeed(t testing.TB, n int, seed uint64) *feed {
	rnd := rand.New(rand.NewPCG(seed, 1))
	f := &feed{}
	var err error
	if f.table, err = trade.NewTable([]trade.Entry{
		{Symbol: "NY", Source: "A", Zone: "America/New_York"}, {Symbol: "HAVANA", Source: "A", Zone: "America/Havana"},
		{Symbol: "FILLED", Source: "A", Fill: true}, {Symbol: "RARE", Source: "A"},
	}, func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 3, 7, 22, 0, 0, 0, time.UTC).UnixMicro()
	span := (31 * time.Hour).Microseconds()
	f.end = from + span
	ids := make(map[string]int64)
	price := int64(95_000_00000000)
	at := from
	for i := range n {
		at += 1000 * rnd.Int64N(2*span/int64(n)/1000+1)
		if i%1000 == 0 {
			at += (time.Minute * time.Duration(rnd.IntN(3))).Microseconds() * 50_000 / int64(max(n, 50_000))
		}
		price += (rnd.Int64N(2001) - 1000) * 1000000
		source := []string{"A", "A", "B", "C"}[rnd.IntN(4)]
		if source == "C" && i > n/2 {
			source = "A"
		}
		symbol := f.table.All()[rnd.IntN(3)]
		if rnd.IntN(1000) == 0 {
			symbol = f.table.Named("RARE")
		} else if symbol.Fill && at < from+span*4/5 {
			symbol = f.table.All()[rnd.IntN(2)]
		}
		tr := trade.Trade{Symbol: symbol, Source: source, Price: price, Size: rnd.Int64N(1e12), Time: at, Side: trade.Side(rnd.IntN(3))}
		if source != "C" {
			ids[source+symbol.Name]++
			tr.ID = ids[source+symbol.Name]
		}
		f.trades = append(f.trades, tr)
	}
	f.end = max(f.end, at+1)
	return f
}

// deliver puts the trades into an order in which they may come.
func (f *feed) deliver(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	f.deliveries = f.deliveries[:0]
	for i := range f.trades {
		t := &f.trades[i]
		late := func() int64 {
			switch n := rnd.IntN(1000); {
			case n < 5:
				return rnd.Int64N((55 * time.Minute).Microseconds())
			case n < 50:
				return rnd.Int64N((5 * time.Second).Microseconds())
			}
			return rnd.Int64N((1500 * time.Millisecond).Microseconds())
		}
		at := t.Time + late()
		if t.Source == "B" {
			at = t.Time - rnd.Int64N(4_000_000)
		}
		f.deliveries = append(f.deliveries, delivery{at: at, trade: t})
		for t.ID != 0 && rnd.IntN(10) == 0 {
			f.deliveries = append(f.deliveries, delivery{at: max(at, t.Time) + late(), trade: t})
		}
	}
	for at := f.trades[0].Time; at < f.end; at += 10_000_000 {
		f.deliveries = append(f.deliveries, delivery{at: at, heard: []string{"A", "B"}[rnd.IntN(2)]})
	}
	slices.SortStableFunc(f.deliveries, func(a, b delivery) int { return cmp.Compare(a.at, b.at) })
}

// told is what was told of bars.
type told struct {
	t    *testing.T
	bars map[barKey]Bar
	log  []Bar
	last map[barKey]int64 // Of start 0: the newest start that was told.
}

func newTold(t *testing.T) *told {
	return &told{t: t, bars: make(map[barKey]Bar), last: make(map[barKey]int64)}
}

// sortedBars puts bars into the order of their series: that of series among each other is any.
func sortedBars(b []Bar) []Bar {
	slices.SortStableFunc(b, func(a, b Bar) int {
		return cmp.Or(cmp.Compare(a.Symbol.Name, b.Symbol.Name), cmp.Compare(a.Interval.Name, b.Interval.Name))
	})
	return b
}

func (d *told) take(b *Bar) bool {
	k := barKey{b.Symbol.Name, b.Interval.Name, b.Start}
	series := barKey{k.symbol, k.interval, 0}
	has, again := d.bars[k]
	switch {
	case again && b.Rev <= has.Rev:
		d.t.Errorf("%v is told with rev %d after %d", k, b.Rev, has.Rev)
	case !again && b.Rev == 0 && b.Start < d.last[series]:
		d.t.Errorf("%v closed after %d", k, d.last[series])
	case !b.Closed:
		d.t.Errorf("%v is told and open", k)
	}
	d.bars[k] = *b
	d.log = append(d.log, *b)
	d.last[series] = max(d.last[series], b.Start)
	return true
}

// play runs deliveries, and ends with all bars closed. At random points the engine is restored, and goes on from
// there as after a crash: with what came since coming again.
func (f *feed) play(t *testing.T, cfg Config, crashes int, seed uint64) *told {
	rnd := rand.New(rand.NewPCG(seed, 3))
	e, bars := New(cfg), newTold(t)
	step := func(e *Engine, take func(*Bar) bool, i int) {
		d := &f.deliveries[i]
		if d.trade != nil {
			e.Add(d.trade, d.at)
		} else {
			e.Heard(d.heard, nil, d.at-1_000_000, d.at)
		}
		if i%10 == 0 {
			e.Advance(d.at)
			e.DrainClosed(take)
		}
	}
	for i := 0; i < len(f.deliveries); i++ {
		step(e, bars.take, i)
		if crashes == 0 || rnd.IntN(len(f.deliveries)/crashes) != 0 {
			continue
		}
		snapshot := e.Snapshot(nil)
		var again []Bar
		bars.log = bars.log[:0]
		to := min(i+rnd.IntN(1000), len(f.deliveries)-1)
		restored, dropped, err := Restore(cfg, snapshot, f.table.Named)
		if err != nil || len(dropped) != 0 {
			t.Fatal(dropped, err)
		}
		for n := i + 1; n <= to; n++ {
			step(e, bars.take, n)
			step(restored, func(b *Bar) bool { again = append(again, *b); return true }, n)
		}
		if string(restored.Snapshot(nil)) != string(e.Snapshot(nil)) || !slices.Equal(sortedBars(bars.log), sortedBars(again)) {
			t.Fatalf("what was restored at %d is another at %d", i, to)
		}
		e, i = restored, to
	}
	for range 1000 {
		e.Advance(f.last() + cfg.Silence.Microseconds())
		if e.DrainClosed(bars.take) == 0 {
			break
		}
	}
	for _, symbol := range f.table.All() { // Days are open still.
		for _, i := range cfg.Intervals {
			s, _ := e.Series(symbol, i.Name)
			for _, b := range s.AppendBars(nil, 0) {
				if !b.Closed {
					bars.bars[barKey{symbol.Name, i.Name, b.Start}] = b
				}
			}
		}
	}
	s := e.Stats()
	if s.Late != 0 || s.Forgotten != 0 || s.Overflows != 0 || s.Refused != 0 || s.Flawed != 0 || s.Waiting != 0 {
		t.Errorf("of trades that were all good %+v", s)
	}
	if int(s.Trades) != len(f.trades) {
		t.Errorf("%d trades were merged, want %d", s.Trades, len(f.trades))
	}
	t.Logf("%d trades, %d deliveries: %+v", len(f.trades), len(f.deliveries), s)
	return bars
}

// last is the mark in the end.
func (f *feed) last() int64 { return f.end + (time.Hour).Microseconds() }

// TestOrder compares bars with those of the model, for trades in several orders, with duplicates, delays of up to
// an hour and restarts.
func TestOrder(t *testing.T) {
	n, orders := 25_000, 2
	if *million {
		n, orders = 1_000_000, 1
	}
	cfg := DefaultConfig()
	f := newFeed(t, n, 1)
	sorted := slices.Clone(f.trades)
	slices.SortFunc(sorted, func(a, b trade.Trade) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Price, b.Price))
	})
	want := model(sorted, cfg.Intervals, f.last()/1000)
	revised := 0
	for order := range orders {
		f.deliver(uint64(order))
		bars := f.play(t, cfg, 10*order, uint64(order)).bars
		if orders == 1 {
			bars = f.play(t, cfg, 10, 1).bars
		}
		for k, b := range bars {
			got := modelBar{b.Open, b.High, b.Low, b.Close, b.Count, b.Volume.big(), b.Turnover.big()}
			if w, ok := want[k]; !ok || !got.equal(w) {
				t.Fatalf("order %d: %v is %s, want %s (%t)", order, k, got, w, ok)
			}
			if b.Rev > 0 {
				revised++
			}
		}
		if len(bars) != len(want) {
			t.Fatalf("order %d: there are %d bars, want %d", order, len(bars), len(want))
		}
		if order == 0 { // The others have the same bars.
			checkSums(t, bars, cfg.Intervals)
		}
	}
	t.Logf("%d bars, %d of them revised", len(want), revised)
	if revised == 0 {
		t.Error("no bar was revised")
	}
}

func (s Sum) big() *big.Int {
	n := new(big.Int).SetUint64(s.Hi)
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(s.Lo))
}

// checkSums adds the bars of each interval up to those of the next longer one.
func checkSums(t *testing.T, bars map[barKey]Bar, intervals []*Interval) {
	t.Helper()
	for n, long := range intervals[1:] {
		sums := make(map[barKey]Bar)
		for k, b := range bars {
			if k.interval != intervals[n].Name {
				continue
			}
			into := barKey{k.symbol, long.Name, long.Start(k.start, b.Symbol.Zone)}
			sum, ok := sums[into]
			if !ok {
				sum.Low = b.Low
			}
			sum.High, sum.Low, sum.Count = max(sum.High, b.High), min(sum.Low, b.Low), sum.Count+b.Count
			sum.Volume, _ = sum.Volume.Add(b.Volume)
			sum.Turnover, _ = sum.Turnover.Add(b.Turnover)
			sums[into] = sum
		}
		for k, sum := range sums {
			b, ok := bars[k]
			if !ok && sum.Count == 0 && sum.High == sum.Low {
				continue // It has not ended, and has filled bars alone.
			}
			if sum.Volume != b.Volume || sum.Turnover != b.Turnover || sum.Count != b.Count || b.Count > 0 && (sum.High < b.High || sum.Low > b.Low) {
				t.Fatalf("%v is %+v, and its bars of %s make %+v", k, b, intervals[n].Name, sum)
			}
		}
	}
}
