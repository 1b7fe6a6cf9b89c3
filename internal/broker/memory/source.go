// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// pendingMax is how many events wait for their source's owner as they came. Beyond it a tick takes the
// place of one that waits of the same topic: no more wait than this and one for each topic that is wanted.
const pendingMax = 10_000

// roomMax bounds the events that wait when another topic is wanted: topics that come and go leave theirs.
const roomMax = 2 * pendingMax

// kind is what an event says of its topic.
type kind uint8

const (
	tick     kind = iota
	snapshot      // The value that there was when the topic was wanted.
)

// event is what a source has to tell its owner, in the order in which it came about.
type event struct {
	kind  kind
	topic string
	value string // "" if a snapshot found none.
}

// source tells an owner what is published. Publishers leave events, in the order of the store's lock; the
// goroutine of Run tells them, so that an owner who takes its time holds up nobody.
type source struct {
	store *store
	owner broker.Owner
	log   *slog.Logger
	wake  chan struct{} // Has an element when there are events.

	// Under the lock of store.
	pending []event
	last    map[string]int // Of each topic in pending, its last event.
	since   time.Time      // When the first of pending came.
	telling time.Time      // The same of those that are being told; zero if none are.
	held    int64
	covered broker.Prefixes
	short   bool // There was little room when it was asked for.
	left    bool // Run has ended. Nothing is wanted any more.

	runs     atomic.Bool
	counters broker.Counters
}

func newSource(st *store, owner broker.Owner, log *slog.Logger) *source {
	return &source{store: st, owner: owner, log: log, wake: make(chan struct{}, 1), last: make(map[string]int)}
}

// put leaves an event. The caller holds the store's lock.
func (s *source) put(e event, now time.Time) {
	if len(s.pending) >= pendingMax {
		if at, has := s.last[e.topic]; has && (e.kind == tick || s.pending[at].kind == snapshot) {
			// A snapshot stays one: it is what ends the topic's doubt, and may as well be newer.
			s.pending[at].value = e.value
			return
		}
	}
	if len(s.pending) == 0 {
		s.since = now
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	s.last[e.topic] = len(s.pending)
	s.pending = append(s.pending, e)
}

// Apply implements [broker.Source].
func (s *source) Apply(changes []topics.Change) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	now := time.Now()
	for _, c := range changes {
		s.store.want(s, c, now)
	}
}

// Room implements [broker.Source].
func (s *source) Room() int {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.short = len(s.pending) > pendingMax
	return max(0, roomMax-len(s.pending))
}

// Run implements [broker.Source].
func (s *source) Run(ctx context.Context) {
	s.runs.Store(true)
	defer s.runs.Store(false)
	defer s.leave()
	s.counters[broker.Connects].Add(1)
	s.owner.SetUp(true)
	s.log.Info("feed up", "address", Scheme)
	var events []event
	for ctx.Err() == nil {
		var more bool
		if events, more = s.take(events); more {
			s.owner.More()
		}
		if len(events) == 0 {
			select {
			case <-ctx.Done():
			case <-s.wake:
			}
			continue
		}
		at := s.owner.Now()
		for _, e := range events {
			s.tell(e, at)
		}
		clear(events) // Names and values must not outlive their topics here.
	}
}

// take returns what is to be told next, which takes the place of what was told, and whether there is room again.
func (s *source) take(told []event) (events []event, more bool) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	events, more = s.pending, s.short
	s.pending, s.short = told[:0], false
	clear(s.last)
	s.telling = time.Time{}
	if len(events) > 0 {
		s.telling = s.since
	}
	return events, more
}

func (s *source) tell(e event, at int64) {
	if e.kind == tick {
		s.owner.Tick(e.topic, e.value, at)
		return
	}
	mark, held := s.owner.Mark(e.topic)
	if !held {
		return
	}
	if e.value == "" {
		s.owner.Absent(e.topic)
		return
	}
	version, flaw := s.owner.Inspect(e.value)
	if flaw != broker.Flawless {
		s.owner.Drop(e.topic, e.value, int64(len(e.value)), flaw)
		s.owner.GoStale(e.topic, mark, broker.BadValue)
		return
	}
	s.owner.Repair(e.topic, e.value, mark, topics.Meta{At: at, Version: version})
}

// leave ends what publishers do for the source.
func (s *source) leave() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	for topic, e := range s.store.values {
		for _, w := range e.wanters {
			if w == s {
				s.store.want(s, topics.Change{Topic: topic}, time.Time{})
				break
			}
		}
	}
	s.store.cover(s, nil)
	s.pending, s.left = nil, true
}

// Cover implements [broker.Coverer].
func (s *source) Cover(prefixes []string) error {
	p := broker.NewPrefixes(prefixes)
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if !s.left {
		s.store.cover(s, p)
	}
	return nil
}

// putCovered leaves a tick, if its topic is covered. While the owner takes its time publishers may withdraw topics and
// make up others: where more wait than the store has room for such a tick is lost. The caller holds the store's lock.
func (s *source) putCovered(e event, now time.Time) {
	if !s.covered.Cover(e.topic) {
		return
	}
	if _, has := s.last[e.topic]; has || len(s.pending) < roomMax+s.store.most.topics {
		s.put(e, now)
	}
}

// Stats implements [broker.Source].
func (s *source) Stats() (st broker.Stats) {
	s.counters.AddTo(&st)
	if st.Connected = s.runs.Load(); !st.Connected {
		return st
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	st.Channels, st.Held = s.held, s.held
	now := time.Now() // Under the lock: all that was published before is here.
	st.Heard = now
	switch {
	case !s.telling.IsZero():
		st.Heard = s.telling
	case len(s.pending) > 0:
		st.Heard = s.since
	}
	st.Lag = now.Sub(st.Heard)
	return st
}
