// SPDX-License-Identifier: Apache-2.0

package alert

import "slices"

// Engine holds the alerts of symbols, and says which of them a price fires, or arms anew. A price costs as much as there are
// values to compute of it, and then what it fires. One goroutine at a time may use it.
type Engine struct {
	books map[string]*book
	count int
	found []*leg // Memory.
}

// book is the alerts of a symbol.
type book struct {
	alerts  map[int64]*watched
	axes    []*axis
	priceAt int64 // Of the newest price.
	barAt   int64 // The start of the newest bar of a second.
}

// Effect is what a price or a bar does to an alert, which is to be stored.
type Effect struct {
	Fires  bool
	Firing Firing // If it fires; Number and Stored are the store's.
	Arming Arming // If it does not.
}

// Bar is a closed bar of a symbol. Times are Unix milliseconds.
type Bar struct {
	Interval               string
	Start, End             int64
	Open, High, Low, Close Num
}

// NewEngine returns an engine without alerts.
func NewEngine() *Engine { return &Engine{books: make(map[string]*book)} }

// Len is how many alerts there are.
func (e *Engine) Len() int { return e.count }

// Has reports whether a symbol has alerts.
func (e *Engine) Has(symbol string) bool { return e.books[symbol] != nil }

// Holds reports whether an alert is there, with a generation or a later one.
func (e *Engine) Holds(symbol string, id, arm int64) bool {
	b := e.books[symbol]
	return b != nil && b.alerts[id] != nil && b.alerts[id].arm >= arm
}

// Put takes an alert as a store has it. It replaces an older generation of it; what the engine knows better, as it has fired or
// armed it, stays as it is. One that is neither active nor waiting goes.
func (e *Engine) Put(a Alert) {
	b := e.books[a.Symbol]
	var old *watched
	if b != nil {
		old = b.alerts[a.ID]
	}
	live := a.State == Active || a.State == Waiting
	switch {
	case old != nil && old.replaced(&a):
	case old != nil && old.arm > a.Arm && a.State != Deleted:
		return // A late answer.
	case old != nil && old.arm == a.Arm && live && (old.waiting || a.State == Active):
		old.told = max(old.told, a.Arm)
		if old.condition == crosses && old.side == Unknown && a.Side != Unknown {
			old.axis.lift(old)
			old.side = a.Side
			old.axis.place(old)
		}
		return
	}
	if !live {
		e.Remove(a.Symbol, a.ID)
		return
	}
	if b == nil {
		b = &book{alerts: make(map[int64]*watched)}
		e.books[a.Symbol] = b
	}
	x := b.axis(a.Axis())
	x.count++ // Before the old one goes: what the axis knows stays.
	if old != nil {
		e.remove(a.Symbol, b, old)
	}
	w := &watched{
		id: a.ID, arm: a.Arm, since: a.Armed, expires: a.Expires, hysteresis: a.Hysteresis, repeat: a.Repeat, side: a.Side,
		waiting: a.State == Waiting, told: a.Arm, armed: a.Armed,
	}
	if w.waiting {
		w.since = max(w.since, a.Last.At)
	}
	w.threshold, w.condition = a.threshold()
	x.place(w)
	b.alerts[a.ID] = w
	e.count++
}

// replaced reports whether a user has changed an alert before what the engine made of it was stored. Then the generations since are the
// user's, although the engine has the same numbers for its own.
func (w *watched) replaced(a *Alert) bool {
	switch {
	case a.Arm <= w.told || a.Arm > w.arm:
		return false // It is old, or replaces what is there in any case.
	case a.Arm == w.arm:
		return a.Armed != w.armed
	}
	return a.Armed > w.armed || w.differs(a)
}

// differs reports whether an alert fires when another condition holds.
func (w *watched) differs(a *Alert) bool {
	threshold, condition := a.threshold()
	return threshold != w.threshold || condition != w.condition || a.Axis() != w.axis.of ||
		a.Repeat != w.repeat || a.Hysteresis != w.hysteresis
}

// threshold is what an alert compares with, and how.
func (a *Alert) threshold() (level Num, condition uint8) {
	switch a.Condition {
	case Above:
		return a.Target, above
	case Below:
		return a.Target, below
	case Crosses:
		return a.Target, crosses
	case Falls, BelowAverage:
		return a.Percent.Neg(), below
	}
	return a.Percent, above
}

func (b *book) axis(of Axis) *axis {
	for _, x := range b.axes {
		if x.of == of {
			return x
		}
	}
	x := &axis{of: of, down: heap{greatest: true}}
	switch {
	case of.Window > 0:
		x.past = newMoves(of.Window)
	case of.Interval != "":
		x.past = &average{n: of.Bars, interval: of.Interval}
	default:
		x.primed = true
	}
	b.axes = append(b.axes, x)
	return x
}

// Remove forgets an alert.
func (e *Engine) Remove(symbol string, id int64) {
	if b := e.books[symbol]; b != nil && b.alerts[id] != nil {
		e.remove(symbol, b, b.alerts[id])
	}
}

func (e *Engine) remove(symbol string, b *book, w *watched) {
	x := w.axis
	x.lift(w)
	w.axis = nil
	delete(b.alerts, w.id)
	e.count--
	if x.count--; x.count == 0 {
		b.axes = slices.DeleteFunc(b.axes, func(o *axis) bool { return o == x })
	}
	if len(b.axes) == 0 {
		delete(e.books, symbol)
	}
}

// Drop forgets a symbol.
func (e *Engine) Drop(symbol string) {
	if b := e.books[symbol]; b != nil {
		e.count -= len(b.alerts)
		delete(e.books, symbol)
	}
}

// Unprimed returns the moves and averages of a symbol that [Engine.Prime] was not called for yet.
func (e *Engine) Unprimed(symbol string) (of []Axis) {
	b := e.books[symbol]
	if b == nil {
		return nil
	}
	for _, x := range b.axes {
		if !x.primed {
			of = append(of, x.of)
		}
	}
	return of
}

// Prime gives a move or an average the closed bars from before it was made, the oldest first: of its interval, or of a second or
// a minute for a move. Nothing fires. What has come since is not overwritten.
func (e *Engine) Prime(symbol string, of Axis, before []Bar) {
	b := e.books[symbol]
	if b == nil {
		return
	}
	for _, x := range b.axes {
		if x.of == of && x.past != nil {
			x.primed = true
			x.past.prime(before)
		}
	}
}

// Price takes the newest price of a symbol, which is above 0 and of a time in Unix milliseconds, and appends what it does to
// out. A price that is older than the last one is ignored.
func (e *Engine) Price(symbol string, at int64, p Num, out []Effect) []Effect {
	b := e.books[symbol]
	if b == nil || at < b.priceAt {
		return out
	}
	b.priceAt = at
	hit := hit{at: at, since: at, high: p, low: p, by: ByPrice}
	for i := len(b.axes) - 1; i >= 0; i-- { // What is removed meanwhile is behind.
		x, v, known := b.axes[i], p, true
		if x.past != nil {
			x.past.price(at, p)
			v, known = x.past.value(at, p)
		}
		if known {
			out = e.compare(symbol, b, x, values{v, v, v}, &hit, out)
		}
	}
	return out
}

// Bar takes a closed bar. Bars of a second (1s) fire alerts whose condition held at the high or the low and that were armed when
// the bar began; those of a symbol come in order, and one that is not newer than the last is ignored. Others are what averages and
// moves of an hour and more are made of.
func (e *Engine) Bar(symbol string, bar Bar, out []Effect) []Effect {
	b := e.books[symbol]
	if b == nil {
		return out
	}
	evaluated := bar.Interval == "1s" && bar.Start > b.barAt
	if evaluated {
		b.barAt = bar.Start
	}
	hit := hit{at: bar.End, since: bar.Start, high: bar.High, low: bar.Low, by: ByBar}
	for i := len(b.axes) - 1; i >= 0; i-- {
		x, v, known := b.axes[i], values{bar.High, bar.Low, bar.Close}, true
		if x.past != nil {
			if evaluated {
				v, known = valuesOf(x.past, &bar)
			}
			x.past.bar(&bar)
		}
		if evaluated && known {
			out = e.compare(symbol, b, x, v, &hit, out)
		}
	}
	return out
}

// values are those of an axis: at the high, the low and the close of a bar, or all the same.
type values struct{ high, low, close Num }

func valuesOf(p past, bar *Bar) (v values, known bool) {
	if v.high, known = p.value(bar.Start, bar.High); !known {
		return v, false
	}
	v.low, _ = p.value(bar.Start, bar.Low)
	v.close, _ = p.value(bar.Start, bar.Close)
	return v, true
}

// hit is what a firing says of its price.
type hit struct {
	at, since int64
	high, low Num // The prices, whatever the axis is.
	by        By
}

// compare goes through the alerts of an axis that values concern.
func (e *Engine) compare(symbol string, b *book, x *axis, v values, h *hit, out []Effect) []Effect {
	found := x.up.reached(v.high, e.found[:0])
	ups := len(found)
	found = x.down.reached(v.low, found)
	found = append(found, x.unsure...)
	for i, l := range found {
		w := l.of
		switch {
		case w.axis == nil: // It is gone: a crossing that waits is found twice.
		case w.since > h.since:
		case w.expires != 0 && w.expires <= h.at:
			e.remove(symbol, b, w)
		case w.condition == crosses && w.side == Unknown && !w.waiting:
			if d := v.close.Compare(w.threshold); d != 0 {
				x.lift(w)
				w.side = Side(d)
				x.place(w)
				out = append(out, Effect{Arming: Arming{Alert: w.id, Arm: w.arm, At: h.at, Side: w.side}})
			}
		case w.waiting:
			if l.in.concerns(l, v.close) {
				out = append(out, w.rearm(v.close, h))
			}
		default:
			price := h.high
			if i >= ups {
				price = h.low
			}
			out = append(out, Effect{Fires: true, Firing: Firing{Alert: w.id, Arm: w.arm, At: h.at, Price: price, By: h.by}})
			if !w.repeat {
				e.remove(symbol, b, w)
				continue
			}
			x.lift(w)
			w.waiting, w.side, w.since = true, Unknown, h.at
			x.place(w)
		}
	}
	clear(found)
	e.found = found[:0]
	return out
}

// rearm makes an alert that waits active.
func (w *watched) rearm(v Num, h *hit) Effect {
	w.axis.lift(w)
	w.waiting = false
	if w.condition == crosses {
		w.side = Side(v.Compare(w.threshold))
	}
	f := Effect{Arming: Arming{Alert: w.id, Arm: w.arm, At: h.at, Side: w.side}}
	w.arm++
	w.since, w.armed = h.at, h.at
	w.axis.place(w)
	return f
}
