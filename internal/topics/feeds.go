// SPDX-License-Identifier: Apache-2.0

package topics

import "sync/atomic"

// SourcesMax bounds the sources of a table. Each one is a connection to a server that
// an operator has named.
const SourcesMax = 64

// SourceState is how one source of ticks is. It is never changed after it was committed.
type SourceState struct {
	Scope string // The topics that the source serves, as patterns. Empty if it takes all, or what is left.
	Up    bool
	Since int64  // In Unix milliseconds.
	Seq   uint64 // The change's place in the order of all commits. 0 while the feed has never been up.
}

// source is the table's part of one source.
type source struct {
	feed atomic.Pointer[SourceState]
	lag  atomic.Int64 // Milliseconds.

	heard    atomic.Int64 // All that was published before this steady time has been told.
	unsure   bool         // Until when is not known now. Of who calls Heard.
	disputed atomic.Bool  // It is down, and there are clients who may have what it missed.
}

// Health is how the feed is as a whole.
type Health struct {
	Up   bool  // All sources are.
	Tick int64 // When the newest tick of any topic came in, by the clock of the host, in Unix milliseconds and to a second. 0 if none has.
	Lag  int64 // How far the source is behind that is furthest, in milliseconds.
}

// SetSources says where ticks come from: a scope for each source, see [SourceState]. All are
// down. Without it there is one source, of all topics. It is called once, before the
// table is used.
func (t *Table) SetSources(scopes []string) {
	if len(scopes) == 0 || len(scopes) > SourcesMax {
		panic("topics: the number of sources is out of range")
	}
	t.sources = make([]source, len(scopes))
	for i, scope := range scopes {
		t.sources[i].feed.Store(&SourceState{Scope: scope, Since: t.made})
	}
	t.ledger.queues = make([]queue, len(scopes))
}

// SetRoute says which of the sources takes a topic, by its name. Without it all topics are
// of the first. It is called once, before the table is used, and route from any goroutine.
func (t *Table) SetRoute(route func(topic string) int) { t.route = route }

// feedOf is the source of ticks that a topic is of.
func (t *Table) sourceOf(name string) uint8 {
	if t.route == nil {
		return 0
	}
	return uint8(t.route(name))
}

// SetSourceState notes that a source is up, or down, since a time in Unix milliseconds. It does
// nothing if that is what the table knows.
func (t *Table) SetSourceState(source int, up bool, since int64) {
	t.feeding.Lock()
	defer t.feeding.Unlock()
	src := &t.sources[source]
	if was := src.feed.Load(); was.Up != up {
		t.announce(func(seq uint64) { src.feed.Store(&SourceState{was.Scope, up, since, seq}) })
		src.disputed.Store(!up && t.disputes(src))
	}
}

// SetLag notes how many milliseconds a source is behind.
func (t *Table) SetLag(source int, ms int64) { t.sources[source].lag.Store(ms) }

// Sources is how many sources there are, at least one.
func (t *Table) Sources() int { return len(t.sources) }

// SourceState is how a source is.
func (t *Table) SourceState(source int) *SourceState { return t.sources[source].feed.Load() }

// Health sums up all sources.
func (t *Table) Health() Health {
	h := Health{Up: true}
	if at := t.newest.Load(); at > 0 {
		h.Tick = at + t.stamps.skew.Load()
	}
	for i := range t.sources {
		src := &t.sources[i]
		h.Up = h.Up && src.feed.Load().Up
		h.Lag = max(h.Lag, src.lag.Load())
	}
	return h
}

// Notice is the sequence of the newest change of a feed, or of a topic that went stale or was
// withdrawn. A cursor that is served up to it or further knows of all of them.
func (t *Table) Notice() uint64 { return t.notice.Load() }

// announce commits what is no row, and takes its place in the same order. The notice is
// raised before the watermark: the other way round a loop could be served up to the
// watermark, and never look for what it was told.
func (t *Table) announce(commit func(seq uint64)) {
	t.commit.Lock()
	seq := t.watermark.Load() + 1
	commit(seq)
	t.notice.Store(seq)
	t.watermark.Store(seq)
	t.commit.Unlock()
}

// signal wakes the feed.
func (t *Table) signal() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// Change tells the feed that a topic is wanted, or is not wanted any more.
type Change struct {
	Topic  string
	Wanted bool
}

// Changed has an element when [Table.Changes] may have something to return.
func (t *Table) Changed() <-chan struct{} { return t.changed }

// Changes appends to dst what a source of ticks has to be told since the last call, and
// considers it told: all the topics that are not wanted any more, and then at most so many
// that are wanted now, of whose subscribers none has to wait behind the many topics of
// another (see ledger.go). A topic that is wanted again after it was dropped comes as a new
// change. There must be one caller at a time, and it must come by soon: it is also the one
// who has clients told of topics that were withdrawn.
func (t *Table) Changes(source int, dst []Change, most int) []Change {
	t.tell()
	return t.ledger.changes(source, dst, most)
}

// Waiting is how many topics the sources have not been told of.
func (t *Table) Waiting() int {
	t.ledger.mu.Lock()
	defer t.ledger.mu.Unlock()
	return t.ledger.waiting
}
