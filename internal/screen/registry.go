// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

const (
	// turnEvery is the time between two turns of [Registry.Run] at most, and rankEvery between two times that a screen is ranked.
	turnEvery = 50 * time.Millisecond
	rankEvery = 250 * time.Millisecond
	// Linger is how long a screen is kept that nobody has, so that a page that reloads finds it as it was.
	Linger = 10 * time.Second
)

// Config is what a [Registry] works with, and its limits, which are above 0.
type Config struct {
	Table   *topics.Table
	Private Names                             // The names that no screen has; nil is none.
	Cover   func(prefixes []string) error     // Has the sources bring the ticks of all topics that begin so. Nil: they do anyway.
	Names   func() (names []string, all bool) // The names that the sources have; nil if they can't say.
	Clock   func() time.Duration              // A monotonic clock that is above 0: what conditions cost is measured with it.
	Log     *slog.Logger

	MaxScreens int     // That differ, in all.
	MaxPerUser int     // That one user, or one address, may have at a time.
	MaxTopics  int     // That the patterns of one screen cover.
	Share      float64 // Of a core, for conditions. Beyond it there are no new ones.
}

// Registry is the screens of a process. Its methods may be called from any goroutine.
type Registry struct {
	cfg     Config
	signal  chan struct{}
	covers  atomic.Pointer[[]string] // The patterns of covers that are not full. Nil: no screen.
	scratch [topics.Watchers]scratch
	lacking atomic.Uint64 // Topics for which the table had no room.

	bornMu sync.Mutex
	born   []string // Names of topics that have a value since a moment.
	missed bool     // There were more.

	mu      sync.Mutex
	views   map[string]*View
	list    []*cover
	watches map[string]*watch
	plans   []*plan
	users   map[string]int
	asked   []string // The prefixes that sources bring.
	budget  budget
	names   []string // That were looked at last.
	listAt  time.Time
	sweepAt time.Time
	rankAt  time.Time
	refused [Refusals]uint64
}

// New returns a registry without screens. Its Run is to be called, or its Turn.
func New(cfg Config) *Registry {
	r := &Registry{cfg: cfg, signal: make(chan struct{}, 1), views: make(map[string]*View),
		watches: make(map[string]*watch), users: make(map[string]int)}
	cfg.Table.HearNew(r.hearNew)
	return r
}

// Refusal is why a screen was refused, in the registry's statistics.
type Refusal uint8

// The reasons.
const (
	TooManyScreens Refusal = iota
	TooManyOfUser
	TooManyTopics
	TooCostly
	NoPatterns // The source can't.
	Refusals
)

// Attach returns the view of a screen for somebody, who is counted by who. It is to be given back by [Registry.Detach].
func (r *Registry) Attach(spec Spec, who string, now time.Time) (*View, *protocol.CommandError) {
	key := spec.Key()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users[who] >= r.cfg.MaxPerUser {
		return nil, r.refuse(TooManyOfUser, protocol.ErrTooFast, fmt.Sprintf("you have %d screens at a time, which is the most: end one first", r.cfg.MaxPerUser))
	}
	v := r.views[key]
	if v == nil {
		var e *protocol.CommandError
		if v, e = r.make(spec, key, now); e != nil {
			return nil, e
		}
	}
	v.refs++
	r.users[who]++
	return v, nil
}

func (r *Registry) refuse(why Refusal, code int, reason string) *protocol.CommandError {
	r.refused[why]++
	return refuse(code, reason)
}

// make makes a view that is not there, if it may be.
func (r *Registry) make(spec Spec, key string, now time.Time) (*View, *protocol.CommandError) {
	r.budget.measure(now, r.scratch[:])
	same := func(c *cover) bool { return slices.Equal(c.patterns, spec.Patterns) }
	i := slices.IndexFunc(r.list, same)
	switch {
	case len(r.views) >= r.cfg.MaxScreens:
		return nil, r.refuse(TooManyScreens, protocol.ErrTooFast, "the edge has its maximum of screens that differ, try again later, or ask for one that others have")
	case !spec.Where.Always() && r.budget.with() > r.cfg.Share:
		return nil, r.refuse(TooCostly, protocol.ErrTooFast, "the conditions of all screens take as much of the edge as they may, try again later, or ask for one that others have")
	case i >= 0 && r.list[i].full:
		return nil, r.refuse(TooManyTopics, protocol.ErrTooFast, fmt.Sprintf("these patterns have more than %d topics: name narrower ones", r.cfg.MaxTopics))
	}
	if i < 0 {
		c := &cover{patterns: spec.Patterns, made: now}
		if err := r.cover(append(slices.Clip(r.list), c)); err != nil {
			return nil, r.refuse(NoPatterns, protocol.ErrUnsupported, "no screens of these topics: "+err.Error())
		}
		i = len(r.list)
		r.list = append(r.list, c)
		r.publishCovers()
		r.names, r.listAt = nil, time.Time{} // Those that were looked at may be in it.
	}
	v := newView(spec, key)
	v.cover = r.list[i]
	r.views[key] = v
	r.changed(v.cover, append(slices.Clip(v.cover.views), v))
	return v, nil
}

// changed gives a cover other views, which the plans of its topics are to follow.
func (r *Registry) changed(c *cover, views []*View) {
	c.views, c.replan, c.at = views, true, 0
	r.plans = slices.DeleteFunc(r.plans, func(p *plan) bool { return slices.Contains(p.covers, c) })
	r.wake()
}

// cover has the sources bring what covers need.
func (r *Registry) cover(list []*cover) error {
	if r.cfg.Cover == nil {
		return nil
	}
	var patterns []string
	for _, c := range list {
		patterns = append(patterns, c.patterns...)
	}
	var prefixes []string
	for _, p := range reduce(patterns) {
		if prefix, starred := strings.CutSuffix(p, "*"); starred {
			prefixes = append(prefixes, prefix)
		}
	}
	if slices.Equal(prefixes, r.asked) {
		return nil
	}
	if err := r.cfg.Cover(prefixes); err != nil {
		return err
	}
	r.asked = prefixes
	return nil
}

// publishCovers tells those who have no lock which names are wanted.
func (r *Registry) publishCovers() {
	var patterns []string
	for _, c := range r.list {
		if !c.full {
			patterns = append(patterns, c.patterns...)
		}
	}
	if len(r.list) == 0 {
		r.covers.Store(nil)
		return
	}
	patterns = reduce(patterns)
	r.covers.Store(&patterns)
}

// Detach gives a view back.
func (r *Registry) Detach(v *View, who string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.refs--; v.refs == 0 {
		v.idle = now
	}
	if r.users[who]--; r.users[who] == 0 {
		delete(r.users, who)
	}
}

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
	end := min(len(c.watches), c.at+stretch)
	for ; c.at < end; c.at++ {
		r.follow(c.watches[c.at])
	}
	c.replan = c.at < len(c.watches)
	return true
}

// settle has views be ready whose topics are known, with their values.
func (r *Registry) settle(now time.Time) {
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
				v.rank()
				v.ready.Store(true)
			}
		}
	}
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
	defer r.mu.Unlock()
	if now.Before(r.sweepAt) {
		return
	}
	r.sweepAt = now.Add(sweepEvery)
	for _, c := range r.list {
		c.watches = slices.DeleteFunc(c.watches, func(w *watch) bool {
			if !r.gone(w.id) {
				return false
			}
			r.leave(w, c, now) // No view has it inside: its last row was no value, or it had none.
			return true
		})
		c.at = min(c.at, len(c.watches))
	}
}

// end ends views that nobody has had for a while, and covers without one.
func (r *Registry) end(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, v := range r.views {
		if v.refs == 0 && now.Sub(v.idle) >= Linger {
			delete(r.views, key)
			r.changed(v.cover, slices.DeleteFunc(slices.Clone(v.cover.views), func(o *View) bool { return o == v }))
		}
	}
	kept := slices.DeleteFunc(slices.Clone(r.list), func(c *cover) bool { return len(c.views) == 0 })
	if len(kept) == len(r.list) {
		return
	}
	ended := r.list
	r.list = kept
	r.publishCovers()
	if err := r.cover(kept); err != nil {
		r.cfg.Log.Warn("screens: a pattern is not given up at its source", "error", err)
	}
	for _, c := range ended {
		if len(c.views) > 0 {
			continue
		}
		for _, w := range c.watches {
			r.leave(w, c, now)
		}
	}
}

// Stats says what a registry has.
type Stats struct {
	Screens    int // That differ.
	Conditions int // That differ.
	Holders    int // Of screens, all together.
	Covered    int // Topics.
	Evaluated  uint64
	Lacking    uint64 // Topics for which there was no room in the table.
	Refused    [Refusals]uint64
	Share      float64 // Of a core, that conditions take; see Config.Share.
}

// Stats may take some microseconds.
func (r *Registry) Stats() (s Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Screens, s.Covered, s.Refused, s.Share, s.Lacking = len(r.views), len(r.watches), r.refused, r.budget.share, r.lacking.Load()
	conditions := make(map[string]bool)
	for _, v := range r.views {
		conditions[v.spec.Where.String()] = true
		s.Holders += v.refs
	}
	s.Conditions = len(conditions)
	for i := range r.scratch {
		s.Evaluated += r.scratch[i].cost.evaluated.Load()
	}
	return s
}
