// SPDX-License-Identifier: Apache-2.0

package historytest

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/bars"
	"tickedge/internal/guard"
	"tickedge/internal/history"
	"tickedge/internal/trade"
)

const (
	measureSymbols = 1000
	measureRate    = 200 // Requests a second.
	measureTime    = 20 * time.Second
)

// Measure stores 1s bars of some seconds of 1,000 symbols through a writer, as fast as the store takes them, and then asks
// for pages of 500 bars over HTTP, 200 a second: while nothing else is done, and while 1,000 bars a second are stored. It logs what that took. bytes is what
// the store has on the disk. In front of it is a memory, as marketdata has one, whose series are used for a time.
func Measure(t *testing.T, s history.Store, seconds int, bytes func() int64, maxAge time.Duration) {
	symbols := make([]*trade.Symbol, measureSymbols)
	for i := range symbols {
		symbols[i] = Symbol(fmt.Sprintf("EXCHANGE:SYM%d-USD", i), 2, 8)
	}
	hot := history.NewHot(s, history.HotConfig{Bytes: 256 << 20, MaxAge: maxAge}) // Room for all series.
	w := history.NewWriter(hot, history.WriterConfig{Most: 50_000, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx, context.WithoutCancel(ctx)) }()
	defer func() { cancel(); <-done }()
	second := func(at int) {
		for _, symbol := range symbols {
			if err := w.Put(ctx, Bar(symbol, Interval("1s"), begin+int64(at)*1000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	began, cpu := time.Now(), used()
	for at := range seconds {
		second(at)
	}
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	n, took := measureSymbols*seconds, time.Since(began)
	t.Logf("%d bars in %v: %.0f bars/s, %.1f µs of CPU of this process a bar; %d bytes, %.1f a bar", n, took.Round(time.Millisecond),
		float64(n)/took.Seconds(), float64((used()-cpu).Microseconds())/float64(n), bytes(), float64(bytes())/float64(n))

	pages(t, "from the store, nothing being stored", s, symbols)
	ask(t, hot, symbols)
	pages(t, "from memory where it is there, nothing being stored", hot, symbols)
	stop, stopped := context.WithCancel(ctx)
	var writing sync.WaitGroup
	writing.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for at := seconds; stop.Err() == nil; at++ {
			second(at)
			select {
			case <-stop.Done():
			case <-tick.C:
			}
		}
	})
	pages(t, "from the store", s, symbols)
	ask(t, hot, symbols)
	pages(t, "from memory where it is there", hot, symbols)
	stopped()
	writing.Wait()
}

// ask asks for a page of each symbol, so that memory has them.
func ask(t *testing.T, hot *history.Hot, symbols []*trade.Symbol) {
	for _, symbol := range symbols {
		if _, err := hot.Bars(t.Context(), history.Query{Symbol: symbol.Name, Interval: "1s", To: 1 << 60, Limit: 500}); err != nil {
			t.Fatal(err)
		}
	}
}

// used is the CPU time of this process.
func used() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// pages asks for pages at a fixed rate, and logs how long they took, counted from when they were due.
func pages(t *testing.T, what string, s history.Store, symbols []*trade.Symbol) {
	origins, err := auth.ParseOrigins("")
	if err != nil {
		t.Fatal(err)
	}
	server, err := history.NewServer(history.ServerConfig{Store: s, Origins: origins, Log: slog.New(slog.DiscardHandler),
		Symbol: func(string) *trade.Symbol { return nil }, Intervals: []*bars.Interval{Interval("1s")}, Rate: guard.Rate{PerSecond: 10_000, Burst: 10_000},
		Requests: 1000}) // Of which an address has a quarter.
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, ln) }()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}}
	const n = int(measureTime/time.Second) * measureRate
	took := make([]time.Duration, n)
	var wg sync.WaitGroup
	var failed atomic.Int64
	began, cpu := time.Now(), used()
	for i := range n {
		due := began.Add(time.Duration(i) * time.Second / measureRate)
		time.Sleep(time.Until(due))
		wg.Go(func() {
			size, err := get(&client, fmt.Sprintf("http://%s/history/%s?tf=1s", ln.Addr(), symbols[i*7%len(symbols)].Name), i%100 == 0)
			if took[i] = time.Since(due); err != nil || size < 5000 || i%100 == 0 && size < 20_000 {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	t.Logf("%s: %d pages of 500 bars, %d a second: %d failed, median %v, p99 %v, worst %v; %v of CPU a page, those who ask included", what, n, measureRate,
		failed.Load(), took[n/2], took[n*99/100], took[n-1], ((used() - cpu) / time.Duration(n)).Round(time.Microsecond))
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// get returns how long a page is: as it comes, or before it was packed. To unpack all of them would cost as much as to make them.
func get(c *http.Client, url string, unpack bool) (int64, error) {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Accept-Encoding", "gzip")
	res, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if !unpack {
		return io.Copy(io.Discard, res.Body)
	}
	z, err := gzip.NewReader(res.Body)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", res.Status, err)
	}
	return io.Copy(io.Discard, z)
}
