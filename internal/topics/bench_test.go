// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// A value as exchanges send them, about 100 bytes.
const benchValue = `{"p":"189.3100","q":"12.500","b":"189.3000","a":"189.3200","t":1700000000123,"o":"188.1","h":"190.4"}`

func benchTable(b *testing.B, topics int) (*Table, []string, []ID) {
	tb := New(Config{Max: 2*topics + 16, Linger: linger, Window: 500 * time.Millisecond})
	names, ids := make([]string, topics), make([]ID, topics)
	for i := range names {
		names[i] = fmt.Sprintf("binance:trade:T%d", i)
		id, err := tb.Acquire([]byte(names[i]), 0)
		if err != nil {
			b.Fatal(err)
		}
		ids[i] = id
		tb.Publish(names[i], benchValue, Meta{})
	}
	tb.Changes(0, nil, all)
	return tb, names, ids
}

func BenchmarkPublish(b *testing.B) {
	for _, topics := range []int{1, 1000, 100_000} { // Of the last, most have no counter.
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			tb, names, _ := benchTable(b, topics)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				tb.Publish(names[i%topics], benchValue, Meta{At: int64(i)})
			}
		})
	}
}

func BenchmarkPublishUnwanted(b *testing.B) {
	tb, _, _ := benchTable(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		tb.Publish("nobody:wants:this", benchValue, Meta{})
	}
}

func BenchmarkPublishParallel(b *testing.B) {
	tb, names, _ := benchTable(b, 1000)
	var start atomic.Uint32
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := start.Add(1) * 500; pb.Next(); i++ {
			tb.Publish(names[i%1000], benchValue, Meta{At: int64(i)})
		}
	})
}

// The look of one visit at ten topics out of many, and at rows that are not in the
// cache: 100,000 conns look at ten topics each, in no order.
func BenchmarkGather(b *testing.B) {
	for _, topics := range []int{1000, 100_000} {
		for _, newer := range []string{"none", "all"} {
			b.Run(fmt.Sprintf("topics=%d/newer=%s", topics, newer), func(b *testing.B) {
				tb, _, ids := benchTable(b, topics)
				const conns = 4096
				random := rand.New(rand.NewPCG(1, 2))
				subscribed := make([][10]ID, conns)
				for i := range subscribed {
					for j := range subscribed[i] {
						subscribed[i][j] = ids[random.IntN(topics)]
					}
				}
				served := uint64(0)
				if newer == "none" {
					served = tb.Watermark()
				}
				gathered := 0
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					for _, id := range subscribed[i%conns] {
						if tb.Seq(id) > served {
							gathered += len(tb.Row(id).JSON())
						}
					}
				}
				if (gathered > 0) != (newer == "all") {
					b.Fatalf("%d bytes gathered", gathered)
				}
			})
		}
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	name := []byte("binance:trade:T7")
	b.Run("held", func(b *testing.B) {
		tb, _, _ := benchTable(b, 1000)
		b.ReportAllocs()
		for b.Loop() {
			id, _ := tb.Acquire(name, 0)
			tb.Release(id, at(0))
		}
	})
	b.Run("lingering", func(b *testing.B) {
		tb, _, ids := benchTable(b, 1000)
		tb.Release(ids[7], at(0))
		b.ReportAllocs()
		for b.Loop() {
			id, _ := tb.Acquire(name, 0)
			tb.Release(id, at(0))
		}
	})
	b.Run("new", func(b *testing.B) {
		tb, _, _ := benchTable(b, 1000)
		other := []byte("another")
		var changes []Change
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			id, _ := tb.Acquire(other, 0)
			tb.Release(id, at(0))
			tb.Sweep(at(linger))
			changes = tb.Changes(0, changes[:0], all)
		}
	})
	b.Run("full", func(b *testing.B) {
		tb := New(Config{Max: 1, Linger: linger})
		tb.Acquire([]byte("only"), 0)
		b.ReportAllocs()
		for b.Loop() {
			tb.Acquire(name, 0)
		}
	})
}

// What a sweep costs while many topics linger and none is due.
func BenchmarkSweep(b *testing.B) {
	for _, due := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("lingering=100000/due=%d", due), func(b *testing.B) {
			tb, names, ids := benchTable(b, 100_000)
			now := at(0)
			for _, id := range ids {
				tb.Release(id, now)
			}
			b.ReportAllocs()
			for b.Loop() {
				if due == 0 {
					tb.Sweep(now)
					continue
				}
				now = now.Add(linger)
				tb.Sweep(now)
				b.StopTimer()
				for i, name := range names {
					ids[i], _ = tb.Acquire([]byte(name), 0)
				}
				now = now.Add(time.Second)
				for _, id := range ids {
					tb.Release(id, now)
				}
				b.StartTimer()
			}
		})
	}
}

func BenchmarkValidName(b *testing.B) {
	for _, name := range []string{"AAPL", "binance:kline:1m:BTC-USDT", "币安人生USDT"} {
		bytes := []byte(name)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if !ValidName(bytes) {
					b.Fatal(name)
				}
			}
		})
	}
}
