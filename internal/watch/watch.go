// SPDX-License-Identifier: Apache-2.0

// Package watch watches prices and bars for alerts, has what fires stored, and publishes it to users.
//
//	watch.go     Config, Watch, and its one goroutine that evaluates
//	symbols.go   the topics of symbols: newest prices and bars that close
//	past.go      what is asked of the history: gaps, what averages and moves begin with, alerts that came late
//	history.go   History over HTTP
//	effects.go   the queue of what fired, into the store
//	loads.go     leases, and alerts that others have changed
//	news.go      from the store to the users
//	value.go     what prices, bars and news look like
//
// Nothing is lost by a crash at any moment: a position (up to when a symbol is evaluated) is stored behind all that fired before it,
// and what comes after it is evaluated again from the closed bars of the history. Firing twice is refused by the store.
package watch

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// Config says what is watched and where it goes.
type Config struct {
	Store   alert.Store
	Table   *topics.Table    // That a feed fills.
	History History          // Nil: nothing is made up for, and moves and averages begin when they have seen enough.
	To      broker.Publisher // Users' topics; nil: nobody is told.

	Owner string        // The name of this process among those of the store.
	Term  time.Duration // Of a lease: 6 s unless something else is set. The symbols of a process that died are another's after it.
	// Topic is where a user is told, and Item appends one firing as it is told.
	Topic func(user string) string
	Item  func(to []byte, f *alert.NewsItem) []byte

	Price string           // The member of values that is the price: p unless something else is set.
	Now   func() time.Time // The wall clock.
	Log   *slog.Logger
}

// Times of what is done again and again.
const (
	scanEvery     = 20 * time.Millisecond  // Newest prices are looked at.
	changesEvery  = 200 * time.Millisecond // Alerts that others have changed are asked for.
	positionEvery = time.Second            // Positions are stored.
	storeTimeout  = 10 * time.Second
	aheadMax      = 5 * time.Second // Of the time of a price: what is further ahead counts as now.
)

// Watch evaluates alerts. Any goroutine may call its methods.
type Watch struct {
	cfg     Config
	effects *effects
	calls   chan func() // What the goroutine of run is to do.
	news    chan struct{}
	ready   atomic.Bool  // The first leases and alerts are there.
	settled atomic.Int64 // When no symbol lacked bars, in Unix milliseconds.

	// What the goroutine of run has.
	engine    *alert.Engine
	symbols   map[string]*symbol
	held      [alert.Buckets]bool
	loaded    [alert.Buckets]bool
	read      [alert.Buckets]int64 // When the changes of their alerts were read last.
	positions map[string]int64     // That the store had, of symbols that are not watched.
	asked     []*symbol            // That wait for the history.
	asking    int
	seen      uint64
	clock     int64 // The latest that it was: a clock that is set back would keep prices from being newer.
	out       []alert.Effect

	counters
}

// counters are what is counted, for metrics.
type counters struct {
	prices, bars, flawed           atomic.Uint64
	fired, taken, armed            atomic.Uint64
	storeFailures, historyFailures atomic.Uint64
	published, publishFailures     atomic.Uint64
	alerts, watched, buckets       atomic.Int64
	full                           atomic.Uint64
}

// Stats is what was counted since the start, and how it is now.
type Stats struct {
	Alerts, Symbols, Buckets, Waiting                          int64
	Prices, Bars, Flawed, Full, Fired, Taken, Armed            uint64
	StoreFailures, HistoryFailures, Published, PublishFailures uint64
}

// Stats returns them.
func (w *Watch) Stats() Stats {
	return Stats{
		Alerts: w.alerts.Load(), Symbols: w.watched.Load(), Buckets: w.buckets.Load(), Waiting: int64(w.effects.len()),
		Prices: w.prices.Load(), Bars: w.bars.Load(), Flawed: w.flawed.Load(), Full: w.full.Load(), Fired: w.fired.Load(), Taken: w.taken.Load(),
		Armed: w.armed.Load(), StoreFailures: w.storeFailures.Load(), HistoryFailures: w.historyFailures.Load(), Published: w.published.Load(),
		PublishFailures: w.publishFailures.Load(),
	}
}

// New returns what watches. It does nothing before [Watch.Run].
func New(c Config) (*Watch, error) {
	if c.Store == nil || c.Table == nil || c.Owner == "" || c.Topic == nil || c.Item == nil || c.Log == nil {
		return nil, errors.New("watch: the configuration lacks a store, a table, an owner, what users are told, or a log")
	}
	c.Term, c.Price = cmp.Or(c.Term, 6*time.Second), cmp.Or(c.Price, "p")
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Watch{
		cfg: c, effects: newEffects(), calls: make(chan func(), 16), news: make(chan struct{}, 1), engine: alert.NewEngine(),
		symbols: make(map[string]*symbol), positions: make(map[string]int64),
	}, nil
}

// Run watches until ctx ends, and then stores what has fired, for at most some seconds, and gives up its leases.
func (w *Watch) Run(ctx context.Context) {
	var wg sync.WaitGroup
	storing, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	wg.Go(func() { w.evaluate(ctx) })
	wg.Go(func() { w.load(ctx) })
	wg.Go(func() { w.tidy(ctx) })
	var last sync.WaitGroup
	last.Go(func() { w.store(storing) })
	last.Go(func() { w.publish(storing) })
	wg.Wait()
	w.finish(storing)
	end()
	last.Wait()
	w.release(context.WithoutCancel(ctx))
}

// endTimeout is how long the end may take for what has fired to be stored.
const endTimeout = 3 * time.Second

// finish waits until all effects are stored, or endTimeout is over.
func (w *Watch) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	select {
	case <-w.effects.drained():
	case <-ctx.Done():
	}
}

func (w *Watch) nowMillis() int64 { return w.cfg.Now().UnixMilli() }

// Ready reports whether leases and alerts were read once.
func (w *Watch) Ready() bool { return w.ready.Load() }

// Changed tells that an alert was created, changed or deleted here: others, and this one without it, hear of it from the store.
func (w *Watch) Changed(a alert.Alert) {
	select {
	case w.calls <- func() { w.put(a) }:
	default:
	}
}

// evaluate is the goroutine that owns the engine.
func (w *Watch) evaluate(ctx context.Context) {
	scan, position := time.NewTicker(scanEvery), time.NewTicker(positionEvery)
	defer scan.Stop()
	defer position.Stop()
	for {
		select {
		case <-ctx.Done():
			w.notePositions()
			return
		case f := <-w.calls:
			f()
		case <-scan.C:
			w.scan(ctx)
		case <-position.C:
			w.settle()
			w.rehold()
			w.notePositions()
			w.alerts.Store(int64(w.engine.Len()))
			w.watched.Store(int64(len(w.symbols)))
		}
	}
}

// call has the goroutine of evaluate do something, unless ctx ends before.
func (w *Watch) call(ctx context.Context, f func()) bool {
	select {
	case w.calls <- f:
		return true
	case <-ctx.Done():
		return false
	}
}

// emit puts what the engine said into the queue.
func (w *Watch) emit() {
	if len(w.out) == 0 {
		return
	}
	for i := range w.out {
		if w.out[i].Fires {
			w.fired.Add(1)
		} else {
			w.armed.Add(1)
		}
	}
	w.effects.put(w.out)
	w.out = w.out[:0]
}

// unseen is how long an alert may take from when it was armed until it is read from the store: what creates it gives up before.
const unseen = 15 * time.Second

// notePositions puts the positions that have risen behind all effects before them. An alert that is not known here yet may be fired by
// what was evaluated without it: who takes over is to evaluate that again.
func (w *Watch) notePositions() {
	risen := make(map[string]int64)
	for name, s := range w.symbols {
		if at := min(s.position, w.read[alert.Bucket(name)]-unseen.Milliseconds()); at > s.noted {
			risen[name], s.noted = at, at
		}
	}
	w.effects.positions(risen)
}
