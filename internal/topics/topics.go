// SPDX-License-Identifier: Apache-2.0

// Package topics is the topic table: it gives names short ids, knows which topics
// somebody wants, and holds the newest row of each.
//
// It stands between the feed, which publishes ticks by name, and the loops, which
// come by at their own pace to read rows by id. Nothing travels from a tick to a
// conn: a tick is stored once, in O(1), however many conns want it.
//
//	            shard 0            shard 1     …     (ID & shardMask)
//	name ──► ids: name → local     …
//	         topics[local]         …                 name, subscribers, state: under the shard's lock
//	         chunks[local/256] ─► slots[local%256]   {seq, row}: atomics, read by loops without a lock
//
//	                      └────► marks[local%256]   when the topic went stale, or that it was withdrawn: the same
//
// Clients choose the names, so the room has a limit. Where it is full, topics that never had
// a row are taken from those who hold the most of them (see ledger.go): withdrawn. The name
// is free at once. The id is free when the last has released it, and whoever holds it finds
// a mark.
//
// It knows as well how the sources of the ticks are, and which topics have been without
// a tick for longer than is their way. Both are news that takes its place in the order of
// the ticks (see [Table.Notice]).
//
//	topics.go   names and ids, subscribers
//	publish.go  ticks and fetched values become rows
//	version.go  which of two ticks is the newer one
//	row.go      a row, encoded once
//	room.go     who gives way where the room is used up, and what lingers
//	ledger.go   what the feeds have to hear, and what is given up first; lists.go has its lists
//	memory.go   slots and marks, which loops read without a lock
//	rhythm.go   topics that are stale
//	loads.go    which topics cost most; tally.go counts in bounded memory
//	feeds.go    sources: up or down, and what they are told
//	resume.go   what who comes back has already
//	names.go    which names there are
//	watcher.go  who hears of each row of some topics
//	name.go     which names are valid
//
// Every method may be called from any goroutine. None does I/O, none looks at a clock
// (the time is passed in), and none blocks on anything but a lock, which is held for
// some microseconds at most, or as long as [Table.Changes] is asked to.
package topics

import (
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// ID names a topic in one [Table]. It stays valid while its holder has not
// released it, and is below [IDLimit]. After that it may mean another topic.
type ID uint32

// IDLimit bounds an ID, so that holders may keep two bits of their own beside it.
const IDLimit = 1 << 30

const (
	shardBits = 4
	shardMask = 1<<shardBits - 1
	chunkBits = 8
	chunkMask = 1<<chunkBits - 1
)

// ErrFull is returned by [Table.Acquire] when the table holds its maximum of topics, and
// none of them has to give way.
var ErrFull = errors.New("topics: the table holds its maximum of topics")

// Config sets the limits of a [Table].
type Config struct {
	// Max is how many topics the table holds, those that linger included. Clients
	// choose the names, so without it they could fill the memory. As many again may have
	// been withdrawn and not be released yet: this is what bounds the memory.
	Max int
	// Linger is how long a topic without subscribers is kept, so that a page reload
	// or a flapping client does not cost an unsubscribe and a subscribe.
	Linger time.Duration
	// StaleFloor is the shortest time without a row after which a topic can be stale,
	// see rhythm.go. 0: none ever is, but for StaleAfter.
	StaleFloor time.Duration
	// StaleAfter is that time for all topics, those that never had a row included. 0: it
	// is learned for each of them, from the time between its ticks.
	StaleAfter time.Duration
	// ResumeTolerance is by how much the clocks of edges may differ whose tokens this one takes,
	// see resume.go.
	ResumeTolerance time.Duration
	// Window is how long the windows of most clients are. 0: what topics cost is not counted, see loads.go.
	Window time.Duration
	// Exists is called when a topic has its first row, with who asked for it first (see
	// [Table.Acquire]) if that is not 0: whatever held the topic for made up was wrong. It is
	// called under a lock, and must neither wait nor call the table. Nil if nobody wants to know.
	Exists func(by uint64)
	// Start is when the table is made: its feeds have been down since then. Time that
	// passes is measured from it, so with the monotonic clock, if it has a reading of that.
	Start time.Time
}

// Table holds topics. See the package comment for who may call what: everybody.
type Table struct {
	cfg  Config
	seed maphash.Seed
	made int64     // Config.Start in Unix milliseconds, 0 if it is not known.
	base time.Time // What Table.passed counts from.

	staleFloor, staleAfter int64 // In milliseconds.
	window                 int64 // Config.Window in milliseconds.

	// sources and route are not changed once the table is used. notice is on a line of its own with
	// what is rarely written: every visit of a conn reads it.
	sources []source
	route   func(topic string) int
	notice  atomic.Uint64
	_       [64]byte

	shards [1 << shardBits]shard

	feeding    sync.Mutex   // One change of a feed at a time.
	newest     atomic.Int64 // When the newest tick came in, as of the last Watch.
	stale      atomic.Int64 // Topics that are stale.
	staleTotal atomic.Uint64

	held          atomic.Int64 // Topics in the table without those that were withdrawn; at most cfg.Max.
	subscriptions atomic.Int64
	givenUp       atomic.Uint64 // Topics that were given up before their linger was over.
	takenAway     atomic.Uint64 // Topics that were withdrawn.
	unsaid        atomic.Bool   // The notice is to be raised for topics that were withdrawn.

	// commit orders all ticks of the table. Under it the sequence is raised, the
	// slot stored, and only then the watermark published.
	commit    sync.Mutex
	watermark atomic.Uint64

	ledger  ledger
	changed chan struct{}
	stamps  stamps
	hearNew func(name string) // Nil if nobody wants to know.
}

// shard holds the topics whose id ends in its index. Lock order: shard.mu or feeding, then
// commit or ledger.mu. Never two shards at a time.
type shard struct {
	index  uint64
	mu     sync.Mutex
	ids    map[string]uint32 // name → local index
	topics []topic           // by local index
	free   []uint32

	watchers map[uint32]Watcher // By local index, of those that are watched.

	offered uint64 // Ticks, each times its subscribers.
	tickAt  int64  // When the newest tick came in.
	skip    uint64 // Rows until the next one that is counted, see loads.go.
	loads   loads

	// chunks never moves, so that loops may read it while it grows.
	chunks []atomic.Pointer[chunk]
}

type topic struct {
	name        string
	n           uint64  // ticks seen
	last        int64   // When the newest row came in, in Unix milliseconds. 0 if that is not known.
	version     Version // Of the row.
	gap         uint32  // The longest time between two ticks, which decays, in milliseconds.
	subscribers int32
	place       uint32 // In the ledger; 0 if it is not there.
	state       state
	stale       bool // It has a stale mark.
	why         Why  // Why it has that. Silent while it has none.
	rowless     bool // It never had a row, or is delisted: its row is no value.
}

const topicSizeMax = 64 // Ten million of them are the most that a table holds, and as many again that are withdrawn.
const _ = uint(topicSizeMax - unsafe.Sizeof(topic{}))

// state says what holds of a topic.
type state uint8

const (
	free      state = iota // Nobody knows it; its index is in shard.free.
	wanted                 // subscribers > 0, or idle for less than the linger and in the ledger.
	withdrawn              // subscribers > 0; the name is not in shard.ids, or is another topic's. It is in no ledger.
)

// Start is Config.Start.
func (t *Table) Start() time.Time { return t.cfg.Start }

// Millis is a time in Unix milliseconds of a clock that does not go back: it has the host's time at Config.Start, and then counts on by
// itself. [Meta.At] is of it.
func (t *Table) Millis(now time.Time) int64 {
	return t.base.UnixMilli() + now.Sub(t.base).Milliseconds()
}

// New returns an empty table. cfg.Max must be above 0.
func New(cfg Config) *Table {
	if cfg.Max <= 0 || cfg.Max >= IDLimit>>shardBits/2 {
		panic("topics: Config.Max is out of range")
	}
	t := &Table{cfg: cfg, seed: maphash.MakeSeed(), base: cfg.Start, changed: make(chan struct{}, 1)}
	t.ledger.init()
	t.staleFloor, t.staleAfter = staleTime(cfg.StaleFloor), staleTime(cfg.StaleAfter)
	t.window = cfg.Window.Milliseconds()
	if cfg.Start.IsZero() {
		t.base = time.Unix(0, 0) // The difference to the year 1 would not fit into a duration.
	} else {
		t.made = cfg.Start.UnixMilli()
	}
	t.SetSources([]string{""})
	for i := range t.shards {
		s := &t.shards[i]
		s.index, s.ids = uint64(i), make(map[string]uint32)
		if s.loads = (loads{aged: t.made, seen: t.made, each: 1}); t.window > 0 {
			s.skip, s.loads.random = 1, rand.New(rand.NewPCG(s.index, 0))
		}
		// One shard may get all names if the hash wants it so, and have as many withdrawn.
		s.chunks = make([]atomic.Pointer[chunk], 2*cfg.Max>>chunkBits+1)
	}
	return t
}

// Acquire adds a subscriber to a topic and returns the topic's id, which is the
// caller's until it calls [Table.Release]. The first subscriber of a topic makes
// it a change for the feed. The name must be valid, see [ValidName]. The error is
// [ErrFull] or nil.
//
// by says who asks, such as the prefix of a client's address. Until a topic has a row it
// counts as asked for by its first subscriber, and in a full table the topics give way first
// of whoever has asked for the most, see ledger.go. So whoever holds a topic without a row
// has to look at [Table.Withdrawn] when there is news.
func (t *Table) Acquire(name []byte, by uint64) (ID, error) {
	return t.acquire(name, askerKey{by: by, standing: unread})
}

// AcquireKnown is [Table.Acquire] for a topic that is known to exist, other than by its having
// a row: it does not give way to topics of which nothing is known.
func (t *Table) AcquireKnown(name []byte, by uint64) (ID, error) {
	return t.acquire(name, askerKey{by: by, standing: known})
}

func (t *Table) acquire(name []byte, key askerKey) (ID, error) {
	index := maphash.Bytes(t.seed, name) & shardMask
	s := &t.shards[index]
	s.mu.Lock()
	local, ok := s.ids[string(name)]
	if !ok {
		return t.acquireNew(s, index, key, string(name))
	}
	t.subscribe(s, local, key)
	s.mu.Unlock()
	t.subscriptions.Add(1)
	return idOf(local, index), nil
}

// acquireNew is acquire for a name that the shard did not have when it was locked, as it is.
// It unlocks the shard.
func (t *Table) acquireNew(s *shard, index uint64, key askerKey, name string) (ID, error) {
	key.source = t.sourceOf(name)
	ok, room := false, t.reserve()
	var local uint32
	if !room {
		s.mu.Unlock() // What has to give way may be in any shard.
		room = t.makeRoom(key)
		s.mu.Lock()
		local, ok = s.ids[name]
	}
	switch {
	case ok: // Somebody else was faster.
		if room {
			t.held.Add(-1)
		}
		t.subscribe(s, local, key)
	case !room:
		s.mu.Unlock()
		return 0, ErrFull
	default:
		local = s.add(name)
		tp := &s.topics[local]
		tp.place = t.ledger.want(idOf(local, index), name, key)
		tp.subscribers++
		t.signal()
	}
	s.mu.Unlock()
	t.subscriptions.Add(1)
	return idOf(local, index), nil
}

// subscribe adds a subscriber to a topic that is there. The caller holds s.mu.
func (t *Table) subscribe(s *shard, local uint32, key askerKey) {
	tp := &s.topics[local]
	switch {
	case tp.subscribers == 0:
		if word, bit := s.absentBit(local); word.Load()&bit != 0 {
			key.standing &^= unreadBit
		}
		tp.place = t.ledger.hold(tp.place, key)
	case tp.rowless && key.standing == known:
		t.ledger.restand(tp.place, 0, knownBit)
	}
	tp.subscribers++
}

// Find returns the id of a topic that the table holds. It means something only to
// a caller that holds the topic, and adds no subscriber.
func (t *Table) Find(name []byte) (ID, bool) {
	index := maphash.Bytes(t.seed, name) & shardMask
	s := &t.shards[index]
	s.mu.Lock()
	defer s.mu.Unlock()
	local, ok := s.ids[string(name)]
	return ID(local<<shardBits) | ID(index), ok
}

// Release takes a subscriber from a topic. The last one to leave starts the
// linger, which [Table.Sweep] ends. A topic that no feed was told of does not linger.
func (t *Table) Release(id ID, now time.Time) {
	s, local := t.locate(id)
	s.mu.Lock()
	if int(local) >= len(s.topics) || s.topics[local].subscribers <= 0 {
		s.mu.Unlock()
		panic("topics: Release of a topic that nobody holds")
	}
	tp := &s.topics[local]
	tp.subscribers--
	switch {
	case tp.subscribers > 0:
	case tp.state == withdrawn:
		s.clear(local)
		t.ledger.returned()
	default:
		var lingers bool
		tp.place, lingers = t.ledger.release(tp.place, id, tp.name, t.sourceOf(tp.name), t.passed(now))
		if !lingers {
			t.forget(s, local)
		}
	}
	s.mu.Unlock()
	t.subscriptions.Add(-1)
}

// Name returns a topic's name. The caller must hold the id.
func (t *Table) Name(id ID) string {
	s, local := t.locate(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics[local].name
}

// Held is how many topics the table holds, those that linger included, and those that were
// withdrawn not.
func (t *Table) Held() int64 { return t.held.Load() }

// Subscriptions is how many subscribers all topics have together.
func (t *Table) Subscriptions() int64 { return t.subscriptions.Load() }
