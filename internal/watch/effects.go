// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"maps"
	"sync"

	"tickedge/internal/alert"
	"tickedge/internal/broker"
)

// effects is the queue from the engine to the store: what has fired and was armed, in order, and between it positions, which
// hold for all before them.
type effects struct {
	mu    sync.Mutex
	queue []queued
	at    int // The first of queue that is not stored.
	wake  chan struct{}
	empty chan struct{} // Closed when the queue was seen empty after drained was called.
	end   bool
}

// queued is an effect, or positions.
type queued struct {
	effect    alert.Effect
	positions map[string]int64 // Nil: it is an effect.
}

func newEffects() *effects {
	return &effects{wake: make(chan struct{}, 1), empty: make(chan struct{})}
}

func (e *effects) put(of []alert.Effect) {
	e.mu.Lock()
	for _, one := range of {
		e.queue = append(e.queue, queued{effect: one})
	}
	e.mu.Unlock()
	broker.Signal(e.wake)
}

// positions puts positions behind what is there. Those that nothing came behind become one.
func (e *effects) positions(risen map[string]int64) {
	if len(risen) == 0 {
		return
	}
	e.mu.Lock()
	if n := len(e.queue); n > e.at && e.queue[n-1].positions != nil {
		merged := maps.Clone(e.queue[n-1].positions) // The other may be on its way.
		maps.Copy(merged, risen)
		e.queue[n-1].positions = merged
	} else {
		e.queue = append(e.queue, queued{positions: risen})
	}
	e.mu.Unlock()
	broker.Signal(e.wake)
}

func (e *effects) len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.queue) - e.at
}

// drained is closed when all is stored that is there now.
func (e *effects) drained() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end = true
	if len(e.queue) == e.at {
		e.closeEmpty()
	}
	return e.empty
}

func (e *effects) closeEmpty() {
	select {
	case <-e.empty:
	default:
		close(e.empty)
	}
}

// batchMax is how many effects are stored at a time.
const batchMax = 500

// batch is what is stored next: firings and armings of different alerts, or positions. n is how many of the queue that are.
type batch struct {
	fire      []alert.Firing
	arm       []alert.Arming
	positions map[string]int64
	n         int
}

func (e *effects) next() (b batch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := make(map[int64]bool)
	for _, q := range e.queue[e.at:] {
		if q.positions != nil {
			if b.n == 0 {
				b.positions, b.n = q.positions, 1
			}
			return b
		}
		id := q.effect.Arming.Alert
		if q.effect.Fires {
			id = q.effect.Firing.Alert
		}
		if b.n == batchMax || seen[id] {
			return b
		}
		seen[id] = true
		if q.effect.Fires {
			b.fire = append(b.fire, q.effect.Firing)
		} else {
			b.arm = append(b.arm, q.effect.Arming)
		}
		b.n++
	}
	return b
}

// done takes n from the queue. Positions that grew while they were on their way stay.
func (e *effects) done(b *batch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b.positions != nil && !maps.Equal(e.queue[e.at].positions, b.positions) {
		return
	}
	for i := range b.n {
		e.queue[e.at+i] = queued{}
	}
	e.at += b.n
	if e.at == len(e.queue) {
		e.queue, e.at = e.queue[:0], 0
		if e.end {
			e.closeEmpty()
		}
	} else if e.at > len(e.queue)/2 {
		e.queue, e.at = append(e.queue[:0], e.queue[e.at:]...), 0
	}
}

// store stores what is in the queue, again and again until it is stored.
func (w *Watch) store(ctx context.Context) {
	for wait := new(broker.Backoff); ; {
		b := w.effects.next()
		if b.n == 0 {
			select {
			case <-ctx.Done():
				return
			case <-w.effects.wake:
			}
			continue
		}
		if err := w.storeBatch(ctx, &b); err != nil {
			if ctx.Err() != nil {
				return
			}
			w.storeFailures.Add(1)
			w.cfg.Log.Warn("what has fired can't be stored: it is tried again until it is", "waiting", w.effects.len(), "error", err)
			if !broker.Sleep(ctx, wait.Next()) {
				return
			}
			continue
		}
		wait.Reset()
		w.effects.done(&b)
	}
}

func (w *Watch) storeBatch(ctx context.Context, b *batch) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if b.positions != nil {
		return w.cfg.Store.SetPositions(ctx, b.positions)
	}
	if len(b.fire) > 0 {
		taken, err := w.cfg.Store.Fire(ctx, b.fire, w.nowMillis())
		if err != nil {
			return err
		}
		for _, is := range taken {
			if is {
				w.taken.Add(1)
			}
		}
		broker.Signal(w.news)
	}
	if len(b.arm) > 0 {
		return w.cfg.Store.Arm(ctx, b.arm)
	}
	return nil
}
