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
//	ledger.go   what the feeds have to hear, and what is given up first
//	version.go  which of two ticks is the newer one
//	rhythm.go   topics that are stale
//	feeds.go    sources that are up or down
//
// Every method may be called from any goroutine. None does I/O, none looks at a clock
// (the time is passed in), and none blocks on anything but a lock, which is held for
// some microseconds at most, or as long as [Table.Changes] is asked to.
package topics

import (
	"errors"
	"hash/maphash"
	"math"
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
}

// shard holds the topics whose id ends in its index. Lock order: shard.mu or feeding, then
// commit or ledger.mu. Never two shards at a time.
type shard struct {
	mu     sync.Mutex
	ids    map[string]uint32 // name → local index
	topics []topic           // by local index
	free   []uint32

	offered uint64 // Ticks, each times its subscribers.
	tickAt  int64  // When the newest tick came in.

	// chunks never moves, so that loops may read it while it grows.
	chunks []atomic.Pointer[chunk]
}

// slot is the part of a topic that loops read without a lock. The row is stored
// before its sequence: who sees the sequence sees that row or a newer one.
type slot struct {
	seq atomic.Uint64
	row atomic.Pointer[Row]
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
	refused     bool // It has that because of GoStale.
	rowless     bool // It never had a row.
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

// New returns an empty table. cfg.Max must be above 0.
func New(cfg Config) *Table {
	if cfg.Max <= 0 || cfg.Max >= IDLimit>>shardBits/2 {
		panic("topics: Config.Max is out of range")
	}
	t := &Table{cfg: cfg, seed: maphash.MakeSeed(), base: cfg.Start, changed: make(chan struct{}, 1)}
	t.ledger.init()
	t.staleFloor, t.staleAfter = staleTime(cfg.StaleFloor), staleTime(cfg.StaleAfter)
	if cfg.Start.IsZero() {
		t.base = time.Unix(0, 0) // The difference to the year 1 would not fit into a duration.
	} else {
		t.made = cfg.Start.UnixMilli()
	}
	t.SetSources([]string{""})
	for i := range t.shards {
		s := &t.shards[i]
		s.ids = make(map[string]uint32)
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
// by says who asks, such as the source of a client's address. Until a topic has a row it
// counts as asked for by its first subscriber, and in a full table the topics give way first
// of whoever has asked for the most, see ledger.go. So whoever holds a topic without a row
// has to look at [Table.Withdrawn] when there is news.
func (t *Table) Acquire(name []byte, by uint64) (ID, error) {
	index := maphash.Bytes(t.seed, name) & shardMask
	s := &t.shards[index]
	s.mu.Lock()
	local, ok := s.ids[string(name)]
	if !ok {
		return t.acquireNew(s, index, askerKey{by: by}, string(name))
	}
	t.subscribe(s, local, by)
	s.mu.Unlock()
	t.subscriptions.Add(1)
	return idOf(local, index), nil
}

// acquireNew is Acquire for a name that the shard did not have when it was locked, as it is.
// It unlocks the shard.
func (t *Table) acquireNew(s *shard, index uint64, key askerKey, name string) (ID, error) {
	key.feed = t.feedOf(name)
	ok, room := false, t.reserve()
	var local uint32
	if !room {
		s.mu.Unlock() // Who has to give way may be in any shard.
		room = t.makeRoom(key)
		s.mu.Lock()
		local, ok = s.ids[name]
	}
	switch {
	case ok: // Somebody else was faster.
		if room {
			t.held.Add(-1)
		}
		t.subscribe(s, local, key.by)
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
func (t *Table) subscribe(s *shard, local uint32, by uint64) {
	tp := &s.topics[local]
	if tp.subscribers == 0 {
		tp.place = t.ledger.hold(tp.place, by)
	}
	tp.subscribers++
}

func idOf(local uint32, index uint64) ID { return ID(local<<shardBits) | ID(index) }

// feedOf is the source of ticks that a topic is of.
func (t *Table) feedOf(name string) uint8 {
	if t.route == nil {
		return 0
	}
	return uint8(t.route(name))
}

// Find returns the id of a topic that the table holds. It means something only to
// who holds that topic, and adds no subscriber.
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
		tp.place, lingers = t.ledger.release(tp.place, id, tp.name, t.feedOf(tp.name), t.passed(now))
		if !lingers {
			t.forget(s, local)
		}
	}
	s.mu.Unlock()
	t.subscriptions.Add(-1)
}

// passed is the time since the table was made, in nanoseconds. Its own difference, and not
// the time of day: that may be set back, and what waits for its end would wait for hours.
func (t *Table) passed(now time.Time) int64 { return int64(now.Sub(t.base)) }

// Sweep gives up the topics whose linger is over at now. When the table is nearly full it
// gives up all that linger and never had a row, so that there is room for others: they are
// lost to nobody. Those with a row keep their linger, as who comes again wants them first.
// Topics that somebody holds have to give way only when the room is needed, see
// [Table.Acquire]. Sweep wants to be called about once a second.
func (t *Table) Sweep(now time.Time) {
	t.tell()
	cutoff := t.passed(now) - int64(t.cfg.Linger)
	for t.sweepOne(bare, cutoff) || t.nearlyFull() && t.sweepOne(bare, math.MaxInt64) {
	}
	for t.sweepOne(idle, cutoff) {
	}
}

// nearlyFull is whether more than seven eighths of the room are taken.
func (t *Table) nearlyFull() bool { return t.held.Load() > int64(t.cfg.Max-t.cfg.Max/8) }

// sweepOne gives up the topic that has lingered the longest, if that was since cutoff or
// longer. It is false if there is none.
func (t *Table) sweepOne(of kind, cutoff int64) bool {
	v, ok := t.ledger.lingering(of, cutoff)
	if ok && t.giveUp(v) {
		t.held.Add(-1)
		if cutoff == math.MaxInt64 {
			t.givenUp.Add(1)
		}
	}
	return ok
}

// makeRoom has a topic give way to a new one of an asker, which has its room then. It is
// false if none has to.
func (t *Table) makeRoom(key askerKey) bool {
	for {
		v, ok := t.ledger.giveWay(key, t.cfg.Max)
		if !ok {
			return t.reserve() // There may be some by now.
		}
		if t.giveUp(v) {
			if v.kind == bare || v.kind == idle {
				t.givenUp.Add(1)
			}
			return true
		}
		// It has changed since it was chosen, so somebody else has got on.
	}
}

// giveUp gives up a topic, unless it has changed since it was chosen. Its room is the
// caller's then. If nobody holds it, its id is free. Else it is withdrawn: the name is free,
// the topic will never have a row, and those who hold it are told by its mark.
func (t *Table) giveUp(v victim) bool {
	s, local := t.locate(v.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	held, ok := t.ledger.giveUp(v, t.cfg.Max)
	if !ok {
		return false
	}
	tp := &s.topics[local]
	delete(s.ids, tp.name)
	s.unmark(t, local)
	if held {
		tp.state, tp.place = withdrawn, 0
		s.mark(local).Store(withdrawnMark)
		t.takenAway.Add(1)
		t.unsaid.Store(true)
	} else {
		s.clear(local)
	}
	t.signal()
	return true
}

// tell raises the notice if topics were withdrawn since it was called last. Once for all of
// them: each time, every conn has to look at its topics.
func (t *Table) tell() {
	if t.unsaid.Load() && t.unsaid.Swap(false) {
		t.announce(func(uint64) {})
	}
}

// reserve counts one more topic in, if there is room.
func (t *Table) reserve() bool {
	for {
		held := t.held.Load()
		if held >= int64(t.cfg.Max) {
			return false
		}
		if t.held.CompareAndSwap(held, held+1) {
			return true
		}
	}
}

// add makes a new topic. The caller holds s.mu.
func (s *shard) add(name string) uint32 {
	var local uint32
	if n := len(s.free); n > 0 {
		local = s.free[n-1]
		s.free = s.free[:n-1]
	} else {
		local = uint32(len(s.topics))
		s.topics = append(s.topics, topic{})
		if c := &s.chunks[local>>chunkBits]; c.Load() == nil {
			c.Store(new(chunk))
		}
	}
	s.topics[local] = topic{name: name, state: wanted, rowless: true}
	s.ids[name] = local
	return local
}

// forget frees a topic that nobody holds and that is not in the ledger. The caller holds
// s.mu.
func (t *Table) forget(s *shard, local uint32) {
	delete(s.ids, s.topics[local].name)
	s.unmark(t, local)
	s.clear(local)
	t.held.Add(-1)
}

// clear frees the place of a topic that nobody knows any more. The caller holds s.mu.
func (s *shard) clear(local uint32) {
	s.mark(local).Store(0)
	sl := s.slot(local)
	sl.seq.Store(0)
	sl.row.Store(nil)
	s.topics[local] = topic{}
	s.free = append(s.free, local)
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

// Rowless is how many topics there are that never had a row, those that linger included.
func (t *Table) Rowless() int {
	t.ledger.mu.Lock()
	defer t.ledger.mu.Unlock()
	return t.ledger.lacking
}

// WithdrawnTopics is how many topics were withdrawn, and are held still. It counts a topic
// before its name can be acquired again: who finds 0 after that holds none.
func (t *Table) WithdrawnTopics() int64 { return t.ledger.withdrawn.Load() }

// Reclaimed is how many topics had to make room for others: so many were withdrawn from those
// who held them, and so many lingered and were given up before their time.
func (t *Table) Reclaimed() (withdrawn, lingering uint64) {
	return t.takenAway.Load(), t.givenUp.Load()
}

// Publish commits one tick of a topic: value becomes the topic's newest row and
// its count rises by one. It does nothing if nobody wants the topic, and if the versions
// of tick and row say that the tick is an older one, or is the row. value must be valid
// JSON in valid UTF-8: it is passed on unseen.
func (t *Table) Publish(name, value string, m Meta) Outcome {
	s := t.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	local, ok := s.ids[name]
	if !ok {
		return Unwanted
	}
	tp, sl := &s.topics[local], s.slot(local)
	if m.Version.Set && tp.version.Set {
		switch order := m.Version.Compare(tp.version); {
		case order < 0:
			return Older
		case order == 0 && string(sl.row.Load().Value()) == value:
			return Repeated
		}
	}
	tp.version = m.Version
	tp.learn(m.At)
	s.tickAt = max(s.tickAt, m.At)
	if tp.stale {
		t.freshen(s, local)
	}
	if tp.rowless {
		t.firstRow(s, local)
	}
	tp.n++
	s.offered += uint64(tp.subscribers)
	t.store(sl, newRow(name, value, tp.n))
	return Committed
}

// Offered is how many rows would have been sent if every tick went to each of its
// subscribers at once. What was sent in updates is this, less what was conflated.
func (t *Table) Offered() (n uint64) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.offered
		s.mu.Unlock()
	}
	return n
}

// Mark returns the state of a topic for a later [Table.Repair]. It is false for a
// topic that nobody wants.
func (t *Table) Mark(name string) (mark uint64, ok bool) {
	s := t.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	local, ok := s.ids[name]
	if !ok {
		return 0, false
	}
	return s.slot(local).seq.Load(), true
}

// Repair commits the value that a feed fetched for a topic, after a subscription
// or a gap. It does nothing if the topic got a row since mark was taken (that row is newer
// than the fetched value), if the value is the one that the topic holds already, if its
// version is below that of the row, or if nobody wants the topic. The feed must not have
// two fetches of a topic under way at a time: Repair could not tell which is older.
//
// The first value of a topic is no tick and keeps its count at 0. One that differs
// from the row it replaces shows that a tick was missed, and counts as one, and so does one
// that ends what [Table.GoStale] has begun. None says anything about the topic's rhythm.
func (t *Table) Repair(name, value string, mark uint64, m Meta) Outcome {
	s := t.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	local, ok := s.ids[name]
	if !ok {
		return Unwanted
	}
	tp, sl := &s.topics[local], s.slot(local)
	if sl.seq.Load() != mark {
		return Unchanged
	}
	if old := sl.row.Load(); old != nil {
		switch {
		case string(old.Value()) == value && !tp.refused: // Else its clients have to hear that it is current.
			return Unchanged
		case m.Version.Set && m.Version.Compare(tp.version) < 0:
			return Older
		}
		tp.n++
		s.offered += uint64(tp.subscribers) // The first value goes out in snapshots.
	}
	tp.version = m.Version
	tp.last = m.At
	if tp.stale {
		t.freshen(s, local)
	}
	if tp.rowless {
		t.firstRow(s, local)
	}
	t.store(sl, newRow(name, value, tp.n))
	return Committed
}

// firstRow notes that a topic is about to have its first row. The caller holds s.mu.
func (t *Table) firstRow(s *shard, local uint32) {
	tp := &s.topics[local]
	tp.rowless = false
	s.setAbsent(local, false)
	var by uint64
	if tp.place, by = t.ledger.row(tp.place); by != 0 && t.cfg.Exists != nil {
		t.cfg.Exists(by)
	}
}

// store commits a row. The watermark is published last: published before the
// slot is stored, a loop could take the tick for served without having seen it.
func (t *Table) store(sl *slot, r *Row) {
	t.commit.Lock()
	r.Seq = t.watermark.Load() + 1
	sl.row.Store(r)
	sl.seq.Store(r.Seq)
	t.watermark.Store(r.Seq)
	t.commit.Unlock()
}

// Watermark is the sequence up to which all ticks are committed. A flush loads it
// before it looks at its topics, and is served up to it afterwards.
func (t *Table) Watermark() uint64 { return t.watermark.Load() }

// Seq is the sequence of a topic's newest row, 0 while it has none. The caller
// must hold the id.
func (t *Table) Seq(id ID) uint64 { return t.slot(id).seq.Load() }

// Row is a topic's newest row, nil while it has none. The caller must hold the id.
func (t *Table) Row(id ID) *Row { return t.slot(id).row.Load() }

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

func (t *Table) shardOf(name string) *shard {
	return &t.shards[maphash.String(t.seed, name)&shardMask]
}

func (t *Table) locate(id ID) (*shard, uint32) {
	return &t.shards[id&shardMask], uint32(id >> shardBits)
}

func (t *Table) slot(id ID) *slot {
	s := &t.shards[id&shardMask]
	local := id >> shardBits
	return &s.chunks[local>>chunkBits].Load().slots[local&chunkMask]
}

func (s *shard) slot(local uint32) *slot {
	return &s.chunks[local>>chunkBits].Load().slots[local&chunkMask]
}
