// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"fmt"
	"math"
	"testing"

	"tickedge/internal/bars"
	"tickedge/internal/history"
	"tickedge/internal/history/historytest"
	"tickedge/internal/trade"
)

// batchOf is the bars of one second of 1,000 symbols.
func batchOf(symbols []*trade.Symbol, batch []bars.Bar, at int64) []bars.Bar {
	tf := historytest.Interval("1s")
	for _, s := range symbols {
		batch = append(batch, historytest.Bar(s, tf, at*1000))
	}
	return batch
}

func thousand() (symbols []*trade.Symbol) {
	for i := range 1000 {
		symbols = append(symbols, historytest.Symbol(fmt.Sprintf("EXCHANGE:SYM%d-USD", i), 2, 8))
	}
	return symbols
}

// BenchmarkPut puts 1,000 bars in each iteration, one of each symbol.
func BenchmarkPut(b *testing.B) {
	s, symbols := opened(b, b.TempDir()), thousand()
	var batch []bars.Bar
	at := int64(0)
	for b.Loop() {
		batch = batchOf(symbols, batch[:0], at)
		if err := s.Put(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
		at++
	}
}

// BenchmarkPage reads the newest 500 of 1,000 bars of a symbol.
func BenchmarkPage(b *testing.B) {
	s, symbols := opened(b, b.TempDir()), thousand()
	for at := range int64(1000) {
		if err := s.Put(context.Background(), batchOf(symbols, nil, at)); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	for b.Loop() {
		q := history.Query{Symbol: symbols[i*7%1000].Name, Interval: "1s", To: math.MaxInt64, Limit: 501}
		if got, err := s.Bars(context.Background(), q); err != nil || len(got) != 501 {
			b.Fatal(len(got), err)
		}
		i++
	}
}
