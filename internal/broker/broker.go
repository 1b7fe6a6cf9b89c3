// SPDX-License-Identifier: Apache-2.0

// Package broker is the contract between a broker of ticks, such as Redis, and those who read
// from it and write to it. Each broker has a package of its own below this one, which alone
// knows its library. What holds for values whatever brought them is here too.
package broker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"tickedge/internal/topics"
)

// Config says how to reach a broker. Each package of a broker has one.
type Config interface {
	// Source returns a source that tells its owner. It does not connect before it is run.
	Source(Owner, *slog.Logger) (Source, error)
	// Publisher returns a publisher, whose connections close when ctx ends. It does not connect yet.
	Publisher(context.Context, *slog.Logger) (Publisher, error)
	// Files is how many descriptors the source has at a time at most.
	Files() int
	// String is where the broker is, without passwords.
	String() string
}

// Lister is a [Config] of a broker that can tell which topics have a value there.
type Lister interface {
	// List calls each with the topics, in no order and some of them twice, until it is false or ctx
	// ends. They are names of the broker: what is no name of a topic is among them. It takes its
	// time, so as not to be felt by others, but not for ever. all reports whether they were all; with
	// an error they were not, and some may have been told. The error holds no credentials.
	List(ctx context.Context, each func(topic string) (more bool)) (all bool, err error)
	// Cure says what an operator can do about an error of List.
	Cure(err error) string
}

// Source brings the ticks of the topics that it is told to. It owns its connections and all
// goroutines about them. All but Run may be called from any goroutine, and wait for nothing.
//
// A source tells the ticks of each topic in the order in which they were published. When it
// begins to hear a topic, or may have missed something, it takes the topic's mark, fetches the
// newest value and hands it to Repair: a value that was fetched never overtakes an older tick
// that is still on its way.
//
// A value that is null, or the [Tombstone] of a version, withdraws its topic. Sources pass it on as
// any other; one whose broker tells that a value was deleted makes a tick of null of that.
type Source interface {
	// Apply tells which topics are wanted, and which are not wanted any more.
	Apply([]topics.Change)
	// Room is how many more topics the source comes to soon. When that rises again it calls
	// Owner.More.
	Room() int
	// Run returns when ctx has ended, with every goroutine ended and every socket closed. It is
	// called once.
	Run(ctx context.Context)
	Stats() Stats
}

// Owner is what a source tells. All of it may be called from any goroutine. Topics and values
// may be parts of a buffer: nothing of them is kept.
type Owner interface {
	// Now is the time in Unix milliseconds, of a clock that does not go back.
	Now() int64
	// Tick takes a tick that came in at a time.
	Tick(topic, value string, at int64)
	// Drop counts a value that the source itself finds flawed. It has so many bytes, of which
	// value may be the beginning.
	Drop(topic, value string, size int64, f Flaw)

	// Mark is what Repair is to be called with. It is false for a topic that nobody wants.
	Mark(topic string) (mark uint64, held bool)
	// Inspect finds the version of a value that was fetched, or what is wrong with it, which
	// is for the source to tell.
	Inspect(value string) (topics.Version, Flaw)
	// Repair takes a value that was fetched after the mark was taken, and inspected.
	Repair(topic, value string, mark uint64, m topics.Meta) topics.Outcome
	// Doubt notes that ticks of a topic may be missed from now on, or since the time that
	// [Stats] had in Heard, while the source as a whole is up. Repair and Absent end it: they are called only for
	// a fetch that began after it.
	Doubt(topic string)
	// Absent notes that the topic has no value, as an answer to a fetch that Repair would have
	// been called for.
	Absent(topic string)
	// GoStale notes that the broker does not serve a topic which has had no tick since the
	// mark. The next value that is fetched or published ends it, and so does Absent.
	GoStale(topic string, mark uint64, c Cause)

	// SetUp notes whether the values of all topics are current, see docs/FEED.md.
	SetUp(up bool)
	// More notes that the source may have room again.
	More()
}

// Count is one thing that is counted of a source, by itself or by its owner.
type Count uint8

const (
	Ticks         Count = iota // Messages that became the newest value of their topic.
	Tombstones                 // Those of Ticks and Repairs that delisted their topic, or said again that it is.
	Unwanted                   // Messages of topics that nobody wanted any more.
	Older                      // Values dropped because their version was below that of the row.
	Repeated                   // Messages dropped because they were the row.
	VersionResets              // Topics whose versions were taken to begin anew.
	Gaps                       // Connections that took topics over from an earlier one.
	Repairs                    // Fetched values that were newer than the table's.
	FetchFailures              // Topics whose fetch failed, each time it did.
	Connects                   // Connections that came to work.
	Broken                     // Connections that were given up because what came is not what the broker sends.
	Counts                     // Their number.
)

// Counters count. Any goroutine may.
type Counters [Counts]atomic.Uint64

// AddTo adds what was counted to s.
func (c *Counters) AddTo(s *Stats) {
	for i := range c {
		s.Counts[i] += c[i].Load()
	}
}

// Stats says what a [Source] has done since it was made, and how it is.
type Stats struct {
	Counts   [Counts]uint64
	Refusals [Causes]uint64 // Answers of the broker that refused a topic, or all of them, each time it did.

	// Lag is how old a message may be that is received now. It is that of the connection that
	// is furthest behind, and 0 while there is none.
	Lag time.Duration
	// Heard is a time before which all was published that the owner has been told: what came
	// before it was received. It is zero while that is not known. [Stats.Add] leaves it alone.
	Heard time.Time

	// Connected holds while there is a connection that works, which is not to say that
	// values are current: the table knows that. In a Redis Cluster both are the same.
	Connected bool
	Channels  int64         // Subscriptions that the broker has confirmed on this connection.
	Held      int64         // Topics that the table wants, and some that are being given up.
	Behind    int64         // Topics that keep values from being current.
	Refused   [Causes]int64 // Topics that the broker refuses now, to be subscribed or to be read. They are asked for again.
	LastError string        // Why the source was down last; it holds no credentials.
}

// Add takes another part of the same whole into s. Both have to be connected for the
// whole to be.
func (s *Stats) Add(o Stats) {
	for i, n := range o.Counts {
		s.Counts[i] += n
	}
	for i := range o.Refusals {
		s.Refusals[i] += o.Refusals[i]
		s.Refused[i] += o.Refused[i]
	}
	s.Lag = max(s.Lag, o.Lag)
	s.Connected = s.Connected && o.Connected
	s.Channels += o.Channels
	s.Held += o.Held
	s.Behind += o.Behind
	if o.LastError != "" {
		s.LastError = o.LastError
	}
}

// Tick is one value on its way into a broker, and what became of it.
type Tick struct {
	Topic string
	// Value is one JSON value. null withdraws the topic: it is a tombstone.
	Value []byte
	// Ver is the tick's version, see [Stamp]. 0 is none: the value is written as it is, whatever the
	// broker holds.
	Ver int64
	// Trace is a traceparent (W3C Trace Context), or "". Value has it too, as its member [TraceMember]; brokers whose messages have
	// headers put it there besides.
	Trace string
	Fate  Fate // Set by [Publisher.Publish].
}

// Fate is what became of a tick that was to be written.
type Fate uint8

const (
	Taken      Fate = iota // The broker has it.
	Outdated               // The broker holds a version that is as high or higher, and has refused it.
	Superseded             // A newer tick of the same topic was written in its place.
	Flawed                 // It can't be written, see [CheckTick].
	Unknown                // Whoever was to write it has ended before it was known: it may be written, or not.
	Forbidden              // The broker does not permit its user to publish the topic.
	Unserved               // The broker has no place for the topic, such as a stream with its subject.
	TooLarge               // The broker takes no values of that length.
)

// Refusal says why the broker does not take a tick, however often it is written, until somebody changes the
// broker. ok is false for other fates. Nobody is told of such a tick; the broker may hold it all the same.
func (f Fate) Refusal() (why string, ok bool) {
	switch f {
	case Forbidden:
		return "its user may not publish it", true
	case Unserved:
		return "it has no place for it", true
	case TooLarge:
		return "the value is longer than it takes", true
	}
	return "", false
}

// Publisher writes ticks into a broker: who fetches the newest value of a topic after its tick
// was heard gets that value or a newer one. Publish is called by one goroutine at a time.
//
// A tick with a version is written only if the broker holds none as high for its topic: the broker
// compares and writes in one step, so a publisher that was frozen and wakes up does no harm. What
// others have written without a version gives way to any.
type Publisher interface {
	// Publish writes ticks, again and again until the broker has taken or refused each, and sets
	// their fates. It is false when ctx ended before. Ticks of one topic are in their order; of
	// those with a version a publisher may write the newest alone. What the broker may have taken
	// twice is the same value twice. A tick that the broker will not take (see [Fate.Refusal]) is
	// not written again, and costs the others of its batch nothing.
	Publish(ctx context.Context, ticks []Tick) bool
	// Connected reports whether the last attempt went through. It may be called from any
	// goroutine.
	Connected() bool
	// Close is to be called when nothing is published any more.
	Close()
}
