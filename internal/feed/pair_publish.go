// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tickedge/internal/broker"
)

const (
	// pairTopics is how many topics wait, newest tick each, for that of two brokers that is away. What does not
	// fit is not written there: it has it again with the topic's next tick.
	pairTopics = 100_000
	// pairBatch bounds the ticks that are on their way into both at a time.
	pairBatch = 1000
	// pairRefusal is how long the other of two brokers has to take what one does not.
	pairRefusal = 5 * time.Second
)

// pairPublisher writes into both brokers of a [Pair]. A tick has its fate when one of them has told it: who
// reads both takes the newer of what they have. The other one gets it as soon as it can, or a newer one.
type pairPublisher struct {
	halves [2]broker.Publisher
	queues [2]*broker.Queue
	end    context.CancelFunc
	work   sync.WaitGroup
}

// Publisher implements [broker.Config].
func (p Pair) Publisher(ctx context.Context, log *slog.Logger) (broker.Publisher, error) {
	to, err := publishers(ctx, p[:], log)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(ctx)
	pp := &pairPublisher{halves: [2]broker.Publisher(to), end: end}
	for i, half := range to {
		pp.queues[i] = broker.NewQueue(half, pairTopics)
		pp.work.Go(func() { pp.queues[i].Run(ctx) })
	}
	return pp, nil
}

// Publish implements [broker.Publisher]. A tick without a version, in its Ver or its value, is
// [broker.Flawed]: nobody could say which of two is the newer.
func (pp *pairPublisher) Publish(ctx context.Context, ticks []broker.Tick) bool {
	for len(ticks) > 0 {
		some := ticks[:min(len(ticks), pairBatch)]
		if !pp.publish(ctx, some) {
			return false
		}
		ticks = ticks[len(some):]
	}
	return ctx.Err() == nil
}

// pairFates collects what both brokers say of a batch.
type pairFates struct {
	mu    sync.Mutex
	fates []broker.Fate
	said  []uint8       // How often the tick was spoken of.
	known []bool        // It has its fate.
	open  int           // Ticks that have none.
	done  chan struct{} // Closed when open is 0.
}

func (f *pairFates) tell(i int, fate broker.Fate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said[i]++
	if f.known[i] {
		return
	}
	if _, refused := fate.Refusal(); refused && f.said[i] < 2 { // The other has some time to take it.
		time.AfterFunc(pairRefusal, func() { f.tell(i, fate) })
		return
	}
	// What is newer on its way into one may not reach it before the other has this, and what one has no room for
	// the other may take.
	if f.said[i] < 2 && fate != broker.Taken && fate != broker.Outdated {
		return
	}
	f.known[i], f.fates[i] = true, fate
	if f.open--; f.open == 0 {
		close(f.done)
	}
}

func (pp *pairPublisher) publish(ctx context.Context, ticks []broker.Tick) bool {
	f := &pairFates{fates: make([]broker.Fate, len(ticks)), said: make([]uint8, len(ticks)), known: make([]bool, len(ticks)),
		open: len(ticks), done: make(chan struct{})}
	for i, t := range ticks {
		if t.Ver == 0 {
			if v, flaw := inspect(string(t.Value), ""); flaw == broker.Flawless && v.Set {
				t.Ver = v.Whole
			}
		}
		if t.Ver <= 0 || broker.CheckTick(t) != nil {
			f.said[i] = 1 // Neither is asked.
			f.tell(i, broker.Flawed)
			continue
		}
		for _, q := range pp.queues {
			if q.Put(t, func(fate broker.Fate) { f.tell(i, fate) }) != nil {
				f.tell(i, broker.Unknown) // No room for it, or the end.
			}
		}
	}
	select {
	case <-ctx.Done():
		return false
	case <-f.done:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range ticks {
		ticks[i].Fate = f.fates[i]
	}
	return true
}

// Connected implements [broker.Publisher]: either is.
func (pp *pairPublisher) Connected() bool {
	return pp.halves[0].Connected() || pp.halves[1].Connected()
}

// Close implements [broker.Publisher]. What waits for a broker that is away is given up.
func (pp *pairPublisher) Close() {
	pp.end()
	pp.work.Wait()
	for _, half := range pp.halves {
		half.Close()
	}
}
