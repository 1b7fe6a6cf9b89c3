// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// market is prices of symbols that walk, their closed bars of a second, and a history of those. All that was is kept.
type market struct {
	t       *testing.T
	redis   *goredis.Client
	server  *httptest.Server
	symbols []string
	away    atomic.Bool // The history does not answer.

	mu    sync.Mutex
	ticks map[string][]tick
	bars  map[string][]bar
	ver   int64
}

// tick is a price, in cents.
type tick struct{ at, price int64 }

// bar is a closed bar of a second.
type bar struct{ start, open, high, low, close int64 }

func cents(n int64) string { return fmt.Sprintf("%d.%02d", n/100, n%100) }

func (b *bar) json() string {
	return fmt.Sprintf(`{"t":%d,"o":%s,"h":%s,"l":%s,"c":%s,"v":1,"q":1,"n":1}`, b.start, cents(b.open), cents(b.high), cents(b.low), cents(b.close))
}

const firstPrice = 10_000

func newMarket(t *testing.T, symbols int, redis string) *market {
	m := &market{t: t, redis: goredis.NewClient(&goredis.Options{Addr: redis, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: time.Second}),
		ticks: make(map[string][]tick), bars: make(map[string][]bar)}
	t.Cleanup(func() { m.redis.Close() })
	for i := range symbols {
		m.symbols = append(m.symbols, fmt.Sprintf("S%d", i))
	}
	m.server = httptest.NewServer(http.HandlerFunc(m.history))
	t.Cleanup(m.server.Close)
	return m
}

// run trades until ctx ends. A quarter of all prices is in bars alone: nobody hears them.
func (m *market) run(ctx context.Context) {
	r := rand.New(rand.NewPCG(1, 1))
	price := make(map[string]int64)
	for _, s := range m.symbols {
		price[s] = firstPrice
	}
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		pipe := m.redis.Pipeline()
		m.mu.Lock()
		for _, s := range m.symbols {
			if r.IntN(4) == 0 {
				continue
			}
			price[s] = max(100, price[s]+int64(r.IntN(61))-30)
			now := time.Now().UnixMilli()
			m.take(pipe, s, tick{now, price[s]}, r.IntN(4) > 0)
		}
		m.mu.Unlock()
		within, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		_, _ = pipe.Exec(within) // What the broker does not take nobody hears.
		cancel()
	}
}

// take has a trade be in the bars, and heard.
func (m *market) take(pipe goredis.Pipeliner, s string, t tick, heard bool) {
	publish := func(topic, value string) {
		m.ver++
		value = strings.TrimSuffix(value, "}") + fmt.Sprintf(`,"ver":%d}`, m.ver)
		pipe.Set(context.Background(), "price:"+topic, value, 0)
		pipe.Publish(context.Background(), "channel:prices:"+topic, value)
	}
	start := t.at / 1000 * 1000
	if n := len(m.ticks[s]); n > 0 && m.ticks[s][n-1].at/1000*1000 < start { // The bar of the one before has ended.
		m.close(s, m.ticks[s][n-1].at/1000*1000)
		if all := m.bars[s]; len(all) > 1 {
			publish("kline:1s:"+s, fmt.Sprintf(`{"tf":"1s","closed":[%s,%s]}`, all[len(all)-2].json(), all[len(all)-1].json()))
		}
	}
	m.ticks[s] = append(m.ticks[s], t)
	if heard {
		publish(s, fmt.Sprintf(`{"p":%s,"ts":%d}`, cents(t.price), t.at))
	}
}

func (m *market) close(s string, start int64) {
	b := bar{start: start}
	for _, t := range m.ticks[s] {
		switch {
		case t.at < start || t.at >= start+1000:
		case b.open == 0:
			b = bar{start, t.price, t.price, t.price, t.price}
		default:
			b.high, b.low, b.close = max(b.high, t.price), min(b.low, t.price), t.price
		}
	}
	m.bars[s] = append(m.bars[s], b)
}

// history is GET /history/{symbol}, in pages.
func (m *market) history(w http.ResponseWriter, r *http.Request) {
	if m.away.Load() {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	q := r.URL.Query()
	from, _ := time.Parse(time.RFC3339Nano, q.Get("from"))
	limit, _ := strconv.Atoi(q.Get("limit"))
	before, _ := strconv.ParseInt(q.Get("before"), 10, 64)
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []json.RawMessage
	next := "null"
	for _, b := range m.bars[strings.TrimPrefix(r.URL.Path, "/history/")] {
		if q.Get("tf") == "1s" && b.start >= from.UnixMilli()/1000*1000 && (before == 0 || b.start < before) {
			found = append(found, json.RawMessage(b.json()))
		}
	}
	if limit = min(limit, 7); len(found) > limit { // Small pages.
		found = found[len(found)-limit:]
		var first struct{ T int64 }
		_ = json.Unmarshal(found[0], &first)
		next = strconv.Quote(strconv.FormatInt(first.T, 10))
	}
	list, _ := json.Marshal(found)
	if found == nil {
		list = []byte("[]")
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"bars":%s,"next":%s}`, list, next)
}

// reached is the first time at which an alert may have fired since it was armed, by a price that was heard or not, and the end of the first
// bar by which it must have. 0 is never.
func (m *market) reached(a *wanted) (may, must int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hit := func(p int64) bool { return a.above && p >= a.target || !a.above && p <= a.target }
	for _, t := range m.ticks[a.symbol] {
		if t.at >= a.armed && hit(t.price) {
			may = t.at
			break
		}
	}
	for _, b := range m.bars[a.symbol] {
		if b.start >= a.armed && (hit(b.high) || hit(b.low)) {
			return may, b.start + 1000
		}
	}
	return may, 0
}

// wanted is an alert that was created.
type wanted struct {
	id, user, target int64
	symbol           string
	above            bool
	armed            int64
}
