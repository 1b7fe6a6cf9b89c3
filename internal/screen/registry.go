// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// Config is what a [Registry] works with, and its limits, which are above 0.
type Config struct {
	Table   *topics.Table
	Private Names                             // The names that no screen has; nil is none.
	Cover   func(prefixes []string) error     // Has the sources bring the ticks of all topics that begin so; it may be told the same again. Nil: they do anyway.
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

	covering sync.Mutex // Whoever changes list, or what sources bring. It comes before mu.

	mu      sync.Mutex
	views   map[string]*View
	list    []*cover
	watches map[string]*watch
	plans   map[string]*plan // By the numbers of their covers.
	key     []byte           // Scratch.
	number  uint64           // Of the newest cover.
	users   map[string]int
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
		watches: make(map[string]*watch), plans: make(map[string]*plan), users: make(map[string]int)}
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
	return r.Replace(nil, spec, who, now)
}

// Replace is Attach in the place of a view that who has, and keeps if there is an error. nil is none.
func (r *Registry) Replace(old *View, spec Spec, who string, now time.Time) (*View, *protocol.CommandError) {
	key, most := spec.Key(), r.cfg.MaxPerUser
	if old != nil {
		most++
	}
	r.covering.Lock()
	defer r.covering.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users[who] >= most {
		return nil, r.refuse(TooManyOfUser, protocol.ErrTooFast,
			fmt.Sprintf("you have %d screens at a time, which is the most: end one first", r.cfg.MaxPerUser))
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
	if old != nil {
		r.detach(old, who, now)
	}
	return v, nil
}

func (r *Registry) refuse(why Refusal, code int, reason string) *protocol.CommandError {
	r.refused[why]++
	return refuse(code, reason)
}

// make makes a view that is not there, if it may be. The caller holds both locks; r.mu is given up for a moment.
func (r *Registry) make(spec Spec, key string, now time.Time) (*View, *protocol.CommandError) {
	r.budget.measure(now, r.scratch[:])
	i := slices.IndexFunc(r.list, func(c *cover) bool { return slices.Equal(c.patterns, spec.Patterns) })
	switch {
	case len(r.views) >= r.cfg.MaxScreens && !r.anyIdle():
		return nil, r.refuse(TooManyScreens, protocol.ErrTooFast,
			"the edge has its maximum of screens that differ, try again later, or ask for one that others have")
	case !(spec.Where.Always() && spec.Top == 0) && r.budget.with() > r.cfg.Share:
		return nil, r.refuse(TooCostly, protocol.ErrTooFast,
			"the conditions of all screens take as much of the edge as they may, try again later, or ask for one that others have")
	case i >= 0 && r.list[i].full:
		return nil, r.refuse(TooManyTopics, protocol.ErrTooFast,
			fmt.Sprintf("these patterns have more than %d topics: name narrower ones", r.cfg.MaxTopics))
	}
	if i < 0 {
		r.number++
		c := &cover{number: r.number, patterns: spec.Patterns, made: now}
		if err := r.cover(append(slices.Clip(r.list), c)); err != nil {
			return nil, r.refuse(NoPatterns, protocol.ErrUnsupported, "no screens of these topics: "+err.Error())
		}
		i = len(r.list)
		r.list = append(r.list, c)
		r.publishCovers()
		r.names, r.listAt = nil, time.Time{} // Those that were looked at may be in it.
	}
	if len(r.views) >= r.cfg.MaxScreens {
		r.endIdle()
	}
	v := newView(spec, key)
	v.cover = r.list[i]
	r.views[key] = v
	r.changed(v.cover, append(slices.Clip(v.cover.views), v))
	return v, nil
}

// anyIdle reports whether there is a view that nobody has.
func (r *Registry) anyIdle() bool {
	for _, v := range r.views {
		if v.refs == 0 {
			return true
		}
	}
	return false
}

// endIdle ends the view that nobody has had for the longest time, so that those who ask for many one after the other don't keep
// others out. There is one.
func (r *Registry) endIdle() {
	var oldest *View
	for _, v := range r.views {
		if v.refs == 0 && (oldest == nil || v.idle.Before(oldest.idle)) {
			oldest = v
		}
	}
	r.endView(oldest)
}

func (r *Registry) endView(v *View) {
	delete(r.views, v.key)
	r.changed(v.cover, slices.DeleteFunc(slices.Clone(v.cover.views), func(o *View) bool { return o == v }))
}

// changed gives a cover other views, which the plans of its topics are to follow: at the next turn, so that one goes through them for all
// views that come meanwhile.
func (r *Registry) changed(c *cover, views []*View) {
	c.views, c.replan, c.at = views, true, 0
	maps.DeleteFunc(r.plans, func(_ string, p *plan) bool { return slices.Contains(p.covers, c) })
}

// cover has the sources bring what covers need. The caller holds both locks. r.mu is given up meanwhile: a source may have a lock of its own
// while it offers a topic, and needs that lock here.
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
	r.mu.Unlock()
	defer r.mu.Lock()
	return r.cfg.Cover(prefixes)
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
	r.detach(v, who, now)
}

func (r *Registry) detach(v *View, who string, now time.Time) {
	if v.refs--; v.refs == 0 {
		v.idle = now
	}
	if r.users[who]--; r.users[who] == 0 {
		delete(r.users, who)
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
