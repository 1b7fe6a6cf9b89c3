// SPDX-License-Identifier: Apache-2.0

package topics

// AppendNames appends the names of all topics that the table holds and that have a value, in no
// order. Those without one may have been made up, or are delisted. It takes 10 ms or so for 100,000 of them, and
// no lock for longer than a microsecond, so some may have come or gone meanwhile.
func (t *Table) AppendNames(dst []string) []string {
	for i := range t.shards {
		s := &t.shards[i]
		for local, more := uint32(0), true; more; local += watchStretch {
			dst, more = s.appendNames(dst, local)
		}
	}
	return dst
}

// appendNames is AppendNames for one stretch of a shard. It reports whether there are more.
func (s *shard) appendNames(dst []string, local uint32) (_ []string, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := min(uint32(len(s.topics)), local+watchStretch)
	for ; local < end; local++ {
		if tp := &s.topics[local]; tp.state == wanted && !tp.rowless {
			dst = append(dst, tp.name)
		}
	}
	return dst, end < uint32(len(s.topics))
}

// SourceUp reports whether the source of the topics of a name is up.
func (t *Table) SourceUp(name string) bool { return t.SourceState(int(t.sourceOf(name))).Up }

// Subscribed calls each with every topic that has subscribers, and how many, in no order and with a lock held: each must
// not wait, nor call t. It takes what AppendNames takes.
func (t *Table) Subscribed(each func(name string, subscribers int)) {
	for i := range t.shards {
		s := &t.shards[i]
		for local, more := uint32(0), true; more; local += watchStretch {
			more = s.subscribed(each, local)
		}
	}
}

// subscribed is Subscribed for one stretch of a shard. It reports whether there are more.
func (s *shard) subscribed(each func(name string, subscribers int), local uint32) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := min(uint32(len(s.topics)), local+watchStretch)
	for ; local < end; local++ {
		if tp := &s.topics[local]; tp.state == wanted && tp.subscribers > 0 {
			each(tp.name, int(tp.subscribers))
		}
	}
	return end < uint32(len(s.topics))
}
