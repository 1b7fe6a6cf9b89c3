// SPDX-License-Identifier: Apache-2.0

package topics

// Watcher hears of what a topic has, see [Table.SetWatcher].
type Watcher interface {
	// Committed tells of a row that has become the topic's newest, or is it. It is called with a lock of the table held, for one
	// row of a topic after the other: it must not wait, and not call the table. of is which of [Watchers] locks that is,
	// so that who is told may keep something for each of them.
	Committed(row *Row, of int)
}

// Watchers is how many goroutines may be in [Watcher.Committed] at a time, of all topics.
const Watchers = 1 << shardBits

// SetWatcher has a watcher hear of each row of a topic from now on, and first of the one that it has, if it has one. It takes the
// place of the one before; nil is none. The caller must hold the id, and take its watcher away before it releases it.
func (t *Table) SetWatcher(id ID, w Watcher) {
	s, local := t.locate(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setWatched(local, w != nil)
	if w == nil {
		delete(s.watchers, local)
		return
	}
	if s.watchers == nil {
		s.watchers = make(map[uint32]Watcher)
	}
	s.watchers[local] = w
	if row := s.slot(local).row.Load(); row != nil {
		w.Committed(row, int(s.index))
	}
}

// HearNew has f called with the name of each topic that gets a value and had none. It is called with a lock held: it must not
// wait, nor call t. It is set before the table is used.
func (t *Table) HearNew(f func(name string)) { t.hearNew = f }
