// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"strings"
	"sync"
)

// queueBatch bounds the ticks that a [Queue] has published at a time.
const queueBatch = 500

// Errors of [Queue.Put]. Any other says what is wrong with the tick, see [CheckTick].
var (
	ErrQueueFull   = errors.New("as many topics wait for the broker as may")
	ErrQueueClosed = errors.New("nothing is published any more")
)

// Queue is in front of a [Publisher] for those who must not wait. It conflates: of each topic it
// holds the newest tick that waits, by its version or, where one has none, the one that came last. So
// while the broker is away it holds one tick of each topic, and of at most so many topics; another
// [queueBatch] may be on their way. All but Run may be called from any goroutine.
type Queue struct {
	to   Publisher
	most int
	wake chan struct{} // Has an element when Run has to look.

	mu      sync.Mutex
	waiting map[string]*queued
	order   []string // Of waiting, by when the topic began to wait.
	closed  bool
	stats   QueueStats
}

type queued struct {
	tick Tick
	done func(Fate)
}

// QueueStats says what a [Queue] holds, and has done since it was made.
type QueueStats struct {
	Waiting    int    // Topics of which a tick waits.
	Taken      uint64 // Ticks that the broker has.
	Outdated   uint64 // Ticks that the broker, or what waits, has a version of that is as high or higher.
	Superseded uint64 // Ticks that were dropped for a newer one of their topic.
	Flawed     uint64 // Ticks that the broker can't write.
	Refused    uint64 // Ticks that Put had no room for.
	Denied     uint64 // Ticks that the broker does not take, see [Fate.Refusal].
	Connected  bool   // See [Publisher].
}

// NewQueue returns a queue of at most so many topics. It holds up to as many values of [ValueMax] bytes.
func NewQueue(to Publisher, maxTopics int) *Queue {
	return &Queue{to: to, most: maxTopics, wake: make(chan struct{}, 1), waiting: make(map[string]*queued)}
}

// Put takes a tick on its way, of which it keeps a copy. done, if it is not nil, is called once with what
// became of it, by Run or by a Put, and must not wait. With an error the tick is not taken, and done not called.
func (q *Queue) Put(t Tick, done func(Fate)) error {
	if err := CheckTick(t); err != nil {
		return err
	}
	if done == nil {
		done = func(Fate) {}
	}
	tell, fate, err := q.put(t, done)
	if tell != nil {
		tell(fate)
	}
	return err
}

// put is Put, but for what is to be told of the tick that gives way, if any does.
func (q *Queue) put(t Tick, done func(Fate)) (tell func(Fate), fate Fate, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, 0, ErrQueueClosed
	}
	has := q.waiting[t.Topic]
	switch {
	case has == nil && len(q.waiting) >= q.most:
		q.stats.Refused++
		return nil, 0, ErrQueueFull
	case has == nil:
		topic := strings.Clone(t.Topic)
		has = new(queued)
		q.waiting[topic], q.order = has, append(q.order, topic)
		t.Topic = topic
	case t.Ver != 0 && t.Ver == has.tick.Ver: // As the broker would, it keeps the one that came first.
		q.stats.Outdated++
		return done, Outdated, nil
	case t.Ver != 0 && t.Ver < has.tick.Ver:
		q.stats.Superseded++
		return done, Superseded, nil
	default:
		q.stats.Superseded++
		tell, fate, t.Topic = has.done, Superseded, has.tick.Topic
	}
	t.Value = append([]byte(nil), t.Value...)
	*has = queued{t, done}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return tell, fate, nil
}

// Run publishes what waits, a batch after the other, until ctx ends. What was not published by then has the
// fate [Unknown]. It is called once.
func (q *Queue) Run(ctx context.Context) {
	var ticks []Tick
	var dones []func(Fate)
	for ctx.Err() == nil {
		if ticks, dones = q.take(ticks[:0], dones[:0]); len(ticks) == 0 {
			select {
			case <-ctx.Done():
			case <-q.wake:
			}
			continue
		}
		if !q.to.Publish(ctx, ticks) {
			for _, done := range dones {
				done(Unknown)
			}
			break
		}
		q.count(ticks)
		for i, done := range dones {
			done(ticks[i].Fate)
		}
		clear(ticks) // Values must not outlive their ticks here.
	}
	for _, done := range q.close() {
		done(Unknown)
	}
}

// take appends what has waited longest.
func (q *Queue) take(ticks []Tick, dones []func(Fate)) ([]Tick, []func(Fate)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.order), queueBatch)
	for _, topic := range q.order[:n] {
		w := q.waiting[topic]
		ticks, dones = append(ticks, w.tick), append(dones, w.done)
		delete(q.waiting, topic)
	}
	clear(q.order[:n])
	if q.order = q.order[n:]; len(q.order) == 0 {
		q.order = nil
	}
	return ticks, dones
}

func (q *Queue) count(ticks []Tick) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range ticks {
		switch t.Fate {
		case Taken:
			q.stats.Taken++
		case Outdated:
			q.stats.Outdated++
		case Superseded:
			q.stats.Superseded++
		case Flawed:
			q.stats.Flawed++
		default:
			q.stats.Denied++
		}
	}
}

func (q *Queue) close() (dones []func(Fate)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, topic := range q.order {
		dones = append(dones, q.waiting[topic].done)
	}
	q.order = nil
	clear(q.waiting)
	return dones
}

// Stats says how the queue is.
func (q *Queue) Stats() QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Waiting, s.Connected = len(q.waiting), q.to.Connected()
	return s
}
