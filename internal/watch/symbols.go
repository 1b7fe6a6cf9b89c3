// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"slices"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/bars"
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
	paused  bool // It has asked in vain, and does not for a while.
	tries   int
	errand  *errand // While it is busy.

	// heard is when the row was seen first whose sequence heardSeq is: the time of a price that has none.
	heard    int64
	heardSeq uint64
	late     []alert.Alert // That were put after bars were evaluated which may fire them.
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
	misses   int   // How often the history had nothing since the last bar.
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

// rehold holds the topics again for which there was no room, or which had to make room for others. At most one a time takes room from
// another: where there are more names without a value than room, they take turns.
func (w *Watch) rehold() {
	for _, s := range w.symbols {
		if !w.reholdOne(&s.price, s.name) {
			return
		}
		for _, b := range s.bars {
			if !w.reholdOne(&b.topic, bars.Topic(b.interval, s.name)) {
				return
			}
		}
	}
}

// reholdOne is false if no other topic is to be held again now.
func (w *Watch) reholdOne(t *topic, name string) bool {
	switch {
	case t.held && !w.cfg.Table.Withdrawn(t.id), !topics.ValidName(name):
		return true
	case t.held:
		w.letGo(*t)
	}
	*t, w.seen = w.hold(name), 0
	return false
}

func (w *Watch) letGo(t topic) {
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
	switch plain := a.Axis() == (alert.Axis{}); {
	case s.compares(a):
	case loaded && a.State == alert.Active && plain && a.Armed < s.position && w.cfg.History != nil && !w.engine.Holds(a.Symbol, a.ID, a.Arm):
		s.late = append(s.late, a)
	default:
		w.engine.Put(a)
		s.price.seq, w.seen = 0, 0 // The newest price may be newer than the alert.
	}
	w.keep(s)
}

// keep has a symbol ask the history, if it has to, or lets it go if it has no alerts any more: some of them may be on an errand.
func (w *Watch) keep(s *symbol) {
	if !w.engine.Has(s.name) && len(s.late) == 0 && !s.busy {
		w.unwatch(s)
		return
	}
	w.plan(s)
}

// compares reports whether an alert is to be compared with the past already. Of what it replaces nothing is.
func (s *symbol) compares(a alert.Alert) (known bool) {
	replaced := func(l alert.Alert) bool {
		return l.ID == a.ID && (l.Arm < a.Arm || l.Arm == a.Arm && a.State != alert.Active || a.State == alert.Deleted)
	}
	has := func(l alert.Alert) bool { return l.ID == a.ID }
	if s.errand != nil {
		s.errand.late = slices.DeleteFunc(s.errand.late, replaced)
		known = slices.ContainsFunc(s.errand.late, has)
	}
	s.late = slices.DeleteFunc(s.late, replaced)
	return known || slices.ContainsFunc(s.late, has)
}

// watch begins to watch a symbol.
func (w *Watch) watch(name string, since int64) *symbol {
	s := &symbol{name: name, price: w.hold(name), since: since, position: w.positions[name], noted: w.positions[name]}
	delete(w.positions, name)
	s.bars = []*series{{interval: second, topic: w.hold(bars.Topic(second, name)), gap: w.cfg.History != nil}}
	w.symbols[name] = s
	return s
}

// unwatch ends that. Where it was is kept for when an alert comes again.
func (w *Watch) unwatch(s *symbol) {
	w.letGo(s.price)
	for _, b := range s.bars {
		w.letGo(b.topic)
	}
	s.bars, s.waiting = nil, false
	delete(w.symbols, s.name)
	w.engine.Drop(s.name)
	if s.noted > 0 { // Of names that never had a bar nothing stays.
		w.positions[s.name] = s.noted
	}
}

// series returns the bars of an interval, which are watched from now on.
func (w *Watch) series(s *symbol, interval string) *series {
	for _, b := range s.bars {
		if b.interval == interval {
			return b
		}
	}
	b := &series{interval: interval, topic: w.hold(bars.Topic(interval, s.name))}
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
	w.clock = max(w.clock, w.nowMillis())
	for _, s := range w.symbols {
		if !w.loaded[alert.Bucket(s.name)] {
			continue
		}
		w.scanPrice(s)
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

func (w *Watch) scanPrice(s *symbol) {
	r := w.row(&s.price)
	if r == nil || r.Delisted() {
		return
	}
	p, at, ok := parsePrice(r.Value(), w.cfg.Price)
	if !ok {
		w.flawed.Add(1)
		return
	}
	if s.heardSeq != r.Seq {
		s.heard, s.heardSeq = w.clock, r.Seq
	}
	if at == 0 || at > w.clock+aheadMax.Milliseconds() {
		at = s.heard
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
	if closed[len(closed)-1].Start > w.nowMillis()+farAhead {
		w.flawed.Add(1)
		return
	}
	if b.gap = b.gap || w.cfg.History != nil && b.last != 0 && closed[0].Start > b.last && closed[0].Start != b.next(b.last); b.gap {
		if b.misses < missesMax {
			b.topic.seq = 0 // It is looked at again when the gap is filled.
			w.plan(s)
			return
		}
		b.gap = false
		w.cfg.Log.Warn("the history does not have bars that were missed: alerts go on without them",
			"symbol", s.name, "interval", b.interval, "behind", b.last, "before", closed[0].Start)
	}
	for _, bar := range closed {
		w.feed(s, b, bar)
	}
}

// missesMax is how often the history is asked for bars that it does not have yet: for a minute.
const missesMax = 15

// farAhead bounds the time of a bar: behind one that is far ahead none would be taken, until then. Clocks may differ by less.
const farAhead = int64(24 * time.Hour / time.Millisecond)

// feed gives a bar to the engine that it does not have yet.
func (w *Watch) feed(s *symbol, b *series, bar alert.Bar) {
	if bar.Start <= b.last {
		return
	}
	if bar.Start > w.nowMillis()+farAhead {
		w.flawed.Add(1)
		return
	}
	w.bars.Add(1)
	w.out = w.engine.Bar(s.name, bar, w.out)
	b.last, b.misses = bar.Start, 0
	if b.interval == second {
		s.position = max(s.position, bar.End)
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
