// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"math"

	"tickedge/internal/trade"
)

const maxTime = math.MaxInt64

// book is all that is known of a symbol.
type book struct {
	symbol  *trade.Symbol
	series  []series // One for each interval of the engine.
	sources []source
	begun   bool  // A trade has come.
	filling bool  // See [Engine.Filling].
	mark    int64 // What ends by then is closed, in Unix microseconds. It only rises.
	due     int64 // The mark at which the next bar closes, in Unix milliseconds.
	newest  newest

	inClosed, inKlines, inPrices bool // It is in that list of the engine.
}

// source is what is known of a symbol at one source.
type source struct {
	clock *clock
	time  int64 // How far it has come. 0: it was not heard of.
	ids   ids
}

// begin sets what is closed before the first trade of a symbol.
func (b *book) begin(e *Engine, at int64) {
	if b.begun {
		return
	}
	b.begun = true
	b.mark = max(b.mark, at-e.window, 0)
	b.raise(e)
	b.due = maxTime
	for i := range b.series {
		s := &b.series[i]
		s.closedTo = s.interval.Start(b.mark/1000, b.symbol.Zone)
		s.nextClose = s.next(s.closedTo)
		b.due = min(b.due, s.nextClose)
	}
}

// raise moves the mark on.
func (b *book) raise(e *Engine) {
	low, high := int64(maxTime), int64(0)
	for i := range b.sources {
		s := &b.sources[i]
		if at := max(s.time, s.clock.heard); at != 0 {
			low, high = min(low, at), max(high, at)
		}
	}
	if high != 0 {
		b.mark = max(b.mark, low-e.window, high-e.silence)
	}
	if !b.filling {
		b.mark = max(b.mark, e.wall)
	}
}

// most bounds the bars of a series: four times those that may be revised and those that are open, in case that
// they are told late, and some more.
func (s *series) most(e *Engine) int {
	return int((e.limit+e.silence+trade.AheadMax)/1000/s.interval.Millis)*4 + 4*pendingFills
}
