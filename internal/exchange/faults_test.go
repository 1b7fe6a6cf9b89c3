// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"strings"
	"testing"
	"time"

	"tickedge/internal/exchange/exchangetest"
)

// exchanges are the stand-ins with their products.
var exchanges = []exchangetest.Config{
	{Vendor: "coinbase", Products: []string{"BTC-USD", "ETH-USD"}},
	{Vendor: "binance", Products: []string{"BTCUSDT", "ETHUSDT"}},
	{Vendor: "finnhub", Products: []string{"AAPL", "BINANCE:BTCUSDT"}},
}

// fault is what may happen, and what is to be seen of it.
type fault struct {
	name   string
	server func(*exchangetest.Config)
	config func(*Config)
	play   func(r *rig, p string) // p is the first product.
	// gaps are those that are told of a source whose trades are numbered: filled, and not.
	filled, unfilled int
	flawed           uint64
	unseen           bool   // A source whose trades are not numbered can't show it.
	refused          string // A refusal of the exchange that belongs to it.
}

var faults = []fault{
	{name: "nothing", play: func(r *rig, p string) { r.server.Make(p, 20) }},
	{name: "trades are lost", unseen: true, filled: 1, play: func(r *rig, p string) {
		r.server.Make(p, 5)
		r.server.Lose(p, 3)
		r.server.Make(p, 5)
	}},
	{name: "many are lost", filled: 1, play: func(r *rig, p string) {
		r.server.Age(10 * time.Minute)
		r.server.Make(p, 1)
		r.came(p)
		for i := range 7 {
			r.server.Age(9*time.Minute - time.Duration(i)*10*time.Second)
			r.server.Lose(p, 501)
		}
		r.server.Age(0)
		r.server.Make(p, 2)
	}, unseen: true, config: func(c *Config) { c.Requests = 1e6 }},
	{name: "trades come twice", play: func(r *rig, p string) {
		r.server.Make(p, 5)
		r.server.Repeat(p, 3)
		r.server.Make(p, 2)
	}},
	{name: "a trade is late", play: func(r *rig, p string) {
		r.server.Make(p, 2)
		r.server.Swap(p)
		r.server.Make(p, 2)
	}, config: func(c *Config) { c.Grace = time.Second }},
	{name: "connections end", filled: 1, play: func(r *rig, p string) {
		r.server.Make(p, 5)
		r.came(p)
		r.server.Drop()
		r.gone(p)
		r.server.Lose(p, 4)
		r.subscribed()
		r.server.Make(p, 5)
	}, config: func(c *Config) { c.BackoffMin, c.BackoffMax = time.Second, time.Second }},
	{name: "connections end, and the market is quiet then", filled: 1, play: func(r *rig, p string) {
		r.server.Make(p, 5)
		r.came(p)
		r.server.Drop()
		r.gone(p)
		r.server.Lose(p, 7)
		r.subscribed()
		if !r.in.vendor.numbered {
			r.server.Make(p, 1)
		}
	}, config: func(c *Config) { c.BackoffMin, c.BackoffMax = time.Second, time.Second }},
	{name: "connections are dead", filled: 1, play: func(r *rig, p string) {
		r.server.Make(p, 5)
		r.came(p)
		r.server.Mute(false)
		r.server.Lose(p, 4)
		r.subscribed()
		r.server.Make(p, 5)
		if r.in.Stats().Silences == 0 {
			r.Error("no silence was counted")
		}
	}, config: func(c *Config) { c.Silence = 2 * time.Second }},
	{name: "connections are refused", filled: 1, play: func(r *rig, p string) {
		r.server.Make(p, 5)
		r.came(p)
		r.server.Ban(429, "1", 1)
		r.server.Drop()
		r.gone(p)
		r.server.Lose(p, 4)
		r.subscribed()
		r.server.Make(p, 5)
		if r.in.Stats().Banned != 1 {
			r.Errorf("stats %+v", r.in.Stats())
		}
	}},
	{name: "the history is refused", unseen: true, filled: 1, play: func(r *rig, p string) {
		r.server.Make(p, 5)
		r.server.Lose(p, 3)
		r.server.Ban(418, "1", 1)
		r.server.Make(p, 5)
	}},
	{name: "the history fails", unseen: true, filled: 1, play: func(r *rig, p string) {
		r.server.Make(p, 5)
		r.server.Lose(p, 3)
		r.server.Fail(5)
		r.server.Make(p, 5)
	}},
	{name: "the history is too short", unseen: true, unfilled: 1, play: func(r *rig, p string) {
		r.server.Make(p, 5)
		r.server.Lose(p, 3)
		r.server.Forget(p)
		r.server.Make(p, 5)
	}},
	{name: "the history has some", unseen: true, unfilled: 1, play: func(r *rig, p string) {
		r.server.Make(p, 5)
		r.server.Lose(p, 3)
		r.server.Forget(p)
		r.server.Lose(p, 4)
		r.server.Make(p, 5)
	}},
	{name: "messages are flawed", flawed: 4, play: func(r *rig, p string) {
		r.server.Make(p, 2)
		r.server.SendPrice(p, "1.001", time.Now())
		r.server.SendPrice(p, "-5", time.Now())
		r.server.SendPrice(p, "99999999999999999999", time.Now())
		r.server.SendPrice(p, "7", time.Now().Add(time.Minute))
		r.server.Make(p, 2)
	}},
	{name: "messages are garbage", flawed: 3, play: func(r *rig, p string) {
		r.server.Make(p, 2)
		r.server.SendRaw("{")
		r.server.SendRaw("\x00")
		r.server.SendRaw(`[1,2,3]`)
		r.server.SendRaw(`{"unknown":{"a":[1]}}`)
		r.server.Make(p, 2)
	}},
}

// came waits until all trades of a product have come.
func (r *rig) came(p string) { r.Helper(); r.complete(p) }

// gone waits until the exchange has no connection.
func (r *rig) gone(p string) {
	r.Helper()
	until(r, "the connection is gone", func() bool { return r.server.Subscribers(p) == 0 })
}

// Each fault with each exchange: what comes is what the exchange had, in order, once, but for what is told
// to be missing.
func TestFaults(t *testing.T) {
	for _, server := range exchanges {
		for _, f := range faults {
			t.Run(server.Vendor+"/"+f.name, func(t *testing.T) {
				if f.unseen && server.Vendor == "finnhub" {
					t.Skip("its trades are not numbered")
				}
				t.Parallel()
				if f.server != nil {
					f.server(&server)
				}
				r := newRig(t, rigConfig{server: server, config: f.config})
				other := server.Products[1]
				r.server.Make(other, 3)
				f.play(r, server.Products[0])
				r.server.Make(other, 3)
				r.complete(server.Products[0])
				r.complete(other)
				r.check(f)
			})
		}
	}
}

// check compares what was told of gaps with the fault.
func (r *rig) check(f fault) {
	r.Helper()
	if err := r.stop(); err != nil {
		r.Errorf("Run: %v", err)
	}
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	for _, p := range r.products {
		r.sameBars(p, r.server.Trades(p))
	}
	filled, unfilled, missed, stats := 0, 0, int64(0), r.in.Stats()
	for _, g := range r.sink.gaps {
		switch {
		case g.Filled:
			filled++
		default:
			unfilled++
			missed += g.To - g.From + 1
		}
		if g.From > g.To || g.Since > g.Until || g.Why == "" {
			r.Errorf("gap %+v", g)
		}
	}
	if r.in.vendor.numbered && (filled < f.filled || f.filled == 0 && filled > 0 || unfilled != f.unfilled || stats.Gaps != uint64(filled+unfilled) || stats.Filled != uint64(filled)) {
		r.Errorf("gaps: %d filled, %d not, want %d and %d: %+v\n%+v", filled, unfilled, f.filled, f.unfilled, r.sink.gaps, stats)
	}
	if r.in.vendor.numbered && stats.Missed != uint64(missed) {
		r.Errorf("missed: %d, want %d", stats.Missed, missed)
	}
	if stats.Flawed != f.flawed {
		r.Errorf("flawed: %d, want %d", stats.Flawed, f.flawed)
	}
	for _, refusal := range r.server.Refusals() {
		if f.refused == "" || !strings.Contains(refusal, f.refused) {
			r.Errorf("the exchange refused: %s", refusal)
		}
	}
	if strings.Contains(r.log.String(), exchangetest.Token) {
		r.Error("the key is in the log")
	}
}
