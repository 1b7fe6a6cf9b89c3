// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"sync/atomic"
	"unsafe"

	"tickedge/internal/panics"
	"tickedge/internal/topics"
)

// watch hears of the rows of one topic that covers have. It implements [topics.Watcher].
type watch struct {
	registry *Registry
	name     string
	id       topics.ID
	covers   []*cover // Under the registry's lock, as what is above never changes.

	next atomic.Pointer[plan] // What is to be looked at from the next row on.

	// Under the lock of the table that Committed has.
	plan   *plan
	inside []uint64 // A bit for each view of the plan: the topic is inside, or was told to be.
}

// plan is what is to be looked at in the rows of topics. Topics that are in the same covers share it. It does not change.
type plan struct {
	covers     []*cover
	paths      *Paths
	conditions []condition
	views      []planned
	places     map[*View]int // In views.
}

// condition is one, and the views that have it: views[from:to] of the plan.
type condition struct {
	program  *Program // nil is always true.
	from, to int
}

type planned struct {
	view *View
	by   int // Of a ranked view: its member, in paths.
}

// scratch is what one goroutine at a time needs to look at rows: there is one for each lock of the table.
type scratch struct {
	values Values
	cost   cost
	_      [64]byte
}

// Committed implements [topics.Watcher].
func (w *watch) Committed(row *topics.Row, of int) {
	if next := w.next.Load(); next != w.plan {
		w.adopt(next)
	}
	if w.plan == nil || len(w.plan.views) == 0 {
		return
	}
	defer w.registry.recover(w)
	s := &w.registry.scratch[of]
	began := s.cost.begin(w.registry.cfg.Clock)
	w.look(row, &s.values)
	s.cost.end(w.registry.cfg.Clock, began, len(w.plan.conditions))
}

// recover has a panic of a condition cost no more than one look at a row: the tick is committed, and clients that send conditions
// are not to end the edge.
func (r *Registry) recover(w *watch) {
	if p := recover(); p != nil {
		err := panics.CaughtIn(panics.Screens, p)
		r.cfg.Log.Error("panic in a condition of a screen", "topic", w.name, "error", err, "hint", panics.Hint, "stack", err.Stack)
	}
}

// look evaluates the conditions of the plan on a row, and tells the views what they have not heard.
func (w *watch) look(row *topics.Row, values *Values) {
	p, gone := w.plan, row.Delisted()
	if !gone {
		text := row.Value()
		p.paths.Extract(unsafe.String(unsafe.SliceData(text), len(text)), values)
	}
	for i := range p.conditions {
		c := &p.conditions[i]
		inside := !gone && (c.program == nil || c.program.Eval(w.name, values))
		for at := c.from; at < c.to; at++ {
			word, bit := &w.inside[at/64], uint64(1)<<(at%64)
			if !inside && *word&bit == 0 {
				continue
			}
			v := p.views[at]
			var by Number
			ranked := false
			if inside && v.by >= 0 {
				by, ranked = values.Number(v.by)
			}
			v.view.put(w.name, row, inside, by, ranked)
			if *word |= bit; !inside {
				*word &^= bit
			}
		}
	}
}

// adopt makes another plan the watch's. What views of both know stays as it is.
func (w *watch) adopt(next *plan) {
	inside := make([]uint64, (len(next.views)+63)/64)
	if w.plan != nil {
		for at, v := range w.plan.views {
			if w.inside[at/64]&(1<<(at%64)) == 0 {
				continue
			}
			if to, has := next.places[v.view]; has {
				inside[to/64] |= 1 << (to % 64)
			}
		}
	}
	w.plan, w.inside = next, inside
}

// newPlan makes the plan of topics that are in these covers.
func newPlan(covers []*cover) *plan {
	p := &plan{covers: covers, places: make(map[*View]int)}
	var members []string
	groups := make(map[string][]*View)
	var order []string
	seen := make(map[*View]bool)
	for _, c := range covers {
		for _, v := range c.views {
			if seen[v] {
				continue
			}
			seen[v] = true
			where := v.spec.Where.String()
			if groups[where] == nil {
				order = append(order, where)
				members = append(members, v.spec.Where.Members()...)
			}
			groups[where] = append(groups[where], v)
			if v.spec.Top > 0 {
				members = append(members, v.spec.By.Member)
			}
		}
	}
	p.paths = NewPaths(members)
	for _, where := range order {
		c := condition{from: len(p.views)}
		if e := groups[where][0].spec.Where; !e.Always() {
			c.program = e.Bind(p.paths)
		}
		for _, v := range groups[where] {
			by := -1
			if v.spec.Top > 0 {
				by = p.paths.Index(v.spec.By.Member)
			}
			p.places[v] = len(p.views)
			p.views = append(p.views, planned{v, by})
		}
		c.to = len(p.views)
		p.conditions = append(p.conditions, c)
	}
	return p
}
