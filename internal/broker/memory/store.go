// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// store has the newest value of each topic, and knows which sources want it.
type store struct {
	most limits

	mu     sync.Mutex
	values map[string]*entry
	valued int   // Of values, those that have one.
	bytes  int64 // Of these.
	covers []*source
}

// entry is a topic.
type entry struct {
	topic   string
	value   string // "" if there is none: it is wanted and nothing was published.
	ver     int64  // 0 if value has none.
	wanters []*source
}

func newStore(most limits) *store {
	return &store{most: most, values: make(map[string]*entry)}
}

// size is what an entry with a value counts as.
func (e *entry) size() int64 {
	if e.value == "" {
		return 0
	}
	return int64(len(e.topic)+len(e.value)) + overhead
}

// publish takes one tick: what became of it, and whether that is for want of room. The caller holds mu.
func (st *store) publish(t broker.Tick, r kept, now time.Time) (f broker.Fate, full bool) {
	e := st.values[t.Topic]
	if r.value == "" {
		return broker.Flawed, false
	}
	if e != nil && t.Ver != 0 && e.ver >= t.Ver {
		return broker.Outdated, false
	}
	if r.value == "null" {
		st.remove(e, now)
		return broker.Taken, false
	}
	var was int64
	if e != nil {
		was = e.size()
	}
	next := entry{topic: t.Topic, value: r.value}
	full = was == 0 && st.valued >= st.most.topics || st.bytes-was+next.size() > st.most.bytes
	if full && (was == 0 || !broker.IsTombstone(r.value)) { // One that ends a value may be a bit longer than it.
		return broker.Flawed, true
	}
	if was == 0 {
		st.valued++
	}
	if e == nil {
		e = &entry{topic: strings.Clone(t.Topic)}
		st.values[e.topic] = e
	}
	st.bytes += next.size() - was
	e.value, e.ver = r.value, r.ver
	st.tell(e, r.value, now)
	return broker.Taken, false
}

// tell tells sources of a tick, whether they want the topic or cover it. The caller holds mu.
func (st *store) tell(e *entry, value string, now time.Time) {
	for _, s := range e.wanters {
		s.put(event{tick, e.topic, value}, now)
	}
	for _, s := range st.covers {
		if !slices.Contains(e.wanters, s) {
			s.putCovered(event{tick, e.topic, value}, now)
		}
	}
}

// cover notes what a source covers. The caller holds mu.
func (st *store) cover(s *source, p broker.Prefixes) {
	s.covered = p
	switch at := slices.Index(st.covers, s); {
	case at < 0 && len(p) > 0:
		st.covers = append(st.covers, s)
	case at >= 0 && len(p) == 0:
		st.covers = slices.Delete(st.covers, at, at+1)
	}
}

// remove takes away the value of a topic, if it has one, and tells of that.
func (st *store) remove(e *entry, now time.Time) {
	if e == nil || e.value == "" {
		return
	}
	st.bytes -= e.size()
	st.valued--
	e.value, e.ver = "", 0
	st.tell(e, "null", now)
	if len(e.wanters) == 0 {
		delete(st.values, e.topic)
	}
}

// want notes that a source wants a topic, or does not want it any more. The caller holds mu.
func (st *store) want(s *source, c topics.Change, now time.Time) {
	e := st.values[c.Topic]
	switch {
	case !c.Wanted && e != nil:
		for i, w := range e.wanters {
			if w == s {
				e.wanters = append(e.wanters[:i:i], e.wanters[i+1:]...)
				s.held--
				break
			}
		}
		if len(e.wanters) == 0 && e.value == "" {
			delete(st.values, e.topic)
		}
	case c.Wanted && !s.left:
		if e == nil {
			e = &entry{topic: c.Topic}
			st.values[c.Topic] = e
		}
		for _, w := range e.wanters {
			if w == s {
				return
			}
		}
		e.wanters = append(e.wanters, s)
		s.held++
		s.put(event{snapshot, e.topic, e.value}, now)
	}
}

// names are those of topics that have a value.
func (st *store) names() (names []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for topic, e := range st.values {
		if e.value != "" && !broker.IsTombstone(e.value) {
			names = append(names, topic)
		}
	}
	return names
}

// publishMax bounds the ticks that are published while nobody else is served.
const publishMax = 100

// publisher implements [broker.Publisher].
type publisher struct {
	store *store
	log   *slog.Logger
	full  bool // It was said that there is no room.
}

// Publish never waits. A tick for which there is no room is [broker.Flawed].
func (p *publisher) Publish(ctx context.Context, ticks []broker.Tick) bool {
	var values [publishMax]kept
	full := false
	for len(ticks) > 0 {
		if ctx.Err() != nil {
			return false
		}
		some := ticks[:min(len(ticks), publishMax)]
		for i := range some {
			values[i] = ready(some[i])
		}
		full = p.commit(some, values[:len(some)]) || full
		ticks = ticks[len(some):]
	}
	if full && !p.full {
		p.log.Warn("memory broker is full: new topics are refused", "topics", p.store.most.topics, "mib", p.store.most.bytes>>20,
			"hint", "raise the options topics and mib of its URL, or withdraw topics")
	}
	p.full = full
	return true
}

// kept is a value as it is kept.
type kept struct {
	value string // "" if it can't be written.
	ver   int64  // That which it has in it; 0 if there is none.
}

// ready makes the value of a tick what is kept of it.
func ready(t broker.Tick) kept {
	if !topics.ValidName(t.Topic) || t.Ver < 0 {
		return kept{}
	}
	if t.Ver > 0 {
		value, err := broker.Stamp(t.Value, t.Ver)
		if err != nil {
			return kept{}
		}
		return kept{string(value), t.Ver}
	}
	value := string(t.Value)
	switch v, f := broker.InspectVersion(value, broker.VersionMember); {
	case strings.TrimSpace(value) == "null":
		return kept{value: "null"}
	case f == broker.NoVersion:
		return kept{value: value}
	case f != broker.Flawless:
		return kept{}
	default:
		return kept{value, max(v.Whole, 0)}
	}
}

func (p *publisher) commit(ticks []broker.Tick, values []kept) (full bool) {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	now := time.Now()
	for i := range ticks {
		var none bool
		ticks[i].Fate, none = p.store.publish(ticks[i], values[i], now)
		full = full || none
	}
	return full
}

// Connected implements [broker.Publisher]: it always is.
func (p *publisher) Connected() bool { return true }

// Close implements [broker.Publisher].
func (p *publisher) Close() {}
