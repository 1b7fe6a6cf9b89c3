// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"testing"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/bars"
	"tickedge/internal/topics"
)

// Names of symbols are what users like: nothing stays of those that never had a bar.
func TestNothingStaysOfSymbolsWithoutBars(t *testing.T) {
	r := newRig(t)
	a := r.above(100)
	r.w.put(a)
	a.State = alert.Deleted
	r.w.put(a)
	if len(r.w.positions) != 0 {
		t.Fatalf("positions are kept: %v", r.w.positions)
	}
}

// A price that was heard when an alert was armed already, and before it was told, fires it.
func TestPriceBeforeAlertIsTold(t *testing.T) {
	r := newRig(t)
	r.w.put(r.above(1000))
	a := r.above(100)
	r.settle()
	r.now += 50
	r.price(`{"p":150,"ts":1795850000050}`)
	r.w.put(a)
	r.w.scan(r.Context())
	r.wantFired(a.ID)
}

// A value without a time is of when it was heard, and not of when an alert came.
func TestPriceWithoutTimeIsOfWhenItWasHeard(t *testing.T) {
	r := newRig(t)
	r.w.put(r.above(1000))
	r.settle()
	r.price(`150`)
	r.now += 50
	r.w.put(r.above(100))
	r.w.scan(r.Context())
	r.wantFired()
}

func TestPriceWithoutTimeFiresWhenTheClockGoesBack(t *testing.T) {
	r := newRig(t)
	a := r.above(100)
	r.w.put(a)
	r.settle()
	r.price(`90`)
	r.now -= 3_600_000
	r.price(`150`)
	r.wantFired(a.ID)
}

// Alerts that ended while nothing was evaluated fire by the bars of that time, so they do not expire before.
func TestAlertsExpireWhenTheirTimeIsEvaluated(t *testing.T) {
	r := newRig(t)
	r.w.ready.Store(true)
	r.w.put(r.above(100))
	r.away = true
	r.turn()
	r.w.settle()
	if over := r.w.expiring(r.now); over != r.now-behindMax.Milliseconds() {
		t.Errorf("with a gap, those that end by %d expire, want an hour ago", over-r.now)
	}
	r.away = false
	r.w.again(r.w.symbols[sym])
	r.settle()
	r.w.loaded[alert.Bucket("B")] = false
	r.w.settle()
	if r.w.settled.Load() != 0 {
		t.Error("with a bucket whose alerts were not read yet, it is settled")
	}
	r.w.loaded[alert.Bucket("B")] = true
	r.w.settle()
	if over := r.w.expiring(r.now); over != r.now-12_000 {
		t.Errorf("without a gap, those that end by %d expire, want two terms ago", over-r.now)
	}
}

// Bars between when an alert was armed and the first that is heard are missed ones, although no bar was heard before.
func TestBarsBeforeTheFirstThatIsHeard(t *testing.T) {
	r := newRig(t)
	a := r.above(100)
	r.w.put(a)
	r.settle()
	r.w.again(r.w.symbols[sym])
	r.bars[second] = seconds(start, start+4000, 90, start+1000, 120)
	r.w.cfg.Table.Publish(bars.Topic(second, sym), `{"closed":[{"t":1795850003000,"o":90,"h":90,"l":90,"c":90}]}`, topics.Meta{At: r.now})
	r.settle()
	r.wantFired(a.ID)
}

// Alerts that are told late are compared with no more of the past than may be needed: not with days.
func TestLateAlertsAskForAnHour(t *testing.T) {
	r := newRig(t)
	a := r.above(100)
	a.Armed -= 86_400_000
	r.restartLate(start, a)
	s := r.w.symbols[sym]
	if e := r.w.errand(s, r.now); e.from != start-lateMax || len(e.late) != 1 {
		t.Errorf("bars from %d on are asked for, want an hour before the position", e.from-start)
	}
}

// Where the table is full, topics without a value make room for others. They are held again when there is room.
func TestSymbolThatMadeRoomIsWatchedLater(t *testing.T) {
	r := newRig(t)
	r.w.cfg.Table = topics.New(topics.Config{Max: 2, Start: time.UnixMilli(start)})
	first, other := r.above(100), r.above(100)
	first.Symbol = "FIRST"
	r.w.put(first)
	r.settle()
	r.w.put(other)
	if !r.w.cfg.Table.Withdrawn(r.w.symbols["FIRST"].price.id) {
		t.Fatal("the first did not make room: the test tests nothing")
	}
	r.settle()
	other.State = alert.Deleted
	r.w.put(other)
	r.w.rehold()
	r.w.rehold()
	if o := r.w.cfg.Table.Publish("FIRST", `{"p":150,"ts":1795850000050}`, topics.Meta{At: r.now}); o != topics.Committed {
		t.Fatalf("the price was not committed: %v", o)
	}
	r.w.scan(r.Context())
	r.wantFired(first.ID)
}
