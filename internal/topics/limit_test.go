// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

func wantFull(t testing.TB, tb *Table, name string) {
	t.Helper()
	held, subscriptions := tb.Held(), tb.Subscriptions()
	if id, err := tb.Acquire([]byte(name), 0); !errors.Is(err, ErrFull) || id != 0 {
		t.Fatalf("Acquire(%q) = %d, %v, want 0, ErrFull", name, id, err)
	}
	wantHeld(t, tb, held, subscriptions)
	check(t, tb)
}

func TestFull(t *testing.T) {
	for _, limit := range []int{1, 2, 7, 8, 9, 100} {
		tb := newTable(limit)
		var ids []ID
		for i := range limit {
			ids = append(ids, acquire(t, tb, "T"+strconv.Itoa(i)))
			publish(t, tb, "T"+strconv.Itoa(i), "1") // So that none has to give way.
		}
		wantFull(t, tb, "more")
		wantFull(t, tb, "more")
		if acquire(t, tb, "T0") != ids[0] { // One that is there needs no room.
			t.Fatal("T0 moved")
		}
		wantHeld(t, tb, int64(limit), int64(limit)+1)
		if tb.Publish("more", "1", Meta{}) == Committed {
			t.Fatal("a topic that was refused took a tick")
		}
		if got := tb.Changes(0, nil, all); len(got) != limit {
			t.Fatalf("%d changes, want %d", len(got), limit)
		}
		check(t, tb)
	}
}

// A topic that lingers gives way if no other has to.
func TestLingeringTopicsGiveWayAtTheMaximum(t *testing.T) {
	tb := newTable(3)
	var ids []ID
	for _, name := range []string{"A", "B", "C"} {
		ids = append(ids, acquire(t, tb, name))
		publish(t, tb, name, "1")
	}
	tb.Changes(0, nil, all)
	wantFull(t, tb, "D")
	release(t, tb, ids[1], at(0))
	release(t, tb, ids[0], at(1))
	acquire(t, tb, "D") // In place of B, which has lingered for longer.
	wantChanges(t, tb, Change{"B", false}, Change{"D", true})
	if acquire(t, tb, "A") != ids[0] || tb.Row(ids[0]) == nil {
		t.Fatal("A is gone")
	}
	wantHeld(t, tb, 3, 3)
}

func TestGivenUpAtTheMaximumAndTakenBack(t *testing.T) {
	tb := newTable(1)
	id := acquire(t, tb, "A")
	tb.Changes(0, nil, all)
	publish(t, tb, "A", "1")
	release(t, tb, id, at(0))
	b := acquire(t, tb, "B")
	tb.Release(b, at(0)) // The feed never heard of it.
	if a := acquire(t, tb, "A"); tb.Row(a) != nil {
		t.Fatal("A has the row of a former time")
	}
	wantChanges(t, tb, Change{"A", false}, Change{"A", true})
	if got := tb.Changes(0, nil, all); len(got) > 0 {
		t.Fatalf("Changes = %v", got)
	}
}

// What the feed was not told of, and nobody wants any more, leaves nothing behind.
func TestUnheardTopicsDoNotLinger(t *testing.T) {
	tb := newTable(2)
	a := acquire(t, tb, "A")
	publish(t, tb, "A", "1")
	release(t, tb, a, at(0))
	release(t, tb, acquire(t, tb, "B"), at(0))
	wantHeld(t, tb, 0, 0)
	wantChanges(t, tb)
}

func TestSweepUnderPressure(t *testing.T) {
	const limit = 80
	tb := newTable(limit)
	row, bare := acquire(t, tb, "L"), acquire(t, tb, "R")
	publish(t, tb, "L", "1")
	tb.Changes(0, nil, all)
	release(t, tb, row, at(0))
	release(t, tb, bare, at(0))
	for i := range limit*7/8 - 2 {
		acquire(t, tb, "T"+strconv.Itoa(i))
	}
	tb.Changes(0, nil, all)
	sweep(t, tb, at(1)) // 7/8 and no more: the linger is kept.
	wantChanges(t, tb)
	acquire(t, tb, "more")
	wantChanges(t, tb, Change{"more", true})
	sweep(t, tb, at(1)) // One that never had a row is of no use to who comes again.
	wantChanges(t, tb, Change{"R", false})
	acquire(t, tb, "again")
	sweep(t, tb, at(1))
	wantHeld(t, tb, limit*7/8+1, limit*7/8)
	if withdrawn, lingering := tb.Reclaimed(); withdrawn != 0 || lingering != 1 {
		t.Fatalf("%d withdrawn, %d given up while they lingered", withdrawn, lingering)
	}
}

// Both ask for the same topic at the same time, and there is room for it.
func TestTwoFirstSubscribersAtTheLastPlace(t *testing.T) {
	tb := newTable(1)
	for round := range 20_000 {
		var ids [2]ID
		var errs [2]error
		var ready, done sync.WaitGroup
		ready.Add(2)
		for i := range 2 {
			done.Go(func() {
				ready.Done()
				ready.Wait()
				ids[i], errs[i] = tb.Acquire([]byte("A"), 0)
			})
		}
		done.Wait()
		if errs[0] != nil || errs[1] != nil {
			t.Fatalf("round %d: %v, %v: the table holds nothing but the topic that both ask for", round, errs[0], errs[1])
		}
		tb.Release(ids[0], at(0))
		tb.Release(ids[1], at(0))
		tb.Sweep(at(linger))
		tb.Changes(0, nil, all)
	}
	check(t, tb)
}

// size is how much a table keeps in memory, in elements.
type size struct{ topics, free, entries, chunks, drops int }

func sizeOf(tb *Table) (n size) {
	for i := range tb.shards {
		s := &tb.shards[i]
		n.topics += cap(s.topics)
		n.free += cap(s.free)
		for j := range s.chunks {
			if s.chunks[j].Load() != nil {
				n.chunks++
			}
		}
	}
	n.entries = cap(tb.ledger.entries)
	n.drops = cap(tb.ledger.queues[0].drops)
	return n
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// memoryNames is how many names TestMemoryIsBounded makes up.
var memoryNames = 1_000_000

// Clients choose the names. Whatever they choose, a table stays the size that its
// maximum gives it, whether the feed comes by or not.
func TestMemoryIsBounded(t *testing.T) {
	const limit = 1000
	names := memoryNames
	for _, feed := range []struct {
		name  string
		every int // The feed comes by after so many names; 0: never.
	}{{"the feed comes by", 500}, {"the feed comes late", 10 * limit}, {"the feed never comes", 0}} {
		t.Run(feed.name, func(t *testing.T) {
			tb := newTable(limit)
			random := rand.New(rand.NewPCG(1, 2))
			var name []byte
			var changes []Change
			now := at(0)
			full := 0
			run := func(count int) {
				for i := range count {
					now = now.Add(time.Millisecond)
					name = strconv.AppendUint(append(name[:0], 'x'), random.Uint64(), 36)
					id, err := tb.Acquire(name, 0)
					if err != nil {
						full++
					} else {
						tb.Publish(string(name), "1", Meta{})
						tb.Release(id, now)
					}
					if feed.every > 0 && i%feed.every == 0 {
						tb.Sweep(now)
						changes = tb.Changes(0, changes[:0], all)
					}
					if i%(names/8) == 0 {
						check(t, tb)
					}
				}
				check(t, tb)
			}
			run(names / 4)
			before, heapBefore := sizeOf(tb), heap()
			run(names - names/4)
			after, heapAfter := sizeOf(tb), heap()
			t.Logf("%d refused; %+v and %d bytes, then %+v and %d bytes", full, before, heapBefore, after, heapAfter)
			// A shard grows to the most topics it ever held, so a little growth of
			// some shard is left after any number of names.
			if after.topics > 4*limit || after.free > 4*limit || after.entries > 4*limit || after.drops > 4*limit || after.chunks > 2*len(tb.shards) {
				t.Errorf("the table grew to %+v, the maximum is %d topics", after, limit)
			}
			if heapAfter > heapBefore+256<<10 {
				t.Errorf("the heap grew from %d to %d bytes", heapBefore, heapAfter)
			}
			if feed.every == 0 && tb.Held() != 0 {
				t.Errorf("%d topics linger of which the feed has never heard", tb.Held())
			}
			tb.Sweep(now.Add(linger))
			tb.Changes(0, nil, all)
			check(t, tb)
			wantHeld(t, tb, 0, 0)
		})
	}
}
