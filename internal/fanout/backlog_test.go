// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/internal/topics"
)

// crowded is a shard of open conns whose backlogs have a limit.
func crowded(t *testing.T, conns int, all *Backlogs) (w *world, ids []ConnID) {
	cfg := testConfig()
	cfg.Backlogs, cfg.SlowTimeout, cfg.PingInterval, cfg.IdleTimeout = all, time.Hour, time.Hour, time.Hour
	w = newWorld(t, cfg, 64, 0)
	for range conns {
		ids = append(ids, w.connect(0))
	}
	return w, ids
}

// left is which conns are still there.
func (w *world) left(ids []ConnID) (there []int) {
	for i, id := range ids {
		if w.shard.conn(id).state == open {
			there = append(there, i)
		}
	}
	return there
}

// Beyond the limit of all backlogs the largest go, and of those that are about as large
// the oldest, until there is some room again.
func TestBacklogTotal(t *testing.T) {
	w, ids := crowded(t, 9, NewBacklogs(16000))
	for i, size := range []int{0, 3000, 2100, 700, 2500, 4000, 600} {
		if size > 0 {
			w.sink.pile(ids[i], size)
		}
		w.tick(SlotTime)
		w.check()
	}
	w.sink.pile(ids[7], 3100)
	w.tick(SlotTime)
	w.check()
	if got := w.left(ids); len(got) != len(ids) {
		t.Fatalf("at the limit, %v are left", got)
	}
	// One byte more. 2,001 are to go: the oldest of 2 to 4 KiB is enough.
	w.sink.pile(ids[3], 1)
	w.tick(SlotTime)
	w.check()
	if got, want := w.left(ids), []int{0, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(got, want) {
		t.Errorf("%v are left, want %v", got, want)
	}
	// The largest go first, be they as young as they like: 9,000, and one of 2 to 4 KiB.
	w.sink.pile(ids[8], 9000)
	w.tick(SlotTime)
	w.check()
	if got, want := w.left(ids), []int{0, 2, 3, 4, 5, 6, 7}; !slices.Equal(got, want) {
		t.Errorf("%v are left, want %v", got, want)
	}
	if got := w.sink.evicted; got[BacklogTotal] != 2 || got[SlowConsumer] != 0 {
		t.Errorf("evicted %v", got)
	}
	if max := w.shard.backlogs.Max(); w.shard.backlogs.Bytes() > max-max/8 {
		t.Errorf("%d bytes are left, the limit is %d", w.shard.backlogs.Bytes(), max)
	}
}

// What sockets have taken since the last visit counts before somebody is evicted for it.
func TestBacklogTotalLooksFirst(t *testing.T) {
	w, ids := crowded(t, 3, NewBacklogs(10000))
	for _, id := range ids {
		w.sink.pile(id, 4000)
	}
	w.sink.peer(ids[0]).backlog, w.sink.peer(ids[1]).backlog = 0, 1000
	w.tick(SlotTime)
	w.check()
	if got := w.left(ids); len(got) != 3 || w.shard.backlog != 5000 {
		t.Errorf("%v are left with %d bytes", got, w.shard.backlog)
	}
}

// Each shard evicts its part of what is too much, whoever comes first, and is fair to its
// own: a second look within the tick would count the others' part again.
func TestBacklogTotalOfTwoShards(t *testing.T) {
	all := NewBacklogs(80_000)
	big, bigIDs := crowded(t, 30, all)
	small, smallIDs := crowded(t, 10, all)
	for _, id := range bigIDs {
		big.sink.pile(id, 3000)
	}
	for _, id := range smallIDs {
		small.sink.pile(id, 3000)
	}
	// 40,000 above the limit and 50,000 above what is wanted, of which a quarter is for the
	// small one: five conns. The big one then finds 35,000, and its part of that is 30,000.
	for range 2 {
		small.shard.Turn(small.now.Add(SlotTime))
	}
	big.tick(SlotTime)
	if got := len(small.left(smallIDs)); got != 5 {
		t.Errorf("%d of 10 conns are left", got)
	}
	if got := len(big.left(bigIDs)); got != 20 {
		t.Errorf("%d of 30 conns are left", got)
	}
	if all.Bytes() > all.Max() || all.Bytes() != big.shard.backlog+small.shard.backlog {
		t.Errorf("%d bytes are left, %d and %d", all.Bytes(), big.shard.backlog, small.shard.backlog)
	}
}

// A conn in closing is evicted as others are: its last word is of no use to anybody by now.
func TestBacklogTotalOfClosing(t *testing.T) {
	w, ids := crowded(t, 2, NewBacklogs(10000))
	w.sink.pile(ids[0], 9000)
	w.shard.Evict(ids[0], Idle)
	w.check()
	w.sink.pile(ids[1], 2000)
	w.tick(SlotTime)
	w.check()
	if w.shard.conn(ids[0]).state != free || w.shard.conn(ids[1]).state != open {
		t.Errorf("states %d and %d", w.shard.conn(ids[0]).state, w.shard.conn(ids[1]).state)
	}
}

func TestSlowRateIsChecked(t *testing.T) {
	for _, rate := range []int{-1, 0, SlowRateMax + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("SlowRate of %d is taken", rate)
				}
			}()
			cfg := testConfig()
			cfg.SlowRate = rate
			newWorld(t, cfg, 8, 0)
		}()
	}
}

// Whole writes count as several visits, so that a loop comes to its sockets between them.
func TestPiecesTakeOfTheBudget(t *testing.T) {
	w, ids := crowded(t, visitsMax, NewBacklogs(1<<30))
	w.hold("A")
	for _, id := range ids {
		w.subscribe(id, "A")
	}
	w.table.Publish("A", `"`+strings.Repeat("x", 3*visitBytes)+`"`, topics.Meta{})
	for _, id := range ids {
		c := w.shard.conn(id)
		w.shard.sooner(id, c, w.shard.now+1)
		c.flush = w.shard.now + 1
	}
	calls := 1
	for w.now = w.now.Add(SlotTime); w.shard.Turn(w.now); {
		calls++
	}
	if calls != 4 {
		t.Errorf("%d calls of Tick for %d visits of three units and one, want 4", calls, visitsMax)
	}
}

// A kernel may take a whole snapshot at once, for a client that reads it steadily: its pong
// has as long as that takes at the slowest rate, whatever the client says meanwhile. A client
// that had the time to read all has no longer than others, and so has one that is sent no more
// in its window than it reads.
func TestPongBehindASnapshot(t *testing.T) {
	const rows = 64
	cfg := testConfig()
	w := newWorldOf(t, cfg, topics.Config{Max: 100}, 0)
	var names []string
	for i := range rows {
		names = append(names, fmt.Sprint("BIG", i))
		w.hold(names[i])
		w.table.Publish(names[i], `"`+strings.Repeat("x", 1<<10)+`"`, topics.Meta{})
	}
	silent, talks, small := w.connect(0), w.connect(0), w.connect(0)
	w.subscribe(silent, names...)
	w.subscribe(talks, names...)
	w.subscribe(small, "SMALL")
	w.publish("SMALL", 1)
	read := w.now.Add(rows << 10 * time.Second / time.Duration(cfg.SlowRate)) // At the latest.
	is := func(id ConnID) state { return w.shard.conn(id).state }
	for w.now.Before(read.Add(cfg.PongTimeout - time.Second)) {
		w.advance(100 * time.Millisecond)
		if w.now.Sub(epoch)%(8*time.Second) == 0 {
			w.shard.Heard(talks)
		}
		for _, id := range []ConnID{silent, talks} {
			if is(id) != open {
				t.Fatalf("conn %d was evicted %v after it began, and has until %v to read", id, w.now.Sub(epoch), read.Sub(epoch))
			}
		}
	}
	if is(small) == open {
		t.Error("a client that had nothing to read is there still")
	}
	w.advance(cfg.PongTimeout)
	if is(silent) == open {
		t.Error("a client that had the time to read all is there still")
	}
	w.advance(cfg.PingInterval*5/4 + cfg.PongTimeout)
	if is(talks) == open {
		t.Error("one that said something is there still")
	}
}
