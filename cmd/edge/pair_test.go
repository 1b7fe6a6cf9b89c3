// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/feed"
)

// pairWatch is a client that looks at what it is sent.
type pairWatch struct {
	mu    sync.Mutex
	have  map[string]int64 // The version of each topic.
	wrong []string
}

func (w *pairWatch) run(c *client) {
	for {
		m, err := c.read()
		if err != nil {
			return // The end.
		}
		w.mu.Lock()
		if m.T == "feed" || m.T == "stale" {
			w.wrong = append(w.wrong, fmt.Sprintf("%s %s %s", m.T, m.State, m.Topics))
		}
		for _, row := range m.D {
			var v struct{ Ver int64 }
			json.Unmarshal(row.V, &v)
			if v.Ver < w.have[row.S] {
				w.wrong = append(w.wrong, fmt.Sprintf("%s went back from %d to %d", row.S, w.have[row.S], v.Ver))
			}
			w.have[row.S] = v.Ver
		}
		w.mu.Unlock()
	}
}

// has reports whether the client has versions of all topics that are above one.
func (w *pairWatch) has(topics []string, above int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, topic := range topics {
		if w.have[topic] <= above {
			return false
		}
	}
	return true
}

// Two Redis with the same ticks, one of which freezes, dies, or comes back empty: clients hear nothing of it, get every newest
// value all the time, and none that is older than what they have.
func TestPairOfRedis(t *testing.T) {
	t.Parallel()
	a, b := startRedis(t), startRedis(t)
	e := start(t, "-source", a.URL()+"|"+b.URL(), "-feed-timeout", "1s", "-interval", "100ms")
	half := func(n int, current string) {
		t.Helper()
		name := fmt.Sprintf(`edge_feed_half_current{half="%d",source="*"}`, n)
		redistest.Eventually(t, name+" is "+current, func() bool { return e.metric(name) == current })
	}
	half(1, "1")
	half(2, "1")

	cfg := feed.Config{{Broker: feed.Pair{redis.Config{URL: a.URL(), Timeout: time.Second}, redis.Config{URL: b.URL(), Timeout: time.Second}}}}
	ctx, end := context.WithCancel(context.Background())
	to, err := feed.NewPublisher(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprint("T", i))
	}
	var first, last atomic.Int64 // Versions of the last round.
	var clock broker.Clock
	round := func(ctx context.Context) {
		ticks := make([]broker.Tick, len(names))
		for i, name := range names {
			ticks[i] = broker.Tick{Topic: name, Value: []byte(`{"p":1}`), Ver: clock.Next(time.Now())}
		}
		if !to.Publish(ctx, ticks) {
			return
		}
		for _, tick := range ticks {
			if tick.Fate != broker.Taken {
				t.Errorf("%s: fate %v", tick.Topic, tick.Fate)
			}
		}
		first.Store(ticks[0].Ver)
		last.Store(ticks[len(ticks)-1].Ver)
	}
	var publishing sync.WaitGroup
	stop := make(chan struct{})
	publishing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				round(ctx)
			}
		}
	})
	t.Cleanup(func() { end(); to.Close() })

	query := "?topics="
	for _, name := range names {
		query += name + ","
	}
	c := e.dial(query[:len(query)-1])
	c.next("hello")
	w := &pairWatch{have: make(map[string]int64)}
	go w.run(c)
	goesOn := func(when string) {
		t.Helper()
		now := last.Load()
		redistest.Eventually(t, "ticks that were published "+when, func() bool { return last.Load() > now && w.has(names, now) })
	}
	goesOn("while both are there")
	a.Freeze()
	goesOn("when one has frozen")
	half(1, "0")
	goesOn("while one is frozen")
	a.Thaw()
	half(1, "1")
	goesOn("after one was frozen")
	b.Kill()
	half(2, "0")
	goesOn("while the other is dead")
	b.Start()
	half(2, "1")
	a.Kill()
	goesOn("while the first is dead")
	a.Start()
	half(1, "1")
	close(stop)
	publishing.Wait()
	round(ctx)
	final := last.Load()
	redistest.Eventually(t, "the last values", func() bool { return w.has(names, first.Load()-1) })
	for _, r := range []*redisServer{a, b} { // Both end with the newest.
		redistest.Eventually(t, "both Redis have the last value", func() bool {
			return r.Do("GET", "price:T19") == fmt.Sprintf(`{"p":1,"ver":%d}`, final)
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.wrong) > 0 {
		t.Errorf("the client was told %q", w.wrong)
	}
}
