// SPDX-License-Identifier: Apache-2.0

// Package market makes ticks for demonstrations and load: a simulated [Market], a recorded
// [Replay], and a [Player] that publishes them at their pace.
package market

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// Config describes a simulated market.
type Config struct {
	// Symbols are traded from realistic prices if they are known, see
	// [DefaultSymbols], and from made-up ones otherwise.
	Symbols []string
	// Generated is how many symbols GEN-000001, GEN-000002, … there are besides.
	Generated int
	// Rate is in ticks per second, all symbols together.
	Rate float64
	// Volatility multiplies the yearly volatility of every symbol. At 1 prices move
	// as they do in reality, which is slow to look at.
	Volatility float64
	// Drift is what the logarithm of a price gains in a year, times Volatility, so that it shows
	// as soon as its movements do.
	Drift float64
	// Seed decides about all prices: the same seed gives the same ticks.
	Seed uint64
}

const (
	// RateMax bounds the rate to what a nanosecond clock can pace.
	RateMax       = 1e7
	generatedMax  = 1_000_000 // At 64 bytes a symbol, 64 MB.
	volatilityMax = 1000
	driftMax      = 100
)

// Validate returns all that is wrong with c, or nil.
func (c Config) Validate() error {
	var errs []error
	for _, s := range c.Symbols {
		if !topics.ValidName(s) {
			errs = append(errs, fmt.Errorf("symbol %q is not valid, want %s", s, topics.NameRule))
		}
	}
	if c.Generated < 0 || c.Generated > generatedMax {
		errs = append(errs, fmt.Errorf("generated symbols are %d, want 0 to %d", c.Generated, generatedMax))
	}
	if len(c.Symbols) == 0 && c.Generated == 0 {
		errs = append(errs, errors.New("the market has no symbols"))
	}
	if !(c.Rate > 0 && c.Rate <= RateMax) {
		errs = append(errs, fmt.Errorf("rate is %v, want above 0 and at most %.0f ticks per second", c.Rate, RateMax))
	}
	if !(c.Volatility >= 0 && c.Volatility <= volatilityMax) {
		errs = append(errs, fmt.Errorf("volatility is %v, want 0 to %d", c.Volatility, volatilityMax))
	}
	if !(c.Drift >= -driftMax && c.Drift <= driftMax) {
		errs = append(errs, fmt.Errorf("drift is %v, want -%d to %d", c.Drift, driftMax, driftMax))
	}
	return errors.Join(errs...)
}

// Market is simulated [Ticks]: every price follows a geometric Brownian
// motion of its own. It never ends. Not safe for concurrent use.
type Market struct {
	random  *rand.Rand
	symbols []stock
	period  float64 // Nanoseconds from tick to tick.
	carry   float64 // The part of them not handed out yet, below 1.
	ts      int64   // That of the newest tick, in Unix ms.
	buf     []byte
}

// stock is a symbol and its price.
type stock struct {
	name     string
	start    float64
	log      float64 // ln(price / start)
	step     float64 // Standard deviation of log per tick.
	drift    float64 // What log gains per tick.
	scale    int64   // The price is printed in units of 1/scale.
	decimals uint8
}

// logMax keeps prices within a factor of 20 of their start, so that a demonstration
// left running for weeks still shows numbers that fit their columns.
var logMax = math.Log(20)

const year = 365 * 24 * time.Hour

// New returns a market. Its config must be valid.
func New(c Config) (*Market, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("market: %w", err)
	}
	m := &Market{
		random: rand.New(rand.NewPCG(c.Seed, 0x7469636b65646765)),
		period: float64(time.Second) / c.Rate,
	}
	n := len(c.Symbols) + c.Generated
	// A tick is of a random symbol, so n ticks pass between two of the same.
	years := float64(n) / c.Rate / year.Seconds()
	m.symbols = make([]stock, 0, n)
	add := func(s Symbol) {
		m.symbols = append(m.symbols, stock{
			name:     s.Name,
			start:    s.Price,
			step:     s.Volatility * c.Volatility * math.Sqrt(years),
			drift:    c.Drift * c.Volatility * years,
			scale:    int64(math.Pow10(s.Decimals)),
			decimals: uint8(s.Decimals),
		})
	}
	for _, name := range c.Symbols {
		add(lookup(name))
	}
	for i := range c.Generated {
		add(lookup(fmt.Sprintf("GEN-%06d", i+1)))
	}
	return m, nil
}

// Next returns the next tick, stamped with now, or with the time of the tick before it
// if the clock went back: ts is a version, and the ticks of a topic are in its order.
// The error is always nil.
func (m *Market) Next(now time.Time) (Tick, error) {
	s := &m.symbols[m.random.IntN(len(m.symbols))]
	// Without the second term the expected price would grow with the volatility.
	s.log += s.step*m.random.NormFloat64() - s.step*s.step/2 + s.drift
	s.log = min(max(s.log, -logMax), logMax)
	price := max(int64(math.Round(s.start*math.Exp(s.log)*float64(s.scale))), 1)
	spread := 1 + price/20000 // Half a basis point to either side, and one unit at least.

	m.ts = max(m.ts, now.UnixMilli())
	b := append(m.buf[:0], `{"p":`...)
	b = s.appendPrice(b, price)
	b = append(b, `,"b":`...)
	b = s.appendPrice(b, max(price-spread, 0))
	b = append(b, `,"a":`...)
	b = s.appendPrice(b, price+spread)
	b = append(b, `,"ts":`...)
	b = strconv.AppendInt(b, m.ts, 10)
	m.buf = append(b, '}')

	m.carry += m.period
	after := time.Duration(m.carry)
	m.carry -= float64(after)
	return Tick{broker.Tick{Topic: s.name, Value: m.buf}, after}, nil
}

// appendPrice prints units of 1/s.scale with all their decimals.
func (s *stock) appendPrice(b []byte, units int64) []byte {
	b = strconv.AppendInt(b, units/s.scale, 10)
	if s.decimals == 0 {
		return b
	}
	b = append(b, '.')
	at := len(b)
	// The leading digit keeps the zeros behind the point; it becomes the point.
	b = strconv.AppendInt(b[:at-1], units%s.scale+s.scale, 10)
	b[at-1] = '.'
	return b
}
