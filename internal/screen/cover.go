// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"tickedge/internal/topics"
)

const (
	// stretch is how many topics are looked at with the registry's lock held, some tens of microseconds: ticks of new topics wait
	// for it.
	stretch = 64
	// settleWait is for how long values are awaited of topics that were found, before a screen is shown without them.
	settleWait = 2 * time.Second
	// listEvery is the time between two looks at the names that the sources have, and listSoon while they are still being read.
	listEvery = 30 * time.Second
	listSoon  = 100 * time.Millisecond
	// sweepEvery is the time between two looks for topics that have lost their value.
	sweepEvery = 10 * time.Second
	// bornMax bounds the names that have come and were not looked at yet.
	bornMax = 1024
)

// cover is the topics that a list of patterns has. All of it is under the registry's lock.
type cover struct {
	number   uint64 // No other has it.
	patterns []string
	views    []*View
	watches  []*watch
	made     time.Time
	listed   bool // The names that were there when it was made are known.
	settled  bool // Their values are there, or known not to come.
	full     bool // It has more topics than it may.

	replan bool // Its views have changed: the plans of its watches are to follow.
	at     int  // In watches, how far that is. It is begun again when a view comes.
}

func (c *cover) has(name string) bool { return anyMatches(c.patterns, name) }

// Offer takes a topic that a source has a tick of and that the table does not hold, if a screen wants it: the table holds it then. It
// is for the feed; it takes some nanoseconds where there is no screen, and waits for other goroutines for microseconds.
func (r *Registry) Offer(topic string) bool {
	if !r.wants(topic) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found(topic)
}

// wants reports whether a cover has a name, and room.
func (r *Registry) wants(name string) bool {
	covers := r.covers.Load()
	return covers != nil && anyMatches(*covers, name) && !hidden(name, r.cfg.Private)
}

// hearNew is told the name of each topic that has its first value, with a lock of the table held.
func (r *Registry) hearNew(name string) {
	if !r.wants(name) {
		return
	}
	r.bornMu.Lock()
	if len(r.born) < bornMax {
		r.born = append(r.born, name)
	} else {
		r.missed = true
	}
	r.bornMu.Unlock()
	r.wake()
}

// found adds a topic to the covers that have its name, and reports whether it is in one. The caller holds r.mu.
func (r *Registry) found(name string) bool {
	w := r.watches[name]
	if hidden(name, r.cfg.Private) {
		return w != nil
	}
	var in, joined []*cover
	for _, c := range r.list {
		switch {
		case w != nil && slices.Contains(w.covers, c):
			in = append(in, c)
		case !c.has(name):
		case len(c.watches) >= r.cfg.MaxTopics:
			r.overflow(c)
		default:
			in, joined = append(in, c), append(joined, c)
		}
	}
	if len(joined) == 0 {
		return w != nil
	}
	if w == nil {
		name = strings.Clone(name)
		id, err := r.cfg.Table.AcquireKnown([]byte(name), 0)
		if err != nil {
			r.lacking.Add(1)
			return false
		}
		w = &watch{registry: r, name: name, id: id}
		r.watches[name] = w
	}
	for _, c := range joined {
		c.watches = append(c.watches, w)
		c.settled = false
	}
	w.covers = in
	r.follow(w)
	return true
}

// overflow notes that a cover has more topics than it may.
func (r *Registry) overflow(c *cover) {
	if !c.full {
		c.full = true
		r.publishCovers()
		r.cfg.Log.Warn("a screen covers more topics than it may: those beyond are not in it", "topics", strings.Join(c.patterns, ","),
			"limit", r.cfg.MaxTopics, "hint", "raise -max-screen-topics, or let clients name narrower patterns")
	}
}

// follow gives a watch the plan of its covers, and has it look at its row. The caller holds r.mu.
func (r *Registry) follow(w *watch) {
	p := r.planOf(w.covers)
	if w.next.Load() != p {
		w.next.Store(p)
		r.cfg.Table.SetWatcher(w.id, w)
	}
}

// planOf returns the plan of some covers.
func (r *Registry) planOf(covers []*cover) *plan {
	r.key = r.key[:0]
	for _, c := range covers {
		r.key = binary.LittleEndian.AppendUint64(r.key, c.number)
	}
	p := r.plans[string(r.key)]
	if p == nil {
		p = newPlan(slices.Clone(covers))
		r.plans[string(r.key)] = p
	}
	return p
}

// leave takes a topic out of a cover, and lets it go if it is in no other. The caller holds r.mu, and takes it out of
// c.watches.
func (r *Registry) leave(w *watch, c *cover, now time.Time) {
	w.covers = slices.DeleteFunc(slices.Clone(w.covers), func(o *cover) bool { return o == c })
	if len(w.covers) > 0 {
		r.follow(w)
		return
	}
	r.cfg.Table.SetWatcher(w.id, nil)
	r.cfg.Table.Release(w.id, now)
	delete(r.watches, w.name)
}

// gone reports whether a topic has no value, and is none that is still being looked for.
func (r *Registry) gone(id topics.ID) bool {
	return r.cfg.Table.IsAbsent(id) || r.cfg.Table.Withdrawn(id)
}

// pending reports whether the value of a topic may still come.
func (r *Registry) pending(id topics.ID) bool { return r.cfg.Table.Row(id) == nil && !r.gone(id) }
