// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"sync"
	"time"

	"tickedge/internal/trade"
)

// tracker hands on the trades of one symbol in the order of their ids, each once, whichever connections
// and requests they come by. What comes after a gap waits until that is filled. While it is filled its filler
// alone hands on, and all that comes waits.
type tracker struct {
	in  *inlet
	sym *trade.Symbol

	mu       sync.Mutex
	known    bool  // id and time are those of a trade.
	id       int64 // Of the newest trade that was handed on.
	time     int64
	heard    int64 // Nothing that is not numbered is missing before, in Unix microseconds.
	filling  bool
	queued   [2]bool // Whether it stands in each queue of fillers.
	check    bool    // Its history is to be asked although no gap is seen.
	held     []trade.Trade
	bid, ask int64
	refused  bool // The exchange does not have it.
}

// begin goes on from a position.
func (t *tracker) begin(p Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.id, t.time, t.heard = p.ID, p.Time, p.Time
	t.known = t.sym.Numbered && p.ID > 0
}

// quote notes the best bid and ask, for the trades that come.
func (t *tracker) quote(bid, ask int64) {
	t.mu.Lock()
	t.bid, t.ask = bid, ask
	t.mu.Unlock()
}

// trade takes a trade that has come by a connection.
func (t *tracker) trade(tr trade.Trade) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tr.Symbol != nil {
		tr.Bid, tr.Ask = t.bid, t.ask
	}
	t.refused = false
	switch {
	case t.filling:
		t.hold(tr)
	case !t.sym.Numbered || !t.known || tr.ID == t.id+1 && len(t.held) == 0:
		t.check = false
		t.give(tr)
	case tr.ID > t.id:
		t.hold(tr)
		t.queue(gaps)
	case len(t.held) == 0 && tr.Time > t.time+trade.RenumberedAfter:
		t.restart(tr)
	default:
		t.in.repeated.Add(1)
	}
}

func (t *tracker) hold(tr trade.Trade) {
	if len(t.held) < heldMax {
		t.held = append(t.held, tr)
	}
}

// skipped stands for a trade that is flawed, so that its id is no gap.
func skipped(id int64) trade.Trade { return trade.Trade{ID: id} }

// give hands a trade on. Its caller has the lock.
func (t *tracker) give(tr trade.Trade) {
	t.known, t.id, t.time = true, tr.ID, max(t.time, tr.Time)
	if tr.Symbol != nil {
		t.in.trades.Add(1)
		t.in.to.Trade(tr)
	}
}

// restart goes on with a trade from an exchange that numbers anew.
func (t *tracker) restart(tr trade.Trade) {
	t.in.gaps.Add(1)
	t.in.to.Gap(Gap{Symbol: t.sym, Since: t.time, Until: tr.Time, Why: "the exchange numbers its trades anew"})
	t.give(tr)
}

// The queues of fillers. Gaps come first, as trades wait for them.
const (
	gaps = iota
	checks
)

// queue has the tracker filled soon, if it does not stand in that queue already. Its caller has the lock.
func (t *tracker) queue(which int) {
	if t.queued[which] {
		return
	}
	t.queued[which] = true
	// A queue has room for each tracker once.
	time.AfterFunc(t.in.c.Grace, func() { t.in.jobs[which] <- t })
}

// heardOf notes that nothing older than a time is on its way.
func (t *tracker) heardOf(at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.filling && !t.check && !t.refused && len(t.held) == 0 {
		t.in.to.Heard(t.in.vendor.source, t.sym, at)
	}
}

// lost notes that its connection is gone, which was last heard of at a time. What it said then may have been
// on its way for some seconds.
func (t *tracker) lost(at int64) {
	t.mu.Lock()
	t.heard = max(t.heard, at-aliveLag.Microseconds())
	t.mu.Unlock()
}

// back notes that it has a connection again, or for the first time: what was missed is asked for, or told.
func (t *tracker) back(now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.refused:
	case !t.sym.Numbered:
		if t.heard > 0 {
			t.in.gaps.Add(1)
			t.in.to.Gap(Gap{Symbol: t.sym, Since: t.heard, Until: now, Why: "the exchange has no history of what it sent meanwhile"})
		}
		t.heard = now
	case t.known && !t.in.vendor.snapshot:
		t.recheck()
	}
}

// doubt has its history asked, as messages of its connection were missed.
func (t *tracker) doubt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known && !t.refused && t.sym.Numbered {
		t.recheck()
	}
}

// recheck has its history asked, unless the trade that comes next shows that nothing is missing. Its caller
// has the lock.
func (t *tracker) recheck() {
	t.check = true
	if !t.filling { // Its filler sees to it otherwise.
		t.queue(checks)
	}
}

// accept notes that the exchange has the symbol.
func (t *tracker) accept() {
	t.mu.Lock()
	t.refused = false
	t.mu.Unlock()
}

// refuse notes that the exchange does not have the symbol, and reports whether that is new.
func (t *tracker) refuse() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.refused
	t.refused = true
	return !was
}

func (t *tracker) isRefused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused
}
