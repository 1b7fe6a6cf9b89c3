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
//	                      └────► stale[local%256]   when the topic went stale: the same
//
// It knows as well how the sources of the ticks are, and which topics have been without
// a tick for longer than is their way. Both are news that takes its place in the order of
// the ticks (see [Table.Notice]).
//
//	version.go  which of two ticks is the newer one
//	rhythm.go   topics that are stale
//	feeds.go    sources that are up or down
//
// Every method may be called from any goroutine. None does I/O, none looks at a clock
// (the time is passed in), and none blocks on anything but a lock, which is held for
// some microseconds at most but by [Table.Sweep].
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

// ErrFull is returned by [Table.Acquire] when the table holds its maximum of topics.
// Those that linger are given up then, so that there may be room once the feed has
// taken that.
var ErrFull = errors.New("topics: the table holds its maximum of topics")

// Config sets the limits of a [Table].
type Config struct {
	// Max is how many topics the table holds, those that linger included. Clients
	// choose the names, so without it they could fill the memory.
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
	// Start is when the table is made: its feeds have been down since then.
	Start time.Time
}

// Table holds topics. See the package comment for who may call what: everybody.
type Table struct {
	cfg  Config
	seed maphash.Seed
	made int64 // Config.Start in Unix milliseconds, 0 if it is not known.

	staleFloor, staleAfter int64 // In milliseconds.

	// sources never moves once the table is used. notice is on a line of its own with
	// what is rarely written: every visit of a conn reads it.
	sources []source
	notice  atomic.Uint64
	_       [64]byte

	shards [1 << shardBits]shard

	feeding    sync.Mutex   // One change of a feed at a time.
	newest     atomic.Int64 // When the newest tick came in, as of the last Watch.
	stale      atomic.Int64 // Topics that are stale.
	staleTotal atomic.Uint64

	held          atomic.Int64 // Topics in the table; at most cfg.Max.
	subscriptions atomic.Int64

	// commit orders all ticks of the table. Under it the sequence is raised, the
	// slot stored, and only then the watermark published.
	commit    sync.Mutex
	watermark atomic.Uint64

	// changes is what the feed has not been told yet. It holds a topic at most
	// once (topic.queued), so the table's maximum bounds it.
	changesMu sync.Mutex
	changes   []ID
	changed   chan struct{}
}

// shard holds the topics whose id ends in its index. Lock order: shard.mu or feeding, then
// commit or changesMu. Never two shards at a time.
type shard struct {
	mu     sync.Mutex
	ids    map[string]uint32 // name → local index
	topics []topic           // by local index
	free   []uint32
	linger []uint32 // topics that may be idle, each once, in no order

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
	idleSince   int64 // when subscribers became 0, in Unix nanoseconds
	state       state
	told        bool // The feed was told that the topic is wanted.
	queued      bool // It is in Table.changes.
	inLinger    bool // It has its one entry in shard.linger.
	stale       bool // It has a stale mark.
	refused     bool // It has that because of GoStale.
}

const topicSizeMax = 72 // Ten million of them are the most that a table holds.
const _ = uint(topicSizeMax - unsafe.Sizeof(topic{}))

// state says what holds of a topic.
type state uint8

const (
	free     state = iota // Nobody knows it; its index is in shard.free.
	wanted                // subscribers > 0, or idle for less than the linger.
	dropping              // subscribers == 0, linger over; freed when the feed takes the change.
)

// New returns an empty table. cfg.Max must be above 0.
func New(cfg Config) *Table {
	if cfg.Max <= 0 || cfg.Max >= IDLimit>>shardBits {
		panic("topics: Config.Max is out of range")
	}
	t := &Table{cfg: cfg, seed: maphash.MakeSeed(), changed: make(chan struct{}, 1)}
	t.staleFloor, t.staleAfter = staleTime(cfg.StaleFloor), staleTime(cfg.StaleAfter)
	if !cfg.Start.IsZero() {
		t.made = cfg.Start.UnixMilli()
	}
	t.SetSources([]string{""})
	for i := range t.shards {
		s := &t.shards[i]
		s.ids = make(map[string]uint32)
		// One shard may get all names if the hash wants it so.
		s.chunks = make([]atomic.Pointer[chunk], cfg.Max>>chunkBits+1)
	}
	return t
}

// Acquire adds a subscriber to a topic and returns the topic's id, which is the
// caller's until it calls [Table.Release]. The first subscriber of a topic makes
// it a change for the feed. The name must be valid, see [ValidName]. The error is
// [ErrFull] or nil.
func (t *Table) Acquire(name []byte) (ID, error) {
	index := maphash.Bytes(t.seed, name) & shardMask
	s := &t.shards[index]
	s.mu.Lock()
	local, ok := s.ids[string(name)]
	if !ok {
		if !t.reserve() {
			s.mu.Unlock() // sweep looks into every shard.
			t.sweep(farFuture)
			return 0, ErrFull
		}
		local = s.add(string(name))
	}
	tp := &s.topics[local]
	id := ID(local<<shardBits) | ID(index)
	tp.subscribers++
	tp.state = wanted
	if !tp.told {
		t.queue(tp, id)
	}
	s.mu.Unlock()
	t.subscriptions.Add(1)
	return id, nil
}

// Absent notes that the feed has read a topic's value and there was none. Its first row
// ends that.
func (t *Table) Absent(name string) {
	s := t.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if local, ok := s.ids[name]; ok && s.slot(local).seq.Load() == 0 {
		s.absentMark(local).Store(true)
	}
}

// IsAbsent reports whether a topic is known to have no value. The caller must hold the id.
func (t *Table) IsAbsent(id ID) bool {
	return t.Seq(id) == 0 && t.shards[id&shardMask].absentMark(uint32(id>>shardBits)).Load()
}

func (s *shard) absentMark(local uint32) *atomic.Bool {
	return &s.chunks[local>>chunkBits].Load().absent[local&chunkMask]
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
// linger, which [Table.Sweep] ends.
func (t *Table) Release(id ID, now time.Time) {
	s, local := t.locate(id)
	s.mu.Lock()
	if int(local) >= len(s.topics) || s.topics[local].subscribers <= 0 {
		s.mu.Unlock()
		panic("topics: Release of a topic that nobody holds")
	}
	tp := &s.topics[local]
	tp.subscribers--
	if tp.subscribers == 0 {
		tp.idleSince = now.UnixNano()
		if !tp.inLinger {
			tp.inLinger = true
			s.linger = append(s.linger, local)
		}
	}
	s.mu.Unlock()
	t.subscriptions.Add(-1)
}

// Sweep gives up the topics whose linger is over at now, and when the table is
// nearly full all that linger. The feed is told to drop them, and when it has taken
// that, their ids are free. It wants to be called about once a second.
func (t *Table) Sweep(now time.Time) {
	if t.held.Load() > int64(t.cfg.Max-t.cfg.Max/8) {
		t.sweep(farFuture)
		return
	}
	t.sweep(now.Add(-t.cfg.Linger).UnixNano())
}

const farFuture = math.MaxInt64

// sweep gives up the topics that have been idle since cutoff or longer, which is in Unix
// nanoseconds.
func (t *Table) sweep(cutoff int64) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		keep := s.linger[:0]
		for _, local := range s.linger {
			tp := &s.topics[local]
			if tp.subscribers == 0 && tp.idleSince > cutoff {
				keep = append(keep, local)
				continue
			}
			tp.inLinger = false
			if tp.subscribers == 0 {
				tp.state = dropping
				t.queue(tp, ID(local<<shardBits)|ID(i))
			}
		}
		s.linger = keep
		s.mu.Unlock()
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
	s.topics[local] = topic{name: name, state: wanted}
	s.ids[name] = local
	return local
}

// forget frees a topic that nobody holds. The caller holds s.mu.
func (t *Table) forget(s *shard, local uint32) {
	tp := &s.topics[local]
	delete(s.ids, tp.name)
	if tp.stale {
		t.freshen(s, local)
	}
	sl := s.slot(local)
	sl.seq.Store(0)
	sl.row.Store(nil)
	s.absentMark(local).Store(false)
	*tp = topic{}
	s.free = append(s.free, local)
	t.held.Add(-1)
}

// queue notes that the feed must hear of a topic. The caller holds the topic's shard.
func (t *Table) queue(tp *topic, id ID) {
	if tp.queued {
		return
	}
	tp.queued = true
	t.changesMu.Lock()
	t.changes = append(t.changes, id)
	t.changesMu.Unlock()
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

// Changes appends to dst what the feed has to be told since the last call, and
// considers it told. Ticks of a topic whose Wanted is false are dropped from here
// on. A topic that is wanted again after that comes as a new change. There must be
// one caller at most, and it must come by soon: topics that were given up count
// against the maximum until then.
func (t *Table) Changes(dst []Change) []Change {
	t.changesMu.Lock()
	queued := t.changes
	t.changes = nil
	t.changesMu.Unlock()
	for _, id := range queued {
		s, local := t.locate(id)
		s.mu.Lock()
		tp := &s.topics[local]
		tp.queued = false
		switch {
		case tp.state == wanted && !tp.told:
			tp.told = true
			dst = append(dst, Change{tp.name, true})
		case tp.state == dropping:
			if tp.told {
				dst = append(dst, Change{tp.name, false})
			}
			t.forget(s, local)
		}
		s.mu.Unlock()
	}
	return dst
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
	t.store(sl, newRow(name, value, tp.n))
	return Committed
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

// Held is how many topics the table holds, those that linger included.
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
