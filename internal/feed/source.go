// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"cmp"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// source is a source of a feed and the topics that it takes. It is the source's [broker.Owner]: it
// takes into the table what the source tells, and counts what becomes of that.
type source struct {
	broker.Source
	*topics.Table // Has Mark and Absent.
	feed          *Feed
	index         int
	patterns      []string
	versionField  string // "" if values need no version.
	versioned     bool   // They need one even so.
	counters      broker.Counters
	lagTold       time.Time     // When it was told that it is behind.
	lister        broker.Lister // Nil if the broker can't list its topics.
	covered       []string      // Under Feed.coverMu.
	strays        atomic.Bool   // It has covered topics, and may tell ticks of those that other sources take.
}

// name is the patterns of a source, or * for the one that takes the rest.
func (s *source) name() string { return cmp.Or(scope(s.patterns), "*") }

func (s *source) Now() int64 { return s.feed.clock.now() }

func (s *source) Tick(topic, value string, at int64) { s.tick(topic, value, at, "", one, one) }

// tick is Tick for one of the halves of a [Pair], of which these are up. parent is the traceparent beside the value, or "". A
// flawed value is [topics.Unwanted].
func (s *source) tick(topic, value string, at int64, parent string, of, up halves) (outcome topics.Outcome) {
	if s.strays.Load() && s.feed.route(topic) != s.index {
		s.counters[broker.Unwanted].Add(1)
		return topics.Unwanted
	}
	version, flaw := s.Inspect(value)
	if flaw != broker.Flawless {
		s.Drop(topic, value, int64(len(value)), flaw)
		return topics.Unwanted
	}
	s.feed.hear(topic, value)
	value, m := rowValue(value), topics.Meta{At: at, Version: version}
	if s.feed.tracer != nil {
		m.Trace = s.feed.arrived(topic, value, parent)
	}
	outcome = s.Table.Publish(topic, value, m)
	if outcome == topics.Unwanted && s.feed.offer != nil && s.feed.offer(topic) {
		outcome = s.Table.Publish(topic, value, m)
	}
	if m.Trace != 0 {
		s.feed.tracer.Committed(m.Trace, outcome == topics.Committed)
	}
	switch outcome {
	case topics.Committed:
		s.committed(broker.Ticks, value)
	case topics.Unwanted:
		s.counters[broker.Unwanted].Add(1)
	case topics.Repeated:
		s.counters[broker.Repeated].Add(1)
	case topics.Older:
		if mark, held := s.Table.Mark(topic); held && s.feed.droughts.over(topic, mark, m.At, of, up) {
			s.anew(topic, value, m)
			return topics.Committed
		}
		s.counters[broker.Older].Add(1)
	}
	return outcome
}

// anew takes a tick whose publisher begins its numbering anew. Without a version it
// passes the row's, and the next one is compared with none.
func (s *source) anew(topic, value string, m topics.Meta) {
	s.counters[broker.VersionResets].Add(1)
	m.Version = topics.Version{}
	if s.Table.Publish(topic, value, m) == topics.Committed {
		s.committed(broker.Ticks, value)
	}
	s.feed.log.Warn("feed: versions begin anew", "topic", topic, "value", excerpt(value),
		"hint", fmt.Sprintf("all versions were older for %v; let the publisher's numbers rise over its restarts, as a time does", anewAfter))
}

func (s *source) Inspect(value string) (topics.Version, broker.Flaw) {
	if v, is := tombstone(value, s.versionField); is && (v.Set || !s.versioned) {
		return v, broker.Flawless
	}
	v, f := inspect(value, s.versionField)
	if s.versioned && f == broker.Flawless && !v.Set {
		f = broker.NoVersion
	}
	return v, f
}

func (s *source) Drop(topic, value string, size int64, f broker.Flaw) {
	s.feed.flaws[f].Add(1)
	if dropped := s.feed.dropped; dropped != nil {
		dropped(topic)
	}
	s.feed.log.Warn("feed: value dropped; fix its publisher", "topic", topic, "error", f.String(),
		"bytes", size, "value", excerpt(value))
}

// excerpt is the beginning of a value for a log line. It is made only for a line that passes the
// log's throttle: values that are dropped may come as fast as ticks.
type excerpt string

// LogValue implements [slog.LogValuer].
func (e excerpt) LogValue() slog.Value { return slog.StringValue(broker.Excerpt(string(e))) }

func (s *source) Repair(topic, value string, mark uint64, m topics.Meta) topics.Outcome {
	s.feed.hear(topic, value)
	value = rowValue(value)
	return s.repaired(value, s.Table.Repair(topic, value, mark, m))
}

// merge is Repair for a half of a [Pair].
func (s *source) merge(topic, value string, m topics.Meta, settles bool) topics.Outcome {
	s.feed.hear(topic, value)
	value = rowValue(value)
	return s.repaired(value, s.Table.Merge(topic, value, m, settles))
}

func (s *source) repaired(value string, outcome topics.Outcome) topics.Outcome {
	switch outcome {
	case topics.Committed:
		s.committed(broker.Repairs, value)
	case topics.Older:
		s.counters[broker.Older].Add(1)
	}
	return outcome
}

func (s *source) GoStale(topic string, mark uint64, c broker.Cause) {
	s.Table.GoStale(topic, mark, c.Why())
}

func (s *source) More() { broker.Signal(s.feed.more) }

func (s *source) SetUp(up bool) { s.Table.SetSourceState(s.index, up, time.Now().UnixMilli()) }

// Stats says what a [Feed] has done since it was made, and how it is.
type Stats struct {
	// broker.Stats is the sum of all sources. It is connected when all are, and the
	// error is that of the last one that has had one.
	broker.Stats
	// Values dropped, received and fetched ones, by what was wrong with them.
	Flaws [broker.Flaws]uint64

	Sources []SourceStats
}

// SourceStats is the part of one source.
type SourceStats struct {
	broker.Stats
	Topics string // The patterns of the topics that it takes; "" if it takes the rest.
	Halves []Half // Of a [Pair], both brokers.
}

// Half is how one of the two brokers of a [Pair] is.
type Half struct {
	Broker string // Where it is, without passwords.
	Up     bool   // Its values are current.
}

// Stats may be called from any goroutine.
func (f *Feed) Stats() (all Stats) {
	all.Connected = true
	for i := range f.flaws {
		all.Flaws[i] = f.flaws[i].Load()
	}
	for _, s := range f.sources {
		of := SourceStats{Stats: s.Source.Stats(), Topics: scope(s.patterns)}
		if p, is := s.Source.(*pair); is {
			of.Halves = p.state()
		}
		s.counters.AddTo(&of.Stats)
		all.Sources = append(all.Sources, of)
		all.Add(of.Stats)
	}
	return all
}

// clock is a clock that does not go back, whatever is done to the host's: it starts with
// the time of the host and then counts on by itself. It is that of [topics.Table.Millis].
type clock struct{ start time.Time }

// now is the time in Unix milliseconds.
func (c clock) now() int64 { return c.at(time.Now()) }

// at is a time that time.Now has returned, in the same; 0 for none.
func (c clock) at(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return c.start.UnixMilli() + t.Sub(c.start).Milliseconds()
}

// both is the time of the host's clock, and that of this one.
func (c clock) both() (wall, steady int64) {
	now := time.Now()
	return now.UnixMilli(), c.at(now)
}
