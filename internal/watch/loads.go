// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"slices"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/broker"
)

// group is buckets that came at one time, whose alerts were read up to a mark.
type group struct {
	buckets []int
	mark    string
	loaded  bool
}

// pageAlerts is how many alerts are read at a time.
const pageAlerts = 1000

// load keeps leases, and reads the alerts of their buckets that others have changed.
func (w *Watch) load(ctx context.Context) {
	var groups []*group
	var leased time.Time
	for again := new(broker.Backoff); ; {
		err := error(nil)
		if now := w.cfg.Now(); now.Sub(leased) >= w.cfg.Term/3 || now.Before(leased) {
			leased = now
			groups, err = w.lease(ctx, groups)
		}
		for _, g := range groups {
			if err == nil {
				err = w.changes(ctx, g)
			}
		}
		wait := changesEvery
		if err != nil && ctx.Err() == nil {
			wait = max(wait, again.Next())
			w.storeFailures.Add(1)
			w.cfg.Log.Warn("alerts can't be read from the store: those that are known are watched on", "error", err)
		} else if err == nil {
			again.Reset()
			w.ready.Store(true)
		}
		if !broker.Sleep(ctx, wait) {
			return
		}
	}
}

// lease renews the leases, and tells the evaluation of what came and went.
func (w *Watch) lease(ctx context.Context, groups []*group) ([]*group, error) {
	within, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now := w.nowMillis()
	buckets, err := w.cfg.Store.Lease(within, w.cfg.Owner, now, w.cfg.Term.Milliseconds())
	if err != nil {
		return groups, err
	}
	w.buckets.Store(int64(len(buckets)))
	var kept []*group
	var known []int
	had := heldBy(groups)
	for _, g := range groups {
		g.buckets = slices.DeleteFunc(g.buckets, func(b int) bool { return !slices.Contains(buckets, b) })
		if len(g.buckets) > 0 {
			kept, known = append(kept, g), append(known, g.buckets...)
		}
	}
	fresh := slices.DeleteFunc(slices.Clone(buckets), func(b int) bool { return slices.Contains(known, b) })
	if len(known) != had || len(fresh) > 0 {
		w.cfg.Log.Info("alerts are divided", "buckets", len(buckets), "of", alert.Buckets, "new", len(fresh))
	}
	w.call(ctx, func() { w.own(buckets) })
	if len(fresh) == 0 {
		return kept, nil
	}
	positions, err := w.cfg.Store.Positions(within, fresh)
	if err != nil {
		return kept, err
	}
	w.call(ctx, func() {
		for name, at := range positions {
			if w.symbols[name] == nil {
				w.positions[name] = at
			}
		}
	})
	return append(kept, &group{buckets: fresh}), nil
}

func heldBy(groups []*group) (n int) {
	for _, g := range groups {
		n += len(g.buckets)
	}
	return n
}

// own takes what buckets are held, and forgets the symbols of others.
func (w *Watch) own(buckets []int) {
	var held [alert.Buckets]bool
	for _, b := range buckets {
		held[b] = true
	}
	for name, s := range w.symbols {
		if !held[alert.Bucket(name)] {
			w.unwatch(s)
		}
	}
	for name := range w.positions {
		if !held[alert.Bucket(name)] {
			delete(w.positions, name)
		}
	}
	for b := range held {
		w.loaded[b] = w.loaded[b] && held[b]
	}
	w.held = held
}

// changes reads what has changed of a group.
func (w *Watch) changes(ctx context.Context, g *group) error {
	began := w.nowMillis()
	for {
		within, cancel := context.WithTimeout(ctx, storeTimeout)
		found, next, more, err := w.cfg.Store.Changes(within, g.buckets, g.mark, pageAlerts)
		cancel()
		if err != nil {
			return err
		}
		g.mark = next
		if len(found) > 0 {
			w.call(ctx, func() {
				for _, a := range found {
					w.put(a)
				}
			})
		}
		if !more {
			break
		}
	}
	buckets, first := slices.Clone(g.buckets), !g.loaded
	g.loaded = true
	w.call(ctx, func() {
		for _, b := range buckets {
			w.read[b] = began
		}
		if first {
			w.begin(buckets)
		}
	})
	return nil
}

// begin has the symbols of buckets evaluated, whose alerts are all there now.
func (w *Watch) begin(buckets []int) {
	for _, b := range buckets {
		w.loaded[b] = w.held[b]
	}
	for _, s := range w.symbols {
		if slices.Contains(buckets, alert.Bucket(s.name)) {
			w.plan(s)
		}
	}
	w.seen = 0
}

func (w *Watch) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if err := w.cfg.Store.Release(ctx, w.cfg.Owner); err != nil {
		w.cfg.Log.Warn("leases can't be given up: they end by themselves", "within", w.cfg.Term, "error", err)
	}
}

// Of what is tidied up.
const (
	tidyEvery    = time.Second
	trimEvery    = time.Minute
	tidyLimit    = 1000
	firingsKept  = 1000           // Of each user.
	keptAfterEnd = 24 * time.Hour // Alerts that were deleted, and idempotency keys.
)

// tidy has alerts expire, and old firings go.
func (w *Watch) tidy(ctx context.Context) {
	trimmed := w.cfg.Now()
	for broker.Sleep(ctx, tidyEvery) {
		within, cancel := context.WithTimeout(ctx, storeTimeout)
		over := w.expiring(w.nowMillis())
		n, err := w.cfg.Store.Expire(within, over, tidyLimit)
		for err == nil && n == tidyLimit {
			n, err = w.cfg.Store.Expire(within, over, tidyLimit)
		}
		if now := w.cfg.Now(); err == nil && now.Sub(trimmed) >= trimEvery {
			n, err = w.cfg.Store.Trim(within, firingsKept, now.Add(-keptAfterEnd).UnixMilli(), tidyLimit)
			if n < tidyLimit {
				trimmed = now
			}
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			w.storeFailures.Add(1)
			w.cfg.Log.Warn("alerts can't be tidied up: it is tried again", "error", err)
		}
	}
}

// behindMax is how long alerts stay active behind their end where it can't be known whether they have fired before it.
const behindMax = time.Hour

// expiring is the end of alerts that are expired now: those are read no more, so all who watch have evaluated what was before it, and the
// symbols of one that died are another's by then.
func (w *Watch) expiring(now int64) int64 {
	return max(w.settled.Load()-2*w.cfg.Term.Milliseconds(), now-behindMax.Milliseconds())
}

// settle notes that nothing is missing, if that is so.
func (w *Watch) settle() {
	now := w.nowMillis()
	if w.effects.len() > 0 {
		return
	}
	for b := range w.held {
		if w.held[b] && !w.loaded[b] {
			return
		}
	}
	for _, s := range w.symbols {
		if s.bars[0].gap {
			return
		}
	}
	if w.ready.Load() {
		w.settled.Store(now)
	}
}
