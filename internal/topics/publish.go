// SPDX-License-Identifier: Apache-2.0

package topics

// Meta is what comes with a value.
type Meta struct {
	At      int64 // When it came in, see [Table.Millis].
	Version Version
	Trace   uint16 // What [Row.Trace] is to say.
}

// Outcome says what became of a value.
type Outcome uint8

const (
	Committed Outcome = iota // It is the topic's newest row.
	Unwanted                 // Nobody wants the topic.
	Older                    // Its version is below that of the row.
	Repeated                 // It has the row's version, and the row's value.
	Unchanged                // Of a repair: it is the row's value, or the topic got a row since the mark.
)

// Delisted is the value by which its source withdraws a topic: a tombstone. It becomes the topic's
// row as any other value does, so that clients hear of it, and the row stays for as long as the table
// holds the topic: who comes later, or comes back, is told the same. But it is no value. The topic is
// rowless and absent from then on, and never goes stale for silence; the next value makes it live again.
// Of a tombstone without a version the row keeps the version that it had.
const Delisted = "null"

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
		row := sl.row.Load()
		switch order := m.Version.Compare(tp.version); {
		case order < 0:
			return Older
		case order > 0 || row == nil:
		case string(row.Value()) == value:
			return Repeated
		case row.Delisted(): // Whoever has delisted it knew of that value.
			return Older
		}
	}
	if tp.delisted(sl) {
		tp.last = 0 // The time without a value is none between two ticks.
	}
	due := t.due(tp.last, m.At)
	tp.learn(m.At)
	s.tickAt = max(s.tickAt, m.At)
	tp.n++
	s.offered += uint64(tp.subscribers)
	t.weigh(s, local, t.renew(s, local, name, value, m), due)
	if s.settled(local).Load() == blind {
		t.settle(s, local)
	}
	return Committed
}

// renew makes a value the newest row of a topic. The caller holds s.mu.
func (t *Table) renew(s *shard, local uint32, name, value string, m Meta) *Row {
	tp, gone := &s.topics[local], value == Delisted
	if !gone || m.Version.Set {
		tp.version = m.Version
	}
	if tp.stale {
		t.freshen(s, local)
	}
	switch {
	case gone:
		t.delist(s, local)
	case tp.rowless:
		t.firstRow(s, local)
	}
	row := newRow(name, value, tp.n, m)
	t.store(s.slot(local), row)
	if s.watched(local) {
		s.watchers[local].Committed(row, int(s.index))
	}
	return row
}

// delist notes that the row that a topic is about to have is no value. The caller holds s.mu.
func (t *Table) delist(s *shard, local uint32) {
	tp := &s.topics[local]
	s.setAbsent(local, true)
	if tp.rowless {
		t.ledger.restand(tp.place, unreadBit, 0)
		return
	}
	tp.rowless = true
	tp.place = t.ledger.delist(tp.place, idOf(local, s.index), tp.name, t.sourceOf(tp.name))
}

// delisted reports whether the row of a topic is no value.
func (tp *topic) delisted(sl *slot) bool { return tp.rowless && sl.row.Load() != nil }

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
// that ends what [Table.GoStale] has begun, or that clients may lack who have resumed. None says
// anything about the topic's rhythm.
func (t *Table) Repair(name, value string, mark uint64, m Meta) Outcome {
	return t.repair(name, value, m, func(seq uint64) bool { return seq != mark }, true)
}

// Merge is [Table.Repair] for a topic that is read from two brokers, whose values all have versions: these say which
// is the newer, whatever has come since a fetch began. settles says that nothing of the topic may have been missed of either.
func (t *Table) Merge(name, value string, m Meta, settles bool) Outcome {
	return t.repair(name, value, m, func(uint64) bool { return false }, settles)
}

// Settle notes that nothing of a topic can be missed from now on, as what [Table.Merge] did not settle has no value
// in the other broker.
func (t *Table) Settle(name string) {
	s := t.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if local, ok := s.ids[name]; ok {
		t.settle(s, local)
	}
}

// repair is Repair. passed says of the sequence of the topic's row whether that is newer for sure.
func (t *Table) repair(name, value string, m Meta, passed func(seq uint64) bool, settles bool) Outcome {
	s := t.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	local, ok := s.ids[name]
	if !ok {
		return Unwanted
	}
	tp, sl := &s.topics[local], s.slot(local)
	lacking := s.settled(local).Load() == disputed || t.sources[t.sourceOf(name)].disputed.Load()
	if settles {
		defer t.settle(s, local) // Behind the row, if there is one.
	}
	if passed(sl.seq.Load()) {
		return Unchanged
	}
	if old := sl.row.Load(); old != nil {
		switch {
		case string(old.Value()) == value && tp.why == Silent && !lacking: // Else its clients have to hear that it is current.
			if m.Version.Compare(tp.version) > 0 {
				tp.version = m.Version // Two tombstones differ in nothing else.
			}
			return Unchanged
		case m.Version.Set && m.Version.Compare(tp.version) < 0,
			old.Delisted() && value != Delisted && m.Version.Set && m.Version == tp.version:
			t.excuse(s, local)
			return Older
		}
		tp.n++
		s.offered += uint64(tp.subscribers)
	}
	due := t.due(tp.last, m.At)
	tp.last = m.At
	if row := t.renew(s, local, name, value, m); tp.n > 0 { // The first value goes out in snapshots.
		t.weigh(s, local, row, due)
	}
	return Committed
}

// firstRow notes that a topic is about to have its first row. The caller holds s.mu.
func (t *Table) firstRow(s *shard, local uint32) {
	tp := &s.topics[local]
	tp.rowless = false
	s.setAbsent(local, false)
	if t.hearNew != nil {
		t.hearNew(tp.name)
	}
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

// Absent notes that a source of ticks has looked for the value of a topic, and there is none.
// It is so until the topic has a value. Whatever [Table.GoStale] has begun is over.
func (t *Table) Absent(name string) { t.absent(name, true) }

// MergeAbsent is [Table.Absent] for what [Table.Merge] is for: the topic is known to have no value in one of the
// brokers, and the other may have one.
func (t *Table) MergeAbsent(name string) { t.absent(name, false) }

func (t *Table) absent(name string, settles bool) {
	s := t.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	local, ok := s.ids[name]
	if !ok {
		return
	}
	t.excuse(s, local)
	if !s.topics[local].rowless { // What was missed, if anything was, nobody can say before the next tick.
		if settles {
			s.settled(local).Store(blind)
		}
		return
	}
	if settles {
		t.settle(s, local)
	}
	s.setAbsent(local, true)
	t.ledger.restand(s.topics[local].place, unreadBit, 0)
}

// IsAbsent reports whether a topic is known to have no value, see [Table.Absent]. The caller
// must hold the id.
func (t *Table) IsAbsent(id ID) bool {
	word, bit := t.shards[id&shardMask].absentBit(uint32(id >> shardBits))
	return word.Load()&bit != 0
}
