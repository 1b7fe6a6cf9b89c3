// SPDX-License-Identifier: Apache-2.0

// Package feed keeps a [topics.Table] up to date from sources of ticks, whatever brokers these
// read from: it routes topics to sources by their names, and sources' values into the table.
package feed

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// tendEvery is how often the feed looks after its table: topics that nobody wants any more
// are given up, stale ones are found, and how far the sources are behind is passed on.
const tendEvery = time.Second

// lagMax is the lag from which on it is logged. Clients have old values by then, and
// the broker holds the difference in memory, up to the limit at which it cuts us off.
const lagMax = time.Second

// tellEvery is how often it is told again what lasts: that the table is full, and that a source
// is behind.
const tellEvery = 10 * time.Second

// handMax is how many topics a source is given at a time that it is to subscribe: so many as
// go into one command.
const handMax = 500

// Feed keeps a table up to date from all its sources: it drains the table's changes and
// hands each to the source that takes its topic.
//
// Of the topics that are wanted a source is given only as many as it comes to soon. The
// others wait in the table, where they have their turn by who has asked for them, and leave
// nothing behind if they are given up. So what a storm of made-up names has the others wait
// for is what is with the source already, some hundredths of a second.
//
// Publishers have to set a topic's newest value before they publish it, or do
// both in a transaction. The other way round, a fetch between the two finds the
// older value, and a topic that then falls quiet keeps it.
type Feed struct {
	router
	sources []*source
	table   *topics.Table
	log     *slog.Logger
	clock   clock
	more    chan struct{} // Has an element when a source may have room again.

	flaws    [broker.Flaws]atomic.Uint64 // Values dropped, by what was wrong with them.
	droughts droughts
	hearers  map[string]func(value string) // Of topics, see Listen.
	fullTold time.Time                     // When it was told that the table is full.
	offer    func(topic string) bool       // See Offer.
	dropped  func(topic string)            // Nil if nobody wants to know, see Dropped.
	coverMu  sync.Mutex                    // Held while sources are told what to cover.
	tracer   Tracer                        // Nil if no tick is followed.
}

// New returns a feed into table, which is to have no other. It does not connect yet,
// see [Feed.Run].
func New(cfg Config, table *topics.Table, log *slog.Logger) (*Feed, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	f := &Feed{router: cfg.router(), table: table, log: log, more: make(chan struct{}, 1), clock: clock{table.Start()}}
	if f.clock.start.IsZero() {
		f.clock.start = time.Now()
	}
	var scopes []string
	for i, sc := range cfg {
		s := &source{Table: table, feed: f, index: i, patterns: sc.Patterns, versionField: sc.VersionField}
		s.lister, _ = sc.Broker.(broker.Lister)
		_, s.versioned = sc.Broker.(Pair)
		var err error
		if s.Source, err = sc.Broker.Source(s, log.With("source", s.name())); err != nil {
			return nil, fmt.Errorf("feed: %w", err)
		}
		f.sources = append(f.sources, s)
		scopes = append(scopes, scope(sc.Patterns))
	}
	table.SetSources(scopes)
	table.SetRoute(f.route)
	return f, nil
}

// Listen has f called with each value of a topic that comes, whatever the table makes of it. The topic's name begins with
// [topics.Reserved], and somebody has to hold it. f is called by goroutines of the source and must not wait; the value
// may be a part of a buffer. It is called before [Feed.Run].
func (f *Feed) Listen(topic string, hear func(value string)) {
	if f.hearers == nil {
		f.hearers = make(map[string]func(value string))
	}
	f.hearers[topic] = hear
}

// Offer has f called with the topic of each tick that nobody wants. If it reports true somebody wants it now, and the tick is taken. f is
// called by goroutines of the source and must not wait for long. It is called before [Feed.Run].
func (f *Feed) Offer(offer func(topic string) bool) { f.offer = offer }

// Dropped has f called with the topic of each value that is dropped, as Offer has it.
func (f *Feed) Dropped(dropped func(topic string)) { f.dropped = dropped }

// hear tells who listens to a topic.
func (f *Feed) hear(topic, value string) {
	if strings.HasPrefix(topic, topics.Reserved) {
		if hear := f.hearers[topic]; hear != nil {
			hear(value)
		}
	}
}

// Run feeds the table until ctx ends, over as many connections as it takes. It
// returns with every goroutine ended and every socket closed. It is to be called
// once.
func (f *Feed) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range f.sources {
		wg.Go(func() { s.Run(ctx) })
	}
	f.drain(ctx)
	wg.Wait()
}

// drain carries the table's changes to the sources, whatever state they are in.
func (f *Feed) drain(ctx context.Context) {
	tend := time.NewTicker(tendEvery)
	defer tend.Stop()
	var changes []topics.Change
	withdrawn, _ := f.table.Reclaimed()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tend.C:
			f.table.Sweep(now)
			f.table.Watch(f.clock.now())
			f.table.Age(f.clock.now())
			f.measure(now)
			f.table.Stamp(f.clock.both)
			withdrawn = f.tellFull(withdrawn, now)
		case <-f.table.Changed():
		case <-f.more:
		}
		changes = f.hand(changes)
	}
}

// hand gives each source what it has to be told, and some of the topics that it has room
// for. changes is memory to be used again.
func (f *Feed) hand(changes []topics.Change) []topics.Change {
	for i, s := range f.sources {
		most := min(max(0, s.Room()), handMax)
		changes = f.table.Changes(i, changes[:0], most)
		if len(changes) == 0 {
			continue
		}
		s.Apply(changes)
		clear(changes) // The names must not outlive their topics here.
		if len(changes) >= most && most > 0 {
			broker.Signal(f.more) // There may be more, behind what else drain has to do.
		}
	}
	return changes
}

// tellFull logs that topics were withdrawn since there were so many, and returns how many
// it has told of now.
func (f *Feed) tellFull(before uint64, now time.Time) uint64 {
	withdrawn, _ := f.table.Reclaimed()
	if withdrawn == before || now.Sub(f.fullTold) < tellEvery {
		return before
	}
	f.fullTold = now
	f.log.Warn("the table is full: topics without a value were taken from clients who hold many, to make room for others",
		"taken", withdrawn-before, "without_value", f.table.Rowless(), "topics", f.table.Held(),
		"hint", "if clients have a use for so many topics without a value raise -max-topics-total; else somebody makes up names")
	return withdrawn
}

// measure tells the table how far the sources are behind.
func (f *Feed) measure(now time.Time) {
	for i, s := range f.sources {
		st := s.Stats()
		lag := st.Lag
		f.table.SetLag(i, lag.Milliseconds())
		f.table.Heard(i, f.clock.at(st.Heard))
		if lag <= lagMax || now.Sub(s.lagTold) < tellEvery {
			continue
		}
		s.lagTold = now
		f.log.Warn("feed is behind", "lag", lag.Round(time.Millisecond), "source", s.name(),
			"hint", "give the edge or the broker more CPU, or divide the topics among several brokers; "+
				"a broker cuts off who is behind, Redis by client-output-buffer-limit pubsub")
	}
}
