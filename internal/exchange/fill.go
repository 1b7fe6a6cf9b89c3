// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"tickedge/internal/trade"
)

// query is a span of the trades of a symbol.
type query struct {
	from, to int64 // Ids, both included. to is 0 if it is the newest trade.
	since    int64 // Not what is older, in Unix microseconds; 0 if from says all.
	near     int64 // The time of the trade before from, in Unix microseconds.
	until    int64 // What is younger is not needed, in Unix microseconds.
	max      int   // Trades, the newest ones.
}

// historian asks an exchange for trades that it had. With an error it returns those that it got.
type historian func(ctx context.Context, s *trade.Symbol, q query) ([]trade.Trade, error)

const (
	// fillTries is how often an exchange is asked for what it does not show yet: its history may be
	// somewhat behind its sockets.
	fillTries = 3
	// gapsToldMax bounds the gaps that are told of one span. The last one told spans the rest.
	gapsToldMax = 100
)

// fillAll fills what trackers miss, one after the other.
func (in *inlet) fillAll(ctx context.Context) {
	for {
		var t *tracker
		which := gaps
		select {
		case t = <-in.jobs[gaps]:
		default:
			select {
			case <-ctx.Done():
				return
			case t = <-in.jobs[gaps]:
			case t = <-in.jobs[checks]:
				which = checks
			}
		}
		if t.begun(which) {
			in.fill(ctx, t)
		}
	}
}

// begun takes a tracker out of a queue, and reports whether there is something to fill that nobody fills.
func (t *tracker) begun(which int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queued[which] = false
	if t.filling || !t.check && len(t.held) == 0 {
		return false
	}
	t.filling = true
	return true
}

// fill brings a tracker to where its trades come live again: in order, each once.
func (in *inlet) fill(ctx context.Context, t *tracker) {
	var list []trade.Trade
	for told := false; ctx.Err() == nil; { // What is held when ctx ends is fetched again after a restart.
		check := t.checked()
		if list = t.take(list[:0]); check || gapped(list, t.id) {
			if !told {
				told = true
				in.to.Filling(t.sym, true)
			}
			list = in.fetch(ctx, t, list, check)
			continue
		}
		for _, tr := range list { // Those that came late, and nothing is missing; or that came meanwhile.
			t.giveFilling(tr)
		}
		if t.live(told) {
			return
		}
	}
}

// live ends the filling, unless more has come. told says that the sink knows of it.
func (t *tracker) live(told bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.held) > 0 || t.check {
		return false
	}
	t.filling = false
	if told {
		t.in.to.Filling(t.sym, false)
	}
	return true
}

// fetch asks the exchange for what is missing between a tracker and its list, and hands all of that on. It
// returns the list's memory.
func (in *inlet) fetch(ctx context.Context, t *tracker, list []trade.Trade, check bool) []trade.Trade {
	fetched, why := 0, "the exchange has no history"
	for try := 1; in.history != nil; try++ {
		q := in.ask(t, list, check)
		got, err := in.history(ctx, t.sym, q)
		if ctx.Err() != nil {
			return list
		}
		list = t.take(list)
		before := len(list)
		list = merge(append(list, got...), t.id)
		fetched += len(list) - before
		if err == nil && !gapped(list, t.id) {
			break
		}
		why = "its history does not have them"
		if q.since > 0 || q.to-q.from >= int64(q.max) {
			why = "they are more or older than what is fetched"
		}
		if err != nil {
			in.failed("trades that were missed are not fetched", err, "symbol", t.sym.Name, "try", try)
			why = in.clean(err)
		}
		var final errFinal
		if try == fillTries || errors.As(err, &final) || q.since > 0 && err == nil {
			break
		}
		if !sleep(ctx, min(time.Second, in.c.BackoffMax)) {
			return list
		}
	}
	in.tell(t, list, fetched, why)
	return list
}

// ask says what is missing.
func (in *inlet) ask(t *tracker, list []trade.Trade, check bool) query {
	q := query{from: t.id + 1, near: t.time, until: micros(), max: in.c.BackfillTrades}
	if oldest := q.until - in.c.Backfill.Microseconds(); t.time < oldest {
		q.since = oldest
	}
	if n := len(list); n > 0 && !check {
		q.to, q.until = list[n-1].ID-1, list[n-1].Time
	}
	return q
}

// tell hands a list on, and says of the ids between its trades that they are missing.
func (in *inlet) tell(t *tracker, list []trade.Trade, fetched int, why string) {
	first, since := t.id+1, t.time
	missed, told := false, 0
	for i := range list {
		tr := list[i]
		if from := t.id + 1; tr.ID > from {
			if !missed {
				in.gaps.Add(1)
			}
			missed = true
			in.missed.Add(tr.ID - from)
			if told++; told <= gapsToldMax {
				g := Gap{Symbol: t.sym, From: from, To: tr.ID - 1, Since: t.time, Until: tr.Time, Why: why}
				if told == gapsToldMax {
					g.To, g.Until = list[len(list)-1].ID-1, list[len(list)-1].Time
				}
				in.to.Gap(g)
			}
		}
		t.giveFilling(tr)
	}
	if !missed && fetched > 0 {
		in.gaps.Add(1)
		in.filled.Add(1)
		in.to.Gap(Gap{Symbol: t.sym, From: first, To: t.id, Since: since, Until: t.time, Filled: true, Why: "they were fetched"})
	}
}

// gapped reports whether a list, in order, does not go on from an id without a gap.
func gapped(list []trade.Trade, id int64) bool {
	n := len(list)
	return n > 0 && list[n-1].ID != id+int64(n)
}

// merge puts a list in order: each trade once, without what was handed on up to an id.
func merge(list []trade.Trade, id int64) []trade.Trade {
	slices.SortStableFunc(list, func(a, b trade.Trade) int { return cmp.Compare(a.ID, b.ID) })
	list = slices.CompactFunc(list, func(a, b trade.Trade) bool { return a.ID == b.ID })
	i, _ := slices.BinarySearchFunc(list, id+1, func(a trade.Trade, id int64) int { return cmp.Compare(a.ID, id) })
	return slices.Delete(list, 0, i)
}

// take merges what the tracker holds into a list.
func (t *tracker) take(list []trade.Trade) []trade.Trade {
	t.mu.Lock()
	list = append(list, t.held...)
	t.held = nil
	t.mu.Unlock()
	return merge(list, t.id)
}

// checked reports whether its history is to be asked in any case, which is so no more then.
func (t *tracker) checked() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.check
	t.check = false
	return was
}

// giveFilling hands a trade on from the filler, who alone does meanwhile. The sink may wait.
func (t *tracker) giveFilling(tr trade.Trade) {
	if tr.Symbol != nil {
		t.in.trades.Add(1)
		t.in.to.Trade(tr)
	}
	t.mu.Lock()
	t.known, t.id, t.time = true, tr.ID, max(t.time, tr.Time)
	t.mu.Unlock()
}
