// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"strconv"

	"tickedge/internal/trade"
)

// queue puts a book into the lists of what is to be told.
func (e *Engine) queue(b *book) {
	if !b.inPrices && b.newest.tell {
		b.inPrices, e.prices = true, append(e.prices, b)
	}
	if b.inClosed && b.inKlines {
		return
	}
	for i := range b.series {
		s := &b.series[i]
		if !b.inClosed && s.pending > 0 {
			b.inClosed, e.closed = true, append(e.closed, b)
		}
		if !b.inKlines && s.tell {
			b.inKlines, e.klines = true, append(e.klines, b)
		}
	}
}

// DrainClosed passes each bar that was closed, or revised, since it was told last, as it is now: those of a
// symbol and interval in the order of their starts. None is left out, but what changed several times comes
// once. take must not keep the bar, nor call the engine. If it returns false, that bar and what is left are passed
// by the next call. It returns how many were taken.
func (e *Engine) DrainClosed(take func(*Bar) bool) int {
	taken, left, full := 0, e.closed[:0], false
	for _, b := range e.closed {
		rest := false
		for i := range b.series {
			s := &b.series[i]
			if !full && s.pending > 0 {
				full = !s.drain(e, b, take, &taken)
				s.drop(e, b.mark)
			}
			rest = rest || s.pending > 0
		}
		if b.inClosed = rest; rest {
			left = append(left, b)
		}
	}
	clear(e.closed[len(left):])
	e.closed = left
	e.stats.Waiting -= taken
	return taken
}

// drain passes the dirty bars of a series until one is not taken. Those of a symbol that is being filled wait until
// no trade may revise them.
func (s *series) drain(e *Engine, b *book, take func(*Bar) bool, taken *int) bool {
	live := s.live()
	at, _ := s.find(s.dirtyFrom)
	for ; s.pending > 0 && at < len(live); at++ {
		if !live[at].dirty {
			continue
		}
		s.dirtyFrom = live[at].start
		if b.filling && s.next(live[at].start) > (b.mark-e.limit)/1000 {
			return true
		}
		if e.bar = s.bar(&live[at]); !take(&e.bar) {
			return false
		}
		live[at].dirty = false
		s.pending--
		*taken++
	}
	s.dirtyFrom = maxTime
	return true
}

func (s *series) bar(b *slot) Bar {
	return Bar{
		Symbol: s.symbol, Interval: s.interval, Start: b.start, Open: b.open, High: b.high, Low: b.low, Close: b.close,
		Volume: b.volume, Turnover: b.turnover, Count: b.count, Rev: int64(b.rev), Closed: b.start < s.closedTo,
		First: b.first, Last: b.last,
	}
}

// DrainKlines passes each symbol and interval of which anything changed since it was passed last, but those that
// are being filled. take must not keep it. If it returns false, that one and what is left are passed by the next call.
func (e *Engine) DrainKlines(take func(Series) bool) {
	left, full := e.klines[:0], false
	for _, b := range e.klines {
		rest := false
		for i := range b.series {
			s := &b.series[i]
			if s.tell && !full && !b.filling {
				full = !take(Series{s})
				s.tell = full
			}
			rest = rest || s.tell
		}
		if b.inKlines = rest; rest {
			left = append(left, b)
		}
	}
	clear(e.klines[len(left):])
	e.klines = left
}

// doubt is by how much Doubt has revs rise: more than bars are changed between two checkpoints.
const doubt = 1 << 20

// Doubt says that bars of a restored engine may have been told otherwise behind its snapshot, by a process that was killed: as
// closed, when trades that were on their way belonged to them. Revs of all series rise, so that who was told asks for them.
func (e *Engine) Doubt() {
	for _, b := range e.all {
		if !b.begun {
			continue
		}
		for i := range b.series {
			b.series[i].revs += doubt
			b.series[i].tell = true
		}
		e.queue(b)
	}
}

// Series is the bars of one symbol and interval in an [Engine]. It is valid until the engine is called.
type Series struct{ s *series }

// Series returns the bars of a symbol and interval, and false if there are none.
func (e *Engine) Series(symbol *trade.Symbol, interval string) (Series, bool) {
	if b := e.books[symbol]; b != nil && b.begun {
		for i := range b.series {
			if b.series[i].interval.Name == interval {
				return Series{&b.series[i]}, true
			}
		}
	}
	return Series{}, false
}

// Symbol is whose bars they are.
func (s Series) Symbol() *trade.Symbol { return s.s.symbol }

// Interval is how long they are.
func (s Series) Interval() *Interval { return s.s.interval }

// Revs counts the changes of bars of the series that were closed: if it rises by more than what bars show that
// came with it, older ones were revised. [Engine.Doubt] has it rise too.
func (s Series) Revs() int64 { return s.s.revs }

// AppendBars appends the bars that begin at or after a time, in Unix milliseconds, in their order: all that are
// open, and those closed that may still be revised.
func (s Series) AppendBars(to []Bar, from int64) []Bar {
	s.s.thaw(from)
	live := s.s.live()
	at, _ := s.s.find(from)
	for i := range live[at:] {
		to = append(to, s.s.bar(&live[at+i]))
	}
	return to
}

// closingMax bounds the bars of a state that are not closed, beside the newest.
const closingMax = 8

// AppendKline appends the state of a series as an object: tf (the interval), bar (the newest bar if it is
// open), closing (other open bars, for which trades may still come), closed (the two that were closed last), revs
// (see [Series.Revs]) and ts, in Unix milliseconds. Bars are as in [Bar.AppendJSON], in the order of their starts.
// Members without a bar are left out.
func (s Series) AppendKline(to []byte, ts int64) []byte {
	live, opened := s.s.live(), s.s.opened()
	to = append(append(append(to, `{"tf":"`...), s.s.interval.Name...), '"')
	if n := len(live); n > opened {
		bar := s.s.bar(&live[n-1])
		to = bar.AppendJSON(append(to, `,"bar":`...))
		to = s.appendBars(to, `,"closing":[`, live[max(opened, n-1-closingMax):n-1])
	}
	to = s.appendBars(to, `,"closed":[`, live[max(opened-2, 0):opened])
	to = strconv.AppendInt(append(to, `,"revs":`...), s.s.revs, 10)
	to = strconv.AppendInt(append(to, `,"ts":`...), ts, 10)
	return append(to, '}')
}

func (s Series) appendBars(to []byte, name string, slots []slot) []byte {
	if len(slots) == 0 {
		return to
	}
	to = append(to, name...)
	for i := range slots {
		if i > 0 {
			to = append(to, ',')
		}
		bar := s.s.bar(&slots[i])
		to = bar.AppendJSON(to)
	}
	return append(to, ']')
}
