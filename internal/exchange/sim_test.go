// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"context"
	"testing"

	"tickedge/internal/trade"
)

// started is a market of two symbols that runs until the test ends.
func started(t *testing.T, c SimConfig, from Position) (*Sim, *sink) {
	t.Helper()
	c.Table = table(t, "SIM", "BTC-USD", "AAPL")
	m, err := NewSim(c)
	if err != nil {
		t.Fatal(err)
	}
	s := newSink(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx, s, func(*trade.Symbol) Position { return from }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return m, s
}

func TestSim(t *testing.T) {
	m, s := started(t, SimConfig{Rate: 5000, Volatility: 10, Drift: 1, Seed: 1, Waiting: true}, Position{ID: 7})
	if st := m.State(); st.Started || st.Trades != 0 || st.Speed != 1 {
		t.Errorf("state %+v before the start", st)
	}
	m.Start()
	m.Start()
	s.await("trades", func() bool { return len(s.trades["SIM:BTC-USD"]) > 500 && len(s.trades["SIM:AAPL"]) > 500 })
	m.Pause()
	if err := m.SetSpeed(0); err == nil {
		t.Error("a speed of 0 is taken")
	}
	if err := m.SetSpeed(3); err != nil {
		t.Error(err)
	}
	if st := m.State(); !st.Started || !st.Paused || st.Speed != 3 {
		t.Errorf("state %+v", st)
	}
	s.await("heard in a pause", func() bool { return s.heard["SIM"] > 0 })
	m.Resume()
	var n int
	s.await("more", func() bool {
		if n == 0 {
			n = len(s.trades["SIM:AAPL"])
		}
		return len(s.trades["SIM:AAPL"]) > n+100
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	sides := make(map[trade.Side]int)
	for name, all := range s.trades {
		for i, tr := range all {
			if tr.ID != int64(8+i) || tr.Size <= 0 || tr.Check(micros()) != nil || i > 0 && tr.Time < all[i-1].Time || !tr.Symbol.Numbered || tr.Bid >= tr.Price || tr.Ask <= tr.Price {
				t.Fatalf("%s: %+v", name, tr)
			}
			sides[tr.Side]++
		}
	}
	if sides[trade.Buy] == 0 || sides[trade.Sell] == 0 || len(sides) != 2 {
		t.Errorf("sides %v", sides)
	}
}

// The same seed gives the same prices and sizes.
func TestSimFollowsItsSeed(t *testing.T) {
	first := func(seed uint64) (all []trade.Trade) {
		_, s := started(t, SimConfig{Rate: 5000, Volatility: 10, Seed: seed}, Position{})
		s.await("trades", func() bool { return len(s.trades["SIM:AAPL"]) >= 50 })
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, tr := range s.trades["SIM:AAPL"][:50] {
			all = append(all, trade.Trade{Price: tr.Price, Size: tr.Size, Side: tr.Side})
		}
		return all
	}
	a, b, c := first(1), first(1), first(2)
	same := func(a, b []trade.Trade) bool {
		for i := range a {
			if a[i] != b[i] {
				return false
			}
		}
		return true
	}
	if !same(a, b) || same(a, c) {
		t.Error("trades do not follow the seed")
	}
}

func TestSimErrors(t *testing.T) {
	for _, c := range []SimConfig{{}, {Table: table(t, "SIM", "X")}, {Table: table(t, "COINBASE", "X"), Rate: 1}, {Table: table(t, "SIM", "X"), Rate: 1, Drift: 1e9}} {
		if _, err := NewSim(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
