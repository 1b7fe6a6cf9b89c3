// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"slices"
	"time"

	"tickedge/internal/bars"
	"tickedge/internal/exchange/exchangetest"
	"tickedge/internal/trade"
)

// reference is a bar of an hour, made as simply as can be.
type reference struct{ open, high, low, close, count int64 }

// sameBars compares the bars of what came with those of all trades that the exchange had, but for those that were told to be
// missing. Each fault ends with it.
func (r *rig) sameBars(product string, had []exchangetest.Trade) {
	r.Helper()
	if !r.in.vendor.numbered { // What came twice counts twice.
		return
	}
	cfg := bars.DefaultConfig()
	hour, err := bars.ParseInterval("1h")
	if err != nil {
		r.Fatal(err)
	}
	cfg.Intervals = []*bars.Interval{hour}
	e := bars.New(cfg)
	came := r.sink.trades[r.name(product)]
	if len(had) == 0 || len(came) == 0 { // Whether it is to have any is looked at elsewhere.
		return
	}
	for i := range came {
		if err := e.Add(&came[i], time.Now().UnixMicro()); err != nil {
			r.Errorf("%s: trade %d: %v", product, came[i].ID, err)
		}
	}
	want := make(map[int64]reference)
	slices.SortStableFunc(had, func(a, b exchangetest.Trade) int {
		if c := a.Time.Compare(b.Time); c != 0 {
			return c
		}
		return int(a.ID - b.ID)
	})
	for _, t := range had {
		if slices.ContainsFunc(r.sink.gaps, func(g Gap) bool {
			return !g.Filled && g.Symbol.Name == r.name(product) && within(g, t, true)
		}) {
			continue
		}
		at := t.Time.Truncate(time.Hour).UnixMilli()
		p, err := trade.ParseDecimal(t.Price, came[0].Symbol.PriceScale)
		if err != nil {
			r.Fatal(err)
		}
		b, ok := want[at]
		if !ok {
			b = reference{open: p, high: p, low: p}
		}
		want[at] = reference{b.open, max(b.high, p), min(b.low, p), p, b.count + 1}
	}
	series, _ := e.Series(came[0].Symbol, "1h")
	got := make(map[int64]reference)
	for _, b := range series.AppendBars(nil, 0) {
		got[b.Start] = reference{b.Open, b.High, b.Low, b.Close, b.Count}
	}
	if len(got) != len(want) {
		r.Errorf("%s: %d bars, want %d", product, len(got), len(want))
	}
	for at, w := range want {
		if got[at] != w {
			r.Errorf("%s: the bar of %d is %+v, want %+v", product, at, got[at], w)
		}
	}
}
