// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/bars"
	"tickedge/internal/topics"
)

const (
	sym   = "AAPL"
	start = int64(1_795_850_000_000) // A whole second, and the time of rigs when they begin.
)

// rig has a watch done step by step, in one goroutine.
type rig struct {
	*testing.T
	w    *Watch
	now  int64
	bars map[string][]alert.Bar // What the history has, by interval.
	away bool                   // The history.
	asks int
	id   int64
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, now: start, bars: make(map[string][]alert.Bar)}
	w, err := New(Config{
		Store: struct{ alert.Store }{}, Table: topics.New(topics.Config{Max: 1000, Start: time.UnixMilli(start)}), History: r, Owner: "a",
		Topic: func(user string) string { return user }, Item: func(b []byte, _ *alert.NewsItem) []byte { return b },
		Now: func() time.Time { return time.UnixMilli(r.now) }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.w = w
	for b := range alert.Buckets {
		w.held[b], w.loaded[b] = true, true
	}
	return r
}

// Bars implements History, for one symbol.
func (r *rig) Bars(_ context.Context, _, interval string, from, to int64) (found []alert.Bar, err error) {
	if r.asks++; r.away {
		return nil, errors.New("away")
	}
	for _, b := range r.bars[interval] {
		if b.Start >= from && (to == 0 || b.Start < to) {
			found = append(found, b)
		}
	}
	return found, nil
}

// turn does one turn of the loop of evaluate, and waits for one errand that is on its way.
func (r *rig) turn() {
	r.w.scan(r.Context())
	r.answer()
}

func (r *rig) answer() {
	if r.w.asking > 0 {
		(<-r.w.calls)()
	}
}

func (r *rig) settle() {
	r.Helper()
	for range 20 {
		r.turn()
	}
	if r.w.asking > 0 || len(r.w.asked) > 0 {
		r.Fatal("the history is asked again and again")
	}
}

func num(n int64) alert.Num { return alert.Whole(n) }

func (r *rig) above(target int64) alert.Alert {
	r.id++
	return alert.Alert{
		ID: r.id, User: "u", State: alert.Active, Arm: 1, Armed: r.now,
		Spec: alert.Spec{Symbol: sym, Condition: alert.Above, Target: num(target)},
	}
}

func (r *rig) price(text string) {
	r.Helper()
	if o := r.w.cfg.Table.Publish(sym, text, topics.Meta{At: r.now}); o != topics.Committed {
		r.Fatalf("the price was not committed: %v", o)
	}
	r.w.scan(r.Context())
}

// bar is a bar of an interval that was flat but for its high.
func bar(interval string, at, price, high int64) alert.Bar {
	p := num(price)
	return alert.Bar{Interval: interval, Start: at, End: at + lengthOf(interval), Open: p, High: num(high), Low: p, Close: p}
}

func (r *rig) fired() (of []alert.Firing) {
	for _, q := range r.w.effects.queue {
		if q.positions == nil && q.effect.Fires {
			of = append(of, q.effect.Firing)
		}
	}
	return of
}

func (r *rig) wantFired(ids ...int64) {
	r.Helper()
	fired := r.fired()
	for i, f := range fired {
		if i >= len(ids) || f.Alert != ids[i] {
			r.Fatalf("fired %+v, want alerts %v", fired, ids)
		}
	}
	if len(fired) != len(ids) {
		r.Fatalf("fired %+v, want alerts %v", fired, ids)
	}
}

// A timer of an errand that failed must not bring back a symbol that nobody watches any more.
func TestErrandOfSymbolThatWentIsNotTriedAgain(t *testing.T) {
	r := newRig(t)
	r.away = true
	a := r.above(100)
	r.w.put(a)
	s := r.w.symbols[sym]
	r.turn()
	a.State = alert.Deleted
	r.w.put(a)
	move := r.above(100)
	move.Spec = alert.Spec{Symbol: sym, Condition: alert.Rises, Percent: num(1), Window: time.Minute}
	r.w.put(move)
	r.away = false
	r.w.again(s) // As the timer does.
	for range 5 {
		r.turn()
	}
	if len(s.bars) != 0 || s.busy || s.waiting {
		t.Fatalf("a symbol that went is watched again: %+v", s)
	}
}

// restart has a watch as it is behind a restart: the store has a position, and then tells the alerts.
func (r *rig) restart(position int64, alerts ...alert.Alert) {
	b := alert.Bucket(sym)
	r.w.loaded[b] = false
	r.w.positions[sym] = position
	for _, a := range alerts {
		r.w.put(a)
	}
	r.w.begin([]int{b})
}

// restartLate is restart where the store tells these alerts later than another one.
func (r *rig) restartLate(position int64, alerts ...alert.Alert) {
	known := r.above(1_000_000)
	known.ID = 1 << 40
	r.restart(position, known)
	for _, a := range alerts {
		r.w.put(a)
	}
}

func TestAlertIsKeptWhileAnotherGoesDuringErrand(t *testing.T) {
	r := newRig(t)
	kept, gone := r.above(100), r.above(200)
	r.restartLate(start+5000, kept, gone)
	r.now = start + 10_000
	r.w.scan(r.Context()) // The errand is under way, with both.
	gone.State = alert.Deleted
	r.w.put(gone)
	r.settle()
	r.price(`{"p":150,"ts":1795850011000}`)
	r.wantFired(kept.ID)
}

func TestAlertThatGoesDuringErrandStaysAway(t *testing.T) {
	r := newRig(t)
	a, other := r.above(100), r.above(200)
	r.restart(start+5000, a, other)
	r.now = start + 10_000
	r.w.scan(r.Context())
	for _, gone := range []alert.Alert{a, other} {
		gone.State = alert.Deleted
		r.w.put(gone)
		r.w.put(gone)
		if gone.ID == a.ID {
			r.w.scan(r.Context())
		}
	}
	r.settle()
	if r.w.engine.Len() != 0 || len(r.w.symbols) != 0 {
		t.Fatalf("%d alerts and %d symbols are watched, want none", r.w.engine.Len(), len(r.w.symbols))
	}
}

// What is told again while the history is asked must not begin it anew.
func TestAlertToldAgainDuringErrand(t *testing.T) {
	r := newRig(t)
	a := r.above(100)
	r.restartLate(start+5000, a)
	r.now = start + 10_000
	r.w.scan(r.Context())
	r.w.put(a)
	r.answer()
	if !r.w.engine.Holds(sym, a.ID, 1) || r.w.symbols[sym].waiting {
		t.Fatal("the alert is asked for again")
	}
}

func TestPricesFireWhileHistoryIsAway(t *testing.T) {
	r := newRig(t)
	a := r.above(100)
	r.restart(start+5000, a)
	r.now, r.away = start+10_000, true
	r.turn()
	r.price(`{"p":150,"ts":1795850011000}`)
	r.wantFired(a.ID)
}

// An alert that was created before a position, and told after it, is compared with the bars up to there, at the second try too.
func TestLateAlertIsComparedWhenHistoryIsBack(t *testing.T) {
	r := newRig(t)
	a := r.above(100)
	r.bars[second] = []alert.Bar{bar(second, start+1000, 90, 120)}
	r.restartLate(start+5000, a)
	r.now, r.away = start+10_000, true
	r.turn()
	r.w.put(a) // It is told again.
	r.away = false
	r.w.again(r.w.symbols[sym]) // As the timer does.
	r.settle()
	r.wantFired(a.ID)
}

// seconds are flat bars of seconds, but for one high.
func seconds(from, to, price, spikeAt, spike int64) (all []alert.Bar) {
	for at := from; at < to; at += 1000 {
		high := price
		if at == spikeAt {
			high = spike
		}
		all = append(all, bar(second, at, price, high))
	}
	return all
}

func TestMoveOfGapFires(t *testing.T) {
	r := newRig(t)
	a := alert.Alert{ID: 1, User: "u", Spec: alert.Spec{Symbol: sym, Condition: alert.Rises, Percent: num(10), Window: time.Minute},
		State: alert.Active, Arm: 1, Armed: start - 3_600_000}
	r.bars[second] = seconds(start-120_000, start+60_000, 100, start+2000, 115)
	r.now = start + 60_000
	r.restart(start, a)
	r.settle()
	r.wantFired(1)
	if at := r.fired()[0].At; at != start+3000 {
		t.Fatalf("it fired at %d, want at the end of the bar, %d", at, start+3000)
	}
}

// The average of a time that was missed is that of then: behind it the closes went up by a lot.
func TestAverageOfGapIsThatOfThen(t *testing.T) {
	r := newRig(t)
	a := r.above(100)
	a.Spec = alert.Spec{Symbol: sym, Condition: alert.AboveAverage, Percent: num(10), Interval: "1m", Bars: 10}
	a.Armed = start - 7_200_000
	b := a
	b.ID, b.Condition = 2, alert.BelowAverage
	minute := start - start%60_000
	for k := int64(-20); k < 20; k++ {
		price := int64(100)
		if k > 10 {
			price = 105
		}
		r.bars["1m"] = append(r.bars["1m"], bar("1m", minute+k*60_000, price, price))
	}
	r.bars["1m"][39] = bar("1m", minute+19*60_000, 900, 900) // The newest, behind all bars of seconds here.
	r.bars[second] = seconds(start, start+600_000, 100, start+60_000, 111)
	r.now = minute + 20*60_000 + 1
	r.restart(start, a, b)
	r.settle()
	r.wantFired(1)
}

// A history that lacks a bar for good must not be asked without an end, nor keep the bars behind from firing.
func TestBarsBehindAHoleOfHistory(t *testing.T) {
	r := newRig(t)
	a := r.above(100)
	r.w.put(a)
	r.settle()
	publish := func(value string) {
		if o := r.w.cfg.Table.Publish(bars.Topic(second, sym), value, topics.Meta{At: r.now}); o != topics.Committed {
			t.Fatal(o)
		}
	}
	publish(`{"closed":[{"t":1795850001000,"o":90,"h":90,"l":90,"c":90}]}`)
	r.settle()
	publish(`{"closed":[{"t":1795850009000,"o":90,"h":120,"l":90,"c":90}]}`)
	r.asks = 0
	for range 10 {
		r.turn()
	}
	if r.asks > 2 {
		t.Fatalf("the history was asked %d times without a pause", r.asks)
	}
	for range 30 { // As the timers do, and time goes by.
		r.now += 1000
		if s := r.w.symbols[sym]; s != nil {
			r.w.again(s)
		}
		r.turn()
	}
	r.wantFired(a.ID)
}

func TestFlawedBarsFireNothing(t *testing.T) {
	for _, value := range []string{
		`{"closed":[{"t":1795850001000,"o":90,"h":90,"c":90}]}`,
		`{"closed":[{"t":1795850001000,"o":90,"h":80,"l":90,"c":90}]}`,
		`{"closed":[{"t":0,"o":90,"h":90,"l":90,"c":90}]}`,
	} {
		if _, ok := parseBars([]byte(value), second); ok {
			t.Errorf("%s is taken", value)
		}
	}
}

// A bar far in the future would keep all that come from being evaluated, and the position in the store too.
func TestBarOfTheFutureIsNotTaken(t *testing.T) {
	r := newRig(t)
	r.w.put(r.above(100))
	r.settle()
	r.w.cfg.Table.Publish(bars.Topic(second, sym), `{"closed":[{"t":1999999999000,"o":90,"h":90,"l":90,"c":90}]}`, topics.Meta{At: r.now})
	r.settle()
	if s := r.w.symbols[sym]; s.position > r.now {
		t.Fatalf("the position is %d, and it is %d", s.position, r.now)
	}
}
