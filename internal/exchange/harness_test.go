// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/exchange/exchangetest"
	"tickedge/internal/logtest"
	"tickedge/internal/trade"
)

// patience is how long tests wait for what has to happen.
const patience = 2 * time.Minute

// sink notes what it gets, and that calls about a symbol come one after the other.
type sink struct {
	t        testing.TB
	mu       sync.Mutex
	trades   map[string][]trade.Trade
	gaps     []Gap
	fillings map[string]int
	filling  map[string]bool
	heard    map[string]int64
	inside   map[string]bool
	changed  chan struct{} // Closed and replaced at each change.
}

func newSink(t testing.TB) *sink {
	return &sink{
		t: t, trades: make(map[string][]trade.Trade), fillings: make(map[string]int), filling: make(map[string]bool),
		heard: make(map[string]int64), inside: make(map[string]bool), changed: make(chan struct{}),
	}
}

// enter notes a call about a symbol, and ends it.
func (s *sink) enter(name string, f func()) {
	s.mu.Lock()
	if s.inside[name] {
		s.t.Errorf("two calls about %s at a time", name)
	}
	s.inside[name] = true
	s.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside[name] = false
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *sink) Trade(t trade.Trade) {
	s.enter(t.Symbol.Name, func() { s.trades[t.Symbol.Name] = append(s.trades[t.Symbol.Name], t) })
}

func (s *sink) Heard(source string, symbol *trade.Symbol, at int64) {
	name := source
	if symbol != nil {
		name = symbol.Name
	}
	s.enter(name, func() {
		if s.filling[name] {
			s.t.Errorf("heard of %s while it is being filled", name)
		}
		s.heard[name] = max(s.heard[name], at)
	})
}

func (s *sink) Gap(g Gap) { s.enter(g.Symbol.Name, func() { s.gaps = append(s.gaps, g) }) }

func (s *sink) Filling(symbol *trade.Symbol, on bool) {
	s.enter(symbol.Name, func() {
		if s.filling[symbol.Name] == on {
			s.t.Errorf("%s: filling is %v twice", symbol.Name, on)
		}
		s.filling[symbol.Name] = on
		s.fillings[symbol.Name]++
	})
}

// await waits until something is so.
func (s *sink) await(what string, f func() bool) {
	s.t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		s.mu.Lock()
		ok, changed := f(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-end.C:
			s.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// until waits for what tells nobody of itself.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// rig is an inlet on an exchange that is a stand-in.
type rig struct {
	*testing.T
	server *exchangetest.Server
	sink   *sink
	in     *inlet
	log    *logtest.Log
	table  *trade.Table
	stop   func() error
	// products are what the exchange has.
	products []string
}

type rigConfig struct {
	server  exchangetest.Config
	config  func(*Config)
	from    map[string]Position
	symbols []string // Default: the products.
	before  func(s *exchangetest.Server)
	wait    bool // The test waits for its subscriptions.
}

func table(t testing.TB, source string, products ...string) *trade.Table {
	t.Helper()
	var entries []trade.Entry
	two, six := uint8(2), uint8(6)
	for _, p := range products {
		entries = append(entries, trade.Entry{Symbol: strings.ToUpper(source) + ":" + p, Source: source, Vendor: p, PriceScale: &two, SizeScale: &six})
	}
	table, err := trade.NewTable(entries, Numbered)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func newRig(t *testing.T, c rigConfig) *rig {
	t.Helper()
	r := &rig{T: t, server: exchangetest.Start(t, c.server), sink: newSink(t), products: c.server.Products}
	if c.before != nil {
		c.before(r.server)
	}
	if c.symbols == nil {
		c.symbols = c.server.Products
	}
	r.table = table(t, c.server.Vendor, c.symbols...)
	logger, log := logtest.New(t)
	r.log = log
	config := Config{
		Table: r.table, Log: logger, WS: r.server.WS, REST: r.server.REST, Key: exchangetest.Token,
		Messages: 4, Requests: 1000, Connects: 100, Silence: 3 * time.Second, Overlap: 50 * time.Millisecond,
		Grace: 20 * time.Millisecond, BackoffMin: 10 * time.Millisecond, BackoffMax: 50 * time.Millisecond,
	}
	if c.server.Vendor == "finnhub" {
		config.Messages = 100
	}
	if c.config != nil {
		c.config(&config)
	}
	var err error
	if r.in, err = newInlet(c.server.Vendor, config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- r.in.Run(ctx, r.sink, func(s *trade.Symbol) Position { return c.from[s.Vendor] })
	}()
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			t.Error("Run does not return")
			return nil
		}
	})
	t.Cleanup(func() { _ = r.stop() })
	if !c.wait {
		r.subscribed()
	}
	return r
}

// subscribed waits until there are connections that bring all products, and that the inlet counts.
func (r *rig) subscribed() {
	r.Helper()
	until(r, "subscribed", func() bool {
		for _, p := range r.products {
			if r.server.Subscribers(p) == 0 {
				return false
			}
		}
		return r.in.Stats().Connected > 0
	})
}

func (r *rig) name(product string) string { return r.in.vendor.source + ":" + product }

// complete waits until the newest trade of a product has come and compares: all that the exchange had came
// once and in order, but for what was told to be missing.
func (r *rig) complete(product string) {
	r.Helper()
	all := r.server.Trades(product)
	last := all[len(all)-1]
	name := r.table.Vendor(r.in.vendor.source, product).Name
	r.sink.await("the newest trade", func() bool {
		have := r.sink.trades[name]
		return len(have) > 0 && text(have[len(have)-1]) == r.wanted(last) && !r.sink.filling[name]
	})
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	var want []string
	for _, t := range all {
		if !slices.ContainsFunc(r.sink.gaps, func(g Gap) bool { return g.Symbol.Name == name && !g.Filled && within(g, t, r.in.vendor.numbered) }) {
			want = append(want, r.wanted(t))
		}
	}
	var have []string
	for i, t := range r.sink.trades[name] {
		have = append(have, text(t))
		if t.Received == 0 || t.Source != r.in.vendor.source || r.in.vendor.numbered && i > 0 && t.ID <= r.sink.trades[name][i-1].ID {
			r.Errorf("trade %+v", t)
		}
	}
	if !r.in.vendor.numbered { // One that came twice can't be told from two, and a gap is where some may be missing.
		slices.Sort(want)
		have = slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(have))), func(h string) bool {
			_, found := slices.BinarySearch(want, h)
			return !found && slices.ContainsFunc(all, func(t exchangetest.Trade) bool { return r.wanted(t) == h })
		})
	}
	if !slices.Equal(have, want) {
		r.Errorf("%s\nhave %d %v\nwant %d %v\ngaps %+v", product, len(have), have, len(want), want, r.sink.gaps)
	}
}

func within(g Gap, t exchangetest.Trade, numbered bool) bool {
	if numbered {
		return t.ID >= g.From && t.ID <= g.To
	}
	return t.Time.UnixMicro() > g.Since-1000 && t.Time.UnixMicro() <= g.Until
}

// text and wanted are a trade in words, as it came and as the exchange has it.
func text(t trade.Trade) string {
	side := ""
	if t.ID > 0 {
		side = t.Side.String()
	}
	return fmt.Sprintf("%d %d/%d at %d %s", t.ID, t.Price, t.Size, t.Time, side)
}

func (r *rig) wanted(t exchangetest.Trade) string {
	id, side := t.ID, "buy"
	if t.MakerBuys {
		side = "sell"
	}
	if !r.in.vendor.numbered {
		id, side = 0, ""
	}
	var a, b, c int64
	fmt.Sscanf(t.Price, "%d.%d", &a, &b)
	fmt.Sscanf(t.Size, "0.%d", &c)
	return fmt.Sprintf("%d %d/%d at %d %s", id, a*100+b, c, t.Time.UnixMicro(), side)
}
