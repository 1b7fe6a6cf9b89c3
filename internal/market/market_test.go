// SPDX-License-Identifier: Apache-2.0

package market

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

var noon = time.UnixMilli(1732181723411)

func newMarket(t *testing.T, c Config) *Market {
	t.Helper()
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// ticks returns the next n ticks of a market as text.
func ticks(m *Market, n int) string {
	var b strings.Builder
	for range n {
		tick, _ := m.Next(noon)
		fmt.Fprintln(&b, tick.Topic, string(tick.Value), tick.After)
	}
	return b.String()
}

func TestMarketFollowsItsSeed(t *testing.T) {
	c := Config{Symbols: DefaultSymbols(), Generated: 3, Rate: 300, Volatility: 5, Seed: 7}
	first := ticks(newMarket(t, c), 1000)
	if again := ticks(newMarket(t, c), 1000); again != first {
		t.Error("the same seed gave other ticks")
	}
	c.Seed++
	if other := ticks(newMarket(t, c), 1000); other == first {
		t.Error("another seed gave the same ticks")
	}
}

func TestMarketValues(t *testing.T) {
	m := newMarket(t, Config{Symbols: append(DefaultSymbols(), "MINE", "^GSPC", "M&M.NS", "币安人生USDT"), Generated: 10, Rate: 1e6, Volatility: 1, Seed: 1})
	seen := make(map[string]bool)
	for range 10_000 {
		tick, err := m.Next(noon)
		if err != nil || broker.Inspect(string(tick.Value)) != broker.Flawless || !topics.ValidName(tick.Topic) || len(tick.Value) > 80 {
			t.Fatalf("%s %s: %v", tick.Topic, tick.Value, err)
		}
		var v struct {
			P, B, A float64
			TS      int64
		}
		if err := json.Unmarshal(tick.Value, &v); err != nil {
			t.Fatal(err)
		}
		start := lookup(tick.Topic).Price
		if v.TS != noon.UnixMilli() || v.B >= v.P || v.A <= v.P || v.P < start/1.1 || v.P > start*1.1 {
			t.Fatalf("%s %s, start at %v", tick.Topic, tick.Value, start)
		}
		seen[tick.Topic] = true
	}
	if len(seen) != len(known)+14 {
		t.Errorf("%d symbols seen", len(seen))
	}
}

// A version never falls, and a clock may.
func TestMarketTimeNeverFalls(t *testing.T) {
	m := newMarket(t, Config{Symbols: []string{"AAPL"}, Rate: 1, Volatility: 1, Seed: 1})
	var last int64
	for _, now := range []time.Time{noon, noon.Add(-time.Hour), noon.Add(time.Millisecond)} {
		tick, _ := m.Next(now)
		var v struct{ TS int64 }
		if err := json.Unmarshal(tick.Value, &v); err != nil {
			t.Fatal(err)
		}
		if v.TS < last {
			t.Errorf("ts went from %d to %d", last, v.TS)
		}
		last = v.TS
	}
	if want := noon.UnixMilli() + 1; last != want {
		t.Errorf("ts = %d, want %d once the clock has caught up", last, want)
	}
}

// At volatility 1, a year of ticks moves the logarithm of a price by the symbol's
// own volatility, on average.
func TestMarketVolatility(t *testing.T) {
	const runs, steps = 400, 365
	perDay := 1 / (24 * time.Hour).Seconds()
	sum := 0.0
	for seed := range uint64(runs) {
		m := newMarket(t, Config{Symbols: []string{"AAPL"}, Rate: perDay, Volatility: 1, Seed: seed})
		ticks(m, steps)
		sum += m.symbols[0].log * m.symbols[0].log
	}
	got, want := math.Sqrt(sum/runs), lookup("AAPL").Volatility
	if math.Abs(got/want-1) > 0.15 {
		t.Errorf("yearly volatility = %.3f, want %.3f", got, want)
	}
}

func TestMarketStaysInBounds(t *testing.T) {
	m := newMarket(t, Config{Symbols: []string{"XRP-USD", "USD-JPY"}, Rate: 0.001, Volatility: volatilityMax, Seed: 1})
	for range 10_000 {
		tick, _ := m.Next(noon)
		var v struct{ P, B float64 }
		if err := json.Unmarshal(tick.Value, &v); err != nil {
			t.Fatal(err)
		}
		if start := lookup(tick.Topic).Price; v.P < start/21 || v.P > start*21 || v.B < 0 {
			t.Fatalf("%s %s", tick.Topic, tick.Value)
		}
	}
}

// The times between ticks are whole nanoseconds, and their sum is exact.
func TestMarketRate(t *testing.T) {
	for _, rate := range []float64{3, 200, 700_000, RateMax} {
		m := newMarket(t, Config{Generated: 1, Rate: rate})
		n := min(int(rate), 10_000)
		want := time.Duration(float64(n) / rate * float64(time.Second))
		var sum time.Duration
		for range n {
			tick, _ := m.Next(noon)
			sum += tick.After
		}
		if d := sum - want; d.Abs() > 2 {
			t.Errorf("%d ticks at %v a second take %v, want %v", n, rate, sum, want)
		}
	}
}

func TestPrices(t *testing.T) {
	for _, c := range []struct {
		units    int64
		decimals uint8
		want     string
	}{{18987, 2, "189.87"}, {5, 2, "0.05"}, {100, 2, "1.00"}, {104168, 5, "1.04168"}, {7, 0, "7"}, {0, 3, "0.000"}} {
		s := stock{scale: int64(math.Pow10(int(c.decimals))), decimals: c.decimals}
		if got := string(s.appendPrice([]byte("x"), c.units)); got != "x"+c.want {
			t.Errorf("%d with %d decimals = %s, want x%s", c.units, c.decimals, got, c.want)
		}
	}
}

func TestMarketConfigErrors(t *testing.T) {
	err := Config{Symbols: []string{"", "A B", "A\xff"}, Generated: -1, Rate: math.NaN(), Volatility: -1, Drift: math.NaN()}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`symbol ""`, `symbol "A B"`, `symbol "A\xff" is not valid, want 1 to 64 bytes of UTF-8`, "generated symbols are -1", "rate is NaN", "volatility is -1", "drift is NaN"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if _, err := New(Config{Rate: 1}); err == nil || !strings.Contains(err.Error(), "no symbols") {
		t.Errorf("error = %v", err)
	}
}

func BenchmarkMarketNext(b *testing.B) {
	m, _ := New(Config{Symbols: DefaultSymbols(), Rate: 1e6, Volatility: 1})
	b.ReportAllocs()
	for b.Loop() {
		m.Next(noon)
	}
}
