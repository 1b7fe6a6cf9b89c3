package feed

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tickedge/internal/feed/redistest"
	"tickedge/internal/topics"
)

// BenchmarkReceive is what a message costs once go-redis has read it.
func BenchmarkReceive(b *testing.B) {
	table := topics.New(topics.Config{Max: 1000})
	f, err := New(At("redis://127.0.0.1:1"), table, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	r := f.sources[0].source.(*server)
	messages := make([]any, 1000)
	for i := range messages {
		name := fmt.Sprint("T", i)
		table.Acquire([]byte(name))
		messages[i] = &redis.Message{Channel: r.channel.name(name), Payload: `{"p":189.87,"b":189.86,"a":189.88,"ts":1732181723411}`}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.receive(messages[i])
		if i++; i == len(messages) {
			i = 0
		}
	}
}

func BenchmarkInspect(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		inspect(`{"p":189.87,"b":189.86,"a":189.88,"ts":1732181723411}`)
	}
}

// BenchmarkStorm is how late ticks come while 400 clients subscribe to 256 fresh topics
// each, and how long it takes until Redis has confirmed them all.
func BenchmarkStorm(b *testing.B) {
	const fresh = 400 * 256
	var late []time.Duration
	took := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		s := redistest.Start(b)
		r := run(b, plain(s), topics.Config{Max: 2 * fresh, Linger: time.Minute})
		r.acquire("TICK")
		r.settled()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			c := s.Client()
			defer c.Close()
			for every := time.NewTicker(2 * time.Millisecond); ; {
				select {
				case <-stop:
					return
				case <-every.C:
					c.Publish(b.Context(), "channel:prices:TICK", time.Now().UnixNano())
				}
			}
		})
		tick, seen := r.ids["TICK"], uint64(0)
		wg.Go(func() {
			for ; ; time.Sleep(100 * time.Microsecond) {
				select {
				case <-stop:
					return
				default:
				}
				if row := r.table.Row(tick); row != nil && row.N != seen {
					seen = row.N
					at, _ := strconv.ParseInt(string(row.Value()), 10, 64)
					late = append(late, time.Since(time.Unix(0, at)))
				}
			}
		})
		r.eventually("ticks come", func() bool { return r.value("TICK") != "" })
		b.StartTimer()
		begin := time.Now()
		for i := range fresh {
			r.table.Acquire(fmt.Append(nil, "T", i))
		}
		r.eventually("all are confirmed", func() bool { return r.Stats().Channels == fresh+1 })
		took += time.Since(begin)
		b.StopTimer()
		close(stop)
		wg.Wait()
		r.stop()
		s.Kill()
		b.StartTimer()
	}
	slices.Sort(late)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(late[len(late)/2]), "ms-median")
	b.ReportMetric(ms(late[len(late)*99/100]), "ms-p99")
	b.ReportMetric(ms(late[len(late)-1]), "ms-max")
	b.ReportMetric(ms(took)/float64(b.N), "ms-confirmed")
}
