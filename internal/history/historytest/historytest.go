// SPDX-License-Identifier: Apache-2.0

// Package historytest is for tests: what every store of bars has to fulfil.
package historytest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"tickedge/internal/bars"
	"tickedge/internal/history"
	"tickedge/internal/trade"
)

// Symbol returns a symbol as stores return them.
func Symbol(name string, price, size uint8) *trade.Symbol {
	return &trade.Symbol{Name: name, PriceScale: price, SizeScale: size}
}

// Interval parses an interval that is right.
func Interval(name string) *bars.Interval {
	i, err := bars.ParseInterval(name)
	if err != nil {
		panic(err)
	}
	return i
}

// Bar makes a bar of a symbol from numbers that any start has.
func Bar(s *trade.Symbol, tf *bars.Interval, start int64) bars.Bar {
	r := rand.New(rand.NewPCG(uint64(start), uint64(len(s.Name))))
	p := 9_512_345 + r.Int64N(100_000)
	b := bars.Bar{Symbol: s, Interval: tf, Start: start, Open: p, Close: p + r.Int64N(2000) - 1000, Count: 1 + r.Int64N(300), Closed: true}
	b.High, b.Low = max(b.Open, b.Close)+r.Int64N(500), min(b.Open, b.Close)-r.Int64N(500)
	b.Volume = bars.Sum{Lo: uint64(1 + r.Int64N(50_000_000))}
	b.Turnover = bars.Product(int64(b.Volume.Lo), (b.High+b.Low)/2)
	return b
}

// Run makes bars of n starts.
func Run(s *trade.Symbol, tf *bars.Interval, from int64, n int) []bars.Bar {
	list := make([]bars.Bar, n)
	for i := range list {
		list[i] = Bar(s, tf, from+int64(i)*tf.Millis)
	}
	return list
}

// Same fails a test if bars differ.
func Same(t *testing.T, what string, got, want []bars.Bar) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d bars, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("%s: bar %d is %s of %+v, want %s of %+v", what, i, got[i].AppendJSON(nil), *got[i].Symbol, want[i].AppendJSON(nil), *want[i].Symbol)
		}
	}
}

// Whole is a query of all bars of a series.
func Whole(symbol, tf string) history.Query {
	return history.Query{Symbol: symbol, Interval: tf, To: math.MaxInt64, Limit: 1_000_000}
}

type rig struct {
	*testing.T
	history.Store
	ctx     context.Context
	another func() history.Store
}

func (r *rig) put(b ...bars.Bar) {
	r.Helper()
	if err := r.Put(r.ctx, b); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) get(q history.Query) []bars.Bar {
	r.Helper()
	b, err := r.Bars(r.ctx, q)
	if err != nil {
		r.Fatal(err)
	}
	return b
}

// Store holds a store to the contract. open returns an empty one, which the test closes.
func Store(t *testing.T, open func(t *testing.T) history.Store) {
	for name, test := range map[string]func(*rig){
		"what was put is there": whatWasPut, "the newest by limit": newestByLimit, "revisions": revisions,
		"extremes": extremes, "what is refused": refused, "scales that changed": scalesChanged,
		"all": all, "trim": trim, "random": random, "backup": backup,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			s := open(t)
			test(&rig{t, s, ctx, func() history.Store { return open(t) }})
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

const begin = int64(1_764_201_600_000)

func whatWasPut(r *rig) {
	s, tf := Symbol("COINBASE:BTC-USD", 2, 8), Interval("1m")
	list := Run(s, tf, begin, 100)
	r.put(list...)
	r.put(Run(s, Interval("1s"), begin, 10)...)
	r.put(Run(Symbol("COINBASE:BTC-USDT", 2, 8), tf, begin, 10)...)
	r.put(Run(Symbol("COINBASE:BTC-US", 2, 8), tf, begin, 10)...)
	r.put(list[10:20]...) // Again.
	Same(r.T, "all", r.get(Whole(s.Name, "1m")), list)
	Same(r.T, "of another interval", r.get(Whole(s.Name, "1s")), Run(s, Interval("1s"), begin, 10))
	if got := r.get(Whole(s.Name, "5m")); len(got) != 0 {
		r.Errorf("%d bars of an interval that was never put", len(got))
	}
	if got := r.get(Whole("X", "1m")); len(got) != 0 {
		r.Errorf("%d bars of a symbol that was never put", len(got))
	}
	r.put()
}

func newestByLimit(r *rig) {
	s, tf := Symbol("A", 2, 8), Interval("1m")
	list := Run(s, tf, begin, 50)
	shuffled := slices.Clone(list)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(list), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	r.put(shuffled...)
	at := func(i int) int64 { return begin + int64(i)*tf.Millis }
	for _, c := range []struct {
		from, to    int64
		limit       int
		first, last int
	}{
		{0, math.MaxInt64, 10, 40, 50}, {at(5), at(15), 100, 5, 15}, {at(5), at(15), 3, 12, 15}, {at(5) + 1, at(15) + 1, 100, 6, 16},
		{at(49), math.MaxInt64, 9, 49, 50}, {at(50), math.MaxInt64, 9, 50, 50}, {0, at(0), 9, 0, 0}, {math.MinInt64, at(1), 9, 0, 1},
		{at(9), at(9), 9, 9, 9}, {at(9), at(3), 9, 9, 9}, {0, math.MaxInt64, 0, 0, 0}, {0, math.MaxInt64, -1, 0, 0}, {-5, -1, 9, 0, 0},
	} {
		got := r.get(history.Query{Symbol: "A", Interval: "1m", From: c.from, To: c.to, Limit: c.limit})
		Same(r.T, fmt.Sprintf("%+v", c), got, list[c.first:c.last])
	}
}

// revisions puts several states of one bar: that with the most trades counts, and of those the one that changed most often.
func revisions(r *rig) {
	s, tf := Symbol("A", 2, 8), Interval("1m")
	b := Bar(s, tf, begin)
	with := func(rev, count int64) bars.Bar {
		c := b
		c.Rev, c.Count = rev, count
		return c
	}
	for i, step := range []struct {
		put  []bars.Bar
		want bars.Bar
	}{
		{[]bars.Bar{with(0, 1)}, with(0, 1)}, {[]bars.Bar{with(0, 2)}, with(0, 2)}, {[]bars.Bar{with(3, 3)}, with(3, 3)},
		{[]bars.Bar{with(2, 4)}, with(2, 4)}, {[]bars.Bar{with(0, 5)}, with(0, 5)}, {[]bars.Bar{with(1, 5)}, with(1, 5)},
		{[]bars.Bar{with(0, 5)}, with(1, 5)}, {[]bars.Bar{with(9, 4)}, with(1, 5)}, {[]bars.Bar{with(1, 5)}, with(1, 5)},
		{[]bars.Bar{with(7, 7), with(8, 6), with(0, 9), with(3, 8)}, with(0, 9)}, {[]bars.Bar{with(2, 9), with(1, 9)}, with(2, 9)},
	} {
		r.put(step.put...)
		Same(r.T, fmt.Sprint("step ", i), r.get(Whole("A", "1m")), []bars.Bar{step.want})
	}
}

func extremes(r *rig) {
	tf := Interval("1d")
	most := bars.Sum{Hi: math.MaxUint64, Lo: math.MaxUint64}
	var want []bars.Bar
	for i, c := range []struct {
		price, size      uint8
		o, h, l, c       int64
		volume, turnover bars.Sum
		count, rev       int64
	}{
		{0, 0, 1, 1, 1, 1, bars.Sum{}, bars.Sum{}, 0, 0},
		{15, 15, math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, most, most, math.MaxInt64, math.MaxInt64},
		{15, 15, math.MaxInt64, math.MaxInt64, 1, 1, bars.Sum{Lo: math.MaxUint64}, bars.Sum{Lo: 1}, 1, 1},
		{15, 15, 1e15, 1e15, 1e15, 1e15, bars.Sum{Lo: 1e15}, bars.Product(1e15, 1e15), 1, 0},
		{8, 8, 1e8, 1e8, 1e8, 1e8, bars.Sum{}, most, 1, 0},
		{8, 8, 9e8, 9e8, 1, 1e8, bars.Sum{Hi: 1}, bars.Sum{}, 1, 0},
		{2, 8, 500, 500, 500, 500, bars.Sum{Lo: 1e8}, bars.Sum{Lo: 7}, 1, 0},
		{0, 15, 7, 9, 5, 6, bars.Sum{Lo: 3e15}, bars.Sum{Hi: 1, Lo: 5}, 2, 0},
	} {
		want = append(want, bars.Bar{Symbol: Symbol("Ж/:~|'", c.price, c.size), Interval: tf, Start: int64(i) * 86400_000, Open: c.o, High: c.h, Low: c.l,
			Close: c.c, Volume: c.volume, Turnover: c.turnover, Count: c.count, Rev: c.rev, Closed: true})
	}
	r.put(want...)
	Same(r.T, "extremes", r.get(Whole("Ж/:~|'", "1d")), want)
}

func refused(r *rig) {
	s, tf := Symbol("A", 2, 8), Interval("1m")
	good := Bar(s, tf, begin)
	for name, spoil := range map[string]func(b *bars.Bar){
		"no symbol": func(b *bars.Bar) { b.Symbol = nil }, "no interval": func(b *bars.Bar) { b.Interval = nil },
		"a bad name": func(b *bars.Bar) { b.Symbol = Symbol("a\x00b", 2, 8) }, "a scale": func(b *bars.Bar) { b.Symbol = Symbol("A", 16, 8) },
		"start": func(b *bars.Bar) { b.Start = -1 }, "low": func(b *bars.Bar) { b.Low = b.Open + 1 }, "high": func(b *bars.Bar) { b.High = b.Open - 1 },
		"a price of 0": func(b *bars.Bar) { b.Low = 0 },
	} {
		bad := good
		if spoil(&bad); r.Put(r.ctx, []bars.Bar{good, bad}) == nil {
			r.Errorf("%s is stored", name)
		}
	}
	if got := r.get(Whole("A", "1m")); len(got) != 0 {
		r.Errorf("half of a batch was stored: %d bars", len(got))
	}
	ended, cancel := context.WithCancel(r.ctx)
	cancel()
	if _, err := r.Bars(ended, Whole("A", "1m")); err == nil {
		r.Error("a context that has ended does not matter")
	}
}

func scalesChanged(r *rig) {
	tf := Interval("1m")
	want := []bars.Bar{Bar(Symbol("A", 2, 8), tf, begin), Bar(Symbol("A", 4, 0), tf, begin+tf.Millis), Bar(Symbol("A", 15, 15), tf, begin+2*tf.Millis)}
	r.put(want...)
	Same(r.T, "bars of several scales", r.get(Whole("A", "1m")), want)
}
