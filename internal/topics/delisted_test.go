// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"testing"
	"time"
)

func wantText(t *testing.T, tb *Table, id ID, want string) {
	t.Helper()
	if got := string(tb.Row(id).JSON()); got != want {
		t.Fatalf("the row is %s, want %s", got, want)
	}
}

func versionOf(n int64) Version { return Version{Whole: n, Set: true} }

// A tombstone is a row in the order of all others, and the topic is absent behind it.
func TestDelistedTopicIsAbsentWithARow(t *testing.T) {
	exists := 0
	tb := New(Config{Max: 8, Linger: linger, Exists: func(uint64) { exists++ }})
	id := acquireBy(t, tb, "A", 7)
	wantChanges(t, tb, Change{"A", true})
	publish(t, tb, "A", `1`)
	if names := tb.AppendNames(nil); len(names) != 1 || tb.Rowless() != 0 || exists != 1 {
		t.Fatalf("a topic with a value: listed as %v, %d without a row, %d told to exist", names, tb.Rowless(), exists)
	}
	publish(t, tb, "A", Delisted)
	wantText(t, tb, id, `{"s":"A","n":2,"v":null}`)
	if !tb.IsAbsent(id) || tb.Rowless() != 1 || len(tb.AppendNames(nil)) != 0 || tb.Row(id).Seq != tb.Watermark() {
		t.Fatalf("delisted, and absent: %v, without a value: %d, listed: %v", tb.IsAbsent(id), tb.Rowless(), tb.AppendNames(nil))
	}
	// Who comes later holds the same row.
	if other := acquireBy(t, tb, "A", 8); other != id {
		t.Fatal("another topic")
	}
	publish(t, tb, "A", `3`)
	wantText(t, tb, id, `{"s":"A","n":3,"v":3}`)
	if tb.IsAbsent(id) || tb.Rowless() != 0 || len(tb.AppendNames(nil)) != 1 || exists != 1 {
		t.Fatalf("live again, and absent: %v, listed: %v, told to exist %d times", tb.IsAbsent(id), tb.AppendNames(nil), exists)
	}
}

// A tombstone that is fetched is told to who waits for a first value, as a snapshot.
func TestTombstoneIsTheFirstRow(t *testing.T) {
	exists := 0
	tb := New(Config{Max: 8, Linger: linger, Exists: func(uint64) { exists++ }})
	id := acquireBy(t, tb, "A", 7)
	wantChanges(t, tb, Change{"A", true})
	tb.GoStale("A", 0, NotPermitted)
	if tb.Repair("A", Delisted, 0, Meta{At: 1000, Version: versionOf(5)}) != Committed {
		t.Fatal("not committed")
	}
	check(t, tb)
	wantText(t, tb, id, `{"s":"A","n":0,"v":null}`)
	if !tb.IsAbsent(id) || tb.Stale(id) != 0 || tb.Rowless() != 1 || exists != 0 {
		t.Fatalf("absent: %v, stale: %d, without a value: %d, told to exist %d times", tb.IsAbsent(id), tb.Stale(id), tb.Rowless(), exists)
	}
}

func TestNoOlderValueComesBackOverATombstone(t *testing.T) {
	for _, c := range []struct {
		name      string
		tombstone Version
	}{{"with a version", versionOf(10)}, {"without one", Version{}}} {
		t.Run(c.name, func(t *testing.T) {
			tb := newTable(8)
			id := acquire(t, tb, "A")
			tb.Publish("A", `1`, Meta{Version: versionOf(10)})
			if c.tombstone.Set {
				c.tombstone.Whole++
			}
			if tb.Publish("A", Delisted, Meta{Version: c.tombstone}) != Committed {
				t.Fatal("the tombstone was not taken")
			}
			mark, _ := tb.Mark("A")
			for old := int64(9); old <= 10; old++ {
				if got := tb.Publish("A", `1`, Meta{Version: versionOf(old)}); got != Older {
					t.Errorf("a tick of version %d: %v", old, got)
				}
				if got := tb.Repair("A", `1`, mark, Meta{Version: versionOf(old)}); got != Older {
					t.Errorf("a fetched value of version %d: %v", old, got)
				}
			}
			check(t, tb)
			wantText(t, tb, id, `{"s":"A","n":2,"v":null}`)
			if got := tb.Publish("A", `2`, Meta{Version: versionOf(12)}); got != Committed {
				t.Errorf("a newer tick: %v", got)
			}
			check(t, tb)
		})
	}
}

// Silence is what is to be expected of a topic that is delisted, and none of its rhythm behind that.
func TestDelistedTopicIsNeverSilent(t *testing.T) {
	tb := New(Config{Max: 8, Linger: linger, StaleFloor: time.Second})
	id, clock := acquire(t, tb, "A"), int64(1_000_000)
	tick := func(value string) {
		clock += 100
		tb.Publish("A", value, Meta{At: clock})
	}
	for range 2 * rhythmTicks {
		tick(`1`)
	}
	tick(Delisted)
	clock += 3_600_000
	tb.Watch(clock)
	check(t, tb)
	if tb.Stale(id) != 0 {
		t.Fatal("a topic that is delisted went stale")
	}
	tb.GoStale("A", tb.Seq(id), Unserved)
	if tb.Stale(id) == 0 {
		t.Fatal("a topic that can't be had is not stale")
	}
	before := tb.Row(id).N
	tb.Absent("A") // Which is what it was before.
	check(t, tb)
	if tb.Stale(id) != 0 || !tb.Row(id).Delisted() || tb.Row(id).N != before+1 {
		t.Fatalf("stale at %d, with the row %s", tb.Stale(id), tb.Row(id).JSON())
	}
	clock += 3_600_000
	tick(`2`)
	tick(`3`)
	tb.Watch(clock + 2_000)
	if tb.Stale(id) == 0 {
		t.Fatal("the time in which it was delisted counts as one between two ticks")
	}
}

// In a full table what is delisted gives way to what is not known to be absent; who holds it is told.
func TestDelistedTopicGivesWay(t *testing.T) {
	tb := newTable(2)
	gone, live := acquireBy(t, tb, "GONE", 1), acquireBy(t, tb, "LIVE", 1)
	wantChanges(t, tb, Change{"GONE", true}, Change{"LIVE", true})
	publish(t, tb, "GONE", `1`)
	publish(t, tb, "LIVE", `1`)
	if _, err := tb.Acquire([]byte("NEW"), 2); err != ErrFull {
		t.Fatalf("room in a table full of values: %v", err)
	}
	publish(t, tb, "GONE", Delisted)
	acquireBy(t, tb, "NEW", 2)
	if !tb.Withdrawn(gone) || tb.Withdrawn(live) {
		t.Fatalf("withdrawn: the delisted %v, the live %v", tb.Withdrawn(gone), tb.Withdrawn(live))
	}
	release(t, tb, gone, at(0))
	if tb.Publish("GONE", `2`, Meta{}) != Unwanted {
		t.Fatal("it is still in the table")
	}
}

// A topic that lingers, or that the feed was not told of, has its place among those without a value.
func TestDelistedWhereverItStands(t *testing.T) {
	tb := newTable(8)
	waits := acquireBy(t, tb, "WAITS", 1)
	publish(t, tb, "WAITS", `1`) // Before the feed was told of it, as a blanket brings it.
	publish(t, tb, "WAITS", Delisted)
	wantChanges(t, tb, Change{"WAITS", true})
	publish(t, tb, "WAITS", `2`)
	release(t, tb, waits, at(0))
	publish(t, tb, "WAITS", Delisted) // It lingers.
	if tb.Rowless() != 1 {
		t.Fatalf("%d without a value, want 1", tb.Rowless())
	}
	if again := acquireBy(t, tb, "WAITS", 2); again != waits || !tb.IsAbsent(again) {
		t.Fatal("who comes within the linger does not find it delisted")
	}
	release(t, tb, waits, at(0))
	sweep(t, tb, at(linger))
	wantChanges(t, tb, Change{"WAITS", false})
	wantHeld(t, tb, 0, 0)
}

// Who resumes is sent the tombstone if it came behind its token, and not if it has that.
func TestResumeHearsOfATombstone(t *testing.T) {
	tb := newTable(8)
	tb.SetSourceState(0, true, 0)
	id := acquire(t, tb, "A")
	var now int64 = 1_000_000
	clock := func() (int64, int64) { return now, now }
	stamp := func() Since {
		now += 1000
		tb.Heard(0, now)
		tb.Stamp(clock)
		since, ok := tb.Redeem([]byte(tb.Offer().Token))
		if !ok {
			t.Fatal("the token is not taken")
		}
		return since
	}
	tb.Repair("A", `1`, 0, Meta{})
	stamp()
	before := stamp()
	if !tb.Has(id, before) {
		t.Fatal("who has the value is sent it again")
	}
	publish(t, tb, "A", Delisted)
	if tb.Has(id, before) {
		t.Fatal("who has the value is not told that it is none any more")
	}
	if since := stamp(); !tb.Has(id, since) {
		t.Fatal("who was told is told again")
	}
}
