// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tickedge/internal/bars"
	"tickedge/internal/trade"
)

// WriterConfig says what is written.
type WriterConfig struct {
	Kafka  Config
	Trades string // The topic of trades; keys are symbols. Empty: none are written.
	Bars   string // The topic of closed bars; keys are interval:symbol. Empty: none are written.
	Format Format
	// Waiting bounds the trades that wait while Kafka is away, beside those that are on their way
	// ([inFlight]). The default is [DefaultWaiting].
	Waiting int
}

// DefaultWaiting is how many trades wait unless a configuration says otherwise: some 20 MB.
const DefaultWaiting = 50_000

// inFlight bounds the records that the client holds: those that were sent, and those that are to be sent next.
const inFlight = 10_000

// WriterStats says what a [Writer] has done.
type WriterStats struct {
	Waiting   int    // Trades that wait now.
	InFlight  int    // Records that the client has, and Kafka has not confirmed.
	Trades    uint64 // Trades that Kafka has confirmed.
	Bars      uint64 // Bars that Kafka has confirmed.
	Dropped   uint64 // Live trades that gave way to newer ones, because Kafka was away or slow.
	Failed    uint64 // Records that Kafka has refused, each with a line in the log.
	LastError string
}

// Writer writes trades and closed bars. Kafka confirms a record when all replicas that are in sync have it
// (acks=all), and has it once though it was sent again (an idempotent producer). The records of a key are
// written in the order in which they came. While Kafka is away, trades wait, and then
//
//   - a live trade takes the place of the one that has waited longest, which is counted;
//   - any other waits for room, and so holds up whoever has it.
//
// Bars are never dropped. All but Run may be called from any goroutine.
type Writer struct {
	c      WriterConfig
	client *kgo.Client
	log    *slog.Logger

	mu      sync.Mutex
	ring    []*kgo.Record // Of trades: n of them, from first on.
	first   int
	n       int
	taken   int           // By Run, and not confirmed or failed yet.
	closed  bool          // Run has ended.
	changed chan struct{} // Closed when less waits, if anybody has asked for it (later).
	wake    chan struct{} // Has an element when Run has to look.

	trades, barsDone, dropped, failed atomic.Uint64
	lastError                         atomic.Pointer[string]
}

var errWriterClosed = errors.New("kafka: nothing is written any more")

// NewWriter returns a writer, which does not connect before Run or Bars is called.
func NewWriter(c WriterConfig, log *slog.Logger) (*Writer, error) { return newWriter(c, log) }

func newWriter(c WriterConfig, log *slog.Logger, more ...kgo.Opt) (*Writer, error) {
	opts, err := c.Kafka.options()
	if err != nil {
		return nil, err
	}
	for _, topic := range []string{c.Trades, c.Bars} {
		if topic == "" {
			continue
		}
		if err := checkTopic("topic", topic); err != nil {
			return nil, err
		}
	}
	if err := c.Format.Validate(); err != nil {
		return nil, err
	}
	if c.Waiting < 0 || c.Waiting > 10_000_000 {
		return nil, fmt.Errorf("kafka: %d trades may wait, want 0 (%d) to 10000000", c.Waiting, DefaultWaiting)
	}
	client, err := kgo.NewClient(append(append(opts,
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.MaxBufferedRecords(inFlight),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
	), more...)...)
	if err != nil {
		return nil, err
	}
	return &Writer{c: c, client: client, log: log, ring: make([]*kgo.Record, cmp.Or(c.Waiting, DefaultWaiting)),
		wake: make(chan struct{}, 1)}, nil
}

// Run writes the trades until ctx ends, and then closes the connections; what Kafka has not confirmed by then
// may be lost: call Flush before. It is called once.
func (w *Writer) Run(ctx context.Context) {
	defer func() {
		w.mu.Lock()
		w.closed = true
		w.tell()
		w.mu.Unlock()
		w.client.Close()
	}()
	for {
		r := w.next()
		if r == nil {
			select {
			case <-ctx.Done():
				return
			case <-w.wake:
			}
			continue
		}
		// It waits while the client has as many as it may. If ctx ends, the record fails.
		w.client.Produce(ctx, r, w.confirmed)
		if ctx.Err() != nil {
			return
		}
	}
}

func (w *Writer) next() *kgo.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n == 0 {
		return nil
	}
	w.taken++
	return w.pop()
}

func (w *Writer) pop() *kgo.Record {
	r := w.ring[w.first]
	w.ring[w.first] = nil
	w.first, w.n = (w.first+1)%len(w.ring), w.n-1
	w.tell()
	return r
}

// tell wakes all who wait for a change. mu is held.
func (w *Writer) tell() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// later returns what is closed when less waits. mu is held.
func (w *Writer) later() <-chan struct{} {
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed
}

func (w *Writer) confirmed(r *kgo.Record, err error) {
	if err != nil {
		w.fail(r, err)
	} else {
		w.trades.Add(1)
	}
	w.mu.Lock()
	w.taken--
	w.tell()
	w.mu.Unlock()
}

func (w *Writer) fail(r *kgo.Record, err error) {
	w.failed.Add(1)
	text := err.Error()
	w.lastError.Store(&text)
	if !errors.Is(err, context.Canceled) && !errors.Is(err, kgo.ErrClientClosed) {
		w.log.Error("kafka has refused a record", "topic", r.Topic, "key", string(r.Key), "err", err)
	}
}

// Trade takes a trade on its way. If it is live it does not wait. Any other waits for room until ctx ends, and
// then is not taken.
func (w *Writer) Trade(ctx context.Context, t trade.Trade, live bool) error {
	if w.c.Trades == "" {
		return nil
	}
	var buf [512]byte
	r := traced(newRecord(w.c.Trades, t.Symbol.Name, encodeTrade(buf[:0], &t, w.c.Format), w.c.Format), t.Trace)
	for {
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return errWriterClosed
		}
		if w.n < len(w.ring) || live {
			if w.n == len(w.ring) {
				w.pop()
				w.dropped.Add(1)
			}
			w.ring[(w.first+w.n)%len(w.ring)] = r
			w.n++
			w.mu.Unlock()
			select {
			case w.wake <- struct{}{}:
			default:
			}
			return nil
		}
		changed := w.later()
		w.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Bars writes bars and returns when Kafka has confirmed all of them, so that a checkpoint may be stored that
// counts on them. After an error some may be written: write all again, as readers keep the one with the highest
// rev of each start. It waits while Kafka is away, until ctx ends.
func (w *Writer) Bars(ctx context.Context, all []bars.Bar) error {
	if w.c.Bars == "" || len(all) == 0 {
		return nil
	}
	records := make([]*kgo.Record, len(all))
	var buf [512]byte
	for i := range all {
		b := &all[i]
		records[i] = newRecord(w.c.Bars, b.Interval.Name+":"+b.Symbol.Name, encodeBar(buf[:0], b, w.c.Format), w.c.Format)
	}
	var first error
	for _, result := range w.client.ProduceSync(ctx, records...) {
		if result.Err == nil {
			w.barsDone.Add(1)
			continue
		}
		if first == nil {
			first = result.Err
		}
		w.fail(result.Record, result.Err)
	}
	if first != nil {
		return fmt.Errorf("kafka bars: %w", first)
	}
	return nil
}

// Flush returns when Kafka has confirmed or refused all trades that were taken before, or with an error when
// ctx ends.
func (w *Writer) Flush(ctx context.Context) error {
	for {
		w.mu.Lock()
		left, closed, changed := w.n+w.taken, w.closed, w.later()
		w.mu.Unlock()
		switch {
		case left == 0:
			return nil
		case closed:
			return errWriterClosed
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Stats says how the writer is.
func (w *Writer) Stats() WriterStats {
	s := WriterStats{
		InFlight: int(w.client.BufferedProduceRecords()), Trades: w.trades.Load(), Bars: w.barsDone.Load(),
		Dropped: w.dropped.Load(), Failed: w.failed.Load(),
	}
	if e := w.lastError.Load(); e != nil {
		s.LastError = *e
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Waiting = w.n
	return s
}
