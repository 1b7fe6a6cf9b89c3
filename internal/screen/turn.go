// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"context"
	"slices"
	"time"
)

const (
	// turnEvery is the time between two turns of [Registry.Run] at most, and rankEvery between two times that a screen is ranked.
	turnEvery = 50 * time.Millisecond
	rankEvery = 250 * time.Millisecond
	// Linger is how long a screen is kept that nobody has, so that a page that reloads finds it as it was.
	Linger = 10 * time.Second
)

func (r *Registry) wake() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

// Run does what screens need beside ticks, until ctx ends.
func (r *Registry) Run(ctx context.Context) {
	tick := time.NewTicker(turnEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.signal:
		}
		r.Turn(time.Now())
	}
}

// Turn does what is due at a time. It is called by one goroutine at a time.
func (r *Registry) Turn(now time.Time) {
	if r.covers.Load() == nil {
		return
	}
	r.takeBorn()
	r.look(now)
	r.replan()
	r.settle(now)
	r.rank(now)
	r.sweep(now)
	r.end(now)
	r.mu.Lock()
	r.budget.measure(now, r.scratch[:])
	r.mu.Unlock()
}

// takeBorn takes in topics that have come.
func (r *Registry) takeBorn() {
	r.bornMu.Lock()
	names, missed := r.born, r.missed
	r.born, r.missed = nil, false
	r.bornMu.Unlock()
	r.take(names)
	if missed {
		r.mu.Lock()
		r.listAt = time.Time{}
		r.mu.Unlock()
	}
}

// take adds what covers have of some names.
func (r *Registry) take(names []string) {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !r.wants(name) })
	for part := range slices.Chunk(names, stretch) {
		r.mu.Lock()
		for _, name := range part {
			r.found(name)
		}
		r.mu.Unlock()
	}
}

// look looks at the names that there are, if it is time to.
func (r *Registry) look(now time.Time) {
	r.mu.Lock()
	due, seen := !now.Before(r.listAt), r.names
	if due {
		r.listAt = now.Add(listEvery) // Unless a cover comes meanwhile.
	}
	r.mu.Unlock()
	if !due {
		return
	}
	r.take(r.cfg.Table.AppendNames(nil))
	all := true
	if r.cfg.Names != nil {
		var names []string
		if names, all = r.cfg.Names(); len(names) > 0 && (len(seen) != len(names) || &seen[0] != &names[0]) {
			seen = names
			r.take(names)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listAt.IsZero() {
		return
	}
	r.names = seen
	if !all {
		r.listAt = now.Add(listSoon)
	}
	for _, c := range r.list {
		c.listed = c.listed || all || now.Sub(c.made) > settleWait
	}
}

// replan has topics follow the views of their covers.
func (r *Registry) replan() {
	for r.replanSome() {
	}
}

func (r *Registry) replanSome() (more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.list, func(c *cover) bool { return c.replan })
	if i < 0 {
		return false
	}
	c := r.list[i]
	end := min(len(c.watches), c.at+max(1, stretch*8/(8+len(c.views))))
	for ; c.at < end; c.at++ {
		r.follow(c.watches[c.at])
	}
	c.replan = c.at < len(c.watches)
	return true
}

// settle has views be ready whose topics are known, with their values.
func (r *Registry) settle(now time.Time) {
	for _, v := range r.settled(now) {
		v.rank()
		v.ready.Store(true)
	}
}

// settled returns the views that are to be ready.
func (r *Registry) settled(now time.Time) (views []*View) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.list {
		if !c.settled && c.listed {
			c.settled = now.Sub(c.made) > settleWait ||
				!slices.ContainsFunc(c.watches, func(w *watch) bool { return r.pending(w.id) })
		}
		if !c.settled || c.replan {
			continue
		}
		for _, v := range c.views {
			if !v.ready.Load() {
				views = append(views, v)
			}
		}
	}
	return views
}

// rank ranks what is ranked, if it is time to.
func (r *Registry) rank(now time.Time) {
	r.mu.Lock()
	if now.Before(r.rankAt) {
		r.mu.Unlock()
		return
	}
	r.rankAt = now.Add(rankEvery)
	var ranked []*View
	for _, v := range r.views {
		if v.spec.Top > 0 {
			ranked = append(ranked, v)
		}
	}
	r.mu.Unlock()
	for _, v := range ranked {
		v.rank()
	}
}

// sweep lets topics go that have no value any more, if it is time to.
func (r *Registry) sweep(now time.Time) {
	r.mu.Lock()
	due, list := !now.Before(r.sweepAt), r.list
	if due {
		r.sweepAt = now.Add(sweepEvery)
	}
	r.mu.Unlock()
	if !due {
		return
	}
	for _, c := range list {
		r.sweepCover(c, now)
	}
}

func (r *Registry) sweepCover(c *cover, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.watches = slices.DeleteFunc(c.watches, func(w *watch) bool {
		if !r.gone(w.id) {
			return false
		}
		r.leave(w, c, now)
		for _, v := range c.views { // It may have had a value again in between, of which nobody would hear the end.
			v.put(w.name, nil, false, Number{}, false)
		}
		return true
	})
	c.at = min(c.at, len(c.watches))
	if c.full && len(c.watches) < r.cfg.MaxTopics-r.cfg.MaxTopics/8 {
		c.full = false
		r.publishCovers()
		r.names, r.listAt = nil, time.Time{} // Those that found no room may have some now.
	}
}

// end ends views that nobody has had for a while, and covers without one.
func (r *Registry) end(now time.Time) {
	for _, c := range r.endCovers(now) {
		for part := range slices.Chunk(c.watches, stretch) {
			r.mu.Lock()
			for _, w := range part {
				r.leave(w, c, now)
			}
			r.mu.Unlock()
		}
	}
}

// endCovers returns the covers that have ended, whose topics are to be let go.
func (r *Registry) endCovers(now time.Time) (ended []*cover) {
	r.covering.Lock()
	defer r.covering.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.views {
		if v.refs == 0 && now.Sub(v.idle) >= Linger {
			r.endView(v)
		}
	}
	var kept []*cover
	for _, c := range r.list {
		if len(c.views) > 0 {
			kept = append(kept, c)
		} else {
			ended = append(ended, c)
		}
	}
	if len(ended) == 0 {
		return nil
	}
	r.list = kept
	r.publishCovers()
	if err := r.cover(kept); err != nil {
		r.cfg.Log.Warn("screens: a pattern is not given up at its source", "error", err)
	}
	return ended
}
