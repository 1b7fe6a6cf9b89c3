// Package redis is where ticks come from: Redis that others publish to, and, for
// demonstrations and load, the publishers themselves.
//
// [Feed] keeps a [topics.Table] up to date. [Publisher] writes the ticks of a
// [Source], the simulated [Market] or a recorded [Replay], into a Redis. [Embedded]
// is a Redis inside the process.
package redis

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"tickedge/internal/topics"
)

// tendEvery is how often the feed looks after its table: topics that nobody wants any more
// are given up, stale ones are found, and how far the sources are behind is passed on.
const tendEvery = time.Second

// lagMax is the lag from which on it is logged. Clients have old values by then, and
// Redis holds the difference in memory, up to the limit at which it cuts us off.
const lagMax = time.Second

// handMax is how many topics a source is given at a time that it is to subscribe: so many as
// go into one command.
const handMax = commandMax

// Feed keeps a table up to date from all its sources: it drains the table's changes and
// hands each to the source that takes its topic.
//
// Of the topics that are wanted a source is given only as many as it comes to soon. The
// others wait in the table, where they have their turn by who has asked for them, and leave
// nothing behind if they are given up. So what a storm of made-up names has the others wait
// for is what is with the source already, some hundredths of a second.
//
// Publishers have to SET a topic's key before they PUBLISH on its channel, or do
// both in a transaction. The other way round, a fetch between the two finds the
// older value, and a topic that then falls quiet keeps it.
type Feed struct {
	*shared
	sources []routed
}

// source is one upstream. It owns its connections and all goroutines about them. apply
// never blocks; run returns when ctx has ended and everything is closed. room is how many
// more topics it comes to soon; when that rises again, shared.more is signalled.
type source interface {
	apply([]topics.Change)
	room() int
	run(context.Context)
	stats() SourceStats
}

// routed is a source and the topics it takes.
type routed struct {
	source
	patterns []string
}

// shared is what all sources of a feed have in common.
type shared struct {
	cfg     Config
	channel template // The Pub/Sub channel of a topic.
	key     template // The key of a topic's newest value.
	table   *topics.Table
	log     *slog.Logger
	more    chan struct{} // Has an element when a source may have room again.

	clock      clock
	inspector  inspector
	droughts   droughts
	resetLog   throttle
	refusedLog throttle
	fetchLog   throttle
	lagLog     throttle
	gapLog     throttle
	fullLog    throttle
}

// tick takes a tick into the table that came in at a time, and counts what becomes of it.
// Nothing of topic and value is kept: they may be parts of a buffer.
func (sh *shared) tick(c *counters, topic, value string, at int64) {
	version, ok := sh.inspector.passes(sh.log, topic, value)
	if !ok {
		return
	}
	m := topics.Meta{At: at, Version: version}
	switch sh.table.Publish(topic, value, m) {
	case topics.Committed:
		c.ticks.Add(1)
	case topics.Unwanted:
		c.unwanted.Add(1)
	case topics.Repeated:
		c.repeated.Add(1)
	case topics.Older:
		if mark, held := sh.table.Mark(topic); held && sh.droughts.over(topic, mark, m.At) {
			sh.anew(c, topic, value, m)
			return
		}
		c.older.Add(1)
	}
}

// anew takes a tick whose publisher begins its numbering anew. Without a version it
// passes the row's, and the next one is compared with none.
func (sh *shared) anew(c *counters, topic, value string, m topics.Meta) {
	c.versionResets.Add(1)
	m.Version = topics.Version{}
	if sh.table.Publish(topic, value, m) == topics.Committed {
		c.ticks.Add(1)
	}
	if swallowed, ok := sh.resetLog.allow(); ok {
		sh.log.Warn("redis feed: versions begin anew", "topic", strings.Clone(topic), "value", excerpt(value), "swallowed", swallowed,
			"hint", fmt.Sprintf("all versions were older for %v; let the publisher's numbers rise over its restarts, as a time does", anewAfter))
	}
}

// repair takes a fetched value into the table unless the topic's wants are against it.
func (sh *shared) repair(c *counters, w *wants, r repair) {
	switch w.repair(r.fetch, r.value, topics.Meta{At: sh.clock.now(), Version: r.version}) {
	case topics.Committed:
		c.repairs.Add(1)
	case topics.Older:
		c.older.Add(1)
	}
}

// Stats says what a [Feed] has done since it was made, and how it is.
type Stats struct {
	// SourceStats is the sum of all sources. It is connected when all are, and the
	// error is that of the last one that has had one.
	SourceStats
	// Values dropped, received and fetched ones, by what was wrong with them.
	TooBig, NotUTF8, NotJSON, TooDeep, LoneSurrogate, NoVersion, NoFields uint64

	Sources []SourceStats
}

// SourceStats is the part of one source.
type SourceStats struct {
	Topics string // The patterns of the topics that it takes; "" if it takes the rest.

	Ticks    uint64 // Messages that became the newest value of their topic.
	Unwanted uint64 // Messages of topics that nobody wanted any more.
	Older    uint64 // Values dropped because their version was below that of the row.
	Repeated uint64 // Messages dropped because they were the row.

	VersionResets uint64 // Topics whose versions were taken to begin anew.

	Gaps          uint64 // Connections that took topics over from an earlier one.
	Repairs       uint64 // Fetched values that were newer than the table's.
	FetchFailures uint64 // Topics whose fetch failed, each time it did.
	Refused       uint64 // SUBSCRIBE commands that Redis refused for lack of permission.
	Connects      uint64 // Connections that came to work.
	Broken        uint64 // Connections that were given up because what came is not what Redis sends.

	// Lag is how old a message may be that is received now. It is that of the source that
	// is furthest behind, and 0 while there is no connection.
	Lag time.Duration

	// Connected holds while there is a connection that works, which is not to say that
	// values are current: the table knows that. In a Redis Cluster both are the same.
	Connected     bool
	EverConnected bool
	Channels      int64  // Subscriptions that Redis has confirmed on this connection.
	Held          int64  // Topics that the table wants, and some that are being given up.
	Behind        int64  // Topics that keep values from being current, see wants.
	LastError     string // Why the source was down last; it holds no credentials.
}

// add takes another part of the same whole into s. Both have to be connected for the
// whole to be.
func (s *SourceStats) add(o SourceStats) {
	s.Ticks += o.Ticks
	s.Unwanted += o.Unwanted
	s.Older += o.Older
	s.Repeated += o.Repeated
	s.VersionResets += o.VersionResets
	s.Gaps += o.Gaps
	s.Repairs += o.Repairs
	s.FetchFailures += o.FetchFailures
	s.Refused += o.Refused
	s.Connects += o.Connects
	s.Broken += o.Broken
	s.Lag = max(s.Lag, o.Lag)
	s.Connected = s.Connected && o.Connected
	s.EverConnected = s.EverConnected && o.EverConnected
	s.Channels += o.Channels
	s.Held += o.Held
	s.Behind += o.Behind
	if o.LastError != "" {
		s.LastError = o.LastError
	}
}

// New returns a feed into table, which is to have no other. It does not connect yet,
// see [Feed.Run].
func New(cfg Config, table *topics.Table, log *slog.Logger) (*Feed, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("redis feed: %w", err)
	}
	f := &Feed{shared: &shared{cfg: cfg, table: table, log: log, more: make(chan struct{}, 1), clock: clock{time.Now()}}}
	f.inspector.versionField = cfg.VersionField
	f.channel, _ = newTemplate("channel", cfg.Channel) // Valid, and so is the rest.
	f.key, _ = newTemplate("key", cfg.Key)
	var scopes []string
	for i, sc := range cfg.Sources {
		f.sources = append(f.sources, routed{source: newSource(f.shared, sc, i), patterns: sc.Patterns})
		scopes = append(scopes, scope(sc.Patterns))
	}
	table.SetSources(scopes)
	table.SetRoute(f.route)
	routeLog(log)
	return f, nil
}

// newSource returns the source of a configuration that is valid.
func newSource(sh *shared, sc SourceConfig, index int) source {
	u, _ := sc.upstream(sh.cfg)
	changed := func(up bool) { sh.table.SetFeed(index, up, time.Now().UnixMilli()) }
	var to target = fixed{u.opts, sh.cfg.TLS}
	switch u.kind {
	case sentinel:
		to = sentinels{u, sh.cfg}
	case sharded:
		return newCluster(sh, u, changed)
	}
	switch sh.cfg.Mode {
	case ModeStream:
		return newStream(sh, to, changed)
	case ModePattern:
		return newServer(sh, to, patterns, changed)
	}
	return newServer(sh, to, channels, changed)
}

// Run feeds the table until ctx ends, over as many connections as it takes. It
// returns nil, with every goroutine ended and every socket closed. It is to be called
// once.
func (f *Feed) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for i := range f.sources {
		wg.Go(func() { f.sources[i].run(ctx) })
	}
	f.drain(ctx)
	wg.Wait()
	return nil
}

// Stats may be called from any goroutine.
func (f *Feed) Stats() Stats {
	s := Stats{
		SourceStats:   SourceStats{Connected: true, EverConnected: true},
		TooBig:        f.inspector.counts[tooBig].Load(),
		NotUTF8:       f.inspector.counts[notUTF8].Load(),
		NotJSON:       f.inspector.counts[notJSON].Load(),
		TooDeep:       f.inspector.counts[tooDeep].Load(),
		LoneSurrogate: f.inspector.counts[loneSurrogate].Load(),
		NoVersion:     f.inspector.counts[noVersion].Load(),
		NoFields:      f.inspector.counts[noFields].Load(),
	}
	for i := range f.sources {
		of := f.sources[i].stats()
		of.Topics = scope(f.sources[i].patterns)
		s.Sources = append(s.Sources, of)
		s.add(of)
	}
	return s
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
			f.measure()
			withdrawn = f.tellFull(withdrawn)
		case <-f.table.Changed():
		case <-f.more:
		}
		changes = f.hand(changes)
	}
}

// hand gives each source what it has to be told, and some of the topics that it has room
// for. changes is memory to be used again.
func (f *Feed) hand(changes []topics.Change) []topics.Change {
	for i := range f.sources {
		s := &f.sources[i]
		most := min(max(0, s.room()), handMax)
		changes = f.table.Changes(i, changes[:0], most)
		if len(changes) == 0 {
			continue
		}
		s.apply(changes)
		clear(changes) // The names must not outlive their topics here.
		if len(changes) >= most && most > 0 {
			signal(f.more) // There may be more, behind what else drain has to do.
		}
	}
	return changes
}

// tellFull logs that topics were withdrawn since there were so many, and returns how many
// there are now.
func (f *Feed) tellFull(before uint64) uint64 {
	withdrawn, _ := f.table.Reclaimed()
	if withdrawn == before {
		return before
	}
	if swallowed, ok := f.fullLog.allow(); ok {
		f.log.Warn("the table is full: topics without a value were taken from clients who hold many, to make room for others",
			"taken", withdrawn-before, "without_value", f.table.Rowless(), "topics", f.table.Held(), "swallowed", swallowed,
			"hint", "if clients have a use for so many topics without a value raise -max-topics-total; else somebody makes up names")
	}
	return withdrawn
}

// measure tells the table how far the sources are behind.
func (f *Feed) measure() {
	for i := range f.sources {
		s := &f.sources[i]
		lag := s.stats().Lag
		f.table.SetLag(i, lag.Milliseconds())
		if lag <= lagMax {
			continue
		}
		if swallowed, ok := f.lagLog.allow(); ok {
			f.log.Warn("redis feed is behind", "lag", lag.Round(time.Millisecond), "topics", cmp.Or(scope(s.patterns), "*"),
				"swallowed", swallowed, "hint", "give the edge or Redis more CPU, or divide the topics among several Redis; "+
					"Redis cuts off who is behind by client-output-buffer-limit pubsub")
		}
	}
}

// route is the index of the source that takes a topic: the first with a pattern that
// matches, or the last.
func (f *Feed) route(topic string) int {
	last := len(f.sources) - 1
	for i := range last {
		for _, p := range f.sources[i].patterns {
			if match(p, topic) {
				return i
			}
		}
	}
	return last
}
