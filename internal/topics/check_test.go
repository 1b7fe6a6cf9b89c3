package topics

import (
	"hash/maphash"
	"slices"
	"strconv"
	"testing"
	"time"
)

const linger = 30 * time.Second

// at is the explicit time of a step. No test looks at a clock for its topics.
func at(d time.Duration) time.Time { return time.Unix(1_700_000_000, 0).Add(d) }

func newTable(limit int) *Table { return New(Config{Max: limit, Linger: linger}) }

func acquire(t testing.TB, tb *Table, name string) ID {
	t.Helper()
	id, err := tb.Acquire([]byte(name))
	if err != nil {
		t.Fatalf("Acquire(%q) = %v", name, err)
	}
	check(t, tb)
	return id
}

func release(t testing.TB, tb *Table, id ID, now time.Time) {
	t.Helper()
	tb.Release(id, now)
	check(t, tb)
}

func sweep(t testing.TB, tb *Table, now time.Time) {
	t.Helper()
	tb.Sweep(now)
	check(t, tb)
}

func publish(t testing.TB, tb *Table, name, value string) {
	t.Helper()
	if tb.Publish(name, value, Meta{}) != Committed {
		t.Fatalf("Publish(%q) was dropped", name)
	}
	check(t, tb)
}

// wantChanges takes what the feed has to be told and compares it. The order of
// changes of different topics is free.
func wantChanges(t testing.TB, tb *Table, want ...Change) {
	t.Helper()
	got := tb.Changes(nil)
	check(t, tb)
	slices.SortFunc(got, byTopic)
	slices.SortFunc(want, byTopic)
	if !slices.Equal(got, want) {
		t.Fatalf("Changes = %v, want %v", got, want)
	}
}

func byTopic(a, b Change) int {
	switch {
	case a.Topic < b.Topic:
		return -1
	case a.Topic > b.Topic:
		return 1
	}
	return 0
}

// wantHeld compares the two public counts.
func wantHeld(t testing.TB, tb *Table, topics, subscriptions int64) {
	t.Helper()
	if tb.Held() != topics || tb.Subscriptions() != subscriptions {
		t.Fatalf("Held, Subscriptions = %d, %d, want %d, %d", tb.Held(), tb.Subscriptions(), topics, subscriptions)
	}
}

// neighbours returns names that share a shard, so that they share its free list
// and its linger list.
func neighbours(tb *Table, count int) []string {
	var names []string
	for i := 0; len(names) < count; i++ {
		name := "N" + strconv.Itoa(i)
		if maphash.String(tb.seed, name)&shardMask == 0 {
			names = append(names, name)
		}
	}
	return names
}

// check fails the test unless all invariants of the table hold. Nobody may be
// inside the table.
func check(t testing.TB, tb *Table) {
	t.Helper()
	queued := make(map[ID]bool)
	for _, id := range tb.changes {
		if queued[id] {
			t.Fatalf("id %d is queued twice for the feed", id)
		}
		queued[id] = true
	}
	var topics, subscriptions, stale int64
	flags := 0
	if tb.Notice() > tb.Watermark() {
		t.Fatalf("notice %d is above the watermark %d", tb.Notice(), tb.Watermark())
	}
	for i := range tb.shards {
		s := &tb.shards[i]
		topics += int64(len(s.ids))
		if len(s.ids)+len(s.free) != len(s.topics) {
			t.Fatalf("shard %d: %d names + %d free != %d topics", i, len(s.ids), len(s.free), len(s.topics))
		}
		if len(s.topics) > tb.cfg.Max {
			t.Fatalf("shard %d: %d topics, the maximum is %d", i, len(s.topics), tb.cfg.Max)
		}
		checkNames(t, tb, i)
		checkFree(t, s, i)
		checkLinger(t, s, i)
		for local := range s.topics {
			tp := &s.topics[local]
			id := ID(local<<shardBits) | ID(i)
			subscriptions += int64(tp.subscribers)
			if tp.queued {
				flags++
			}
			if tp.stale {
				stale++
			}
			if tp.refused && !tp.stale {
				t.Fatalf("%q: refused, and not stale", tp.name)
			}
			if mark := tb.Stale(id); (mark > 0) != tp.stale || mark > tb.Notice() {
				t.Fatalf("%q: stale is %v, its mark %d, the notice %d", tp.name, tp.stale, mark, tb.Notice())
			}
			if tp.queued != queued[id] {
				t.Fatalf("%q: queued is %v, in the list: %v", tp.name, tp.queued, queued[id])
			}
		}
	}
	if flags != len(queued) {
		t.Fatalf("%d topics say they are queued, %d ids are", flags, len(queued))
	}
	if topics != tb.held.Load() || topics > int64(tb.cfg.Max) {
		t.Fatalf("%d topics, held says %d, the maximum is %d", topics, tb.held.Load(), tb.cfg.Max)
	}
	if stale != tb.stale.Load() {
		t.Fatalf("%d topics are stale, the table says %d", stale, tb.stale.Load())
	}
	if subscriptions != tb.subscriptions.Load() {
		t.Fatalf("%d subscribers, subscriptions says %d", subscriptions, tb.subscriptions.Load())
	}
}

// checkNames looks at the topics of a shard that have a name.
func checkNames(t testing.TB, tb *Table, index int) {
	t.Helper()
	s := &tb.shards[index]
	for name, local := range s.ids {
		tp, sl := &s.topics[local], s.slot(local)
		switch {
		case tp.name != name:
			t.Fatalf("%q leads to the topic of %q", name, tp.name)
		case maphash.String(tb.seed, name)&shardMask != uint64(index):
			t.Fatalf("%q is in the wrong shard", name)
		case tp.state == free:
			t.Fatalf("%q has a name and is free", name)
		case tp.subscribers < 0:
			t.Fatalf("%q has %d subscribers", name, tp.subscribers)
		case tp.state == dropping && tp.subscribers > 0:
			t.Fatalf("%q is dropping with %d subscribers", name, tp.subscribers)
		case tp.state == dropping && !tp.queued:
			t.Fatalf("%q is dropping and the feed will not hear of it", name)
		case tp.state == wanted && !tp.told && !tp.queued:
			t.Fatalf("%q is wanted and the feed will not hear of it", name)
		case tp.state == wanted && tp.subscribers == 0 && !tp.inLinger:
			t.Fatalf("%q is idle and no sweep will find it", name)
		}
		seq, row := sl.seq.Load(), sl.row.Load()
		switch {
		case seq > tb.Watermark():
			t.Fatalf("%q: sequence %d is above the watermark %d", name, seq, tb.Watermark())
		case (seq == 0) != (row == nil):
			t.Fatalf("%q: sequence %d with row %v", name, seq, row)
		case row == nil && tp.n != 0:
			t.Fatalf("%q: %d ticks and no row", name, tp.n)
		case row != nil && (row.Seq != seq || row.N != tp.n):
			t.Fatalf("%q: row %d of tick %d in a slot of %d and a topic of %d", name, row.Seq, row.N, seq, tp.n)
		}
	}
}

// checkFree looks at the free topics of a shard: nothing of the former topic is left.
func checkFree(t testing.TB, s *shard, index int) {
	t.Helper()
	seen := make(map[uint32]bool)
	for _, local := range s.free {
		if seen[local] {
			t.Fatalf("shard %d: %d is free twice", index, local)
		}
		seen[local] = true
		if tp := s.topics[local]; tp != (topic{}) {
			t.Fatalf("shard %d: the free topic %d holds %+v", index, local, tp)
		}
		if sl := s.slot(local); sl.seq.Load() != 0 || sl.row.Load() != nil {
			t.Fatalf("shard %d: the slot of the free topic %d is not empty", index, local)
		}
	}
	for name, local := range s.ids {
		if seen[local] {
			t.Fatalf("%q has an index that is free", name)
		}
	}
}

// checkLinger looks at the linger list of a shard. Only a sweep makes a topic
// dropping, and it takes the topic's entry away when it does. So the list never
// points to a topic that is dropping or free.
func checkLinger(t testing.TB, s *shard, index int) {
	t.Helper()
	seen := make(map[uint32]bool)
	for _, local := range s.linger {
		tp := &s.topics[local]
		if seen[local] {
			t.Fatalf("shard %d: %q is in the linger list twice", index, tp.name)
		}
		seen[local] = true
		if tp.state != wanted || !tp.inLinger {
			t.Fatalf("shard %d: the linger list points to %+v", index, *tp)
		}
	}
	for local := range s.topics {
		if tp := &s.topics[local]; tp.inLinger != seen[uint32(local)] {
			t.Fatalf("shard %d: %q: inLinger is %v, in the list: %v", index, tp.name, tp.inLinger, seen[uint32(local)])
		}
	}
}
