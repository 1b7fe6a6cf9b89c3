// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"slices"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/topics"
)

// second is the interval of the bars that alerts are evaluated by.
const second = "1s"

// symbol is a symbol that is watched.
type symbol struct {
	name  string
	price topic
	bars  []*series // The first is that of a second.

	// position is the end of the newest closed bar of a second that was evaluated, noted the one that was stored.
	position, noted int64
	// since is when the oldest alert was armed that there was when the symbol came: what is before it fires nothing.
	since int64

	waiting bool // For the history: it is in asked.
	busy    bool // It asks the history: bars that come meanwhile are looked at afterwards.
	tries   int
	late    []alert.Alert // That were put after bars were evaluated which may fire them.
}

// topic is a topic of a table that is held.
type topic struct {
	id   topics.ID
	held bool
	seq  uint64 // Of the row that was looked at last.
}

// series is the bars of an interval of a symbol.
type series struct {
	interval string
	topic    topic
	last     int64 // The start of the newest bar that the engine has; 0 is none.
	gap      bool  // Bars are missing between last and what comes.
	from     int64 // Where the gap begins, if last does not say so.
}

// key says who holds topics here, for the table.
const key = 1

func (w *Watch) hold(name string) (t topic) {
	if !topics.ValidName(name) {
		return t // A symbol of 60 bytes has a price, and no topics of bars.
	}
	id, err := w.cfg.Table.AcquireKnown([]byte(name), key)
	if err != nil {
		w.full.Add(1)
		return t
	}
	return topic{id: id, held: true}
}

func (w *Watch) release1(t topic) {
	if t.held {
		w.cfg.Table.Release(t.id, w.cfg.Now())
	}
}

// put takes an alert as the store has it.
func (w *Watch) put(a alert.Alert) {
	if !w.held[alert.Bucket(a.Symbol)] {
		return
	}
	s, live := w.symbols[a.Symbol], a.State == alert.Active || a.State == alert.Waiting
	if s == nil {
		if !live {
			return
		}
		s = w.watch(a.Symbol, a.Armed)
	}
	loaded := w.loaded[alert.Bucket(a.Symbol)]
	if !loaded {
		s.since = min(s.since, a.Armed)
	}
	s.late = slices.DeleteFunc(s.late, func(l alert.Alert) bool { return l.ID == a.ID && l.Arm <= a.Arm })
	if loaded && a.State == alert.Active && a.Armed < s.position && w.cfg.History != nil && !w.engine.Holds(a.Symbol, a.ID, a.Arm) {
		s.late = append(s.late, a)
	} else {
		w.engine.Put(a)
	}
	w.settle(s)
}

// settle has a symbol ask the history, if it has to, or lets it go if it has no alerts any more: some of them may be on an errand.
func (w *Watch) settle(s *symbol) {
	if !w.engine.Has(s.name) && len(s.late) == 0 && !s.busy {
		w.unwatch(s)
		return
	}
	w.plan(s)
}

// watch begins to watch a symbol.
func (w *Watch) watch(name string, since int64) *symbol {
	s := &symbol{name: name, price: w.hold(name), since: since, position: w.positions[name], noted: w.positions[name]}
	delete(w.positions, name)
	s.bars = []*series{{interval: second, topic: w.hold(barTopic(second, name)), gap: w.cfg.History != nil}}
	w.symbols[name] = s
	return s
}

// unwatch ends that. Where it was is kept for when an alert comes again.
func (w *Watch) unwatch(s *symbol) {
	w.release1(s.price)
	for _, b := range s.bars {
		w.release1(b.topic)
	}
	s.bars, s.waiting = nil, false
	delete(w.symbols, s.name)
	w.engine.Drop(s.name)
	w.positions[s.name] = s.noted
}

// series returns the bars of an interval, which are watched from now on.
func (w *Watch) series(s *symbol, interval string) *series {
	for _, b := range s.bars {
		if b.interval == interval {
			return b
		}
	}
	b := &series{interval: interval, topic: w.hold(barTopic(interval, s.name))}
	s.bars = append(s.bars, b)
	return b
}

// queueMax bounds what has fired and is not stored: nothing is evaluated meanwhile.
const queueMax = 20_000

// scan evaluates what has come since the last time.
func (w *Watch) scan(ctx context.Context) {
	w.ask(ctx)
	if w.effects.len() > queueMax {
		return // What comes meanwhile is in the history.
	}
	upto := w.cfg.Table.Watermark()
	if upto == w.seen {
		return
	}
	now := w.nowMillis()
	for _, s := range w.symbols {
		if !w.loaded[alert.Bucket(s.name)] {
			continue
		}
		w.scanPrice(s, now)
		if s.busy {
			continue
		}
		for _, b := range s.bars {
			w.scanBars(s, b)
		}
	}
	w.seen = upto
	w.emit()
}

// row is the newest row of a topic, nil if it has none that was not looked at.
func (w *Watch) row(t *topic) *topics.Row {
	if !t.held || w.cfg.Table.Seq(t.id) <= t.seq {
		return nil
	}
	r := w.cfg.Table.Row(t.id)
	if r == nil || r.Seq <= t.seq {
		return nil
	}
	t.seq = r.Seq
	return r
}

func (w *Watch) scanPrice(s *symbol, now int64) {
	r := w.row(&s.price)
	if r == nil || r.Delisted() {
		return
	}
	p, at, ok := parsePrice(r.Value(), w.cfg.Price)
	if !ok {
		w.flawed.Add(1)
		return
	}
	if at == 0 || at > now+aheadMax.Milliseconds() {
		at = now
	}
	w.prices.Add(1)
	w.out = w.engine.Price(s.name, at, p, w.out)
}

// scanBars takes bars that have closed. If some are missing before them the history is asked.
func (w *Watch) scanBars(s *symbol, b *series) {
	r := w.row(&b.topic)
	if r == nil || r.Delisted() {
		return
	}
	closed, ok := parseBars(r.Value(), b.interval)
	if !ok {
		w.flawed.Add(1)
		return
	}
	if len(closed) == 0 {
		return
	}
	if b.gap = b.gap || w.cfg.History != nil && b.last != 0 && closed[0].Start > b.last && closed[0].Start != b.next(b.last); b.gap {
		b.topic.seq = 0 // It is looked at again when the gap is filled.
		w.plan(s)
		return
	}
	w.feed(s, b, closed)
}

// feed gives bars to the engine, those that it has left out.
func (w *Watch) feed(s *symbol, b *series, closed []alert.Bar) {
	for _, bar := range closed {
		if bar.Start <= b.last {
			continue
		}
		w.bars.Add(1)
		w.out = w.engine.Bar(s.name, bar, w.out)
		b.last = bar.Start
		if b.interval == second {
			s.position = max(s.position, bar.End)
		}
	}
}

// next is the start of the bar behind another.
func (b *series) next(start int64) int64 { return start + lengthOf(b.interval) }

// Times of [Watch.Price].
const (
	priceWait  = 500 * time.Millisecond
	priceEvery = 10 * time.Millisecond
)

// Price is the newest price of a symbol, whether it is watched or not, and of when it is, in Unix milliseconds. What is not known
// is waited for, for half a second. Any goroutine may call it.
func (w *Watch) Price(name string) (p alert.Num, at int64, ok bool) {
	id, err := w.cfg.Table.Acquire([]byte(name), key)
	if err != nil {
		return alert.Num{}, 0, false
	}
	defer func() { w.cfg.Table.Release(id, w.cfg.Now()) }()
	for end := time.Now().Add(priceWait); ; time.Sleep(priceEvery) {
		if r := w.cfg.Table.Row(id); r != nil && !r.Delisted() {
			return parsePrice(r.Value(), w.cfg.Price)
		}
		if w.cfg.Table.IsAbsent(id) || time.Now().After(end) {
			return alert.Num{}, 0, false
		}
	}
}
