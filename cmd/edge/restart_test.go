// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
)

// follower is a client that lives through a restart.
type follower struct {
	told, back atomic.Pointer[time.Time] // When it was sent away, and when it was let in again.
	newer      atomic.Bool               // It has had a newer row then.
	err        error
}

// follow reads until the edge sends the client away, and does as it is told: it comes back once,
// after retry_ms. It ends with the first row that is newer than those of before, or with ctx.
func (f *follower) follow(ctx context.Context, addr string, connected *sync.WaitGroup) {
	connect := sync.OnceFunc(connected.Done)
	defer connect()
	newest := 0
	// read returns the first message that is wanted, or nil.
	read := func(ws *websocket.Conn, wanted func(m *message) bool) *message {
		for {
			_, b, err := ws.Read(ctx)
			m := new(message)
			if err == nil {
				err = json.Unmarshal(b, m)
			}
			if err == nil && len(m.D) > 0 {
				newest, err = strconv.Atoi(string(m.D[0].V))
			}
			if err != nil {
				f.err = err
				return nil
			}
			if wanted(m) {
				return m
			}
		}
	}
	dial := func() *websocket.Conn {
		ws, _, err := websocket.Dial(ctx, "ws://"+addr+"/ws?topics=T&interval=100", nil)
		f.err = err
		return ws
	}
	ws := dial()
	if f.err != nil {
		return
	}
	defer ws.CloseNow()
	bye := read(ws, func(m *message) bool {
		if len(m.D) > 0 {
			connect()
		}
		return m.T == "bye"
	})
	if bye == nil {
		if ctx.Err() != nil {
			f.err = nil // It was not sent away.
		}
		return
	}
	told := time.Now()
	f.told.Store(&told)
	if bye.RetryMS < 1 || bye.RetryMS > 1000 {
		f.err = fmt.Errorf("%+v", bye)
		return
	}
	_, _, _ = ws.Read(ctx) // The close, which is answered.
	<-time.After(time.Until(told.Add(time.Duration(bye.RetryMS) * time.Millisecond)))
	again, last := dial(), newest
	if f.err != nil {
		f.err = fmt.Errorf("come back after %d ms: %w", bye.RetryMS, f.err)
		return
	}
	defer again.CloseNow()
	back := time.Now()
	f.back.Store(&back)
	f.newer.Store(read(again, func(m *message) bool { return len(m.D) > 0 && newest > last }) != nil)
}

// followers are clients that live through a restart.
type followers struct {
	all  []follower
	end  context.CancelFunc
	done sync.WaitGroup
}

// startFollowers returns when each has had a row.
func startFollowers(t *testing.T, addr string, count int) *followers {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	t.Cleanup(cancel)
	f := &followers{all: make([]follower, count), end: cancel}
	var connected sync.WaitGroup
	connected.Add(count)
	for i := range f.all {
		f.done.Go(func() { f.all[i].follow(ctx, addr, &connected) })
	}
	connected.Wait()
	return f
}

// wait returns when all have ended, and demands that each was let in when it came back.
func (f *followers) wait(t *testing.T) {
	t.Helper()
	f.done.Wait()
	for i := range f.all {
		if err := f.all[i].err; err != nil {
			t.Errorf("client %d: %v", i, err)
		}
	}
}

// counting has the topic T tick until the test ends, with numbers that rise.
func (r *redisServer) counting() {
	over, published := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(published)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := 1; ; n++ {
			r.Do("SET", "price:T", n)
			r.Do("PUBLISH", "channel:prices:T", n)
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	}()
	r.t.Cleanup(func() { close(over); <-published })
}

// A restart beside another edge on the same port is no blackout: whoever is sent away and comes
// back when told gets in at once, by the other edge, and gets newer ticks.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const clients, drain = 40, 3 * time.Second
	redis := startRedis(t)
	redis.counting()
	first := start(t, "-redis", redis.URL(), "-drain", drain.String())
	those := startFollowers(t, first.addr, clients)
	second := start(t, "-redis", redis.URL(), "-listen", first.addr)
	redistest.Eventually(t, "the second is ready", func() bool { code, _ := second.get("/readyz"); return code == http.StatusOK })
	if !strings.Contains(second.stderr.String(), "another process listens on this port too") {
		t.Error("the second does not say that it shares its port")
	}
	begin := time.Now()
	first.term("stopping")
	those.wait(t)
	if t.Failed() {
		return
	}
	var told, back []time.Duration
	for i := range those.all {
		f := &those.all[i]
		told, back = append(told, f.told.Load().Sub(begin)), append(back, f.back.Load().Sub(begin))
	}
	// Spread evenly, a quarter is told, and is back, in each quarter. A busy machine makes it later.
	for what, at := range map[string][]time.Duration{"told": told, "back": back} {
		slices.Sort(at)
		if q1, q3 := at[clients/4], at[3*clients/4]; q1 < drain/10 || q3 < drain/2 || q3-q1 < drain/8 {
			t.Errorf("%s from %v to %v, a quarter by %v, three by %v", what, at[0], at[clients-1], q1, q3)
		}
	}
	select {
	case <-first.done:
	case <-time.After(patience):
		t.Fatal("the first does not end")
	}
	said := first.stderr.String()
	if first.code != 0 || !strings.Contains(said, fmt.Sprintf(`"msg":"stopped","sent_away":%d`, clients)) || !strings.Contains(said, `"msg":"draining"`) {
		t.Errorf("code %d, the first said:\n%s", first.code, said)
	}
	redistest.Eventually(t, "the second has opened all connections", func() bool {
		return second.metric(`edge_connections_opened_total{transport="websocket"}`) == strconv.Itoa(clients)
	})
}

// Behind a balancer that asks /readyz, with the drain delay of our examples, nobody who comes or
// comes back finds a port that is closed.
func TestRestartBehindABalancer(t *testing.T) {
	t.Parallel()
	const clients = 10
	redis := startRedis(t)
	redis.counting()
	var edges [2]*edge
	for i := range edges {
		edges[i] = start(t, "-redis", redis.URL(), "-proxy-protocol", "-drain-delay", "5s", "-drain", "2s")
		redistest.Eventually(t, "it is ready", func() bool { code, _ := edges[i].get("/readyz"); return code == http.StatusOK })
	}
	addr := haproxy(t, edges[:], nil)
	come := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ws, _, err := websocket.Dial(ctx, "ws://"+addr+"/ws", nil)
		if err != nil {
			return err
		}
		defer ws.CloseNow()
		_, _, err = ws.Read(ctx)
		return err
	}
	redistest.Eventually(t, "the way by the balancer is open", func() bool { return come() == nil })
	those := startFollowers(t, addr, clients)
	over, came := make(chan struct{}), 0
	var coming sync.WaitGroup
	coming.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if err := come(); err != nil {
				t.Errorf("one who comes: %v", err)
			}
			came++
		}
	})
	edges[0].term("stopping")
	select {
	case <-edges[0].done:
	case <-time.After(patience):
		t.Error("the edge does not end")
	}
	close(over)
	coming.Wait()
	told := 0
	redistest.Eventually(t, "those who were sent away are back", func() bool {
		told = 0
		for i := range those.all {
			if f := &those.all[i]; f.told.Load() != nil {
				told++
				if !f.newer.Load() {
					return false
				}
			}
		}
		return true
	})
	those.end() // Of those that the other edge had.
	those.wait(t)
	if told == 0 || came < 20 {
		t.Errorf("%d were sent away, and %d came meanwhile: too few to show anything", told, came)
	}
}
