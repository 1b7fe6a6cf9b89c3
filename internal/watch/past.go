// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"cmp"
	"context"
	"slices"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/broker"
)

// askMax is how many symbols ask the history at a time.
const askMax = 8

// errand is what a symbol asks the history for, all at once.
type errand struct {
	symbol *symbol
	prime  []alert.Axis
	gaps   []gap
	late   []alert.Alert // Only the goroutine of evaluate has them: some may go while it is under way.
	from   int64         // Of the bars of seconds that late alerts are compared with; 0 if there are none.
	start  int64         // Of what is evaluated: moves and averages are to be known there.

	primes   [][]alert.Bar // What was found, one for each of prime.
	fills    [][]alert.Bar // And of gaps.
	lateBars []alert.Bar
}

// gap is bars that are missing, from a time on.
type gap struct {
	series *series
	from   int64
}

// plan has a symbol ask the history, if there is something to ask.
func (w *Watch) plan(s *symbol) {
	if w.cfg.History == nil {
		for _, a := range w.engine.Unprimed(s.name) {
			w.engine.Prime(s.name, a, nil)
			w.axis(s, a)
		}
		return
	}
	if s.waiting || s.busy || s.paused || !w.loaded[alert.Bucket(s.name)] || w.symbols[s.name] != s {
		return
	}
	lacks := len(s.late) > 0 || len(w.engine.Unprimed(s.name)) > 0 || slices.ContainsFunc(s.bars, func(b *series) bool { return b.gap })
	if lacks {
		s.waiting = true
		w.asked = append(w.asked, s)
	}
}

// axis has the bars watched that an axis is made of.
func (w *Watch) axis(s *symbol, a alert.Axis) *series {
	switch {
	case a.Interval != "":
		return w.series(s, a.Interval)
	case a.Window >= time.Hour:
		return w.series(s, "1m")
	}
	return s.bars[0]
}

// ask sends off errands, as many as are allowed at a time.
func (w *Watch) ask(ctx context.Context) {
	for w.asking < askMax && len(w.asked) > 0 {
		s := w.asked[0]
		w.asked = w.asked[1:]
		if !s.waiting {
			continue
		}
		s.waiting, s.busy = false, true
		w.asking++
		now := w.nowMillis()
		e := w.errand(s, now)
		s.errand = e
		go func() {
			err := e.run(ctx, w.cfg.History, now)
			w.call(ctx, func() { w.answered(ctx, e, err) })
		}()
	}
}

// lateMax is how long before a position alerts may have come that were not known where it was evaluated.
const lateMax = int64(time.Hour / time.Millisecond)

func (w *Watch) errand(s *symbol, now int64) *errand {
	e := &errand{symbol: s, prime: w.engine.Unprimed(s.name), late: s.late, start: now}
	s.late = nil
	for _, a := range e.prime {
		w.axis(s, a)
	}
	for _, b := range s.bars {
		if !b.gap {
			continue
		}
		from := b.last + 1
		if b.last == 0 {
			from = max(s.position, s.since)
		}
		e.gaps, e.start = append(e.gaps, gap{b, from}), min(e.start, from)
	}
	for _, a := range e.late {
		if e.from == 0 || a.Armed < e.from {
			e.from = a.Armed
		}
	}
	if len(e.late) > 0 { // What is long ago is no news, whenever they are told.
		e.from = max(e.from, s.position-lateMax)
	}
	return e
}

// run asks for all of it.
func (e *errand) run(ctx context.Context, h History, now int64) error {
	name := e.symbol.name
	for _, a := range e.prime {
		interval, back := a.Interval, int64(a.Bars+1)*lengthOf(a.Interval)
		if a.Window > 0 {
			interval, back = second, (a.Window + a.Window/30).Milliseconds()
			if a.Window >= time.Hour {
				interval = "1m"
			}
		}
		if interval == "1d" {
			back += 4 * lengthOf("1d") // Days have no bar where nothing is traded.
		}
		found, err := h.Bars(ctx, name, interval, e.start-back, now)
		if err != nil {
			return err
		}
		e.primes = append(e.primes, found)
	}
	for _, g := range e.gaps {
		found, err := h.Bars(ctx, name, g.series.interval, g.from, 0)
		if err != nil {
			return err
		}
		e.fills = append(e.fills, found)
	}
	if e.from == 0 {
		return nil
	}
	var err error
	e.lateBars, err = h.Bars(ctx, name, second, e.from, 0)
	return err
}

// answered takes what an errand has found.
func (w *Watch) answered(ctx context.Context, e *errand, err error) {
	s := e.symbol
	w.asking--
	s.busy, s.errand = false, nil
	if w.symbols[s.name] != s {
		return
	}
	if err != nil {
		for _, a := range e.late {
			w.engine.Put(a) // Prices fire them meanwhile.
		}
		s.late = append(e.late, s.late...)
		w.historyFailures.Add(1)
		w.cfg.Log.Warn("the history can't be asked: alerts go on with prices that come, and what was missed is made up for later",
			"symbol", s.name, "error", err)
		s.tries++
		w.pause(ctx, s, s.tries)
		return
	}
	s.tries = 0
	missed := w.makeUp(s, e)
	w.compareLate(s, e)
	w.emit()
	w.seen = 0 // Bars that have come meanwhile are looked at.
	if missed > 0 {
		w.pause(ctx, s, missed)
	}
	w.keep(s)
}

// backoff is how long a symbol waits before it asks again, the first time with a try of 1. It is not random: missesMax of them are a
// minute.
func backoff(try int) time.Duration {
	return min(broker.BackoffMax, broker.BackoffMin<<min(try, 6))
}

// pause keeps a symbol from asking the history again for a while.
func (w *Watch) pause(ctx context.Context, s *symbol, try int) {
	s.paused = true
	time.AfterFunc(backoff(try), func() { w.call(ctx, func() { w.again(s) }) })
}

func (w *Watch) again(s *symbol) {
	s.paused = false
	w.plan(s)
}

// due is a bar of a series.
type due struct {
	of  *series
	bar alert.Bar
}

// makeUp has moves and averages begin where the gaps do, and then takes the bars behind in the order in which they closed. It returns how
// often a gap found nothing.
func (w *Watch) makeUp(s *symbol, e *errand) (missed int) {
	var all []due
	for i, a := range e.prime {
		b, found := w.axis(s, a), e.primes[i]
		n := 0
		for n < len(found) && (found[n].Start <= b.last || found[n].End <= e.start) {
			n++
		}
		w.engine.Prime(s.name, a, found[:n])
		if b == s.bars[0] {
			continue // The others come to it as its gap, or as they close.
		}
		if b.last == 0 && n > 0 && a.Interval != "" {
			b.last = found[n-1].Start
		}
		for _, bar := range found[n:] {
			all = append(all, due{b, bar})
		}
	}
	for i, g := range e.gaps {
		for _, bar := range e.fills[i] {
			all = append(all, due{g.series, bar})
		}
		g.series.gap = false
		g.series.misses++ // Unless a bar comes.
	}
	// A second that ends with a minute is compared with the average before it.
	slices.SortStableFunc(all, func(a, b due) int {
		return cmp.Or(cmp.Compare(a.bar.End, b.bar.End), cmp.Compare(b.bar.Start, a.bar.Start))
	})
	for _, d := range all {
		w.feed(s, d.of, d.bar)
	}
	for _, g := range e.gaps {
		if b := g.series; b == s.bars[0] { // What began before an alert was armed is not missed.
			b.last = max(b.last, s.since-s.since%1000-1000)
		}
		missed = max(missed, g.series.misses)
	}
	return missed
}

// compareLate evaluates alerts that were put when bars were evaluated already which may fire them.
func (w *Watch) compareLate(s *symbol, e *errand) {
	if len(e.late) == 0 {
		return
	}
	apart := alert.NewEngine()
	for _, a := range e.late {
		if a.Axis() == (alert.Axis{}) {
			apart.Put(a)
		}
	}
	first := len(w.out)
	for _, b := range e.lateBars {
		if b.End <= s.position { // The others come to the engine.
			w.out = apart.Bar(s.name, b, w.out)
		}
	}
	for _, a := range e.late {
		for _, f := range w.out[first:] {
			follow(&a, f)
		}
		w.engine.Put(a)
	}
}

// follow has an alert be as an effect will make it.
func follow(a *alert.Alert, f alert.Effect) {
	switch {
	case f.Fires && f.Firing.Alert == a.ID && f.Firing.Arm == a.Arm:
		a.State, a.Last.At = alert.Fired, f.Firing.At
		if a.Repeat {
			a.State = alert.Waiting
		}
	case !f.Fires && f.Arming.Alert == a.ID && f.Arming.Arm == a.Arm:
		if a.State == alert.Waiting {
			a.State, a.Arm, a.Armed = alert.Active, a.Arm+1, f.Arming.At
		}
		a.Side = f.Arming.Side
	}
}
