// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"testing"

	"tickedge/internal/bars"
	"tickedge/internal/history/historytest"
	"tickedge/internal/trade"
)

// BenchmarkPut puts 2,000 bars in each iteration, as a writer that is behind does: two seconds of 1,000 symbols. It wants the
// URL of an empty database in -measure.
func BenchmarkPut(b *testing.B) {
	if *measure == "" {
		b.Skip("only with -measure URL")
	}
	s, tf := opened(b, *measure), historytest.Interval("1s")
	var symbols []*trade.Symbol
	for i := range 1000 {
		symbols = append(symbols, historytest.Symbol(fmt.Sprintf("EXCHANGE:SYM%d-USD", i), 2, 8))
	}
	var batch []bars.Bar
	at, n := int64(1_764_201_600_000), 0
	for b.Loop() {
		batch = batch[:0]
		for range 2 {
			for _, symbol := range symbols {
				batch = append(batch, historytest.Bar(symbol, tf, at))
			}
			at += 1000
		}
		if err := s.Put(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		n += len(batch)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "bars/s")
}
