// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tickedge/internal/exchange/exchangetest"
	"tickedge/internal/trade"
)

// A connection is replaced before the exchange ends it, and nothing has to be fetched for that.
func TestConnectionsAreReplaced(t *testing.T) {
	for _, server := range exchanges[:2] {
		t.Run(server.Vendor, func(t *testing.T) {
			t.Parallel()
			server.Cut = time.Minute
			r := newRig(t, rigConfig{server: server, config: func(c *Config) { c.Life, c.Messages = 700*time.Millisecond, 100 }})
			p := server.Products[0]
			until(t, "replaced three times", func() bool { r.server.Make(p, 1); return r.server.Dials() >= 4 })
			r.complete(p)
			r.check(fault{})
			if n := r.server.Requests(); n != 0 {
				t.Errorf("the history was asked %d times", n)
			}
		})
	}
}

// A key may have one connection: the old one ends first, and what may be missing is told.
func TestOneConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	server := exchanges[2]
	r := newRig(t, rigConfig{server: server, config: func(c *Config) { c.Life = 500 * time.Millisecond }})
	p := server.Products[0]
	until(t, "replaced", func() bool { r.server.Make(p, 1); return r.server.Dials() >= 3 })
	r.subscribed()
	r.sink.await("gaps", func() bool { return len(r.sink.gaps) >= 4 })
	r.server.Make(p, 1)
	r.complete(p)
	// The exchange may not have noticed yet that the old one ended.
	r.check(fault{refused: "two connections with one key"})
}

// What the exchange allows is kept to: streams of a connection, and messages a second.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		vendor      string
		symbols     int
		streams     int
		connections int
	}{{"binance", 512, 0, 1}, {"binance", 60, 24, 5}, {"coinbase", 120, 0, 2}, {"finnhub", 50, 0, 1}} {
		t.Run(fmt.Sprintf("%s/%d", c.vendor, c.symbols), func(t *testing.T) {
			t.Parallel()
			var products []string
			for i := range c.symbols {
				products = append(products, fmt.Sprintf("P%d", i))
			}
			server := exchangetest.Config{Vendor: c.vendor, Products: products, Streams: c.streams}
			r := newRig(t, rigConfig{server: server, config: func(config *Config) { config.Messages, config.Streams = 0, c.streams }})
			until(t, "all connections", func() bool { return r.in.Stats().Connected == c.connections })
			for _, p := range []string{products[0], products[c.symbols-1]} {
				r.server.Make(p, 3)
				r.complete(p)
			}
			if n := r.server.Dials(); n != c.connections {
				t.Errorf("%d connections, want %d", n, c.connections)
			}
			r.check(fault{})
		})
	}
}

// Messages that a connection missed show by their numbers, though no trade follows.
func TestSequence(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigConfig{server: exchanges[0]})
	p := exchanges[0].Products[0]
	r.server.Make(p, 3)
	r.complete(p)
	r.server.Lose(p, 4)
	r.complete(p)
	r.check(fault{filled: 1})
}

// A symbol that the exchange does not have is told of once, and the others go on.
func TestUnknownSymbols(t *testing.T) {
	for _, server := range append(slices.Clone(exchanges), exchangetest.Config{Vendor: "coinbase", Products: exchanges[0].Products, Vague: true}) {
		t.Run(fmt.Sprintf("%s/%v", server.Vendor, server.Vague), func(t *testing.T) {
			t.Parallel()
			symbols := append([]string{"NOPE", "NOPE-2"}, server.Products...)
			from := map[string]Position{"NOPE": {ID: 5, Time: micros()}} // So that Binance is asked about it.
			r := newRig(t, rigConfig{server: server, symbols: symbols, from: from})
			for _, p := range server.Products {
				r.server.Make(p, 3)
				r.complete(p)
			}
			if server.Vendor == "binance" { // Its sockets don't say.
				until(t, "refused", func() bool { return r.log.Count("Invalid symbol") > 0 })
				return
			}
			until(t, "refused", func() bool { return r.log.Count("refuses a symbol") == 2 })
			r.server.Drop()
			r.gone(server.Products[0])
			r.subscribed()
			r.server.Make(server.Products[1], 2)
			r.complete(server.Products[1])
			if r.log.Count("refuses a symbol") != 2 || r.in.Stats().LastError == "" {
				t.Errorf("stats %+v", r.in.Stats())
			}
			for _, refusal := range r.server.Refusals() {
				if !strings.Contains(refusal, "NOPE") {
					t.Error(refusal)
				}
			}
		})
	}
}

// Trades go on from where they were stored, as far as the exchange is asked.
func TestPositions(t *testing.T) {
	for _, server := range exchanges[:2] {
		for _, c := range []struct {
			name   string
			config func(*Config)
			gap    Gap
		}{
			{"all", func(*Config) {}, Gap{From: 1005, To: 1049, Filled: true}},
			{"too old", func(c *Config) { c.Backfill = 15 * time.Minute }, Gap{From: 1005, To: 1029}},
			{"too many", func(c *Config) { c.BackfillTrades = 30 }, Gap{From: 1005, To: 1019}},
		} {
			t.Run(server.Vendor+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				p := server.Products[0]
				var stored exchangetest.Trade
				r := newRig(t, rigConfig{server: server, config: c.config, from: map[string]Position{p: {ID: 1004, Time: time.Now().Add(-30 * time.Minute).UnixMicro()}}, before: func(s *exchangetest.Server) {
					for i := range 50 {
						s.Age(30*time.Minute - time.Duration(i)*31*time.Second)
						s.Make(p, 1)
					}
					s.Age(0)
					stored = s.Trades(p)[4]
				}})
				name := r.name(p)
				r.sink.await("the newest trade", func() bool {
					have := r.sink.trades[name]
					return len(have) > 0 && have[len(have)-1].ID == 1049 && len(r.sink.gaps) > 0 && !r.sink.filling[name]
				})
				r.server.Make(p, 1)
				r.sink.await("a live one", func() bool {
					have := r.sink.trades[name]
					return have[len(have)-1].ID == 1050
				})
				r.sink.mu.Lock()
				defer r.sink.mu.Unlock()
				have, first := r.sink.trades[name], stored.ID+1
				if !c.gap.Filled {
					first = c.gap.To + 1
				}
				// Of what is too old, Coinbase's seconds and the time that the test takes may leave one more or less.
				if d := have[0].ID - first; d < -3 || d > 2 || c.gap.Filled && d != 0 {
					t.Errorf("first %d, want %d", have[0].ID, first)
				}
				for i, tr := range have {
					if tr.ID != have[0].ID+int64(i) {
						t.Errorf("%d after %d", tr.ID, have[i-1].ID)
					}
				}
				g := r.sink.gaps[0]
				if len(r.sink.gaps) != 1 || g.Filled != c.gap.Filled || g.From != c.gap.From || c.gap.Filled && g.To != c.gap.To || !g.Filled && g.To != have[0].ID-1 {
					t.Errorf("gaps %+v, want %+v", r.sink.gaps, c.gap)
				}
			})
		}
	}
}

// A wrong key is an error that ends Run, and it is told nowhere.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	const key = "a-secret/with+signs"
	r := newRig(t, rigConfig{server: exchanges[2], wait: true, config: func(c *Config) { c.Key = key }})
	until(t, "an error", func() bool { return r.in.Stats().LastError != "" })
	err := r.stop()
	if err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("error %v", err)
	}
	all := fmt.Sprint(err, r.in.Stats(), r.log.String())
	// Errors of the network have the address in them.
	r = newRig(t, rigConfig{server: exchanges[2], wait: true, config: func(c *Config) { c.Key, c.WS = key, "ws://127.0.0.1:1" }})
	until(t, "an error of the network", func() bool { return r.in.Stats().LastError != "" })
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	all += fmt.Sprint(r.in.Stats(), r.log.String())
	if !strings.Contains(all, "refused") {
		t.Errorf("there is no error of the network in %s", all)
	}
	if strings.Contains(all, "secret") {
		t.Errorf("the key is told: %s", all)
	}
}

// What is on its way no more is told of all symbols, by heartbeats, pings or pongs, and not of those that
// the exchange does not have.
func TestHeard(t *testing.T) {
	for _, server := range exchanges {
		t.Run(server.Vendor, func(t *testing.T) {
			t.Parallel()
			before := micros() - 2*aliveLag.Microseconds()
			r := newRig(t, rigConfig{server: server, symbols: append([]string{"NOPE"}, server.Products...), config: func(c *Config) { c.Silence = 2 * time.Second }})
			for _, p := range server.Products {
				r.sink.await("heard", func() bool { return r.sink.heard[r.name(p)] > before })
			}
			var first int64
			r.sink.await("heard of again", func() bool {
				at := r.sink.heard[r.name(server.Products[0])]
				if first == 0 {
					first = at
				}
				return at > first
			})
			r.sink.mu.Lock()
			defer r.sink.mu.Unlock()
			if at := r.sink.heard[r.name(server.Products[0])]; at > micros() {
				t.Errorf("heard of %d, which is to come", at)
			}
			if server.Vendor != "binance" && r.sink.heard[r.name("NOPE")] != 0 {
				t.Error("heard of a symbol that there is not")
			}
		})
	}
}

// While trades are fetched, more come than are held: they are fetched next.
func TestMoreThanIsHeld(t *testing.T) {
	t.Parallel()
	in, err := newInlet("binance", Config{Table: table(t, "BINANCE", "X"), Grace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s := newSink(t)
	in.to = s
	tr := in.groups[0].trackers[0]
	made := func(id int64) trade.Trade {
		return trade.Trade{Symbol: tr.sym, Price: 1, Time: micros(), ID: id}
	}
	const last = 100 + 3*heldMax
	asked := atomic.Int64{}
	in.history = func(_ context.Context, _ *trade.Symbol, q query) (list []trade.Trade, err error) {
		if asked.Add(1) == 1 { // Its first answer takes long.
			for id := int64(102); id <= last; id++ {
				tr.trade(made(id))
			}
		}
		for id := q.from; id <= q.to; id++ {
			list = append(list, made(id))
		}
		return list, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go in.fillAll(ctx)
	tr.begin(Position{ID: 90, Time: micros()})
	tr.trade(made(101))
	s.await("what is held", func() bool { return len(s.trades["BINANCE:X"]) >= heldMax && !s.filling["BINANCE:X"] })
	until(t, "live", func() bool { tr.mu.Lock(); defer tr.mu.Unlock(); return !tr.filling })
	tr.trade(made(last + 1))
	s.await("the rest", func() bool { return len(s.trades["BINANCE:X"]) == last+1-90 && !s.filling["BINANCE:X"] })
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, have := range s.trades["BINANCE:X"] {
		if have.ID != int64(91+i) {
			t.Fatalf("%d at %d", have.ID, i)
		}
	}
	if in.gaps.Load() != 2 || in.filled.Load() != 2 {
		t.Errorf("%+v", in.Stats())
	}
}

// A trade that was overtaken has time to come before it is fetched.
func TestLate(t *testing.T) {
	t.Parallel()
	in, err := newInlet("binance", Config{Table: table(t, "BINANCE", "X"), Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s := newSink(t)
	in.to = s
	in.history = func(context.Context, *trade.Symbol, query) ([]trade.Trade, error) {
		t.Error("the history is asked")
		return nil, nil
	}
	tr := in.groups[0].trackers[0]
	for _, id := range []int64{1, 4, 3, 2} {
		tr.trade(trade.Trade{Symbol: tr.sym, Price: 1, Time: micros(), ID: id})
	}
	if len(in.jobs[gaps]) != 0 || len(s.trades["BINANCE:X"]) != 1 {
		t.Errorf("what is late does not have its time: %v", s.trades)
	}
	if !tr.begun(gaps) || tr.begun(gaps) {
		t.Error("it is not filled once")
	}
	in.fill(t.Context(), tr)
	have := s.trades["BINANCE:X"]
	if len(have) != 4 || have[1].ID != 2 || have[2].ID != 3 || have[3].ID != 4 || len(s.gaps) != 0 || s.fillings["BINANCE:X"] != 0 || tr.filling {
		t.Errorf("%+v, gaps %+v", have, s.gaps)
	}
}

// An exchange that numbers its trades anew is followed.
func TestNumberedAnew(t *testing.T) {
	t.Parallel()
	in, err := newInlet("binance", Config{Table: table(t, "BINANCE", "X")})
	if err != nil {
		t.Fatal(err)
	}
	s := newSink(t)
	in.to = s
	tr := in.groups[0].trackers[0]
	at := micros()
	for _, x := range []trade.Trade{{ID: 1000, Time: at}, {ID: 3, Time: at + 1}, {ID: 1001, Time: at}, {ID: 3, Time: at + 2*trade.RenumberedAfter}, {ID: 4, Time: at + 2*trade.RenumberedAfter}} {
		x.Symbol = tr.sym
		tr.trade(x)
	}
	var ids []int64
	for _, x := range s.trades["BINANCE:X"] {
		ids = append(ids, x.ID)
	}
	if !slices.Equal(ids, []int64{1000, 1001, 3, 4}) || len(s.gaps) != 1 || s.gaps[0].Filled {
		t.Errorf("ids %d, gaps %+v", ids, s.gaps)
	}
}

func TestProbe(t *testing.T) {
	for _, server := range exchanges {
		t.Run(server.Vendor, func(t *testing.T) {
			t.Parallel()
			s := exchangetest.Start(t, server)
			c := Config{WS: s.WS, REST: s.REST, Key: exchangetest.Token, Connects: 100}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for ctx.Err() == nil {
					s.Make(server.Products[0], 1)
					time.Sleep(time.Millisecond)
				}
			}()
			var out bytes.Buffer
			if err := Probe(ctx, server.Vendor, server.Products[:1], c, &out); err != nil || strings.Count(out.String(), "price 10") < 10 || !strings.Contains(out.String(), "clock") {
				t.Errorf("%v\n%s", err, out.String())
			}
			if strings.Contains(out.String(), exchangetest.Token) {
				t.Error("the key is told")
			}
		})
	}
	var out bytes.Buffer
	s := exchangetest.Start(t, exchanges[2])
	err := Probe(t.Context(), "finnhub", []string{"AAPL"}, Config{WS: s.WS, Key: "wrong-key"}, &out)
	var fatal errFatal
	if !errors.As(err, &fatal) || strings.Contains(err.Error()+out.String(), "wrong-key") {
		t.Errorf("error %v\n%s", err, out.String())
	}
}

func TestConfigErrors(t *testing.T) {
	coinbase := table(t, "COINBASE", "BTC-USD")
	for _, c := range []struct {
		name string
		c    Config
		want string
	}{
		{"kraken", Config{Table: coinbase}, "want one of coinbase, binance, finnhub"},
		{"coinbase", Config{}, "no table"},
		{"binance", Config{Table: coinbase}, "no symbol has it as its source"},
		{"finnhub", Config{Table: coinbase}, "no key"},
		{"coinbase", Config{Table: coinbase, WS: "http://x"}, "want for example wss://"},
		{"coinbase", Config{Table: coinbase, REST: "https://u:p@x"}, "want for example https://"},
		{"coinbase", Config{Table: coinbase, BackfillTrades: backfillMax + 1}, "at most 100000"},
		{"coinbase", Config{Table: coinbase, Streams: 201}, "want 2 to 200"},
		{"coinbase", Config{Table: coinbase, Silence: -1}, "below 0"},
	} {
		if in, err := New(c.name, c.c); in != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: %v, want %q", c.name, c.c, err, c.want)
		}
	}
	if !Numbered("COINBASE") || !Numbered("SIM") || Numbered("FINNHUB") || Numbered("FILE") {
		t.Error("which trades are numbered")
	}
}
