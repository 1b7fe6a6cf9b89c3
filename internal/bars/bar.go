// SPDX-License-Identifier: Apache-2.0

// Package bars makes bars of trades: open, high, low, close and volume of each interval, whatever the
// order in which the trades come. It is pure: time is passed in.
package bars

import (
	"math/bits"
	"strconv"

	"tickedge/internal/trade"
)

// Bar is one bar of a symbol. Prices and sizes are in the scales of its symbol. A bar without trades was
// filled: all four prices are the close before it.
type Bar struct {
	Symbol   *trade.Symbol
	Interval *Interval
	Start    int64 // In Unix milliseconds. It lasts until Interval.Next(Start).
	Open     int64
	High     int64
	Low      int64
	Close    int64
	Volume   Sum // Sizes, in units of the size's scale.
	Turnover Sum // Prices times sizes, in units of both scales together.
	Count    int64
	Rev      int64 // How often it was changed after it was closed.
	Closed   bool
	First    trade.Key // The trade that Open is from, and the one that Close is from.
	Last     trade.Key
}

// AppendJSON appends a bar as an object: t (its start, Unix ms), o, h, l, c, v (volume), q (turnover),
// n (trades) and, where they are not 0, rev.
func (b *Bar) AppendJSON(to []byte) []byte {
	p, s := b.Symbol.PriceScale, b.Symbol.SizeScale
	to = strconv.AppendInt(append(to, `{"t":`...), b.Start, 10)
	to = trade.AppendDecimal(append(to, `,"o":`...), b.Open, p)
	to = trade.AppendDecimal(append(to, `,"h":`...), b.High, p)
	to = trade.AppendDecimal(append(to, `,"l":`...), b.Low, p)
	to = trade.AppendDecimal(append(to, `,"c":`...), b.Close, p)
	to = b.Volume.AppendDecimal(append(to, `,"v":`...), s)
	to = b.Turnover.AppendDecimal(append(to, `,"q":`...), p+s)
	to = strconv.AppendInt(append(to, `,"n":`...), b.Count, 10)
	if b.Rev != 0 {
		to = strconv.AppendInt(append(to, `,"rev":`...), b.Rev, 10)
	}
	return append(to, '}')
}

// Sum is a whole number from 0 to 2^128-1.
type Sum struct{ Hi, Lo uint64 }

// Add returns s + o, and false if that does not fit.
func (s Sum) Add(o Sum) (Sum, bool) {
	lo, carry := bits.Add64(s.Lo, o.Lo, 0)
	hi, over := bits.Add64(s.Hi, o.Hi, carry)
	return Sum{hi, lo}, over == 0
}

// Product returns a × b of numbers that are not below 0.
func Product(a, b int64) Sum {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return Sum{hi, lo}
}

// AppendDecimal appends s × 10^-scale as a JSON number.
func (s Sum) AppendDecimal(b []byte, scale uint8) []byte {
	var buf [40]byte
	at := len(buf)
	for s.Hi != 0 {
		const chunk = 1e18
		var rest uint64
		s.Hi, rest = s.Hi/chunk, s.Hi%chunk
		s.Lo, rest = bits.Div64(rest, s.Lo, chunk)
		for range 18 {
			at--
			buf[at] = byte('0' + rest%10)
			rest /= 10
		}
	}
	var top [20]byte
	digits := strconv.AppendUint(top[:0], s.Lo, 10)
	if s.Lo == 0 && at < len(buf) {
		digits = nil
	}
	at -= copy(buf[at-len(digits):], digits)
	return trade.AppendDigits(b, buf[at:], scale)
}
