// SPDX-License-Identifier: Apache-2.0

// Package trade is the model of what exchanges send: trades, in numbers that are exact, and the table
// of the symbols under which they are known here. It is pure: no clock, no sockets, no goroutines.
package trade

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// Side is who was the aggressor of a trade.
type Side uint8

const (
	NoSide Side = iota // The source does not say.
	Buy
	Sell
)

// String is "buy", "sell" or "".
func (s Side) String() string {
	switch s {
	case Buy:
		return "buy"
	case Sell:
		return "sell"
	}
	return ""
}

// Trade is one trade, or one that was made of several at one price where the source sends only that.
// Prices and sizes are in units of 10^-scale, with the scales of its symbol.
type Trade struct {
	Symbol   *Symbol
	Source   string // The exchange in capitals, such as COINBASE, or FILE, or SIM.
	Price    int64
	Size     int64
	Time     int64 // Of the exchange, in Unix microseconds.
	Received int64 // By the program that has the socket, in Unix microseconds.
	ID       int64 // Rises by one with each trade of a symbol at a source whose symbols are Numbered. 0 is none.
	Side     Side
	Bid, Ask int64  // The best ones by then, 0 where they are not known.
	Trace    string // A traceparent (W3C Trace Context), or "".
}

// Key orders the trades of a symbol: by the time of the exchange, and by ids within one time.
type Key struct{ Time, ID int64 }

// Key is where t stands among the trades of its symbol.
func (t *Trade) Key() Key { return Key{t.Time, t.ID} }

// Before reports whether k comes before o.
func (k Key) Before(o Key) bool { return k.Time < o.Time || k.Time == o.Time && k.ID < o.ID }

// SourceMax is how many bytes the name of a source has at most.
const SourceMax = 32

// ValidSource reports whether s may be the name of a source: capitals, digits, and -, _ and . between them.
func ValidSource(s string) bool {
	if s == "" || len(s) > SourceMax {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && (i == 0 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return true
}

// AheadMax is how far the time of a trade may be ahead of ours, in microseconds.
const AheadMax = 5_000_000

// RenumberedAfter is by how much, in microseconds, the time of a trade has to be after that of the trade with the
// highest id for its own lower id to say that the exchange numbers its trades anew, and not that the trade is late
// or came twice.
const RenumberedAfter = 60_000_000

// Flaws of trades. A trade that has one is counted and skipped.
var (
	ErrPrice  = errors.New("the price is not above 0")
	ErrSize   = errors.New("the size is below 0")
	ErrTime   = errors.New("the time is not after 1970")
	ErrAhead  = errors.New("the time is more than 5 s ahead of ours: check the clock of this host")
	ErrQuote  = errors.New("a bid or ask is below 0")
	ErrID     = errors.New("the id is below 0")
	ErrSymbol = errors.New("the trade has no symbol")
	ErrSource = errors.New("the source is no name: want capitals, digits and - _ . such as COINBASE")
)

// Check returns what is wrong with a trade that has come at a time, in Unix microseconds, or nil.
func (t *Trade) Check(now int64) error {
	switch {
	case t.Symbol == nil:
		return ErrSymbol
	case t.Price <= 0:
		return ErrPrice
	case t.Size < 0:
		return ErrSize
	case t.Time <= 0:
		return ErrTime
	case t.Time > now+AheadMax:
		return ErrAhead
	case t.Bid < 0 || t.Ask < 0:
		return ErrQuote
	case t.ID < 0:
		return ErrID
	}
	return nil
}

// As returns t as a trade of another symbol, with its numbers in that symbol's scales. It fails if they
// do not fit, or would not be exact.
func (t *Trade) As(s *Symbol) (Trade, error) {
	out := *t
	out.Symbol = s
	for _, n := range []struct {
		v        *int64
		from, to uint8
	}{
		{&out.Price, t.Symbol.PriceScale, s.PriceScale}, {&out.Bid, t.Symbol.PriceScale, s.PriceScale},
		{&out.Ask, t.Symbol.PriceScale, s.PriceScale}, {&out.Size, t.Symbol.SizeScale, s.SizeScale},
	} {
		v, err := Rescale(*n.v, n.from, n.to)
		if err != nil {
			return Trade{}, fmt.Errorf("%s as %s: %w", t.Symbol.Name, s.Name, err)
		}
		*n.v = v
	}
	return out, nil
}

// ScaleMax is the most decimal digits of a scale.
const ScaleMax = 15

var pow10 = func() (p [ScaleMax + 1]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

var (
	errFit   = fmt.Errorf("the number does not fit: want at most %d in units of its scale", int64(math.MaxInt64))
	errExact = errors.New("the number has more decimal digits than its scale")
)

// Rescale turns a number from units of 10^-from into units of 10^-to, exactly.
func Rescale(v int64, from, to uint8) (int64, error) {
	switch {
	case from > ScaleMax || to > ScaleMax:
		return 0, fmt.Errorf("a scale is above %d", ScaleMax)
	case from == to || v == 0:
		return v, nil
	case from > to:
		p := int64(pow10[from-to])
		if v%p != 0 {
			return 0, errExact
		}
		return v / p, nil
	}
	neg := v < 0
	u := uint64(v)
	if neg {
		u = -u
	}
	hi, lo := bits.Mul64(u, pow10[to-from])
	if hi != 0 || lo > math.MaxInt64 {
		return 0, errFit
	}
	if neg {
		return -int64(lo), nil
	}
	return int64(lo), nil
}
