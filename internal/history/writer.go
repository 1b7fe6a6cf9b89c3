// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"tickedge/internal/bars"
)

// WriterConfig says how a [Writer] writes. What is 0 has the default that is named.
type WriterConfig struct {
	Most  int           // Bars that wait or are on their way, at most: 200,000, some 300 B each.
	Batch int           // Bars that are put at a time, at most: 2,000.
	Delay time.Duration // How long a bar waits for others of its batch: 200 ms.
	Retry time.Duration // The first pause after a Put that failed, which doubles up to 100 times it: 100 ms.
	Try   time.Duration // How long a Put may take: 30 s.
	Log   *slog.Logger
}

func (c WriterConfig) withDefaults() WriterConfig {
	c.Most = cmp.Or(c.Most, 200_000)
	c.Batch = cmp.Or(c.Batch, 2_000)
	c.Delay = cmp.Or(c.Delay, 200*time.Millisecond)
	c.Retry = cmp.Or(c.Retry, 100*time.Millisecond)
	c.Try = cmp.Or(c.Try, 30*time.Second)
	return c
}

// Putter is the part of a [Store] that a [Writer] needs. What takes closed bars and keeps none, such as a log, has it too.
type Putter interface {
	// Put is that of [Store].
	Put(ctx context.Context, b []bars.Bar) error
}

// Writer is a bounded queue in front of a [Store]. Of each key (symbol, interval and start) it holds the newest bar that is
// not stored, and tries to store it until that works: nothing that it has taken is dropped. So a store that is away for
// an hour costs no bar as long as there is room. All but Run may be called from any goroutine.
type Writer struct {
	to   Putter
	cfg  WriterConfig
	wake chan struct{} // Has an element when Run has to look.

	mu      sync.Mutex
	series  map[seriesKey]map[int64]*waiting
	order   []barKey // Of those that wait, by when they began to wait.
	size    int      // Of all in series: those that wait, and those on their way.
	last    uint64   // The number of the newest that was taken.
	room    chan struct{}
	flushes []flush
	closed  bool
	stats   WriterStats
}

type seriesKey struct{ symbol, interval string }

type barKey struct {
	seriesKey
	start int64
}

// waiting is the newest bar of a key. queued says that it is in order: not on its way, or newer than what is.
type waiting struct {
	bar    bars.Bar
	number uint64 // That of the first bar of the key that is not stored.
	newer  uint64 // That of the first one that came while another was on its way.
	queued bool
}

type flush struct {
	upTo uint64
	done chan struct{}
}

// WriterStats says what a [Writer] holds, and has done since it was made.
type WriterStats struct {
	Waiting    int           // Bars that are not stored yet.
	Room       int           // How many more there may be.
	Stored     uint64        // Bars that the store has.
	Superseded uint64        // Bars that gave way to a newer one of their key before they were stored.
	Flawed     uint64        // Bars that no store takes, see [Check].
	Dropped    uint64        // Bars that Offer had no room for.
	Failures   uint64        // Puts that failed and are tried again.
	Behind     time.Duration // How long the store has failed; 0 if the last Put worked.
	LastError  string        // Of the newest failure, whether or not it is over.

	failing time.Time
}

// Errors of [Writer.Put].
var (
	ErrWriterClosed = errors.New("history: the writer has ended")
	ErrFull         = errors.New("history: as many bars wait for the store as may")
)

// NewWriter returns a writer, which stores nothing before Run.
func NewWriter(to Putter, c WriterConfig) *Writer {
	return &Writer{to: to, cfg: c.withDefaults(), wake: make(chan struct{}, 1), series: make(map[seriesKey]map[int64]*waiting),
		room: make(chan struct{})}
}

// Put takes a closed bar, and waits while there is no room: whoever reads trades that can be held up calls it, and so reads
// no faster than is stored. The error is that of ctx, of a bar that no store takes, or [ErrWriterClosed].
func (w *Writer) Put(ctx context.Context, b bars.Bar) error {
	for {
		room, err := w.put(b)
		if !errors.Is(err, ErrFull) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-room:
		}
	}
}

// Offer takes a closed bar if there is room, and otherwise counts it as dropped and returns [ErrFull]: for trades that can't
// be held up. It does not wait.
func (w *Writer) Offer(b bars.Bar) error {
	_, err := w.put(b)
	if errors.Is(err, ErrFull) {
		w.mu.Lock()
		w.stats.Dropped++
		w.mu.Unlock()
	}
	return err
}

// put takes a bar. room is closed when there may be some again.
func (w *Writer) put(b bars.Bar) (room <-chan struct{}, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := Check(&b); err != nil {
		w.stats.Flawed++
		return nil, err
	}
	if w.closed {
		return nil, ErrWriterClosed
	}
	k := barKey{seriesKey{b.Symbol.Name, b.Interval.Name}, b.Start}
	has := w.series[k.seriesKey][k.start]
	switch {
	case has != nil && Newer(&has.bar, &b):
		w.stats.Superseded++
		return nil, nil
	case has == nil && w.size >= w.cfg.Most:
		return w.room, ErrFull
	case has == nil:
		if w.series[k.seriesKey] == nil {
			w.series[k.seriesKey] = make(map[int64]*waiting)
		}
		w.last++
		has = &waiting{number: w.last}
		w.series[k.seriesKey][k.start] = has
		w.size++
	case has.queued:
		w.stats.Superseded++
	default:
		w.last++
		has.newer = w.last
	}
	if has.bar = b; !has.queued {
		has.queued = true
		w.order = append(w.order, k)
	}
	w.wakeRun()
	return nil, nil
}

func (w *Writer) wakeRun() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Waiting returns the bars of a series that are not known to be stored, in the order of their starts. What is not among them
// was stored before the call.
func (w *Writer) Waiting(symbol, interval string) []bars.Bar {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []bars.Bar
	for _, has := range w.series[seriesKey{symbol, interval}] {
		list = append(list, has.bar)
	}
	slices.SortFunc(list, func(a, b bars.Bar) int { return cmp.Compare(a.Start, b.Start) })
	return list
}

// Flush waits until everything is stored that was taken before it was called, or something newer of its key. A checkpoint
// that says that the trades of these bars were read is to be stored after it. The error is that of ctx, or
// [ErrWriterClosed].
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	if w.size == 0 {
		w.mu.Unlock()
		return nil
	}
	if w.closed {
		w.mu.Unlock()
		return ErrWriterClosed
	}
	f := flush{w.last, make(chan struct{})}
	w.flushes = append(w.flushes, f)
	w.wakeRun()
	w.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		w.mu.Lock()
		w.flushes = slices.DeleteFunc(w.flushes, func(o flush) bool { return o.done == f.done })
		w.mu.Unlock()
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unstored(f.upTo) {
		return ErrWriterClosed
	}
	return nil
}

// Stats says how the writer is.
func (w *Writer) Stats() WriterStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Waiting, s.Room = w.size, w.cfg.Most-w.size
	if !s.failing.IsZero() {
		s.Behind = time.Since(s.failing)
	}
	return s
}
