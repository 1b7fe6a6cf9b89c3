// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/pgtest"
)

var (
	chaosTime   = flag.Duration("chaos", 20*time.Second, "how long things are killed and frozen: 10m is the long form")
	chaosAlerts = flag.Int("chaos-alerts", 3000, "alerts in that time: 100000 in the long form")
)

const chaosSymbols = 20

// chaosUsers is how many users there are: fewer firings are kept of each than would be with one.
func chaosUsers() int { return 50 + *chaosAlerts/500 }

// chaos is programs, a market, a broker and a store, all of which are killed and frozen, and alerts that are to fire all the same.
type chaos struct {
	t         *testing.T
	market    *market
	redis     *redistest.Server
	processes []*process
	harms     []func(r *rand.Rand)

	mu     sync.Mutex
	wanted []wanted
}

// Two programs share a PostgreSQL.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	c := newChaos(t)
	server := pgtest.New(t)
	c.programs(2, server.Database(t))
	c.harms = append(c.harms,
		func(*rand.Rand) { server.Stop(t); time.Sleep(time.Second); server.Start(t) },
		func(r *rand.Rand) { server.Freeze(t); c.wait(r); server.Thaw(t) })
	c.run()
}

// One has a folder.
func TestNothingIsLostOfAFolder(t *testing.T) {
	t.Parallel()
	c := newChaos(t)
	c.programs(1, t.TempDir())
	c.run()
}

func newChaos(t *testing.T) *chaos {
	c := &chaos{t: t, redis: redistest.Start(t, "--appendonly", "yes", "--appendfsync", "no")}
	c.market = newMarket(t, chaosSymbols, c.redis.Addr())
	c.harms = []func(*rand.Rand){
		func(r *rand.Rand) { p := c.any(r); p.kill(); c.wait(r); p.start() },
		func(r *rand.Rand) { p := c.any(r); p.kill(); p.start() },
		func(r *rand.Rand) { p := c.any(r); p.signal(syscall.SIGSTOP); c.wait(r); p.signal(syscall.SIGCONT) },
		func(r *rand.Rand) { c.redis.Freeze(); c.wait(r); c.redis.Thaw() },
		func(*rand.Rand) { c.redis.Kill(); c.redis.Start() },
		func(r *rand.Rand) { c.market.away.Store(true); c.wait(r); c.market.away.Store(false) },
	}
	return c
}

func (c *chaos) programs(n int, store string) {
	for i := range n {
		p := newProcess(c.t, "-source="+c.redis.URL(), "-store="+store, "-history="+c.market.server.URL, "-quota=100000", "-request-rate-per-ip=10000", "-request-burst-per-ip=10000", "-lease=3s", fmt.Sprintf("-name=p%d", i))
		p.start()
		c.processes = append(c.processes, p)
	}
}

func (c *chaos) any(r *rand.Rand) *process { return c.processes[r.IntN(len(c.processes))] }

func (c *chaos) wait(r *rand.Rand) { time.Sleep(time.Duration(200+r.IntN(4000)) * time.Millisecond) }

func (c *chaos) run() {
	ctx, cancel := context.WithCancel(c.t.Context())
	var trading, creating sync.WaitGroup
	defer trading.Wait()
	defer cancel()
	trading.Go(func() { c.market.run(ctx) })
	stop := make(chan struct{})
	for i := range 4 {
		creating.Go(func() { c.create(i, stop) })
	}
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for end := time.Now().Add(*chaosTime); time.Now().Before(end); c.wait(r) {
		c.harms[r.IntN(len(c.harms))](r)
	}
	close(stop)
	creating.Wait()
	c.t.Logf("%d alerts were created", len(c.wanted))
	if len(c.wanted) < *chaosAlerts/10 {
		c.t.Errorf("that is too few")
	}
	c.settle()
	c.judge()
	for _, p := range c.processes {
		p.end()
	}
}

// create creates alerts near the price, over whatever program answers, until all are there.
func (c *chaos) create(worker int, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(uint64(worker), 2))
	pace := time.NewTicker(*chaosTime / time.Duration(*chaosAlerts/4+1))
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-pace.C:
		}
		w := wanted{user: int64(1 + r.IntN(chaosUsers())), symbol: c.market.symbols[r.IntN(chaosSymbols)], above: r.IntN(2) == 0}
		if w.target = firstPrice + int64(r.IntN(400)); !w.above {
			w.target = firstPrice - int64(r.IntN(400))
		}
		condition := map[bool]string{true: "ABOVE", false: "BELOW"}[w.above]
		body := fmt.Sprintf(`{"user_id":%d,"symbol":"%s","target_price":%s,"condition":"%s"}`, w.user, w.symbol, cents(w.target), condition)
		key := fmt.Sprintf("k-%d-%d", worker, n)
		for try := 0; ; try++ {
			var a asked
			status, text := c.processes[try%len(c.processes)].call("POST", "/alerts", body, &a, "Idempotency-Key", key)
			if status == 200 || status == 201 {
				w.id, w.armed = a.ID, a.Created
				c.mu.Lock()
				c.wanted = append(c.wanted, w)
				c.mu.Unlock()
				break
			}
			if status != 0 && status != 503 && status != 429 && status != 500 {
				c.t.Errorf("%s: %s", body, text)
				return
			}
			select {
			case <-stop:
				return // Whether it is there nobody knows.
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
}

// settle waits until all that must have fired has.
func (c *chaos) settle() {
	p := c.processes[0]
	lacks := ""
	defer func() { c.t.Log(lacks) }()
	p.eventually("all fired that must", func() bool {
		fired := c.fired()
		if fired == nil {
			lacks = "what fired can't be read"
			return false
		}
		for i := range c.wanted {
			if may, must := c.market.reached(&c.wanted[i]); must != 0 && must < time.Now().UnixMilli()-10_000 && fired[c.wanted[i].id] == nil {
				var a asked
				c.read(fmt.Sprintf("/alerts/%d?user_id=%d", c.wanted[i].id, c.wanted[i].user), &a)
				lacks = fmt.Sprintf("%+v was reached at %d, and by the bar until %d: %+v", c.wanted[i], may, must, a)
				return false
			}
		}
		lacks = "nothing is lacking"
		return true
	})
}

// fired is all firings, by alert; nil if they can't be read now.
func (c *chaos) fired() map[int64]*firing {
	all := make(map[int64]*firing)
	for user := 1; user <= chaosUsers(); user++ {
		for after := int64(0); ; {
			var page struct {
				Fired  []firing
				Number int64
			}
			if !c.read(fmt.Sprintf("/alerts/fired?user_id=%d&after=%d&limit=1000", user, after), &page) {
				return nil
			}
			for i := range page.Fired {
				f := &page.Fired[i]
				if f.N != after+1 {
					c.t.Errorf("user %d: firing %d comes behind %d", user, f.N, after)
				}
				after = f.N
				if all[f.Alert] != nil {
					c.t.Errorf("alert %d fired twice: %+v and %+v", f.Alert, all[f.Alert], f)
				}
				all[f.Alert] = f
			}
			if after >= page.Number || len(page.Fired) == 0 {
				break
			}
		}
	}
	return all
}

// read reads what a program answers. Who asks too often asks again.
func (c *chaos) read(path string, to any) bool {
	for {
		status, _ := c.processes[0].call("GET", path, "", to)
		if status != 429 {
			return status == 200
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// judge compares with what the market says.
func (c *chaos) judge() {
	fired := c.fired()
	var byPrice, byBar int
	for i := range c.wanted {
		w := &c.wanted[i]
		may, must := c.market.reached(w)
		f := fired[w.id]
		switch {
		case f == nil && must != 0 && must < time.Now().UnixMilli()-15_000:
			c.t.Errorf("alert %d of %s did not fire: armed at %d, reached at %d and by the bar until %d", w.id, w.symbol, w.armed, may, must)
		case f != nil && (may == 0 || f.At < may):
			c.t.Errorf("alert %d of %s fired at %d, and was reached at %d (armed %d): %+v", w.id, w.symbol, f.At, may, w.armed, f)
		case f != nil && f.By == "bar":
			byBar++
		case f != nil:
			byPrice++
		}
	}
	c.t.Logf("%d fired by prices, %d by bars", byPrice, byBar)
	if byPrice == 0 || byBar == 0 {
		c.t.Error("both should have")
	}
	// Users were told the newest.
	for user := 1; user <= chaosUsers(); user++ {
		var page struct{ Number int64 }
		p := c.processes[0]
		p.eventually("the user's topic has the newest number", func() bool {
			if !c.read(fmt.Sprintf("/alerts/fired?user_id=%d&limit=1", user), &page) || page.Number == 0 {
				return page.Number == 0
			}
			var value struct {
				N   int64
				Ver int64
			}
			text, err := c.market.redis.Get(c.t.Context(), fmt.Sprintf("price:alerts:%d", user)).Result()
			return err == nil && json.NewDecoder(strings.NewReader(text)).Decode(&value) == nil && value.N >= page.Number && value.Ver == value.N
		})
	}
}
