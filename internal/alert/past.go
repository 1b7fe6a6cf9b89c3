// SPDX-License-Identifier: Apache-2.0

package alert

import (
	"slices"
	"time"
)

// past is what an axis knows of the time before a price.
type past interface {
	// value is what alerts of the axis compare with, of a price at a time.
	value(at int64, p Num) (v Num, known bool)
	price(at int64, p Num)
	bar(b *Bar)
	prime(before []Bar)
}

// steps is how many parts a window has: a price is compared with the one at the last boundary of a part that is a window ago.
const steps = 60

// moves knows the price at the boundaries of the parts of a window.
type moves struct {
	window, step int64 // Milliseconds.
	interval     string
	ring         [steps + 4]sample // By the number of the boundary.
	ticked       sample            // The newest price, and the last boundary before it.
	barred       sample            // The newest close, and the last boundary that it holds for.
}

// sample is the price at a boundary: the last one before it.
type sample struct {
	boundary int64 // 0: there is none.
	price    Num
}

func newMoves(w time.Duration) *moves {
	m := &moves{window: w.Milliseconds(), step: w.Milliseconds() / steps, interval: "1s"}
	if w >= time.Hour {
		m.interval = "1m"
	}
	return m
}

func (m *moves) at(boundary int64) *sample { return &m.ring[boundary%int64(len(m.ring))] }

func (m *moves) value(at int64, p Num) (Num, bool) {
	boundary := (at - m.window) / m.step
	if boundary <= 0 {
		return Num{}, false
	}
	s := m.at(boundary)
	if s.boundary != boundary {
		return Num{}, false
	}
	return p.Percent(s.price)
}

// fill has the boundaries behind from, up to to, where nothing is known, or all of them, be a price.
func (m *moves) fill(from, to int64, p Num, over bool) {
	for k := max(from+1, to-int64(len(m.ring))+1); k <= to; k++ {
		if s := m.at(k); s.boundary < k || over && s.boundary == k {
			*s = sample{k, p}
		}
	}
}

// price is a sample where no bar says what was.
func (m *moves) price(at int64, p Num) {
	boundary := at / m.step
	if m.ticked.boundary != 0 {
		m.fill(m.ticked.boundary, boundary, m.ticked.price, false)
	}
	m.ticked = sample{max(boundary, m.ticked.boundary), p}
}

func (m *moves) bar(b *Bar) {
	if b.Interval != m.interval {
		return
	}
	first, last := b.Start/m.step, b.End/m.step // Boundaries up to first are before it.
	if m.barred.boundary != 0 {
		m.fill(m.barred.boundary, first, m.barred.price, true)
	}
	m.fill(first, last, b.Close, true)
	if last >= m.barred.boundary {
		m.barred = sample{last, b.Close}
	}
	if m.ticked.boundary < last { // A price behind it is newer.
		m.ticked = sample{last, b.Close}
	}
}

func (m *moves) prime(before []Bar) {
	past := moves{window: m.window, step: m.step}
	for i := range before {
		past.interval = before[i].Interval
		past.bar(&before[i])
	}
	for _, s := range past.ring {
		if have := m.at(s.boundary); s.boundary > have.boundary {
			*have = s
		}
	}
	if m.barred.boundary < past.barred.boundary {
		m.barred = past.barred
	}
	if m.ticked.boundary < past.ticked.boundary {
		m.ticked = past.ticked
	}
}

// average knows the closes of the last n bars of an interval.
type average struct {
	n        int
	interval string
	bars     []closing // At most n, in order.
	sum      Num
}

type closing struct {
	start int64
	close Num
}

func (a *average) value(_ int64, p Num) (Num, bool) {
	if len(a.bars) < a.n {
		return Num{}, false
	}
	return p.Percent(Mean(a.sum, a.n))
}

func (a *average) price(int64, Num) {}

func (a *average) bar(b *Bar) {
	if b.Interval != a.interval || len(a.bars) > 0 && b.Start <= a.bars[len(a.bars)-1].start {
		return
	}
	if len(a.bars) == a.n {
		a.sum = a.sum.Sub(a.bars[0].close)
		a.bars = append(a.bars[:0], a.bars[1:]...)
	}
	a.bars = append(a.bars, closing{b.Start, b.Close})
	a.sum = a.sum.Add(b.Close)
}

func (a *average) prime(before []Bar) {
	since := slices.Clone(a.bars)
	a.bars, a.sum = a.bars[:0], Num{}
	for i := range before {
		if len(since) == 0 || before[i].Start < since[0].start {
			a.bar(&before[i])
		}
	}
	for _, c := range since {
		a.bar(&Bar{Interval: a.interval, Start: c.start, Close: c.close})
	}
}
