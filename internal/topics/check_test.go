// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"
)

const linger = 30 * time.Second

// all is more topics than any test has.
const all = math.MaxInt

// at is the explicit time of a step. No test looks at a clock for its topics.
func at(d time.Duration) time.Time { return time.Unix(1_700_000_000, 0).Add(d) }

// window is that of the tables of which what topics cost is looked at.
const window = 500 * time.Millisecond

func newTable(limit int) *Table { return New(Config{Max: limit, Linger: linger, Window: window}) }

func acquire(t testing.TB, tb *Table, name string) ID {
	t.Helper()
	return acquireBy(t, tb, name, 0)
}

func acquireBy(t testing.TB, tb *Table, name string, by uint64) ID {
	t.Helper()
	id, err := tb.Acquire([]byte(name), by)
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
	got := tb.Changes(0, nil, all)
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

// neighbours returns names that share a shard, so that they share its free list.
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
	var topics, withdrawnTopics, subscriptions, stale int64
	if tb.Notice() > tb.Watermark() {
		t.Fatalf("notice %d is above the watermark %d", tb.Notice(), tb.Watermark())
	}
	places := checkLedger(t, tb)
	for i := range tb.shards {
		s := &tb.shards[i]
		topics += int64(len(s.ids))
		checkNames(t, tb, i)
		checkFree(t, s, i)
		checkLoads(t, s)
		taken := 0
		for local := range s.topics {
			tp := &s.topics[local]
			id := idOf(uint32(local), uint64(i))
			subscriptions += int64(tp.subscribers)
			if tp.stale {
				stale++
			}
			if tp.why != Silent && !tp.stale {
				t.Fatalf("%q: refused, and not stale", tp.name)
			}
			switch tp.state {
			case withdrawn:
				withdrawnTopics++
				if tp.subscribers <= 0 || tp.place != 0 || !tp.rowless || tp.stale || !tb.Withdrawn(id) || tb.IsAbsent(id) {
					t.Fatalf("%q is withdrawn and is %+v, marked: %v, absent: %v", tp.name, *tp, tb.Withdrawn(id), tb.IsAbsent(id))
				}
				if local2, ok := s.ids[tp.name]; ok && local2 == uint32(local) {
					t.Fatalf("%q is withdrawn and has its name", tp.name)
				}
			case wanted:
				taken++
				if tb.Withdrawn(id) || tb.IsAbsent(id) && !tp.rowless {
					t.Fatalf("%q is wanted, and withdrawn: %v; absent: %v with a row", tp.name, tb.Withdrawn(id), tb.IsAbsent(id))
				}
			}
			if tp.place != 0 && places[tp.place] != id {
				t.Fatalf("%q, which is %d, is at place %d, where %d is", tp.name, id, tp.place, places[tp.place])
			}
			if tp.place != 0 {
				delete(places, tp.place)
			}
			if mark := tb.Stale(id); (mark > 0) != tp.stale || mark > tb.Notice() {
				t.Fatalf("%q: stale is %v, its mark %d, the notice %d", tp.name, tp.stale, mark, tb.Notice())
			}
		}
		if len(s.ids) != taken {
			t.Fatalf("shard %d: %d names for %d topics", i, len(s.ids), taken)
		}
	}
	if len(places) > 0 {
		t.Fatalf("places of no topic: %v", places)
	}
	if topics != tb.held.Load() || topics > int64(tb.cfg.Max) {
		t.Fatalf("%d topics, held says %d, the maximum is %d", topics, tb.held.Load(), tb.cfg.Max)
	}
	if withdrawnTopics != tb.WithdrawnTopics() || withdrawnTopics > int64(tb.cfg.Max) {
		t.Fatalf("%d topics are withdrawn, the ledger says %d, the maximum is %d", withdrawnTopics, tb.WithdrawnTopics(), tb.cfg.Max)
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
		of := tb.ledger.entries[tp.place].kind
		switch {
		case tp.name != name:
			t.Fatalf("%q leads to the topic of %q", name, tp.name)
		case maphash.String(tb.seed, name)&shardMask != uint64(index):
			t.Fatalf("%q is in the wrong shard", name)
		case tp.state != wanted:
			t.Fatalf("%q has a name and is in state %d", name, tp.state)
		case tp.subscribers < 0:
			t.Fatalf("%q has %d subscribers", name, tp.subscribers)
		case tp.subscribers > 0 && tp.rowless && of != waiting && of != rowless,
			tp.subscribers > 0 && !tp.rowless && of != due && of != settled,
			tp.subscribers == 0 && tp.rowless && of != bare,
			tp.subscribers == 0 && !tp.rowless && of != idle:
			t.Fatalf("%q has %d subscribers, is without a row: %v, and stands in list %d of the ledger", name, tp.subscribers, tp.rowless, of)
		case tp.place != 0 && tb.ledger.entries[tp.place].name != name:
			t.Fatalf("%q has the place of %q", name, tb.ledger.entries[tp.place].name)
		}
		seq, row := sl.seq.Load(), sl.row.Load()
		switch {
		case seq > tb.Watermark():
			t.Fatalf("%q: sequence %d is above the watermark %d", name, seq, tb.Watermark())
		case (seq == 0) != (row == nil) || (row == nil || row.Delisted()) != tp.rowless:
			t.Fatalf("%q: sequence %d with row %v, without a row: %v", name, seq, row, tp.rowless)
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
		word, bit := s.absentBit(local)
		if sl := s.slot(local); sl.seq.Load() != 0 || sl.row.Load() != nil || s.mark(local).Load() != 0 || word.Load()&bit != 0 {
			t.Fatalf("shard %d: the slot of the free topic %d is not empty", index, local)
		}
	}
	for local := range s.topics {
		if seen[uint32(local)] != (s.topics[local].state == free) {
			t.Fatalf("shard %d: %+v is free: %v", index, s.topics[local], seen[uint32(local)])
		}
	}
}

// checkLedger looks at the ledger alone. It returns whose places are taken.
func checkLedger(t testing.TB, tb *Table) map[uint32]ID {
	t.Helper()
	l := &tb.ledger
	places := make(map[uint32]ID)
	freePlaces := make(map[uint32]bool)
	for at := l.free; at != 0; at = l.entries[at].next {
		if e := l.entries[at]; freePlaces[at] || e != (entry{next: e.next}) {
			t.Fatalf("the free place %d holds %+v", at, e)
		}
		freePlaces[at] = true
	}
	inLists, inWaiting, lacking := 0, 0, 0
	walk := func(li list, of kind, asker uint32, feed int) (n uint32) {
		before, since := uint32(0), int64(math.MinInt64)
		for at := li.first; at != 0; at = l.entries[at].next {
			e := &l.entries[at]
			if freePlaces[at] || e.kind != of || e.asker != asker || e.prev != before || feed >= 0 && int(e.source) != feed {
				t.Fatalf("in list %d of asker %d and feed %d, behind %d, is at %d %+v, free: %v", of, asker, feed, before, at, *e, freePlaces[at])
			}
			if feed < 0 && e.since < since {
				t.Fatalf("%q lingers since %d, behind one that does since %d", e.name, e.since, since)
			}
			since = e.since
			if feed >= 0 {
				since = math.MinInt64
			}
			before = at
			n++
			if of == waiting || of == due {
				inWaiting++
			}
			if of == waiting || of == rowless || of == bare {
				lacking++
			}
		}
		if li.last != before {
			t.Fatalf("list %d ends with %d and its last is %d", of, before, li.last)
		}
		inLists += int(n)
		return n
	}
	walk(l.bare, bare, 0, -1)
	walk(l.idle, idle, 0, -1)
	inTurn := make(map[uint32]bool)
	for i := range l.queues {
		walk(l.queues[i].due, due, 0, i)
		before := uint32(0)
		for a := l.queues[i].turn.first; a != 0; a = l.askers[a].turn.next {
			if inTurn[a] || l.askers[a].turn.prev != before || int(l.askers[a].source) != i {
				t.Fatalf("asker %d of the turn of feed %d, behind %d, is %+v", a, i, before, l.askers[a])
			}
			inTurn[a] = true
			before = a
		}
		if l.queues[i].turn.last != before {
			t.Fatalf("the turn of feed %d ends with %d, its last is %d", i, before, l.queues[i].turn.last)
		}
	}
	ranked := make(map[uint32]uint32)
	var most [known + 1]uint32
	for st := range l.ranks {
		for count, first := range l.ranks[st].chain {
			before := uint32(0)
			for a := first; a != 0; a = l.askers[a].rank.next {
				if l.askers[a].rank.prev != before || int(l.askers[a].standing) != st {
					t.Fatalf("asker %d stands behind %d in rank %d, not %d: %+v", a, before, st, l.askers[a].rank.prev, l.askers[a])
				}
				ranked[a] = uint32(count)
				before = a
			}
		}
	}
	for key, a := range l.of {
		as := &l.askers[a]
		if as.askerKey != key {
			t.Fatalf("%+v leads to %+v", key, *as)
		}
		n := walk(as.waiting, waiting, a, int(key.source))
		if inTurn[a] != (n > 0) {
			t.Fatalf("%+v has %d topics that wait and is in turn: %v", key, n, inTurn[a])
		}
		n += walk(as.rowless, rowless, a, int(key.source))
		if n != as.count || n == 0 || ranked[a] != n {
			t.Fatalf("%+v has %d topics, counted %d, and the rank %d", key, n, as.count, ranked[a])
		}
		most[key.standing] = max(most[key.standing], n)
	}
	if len(ranked) != len(l.of) || len(l.of)+len(l.freeAskers)+1 != len(l.askers) {
		t.Fatalf("%d askers in ranks, %d with a key, %d free, %d in all", len(ranked), len(l.of), len(l.freeAskers), len(l.askers))
	}
	for st, n := range most {
		if n != l.ranks[st].most {
			t.Fatalf("the most topics of standing %d are %d, and not %d", st, n, l.ranks[st].most)
		}
	}
	settledPlaces := 0
	for at := 1; at < len(l.entries); at++ {
		if freePlaces[uint32(at)] {
			continue
		}
		places[uint32(at)] = l.entries[at].id
		if l.entries[at].kind == settled {
			settledPlaces++
		}
	}
	if len(places) != inLists+settledPlaces {
		t.Fatalf("%d places are taken, %d entries are in lists and %d need none", len(places), inLists, settledPlaces)
	}
	if inWaiting != l.waiting || lacking != l.lacking {
		t.Fatalf("%d wait and %d have no row, counted %d and %d", inWaiting, lacking, l.waiting, l.lacking)
	}
	return places
}
