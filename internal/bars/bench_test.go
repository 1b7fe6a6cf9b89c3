// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/trade"
)

// rig is 5,000 symbols with five intervals, at 200,000 trades a second: each trades every 25 ms.
type rig struct {
	e       *Engine
	symbols []*trade.Symbol
	now     int64
	n       int
	buf     []byte
	t       trade.Trade
}

func newRig(symbols int) *rig {
	r := &rig{e: New(DefaultConfig()), now: epoch}
	for i := range symbols {
		r.symbols = append(r.symbols, testSymbol(fmt.Sprint("S", i)))
	}
	return r
}

// next makes the next trade.
func (r *rig) next() *trade.Trade {
	id := int64(r.n/len(r.symbols)) + 1
	r.now += 5
	r.t = trade.Trade{
		Symbol: r.symbols[r.n%len(r.symbols)], Source: "COINBASE", Price: 9512345 + id%97, Size: 150000000 + id, Time: r.now, ID: id, Side: trade.Buy,
	}
	r.n++
	return &r.t
}

func (r *rig) add(tb testing.TB) {
	if err := r.e.Add(r.next(), r.now); err != nil {
		tb.Fatal(err)
	}
}

// drain is what a shard does every 100 ms: 20,000 trades.
func (r *rig) drain(klines, prices bool) {
	r.e.Advance(r.now)
	r.e.DrainClosed(func(b *Bar) bool { r.buf = b.AppendJSON(r.buf[:0]); return true })
	if klines {
		r.e.DrainKlines(func(s Series) bool { r.buf = s.AppendKline(r.buf[:0], r.now/1000); return true })
	}
	if prices {
		r.e.DrainPrices(func(p Price) bool { r.buf = p.AppendJSON(r.buf[:0]); return true })
	}
}

// cpu reports the CPU time of an operation: on a busy machine, the time of the clock says little.
func cpu(b *testing.B) func() {
	var from, to syscall.Rusage
	used := func(r *syscall.Rusage) int64 { return r.Utime.Nano() + r.Stime.Nano() }
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &from); err != nil {
		b.Fatal(err)
	}
	return func() {
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &to); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(used(&to)-used(&from))/float64(b.N), "cpu-ns/op")
	}
}

// BenchmarkTrade is what a trade costs, by part. all: with what is told, every 100 ms closed bars, every 300 ms
// states and prices.
func BenchmarkTrade(b *testing.B) {
	text := []byte("95123.45")
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			for range 2 {
				if _, err := trade.ParseDecimal(text, 8); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("ids", func(b *testing.B) {
		b.ReportAllocs()
		var d ids
		defer cpu(b)()
		for id := int64(1); b.Loop(); id++ {
			at, _ := d.find(id)
			d.put(at, id, id, 1000, 0)
		}
	})
	b.Run("merge", func(b *testing.B) {
		b.ReportAllocs()
		r := newRig(5000)
		for range 5000 {
			r.add(b)
		}
		defer cpu(b)()
		for b.Loop() {
			r.add(b)
		}
	})
	for _, part := range []struct {
		name           string
		klines, prices bool
	}{{"merge+closed", false, false}, {"merge+closed+prices", false, true}, {"all", true, true}} {
		b.Run(part.name, func(b *testing.B) {
			b.ReportAllocs()
			r := newRig(5000)
			for range 20 * 20_000 { // Two seconds, so that bars have closed.
				r.add(b)
			}
			r.drain(true, true)
			defer cpu(b)()
			for n := 0; b.Loop(); n++ {
				r.add(b)
				if n%20_000 == 19_999 {
					due := n%60_000 == 59_999
					r.drain(part.klines && due, part.prices && due)
				}
			}
		})
	}
}

// BenchmarkHour is what an hour of a symbol that trades four times in each second takes: memory, and its snapshot.
func BenchmarkHour(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const symbols = 10
	r := newRig(symbols)
	for range 2 * 3600 {
		for range 4 * symbols {
			r.add(b)
		}
		r.now = r.now - r.now%1_000_000 + 1_000_000
		r.drain(true, true)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	snapshot := r.e.Snapshot(nil)
	b.Run("snapshot", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			snapshot = r.e.Snapshot(snapshot[:0])
		}
		b.ReportMetric(float64(len(snapshot)/symbols), "B/symbol")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/symbols, "heap-B/symbol")
	})
	b.Run("restore", func(b *testing.B) {
		byName := make(map[string]*trade.Symbol)
		for _, s := range r.symbols {
			byName[s.Name] = s
		}
		for b.Loop() {
			if _, _, err := Restore(DefaultConfig(), snapshot, func(name string) *trade.Symbol { return byName[name] }); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestAllocs has trades and what is told of them, in the long run without an allocation.
func TestAllocs(t *testing.T) {
	r := newRig(20)
	second := func() {
		for range 20 {
			r.add(t)
		}
		r.now = r.now - r.now%1_000_000 + 1_000_000
		r.drain(true, true)
	}
	r.e.limit = (time.Minute).Microseconds()
	for range 200 {
		second()
	}
	if n := testing.AllocsPerRun(100, second); n > 0 {
		t.Errorf("%v allocations in a second", n)
	}
}
