// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"cmp"
	"math/bits"
	"strconv"

	"tickedge/internal/trade"
)

// newest is the newest trade of a symbol.
type newest struct {
	key      trade.Key
	price    int64 // 0: none has come.
	size     int64
	bid, ask int64
	source   string
	side     trade.Side
	dir      int8 // Whether its price is above (1) or below (-1) that of the newest before it.
	tell     bool
	// Of the trade with a trace that was merged last, and not told yet.
	trace    string
	received int64
}

// take notes a trade that was merged, and the name of its source, which may be kept. Older ones than the newest change no more than the day's bar.
func (n *newest) take(t *trade.Trade, source string) {
	n.tell = true
	if t.Trace != "" {
		n.trace, n.received = t.Trace, t.Received
	}
	if n.price != 0 && n.compare(t) >= 0 {
		return
	}
	dir := 0
	if n.price != 0 {
		dir = cmp.Compare(t.Price, n.price)
	}
	*n = newest{
		key: t.Key(), price: t.Price, size: t.Size, bid: t.Bid, ask: t.Ask, source: source, side: t.Side, dir: int8(dir), tell: true,
		trace: n.trace, received: n.received,
	}
}

// compare orders by the key and, as bars do, by prices; and by all else, so that one of trades that come in any
// order is the newest.
func (n *newest) compare(t *trade.Trade) int {
	if k := t.Key(); n.key != k {
		if n.key.Before(k) {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(n.price, t.Price), cmp.Compare(n.size, t.Size), cmp.Compare(n.side, t.Side),
		cmp.Compare(n.source, t.Source), cmp.Compare(n.bid, t.Bid), cmp.Compare(n.ask, t.Ask))
}

// Price is the newest price of a symbol in an [Engine], with what its bars say of its day. It is valid until the
// engine is called.
type Price struct {
	e *Engine
	b *book
}

// DrainPrices passes each symbol of which a trade was merged since it was passed last, but those that are being
// filled. take must not keep it. If it returns false, that one and what is left are passed by the next call.
func (e *Engine) DrainPrices(take func(Price) bool) {
	left, full := e.prices[:0], false
	for _, b := range e.prices {
		if !full && !b.filling {
			full = !take(Price{e, b})
			if b.newest.tell = full; !full {
				b.newest.trace = ""
			}
		}
		if b.inPrices = b.newest.tell; b.inPrices {
			left = append(left, b)
		}
	}
	clear(e.prices[len(left):])
	e.prices = left
}

// Newest returns the newest price of a symbol, and false if there is none.
func (e *Engine) Newest(symbol *trade.Symbol) (Price, bool) {
	b := e.books[symbol]
	return Price{e, b}, b != nil && b.newest.price != 0
}

// Symbol is whose price it is.
func (p Price) Symbol() *trade.Symbol { return p.b.symbol }

// Trace is that of the trade with one that was merged last since the price was passed, and when that was received, in Unix
// microseconds; "" for none. The price has that trade in it, and may be that of a newer one.
func (p Price) Trace() (trace string, received int64) { return p.b.newest.trace, p.b.newest.received }

// Key is that of the newest trade.
func (p Price) Key() trade.Key { return p.b.newest.key }

// AppendJSON appends it as an object: p (price), q (size), side, id, x (the exchange), b and a (bid and ask), ts
// (of the exchange, Unix ms); o, h, l and v of its day in the symbol's zone; chg and chg_pct against the close of
// the day before or, where that is not known, against the day's open; dir (1, -1 or 0: whether it is above the
// price before it); chg_5m_pct against the price five minutes before, as the finest bars of at most a minute
// have it. Percentages have two digits, half away from zero. Members that are not known are left out.
func (p Price) AppendJSON(to []byte) []byte {
	n, scale := &p.b.newest, p.b.symbol.PriceScale
	to = trade.AppendDecimal(append(to, `{"p":`...), n.price, scale)
	to = trade.AppendDecimal(append(to, `,"q":`...), n.size, p.b.symbol.SizeScale)
	if n.side != trade.NoSide {
		to = append(append(append(to, `,"side":"`...), n.side.String()...), '"')
	}
	if n.key.ID != 0 {
		to = strconv.AppendInt(append(to, `,"id":`...), n.key.ID, 10)
	}
	to = append(append(append(to, `,"x":"`...), n.source...), '"')
	if n.bid != 0 {
		to = trade.AppendDecimal(append(to, `,"b":`...), n.bid, scale)
	}
	if n.ask != 0 {
		to = trade.AppendDecimal(append(to, `,"a":`...), n.ask, scale)
	}
	to = strconv.AppendInt(append(to, `,"ts":`...), n.key.Time/1000, 10)
	if p.e.day >= 0 {
		to = p.appendDay(to, &p.b.series[p.e.day])
	}
	to = strconv.AppendInt(append(to, `,"dir":`...), int64(n.dir), 10)
	if ref, ok := p.before(5 * 60_000); ok {
		to = appendPercent(to, `,"chg_5m_pct":`, n.price, ref)
	}
	return append(to, '}')
}

func (p Price) appendDay(to []byte, s *series) []byte {
	start, _ := s.bounds(p.b.newest.key.Time / 1000)
	at, ok := s.find(start)
	if !ok {
		return to
	}
	day, scale := &s.live()[at], p.b.symbol.PriceScale
	to = trade.AppendDecimal(append(to, `,"o":`...), day.open, scale)
	to = trade.AppendDecimal(append(to, `,"h":`...), day.high, scale)
	to = trade.AppendDecimal(append(to, `,"l":`...), day.low, scale)
	to = day.volume.AppendDecimal(append(to, `,"v":`...), p.b.symbol.SizeScale)
	ref, ok := s.before(at)
	if !ok {
		ref = day.open
	}
	to = trade.AppendDecimal(append(to, `,"chg":`...), p.b.newest.price-ref, scale)
	return appendPercent(to, `,"chg_pct":`, p.b.newest.price, ref)
}

// before returns the price so many milliseconds before the newest: the close of the newest of the finest bars
// that had ended by then.
func (p Price) before(ms int64) (int64, bool) {
	if p.e.fine < 0 {
		return 0, false
	}
	s := &p.b.series[p.e.fine]
	// A bar that begins at or after this start had not ended by then.
	start, _ := s.bounds(p.b.newest.key.Time/1000 - ms)
	s.thaw(start)
	at, _ := s.find(start)
	return s.before(at)
}

// appendPercent appends how much above ref a price is, in percent of ref. Prices are above 0.
func appendPercent(to []byte, name string, price, ref int64) []byte {
	diff := price - ref
	u := uint64(diff)
	if diff < 0 {
		u = -u
	}
	hi, lo := bits.Mul64(u, 10_000)
	lo, carry := bits.Add64(lo, uint64(ref)/2, 0)
	if hi += carry; hi >= uint64(ref) {
		return to // Of more digits than anybody wants.
	}
	q, _ := bits.Div64(hi, lo, uint64(ref))
	if q > 1<<62 {
		return to
	}
	v := int64(q)
	if diff < 0 {
		v = -v
	}
	return trade.AppendDecimal(append(to, name...), v, 2)
}
