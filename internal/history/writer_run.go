// SPDX-License-Identifier: Apache-2.0

package history

import (
	"context"
	"time"

	"tickedge/internal/bars"
)

// Run stores what was taken, a batch after the other, until ctx ends, and then tries once to store the rest: with a
// context that the caller gives for that, by its deadline. It is called once.
func (w *Writer) Run(ctx, last context.Context) {
	defer w.end()
	for w.await(ctx) {
		w.store(ctx)
	}
	for last.Err() == nil {
		batch, keys := w.take()
		if len(batch) == 0 {
			return
		}
		err := w.to.Put(last, batch)
		if w.settle(keys, err); err != nil {
			w.cfg.Log.Error("history: bars were not stored before the end", "bars", w.Stats().Waiting, "error", err)
			return
		}
	}
}

// await waits until a batch is to be stored: because it is full, its first bar has waited for long enough, or somebody
// flushes. It is false when ctx has ended.
func (w *Writer) await(ctx context.Context) bool {
	var due <-chan time.Time
	for {
		n, hurry := w.due()
		if hurry {
			return ctx.Err() == nil
		}
		if n > 0 && due == nil {
			timer := time.NewTimer(w.cfg.Delay)
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return false
		case <-due:
			return true
		case <-w.wake:
		}
	}
}

func (w *Writer) due() (n int, hurry bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n = len(w.order)
	return n, n >= w.cfg.Batch || n > 0 && len(w.flushes) > 0
}

// store puts one batch, however often it takes. Between two tries it takes the newest of each key.
func (w *Writer) store(ctx context.Context) {
	wait := w.cfg.Retry
	for ctx.Err() == nil {
		batch, keys := w.take()
		if len(batch) == 0 {
			return
		}
		try, cancel := context.WithTimeout(ctx, w.cfg.Try)
		err := w.to.Put(try, batch)
		cancel()
		if w.settle(keys, err); err == nil {
			return
		}
		if ctx.Err() != nil {
			return
		}
		w.cfg.Log.Warn("history: bars can't be stored and are kept", "error", err, "waiting", w.Stats().Waiting, "retry_in", wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		wait = min(2*wait, 100*w.cfg.Retry)
	}
}

// take returns what has waited longest.
func (w *Writer) take() (batch []bars.Bar, keys []barKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.order), w.cfg.Batch)
	for _, k := range w.order[:n] {
		has := w.series[k.seriesKey][k.start]
		has.queued = false
		batch, keys = append(batch, has.bar), append(keys, k)
	}
	clear(w.order[:n])
	if w.order = w.order[n:]; len(w.order) == 0 {
		w.order = nil
	}
	return batch, keys
}

// settle notes what became of a batch.
func (w *Writer) settle(keys []barKey, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.stats.Failures++
		w.stats.LastError = err.Error()
		if w.stats.failing.IsZero() {
			w.stats.failing = time.Now()
		}
		var again []barKey
		for _, k := range keys {
			if has := w.series[k.seriesKey][k.start]; !has.queued {
				has.queued = true
				again = append(again, k)
			}
		}
		w.order = append(again, w.order...)
		return
	}
	w.stats.failing = time.Time{}
	w.stats.Stored += uint64(len(keys))
	for _, k := range keys {
		of := w.series[k.seriesKey]
		has := of[k.start]
		if has.queued { // A newer one has come meanwhile.
			has.number = has.newer
			continue
		}
		delete(of, k.start)
		w.size--
		if len(of) == 0 {
			delete(w.series, k.seriesKey)
		}
	}
	close(w.room)
	w.room = make(chan struct{})
	w.flushed()
}

// flushed tells those who flush what is stored.
func (w *Writer) flushed() {
	kept := w.flushes[:0]
	for _, f := range w.flushes {
		if w.unstored(f.upTo) {
			kept = append(kept, f)
		} else {
			close(f.done)
		}
	}
	w.flushes = kept
}

// unstored reports whether anything is not stored that was taken up to a number.
func (w *Writer) unstored(upTo uint64) bool {
	for _, of := range w.series {
		for _, has := range of {
			if has.number <= upTo {
				return true
			}
		}
	}
	return false
}

// end lets go of everybody who waits.
func (w *Writer) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	close(w.room)
	w.room = make(chan struct{})
	for _, f := range w.flushes {
		close(f.done)
	}
	w.flushes = nil
}
