package topics

import (
	"testing"
	"time"
)

func TestEachLeaveStartsTheLingerAnew(t *testing.T) {
	tb := newTable(100)
	id := acquire(t, tb, "A")
	wantChanges(t, tb, Change{"A", true})
	release(t, tb, id, at(0))
	acquire(t, tb, "A")
	release(t, tb, id, at(linger/2))
	sweep(t, tb, at(linger))
	wantChanges(t, tb)
	sweep(t, tb, at(linger+linger/2-1))
	wantChanges(t, tb)
	sweep(t, tb, at(linger+linger/2))
	wantChanges(t, tb, Change{"A", false})
}

// A topic that flapped must not wait for one that was left after it.
func TestLingerDoesNotWaitForAnotherTopic(t *testing.T) {
	tb := newTable(100)
	names := neighbours(tb, 2)
	flapped, other := acquire(t, tb, names[0]), acquire(t, tb, names[1])
	wantChanges(t, tb, Change{names[0], true}, Change{names[1], true})
	release(t, tb, flapped, at(0))
	acquire(t, tb, names[0])
	release(t, tb, flapped, at(linger/4))
	release(t, tb, other, at(linger/2))
	sweep(t, tb, at(linger))
	wantChanges(t, tb)
	sweep(t, tb, at(linger+linger/4))
	wantChanges(t, tb, Change{names[0], false})
	sweep(t, tb, at(linger+linger/2))
	wantChanges(t, tb, Change{names[1], false})
}

// Loops pass the time they know. One that is late must not hold up the others.
func TestLingerWithTimesOutOfOrder(t *testing.T) {
	tb := newTable(100)
	names := neighbours(tb, 2)
	a, b := acquire(t, tb, names[0]), acquire(t, tb, names[1])
	wantChanges(t, tb, Change{names[0], true}, Change{names[1], true})
	release(t, tb, a, at(time.Second))
	release(t, tb, b, at(0))
	sweep(t, tb, at(linger))
	wantChanges(t, tb, Change{names[1], false})
	sweep(t, tb, at(linger+time.Second))
	wantChanges(t, tb, Change{names[0], false})
}

func TestSweepGivesUpOnlyWhatIsDue(t *testing.T) {
	tb := newTable(100)
	names := neighbours(tb, 8)
	for i, name := range names {
		release(t, tb, acquire(t, tb, name), at(time.Duration(i)*time.Second))
	}
	acquire(t, tb, names[1])
	acquire(t, tb, names[5])
	tb.Changes(nil)
	sweep(t, tb, at(linger+3*time.Second))
	wantChanges(t, tb, Change{names[0], false}, Change{names[2], false}, Change{names[3], false})
	sweep(t, tb, at(linger+7*time.Second))
	wantChanges(t, tb, Change{names[4], false}, Change{names[6], false}, Change{names[7], false})
	wantHeld(t, tb, 2, 2)
}

func TestFlappingDoesNotGrowTheLingerList(t *testing.T) {
	tb := newTable(100)
	names := neighbours(tb, 3)
	now := at(0)
	for range 1000 {
		for _, name := range names {
			now = now.Add(time.Second)
			release(t, tb, acquire(t, tb, name), now)
		}
		if got := len(tb.shards[0].linger); got > len(names) {
			t.Fatalf("%d entries for %d topics", got, len(names))
		}
		sweep(t, tb, now)
		if got := len(tb.shards[0].linger); got > len(names) {
			t.Fatalf("after a sweep: %d entries for %d topics", got, len(names))
		}
	}
	sweep(t, tb, now.Add(linger))
	if got := len(tb.shards[0].linger); got != 0 {
		t.Fatalf("%d entries after all were given up", got)
	}
	if got := cap(tb.shards[0].linger); got > 16 {
		t.Fatalf("the linger list has room for %d entries, 3 were used", got)
	}
}

// An index is used again while the linger list is busy: the new topic is not
// given up in place of the former one.
func TestReusedIndexHasNoLingerOfTheFormerTopic(t *testing.T) {
	tb := newTable(100)
	names := neighbours(tb, 3)
	former := acquire(t, tb, names[0])
	release(t, tb, former, at(0))
	acquire(t, tb, names[0])
	release(t, tb, former, at(1)) // Flapped: its entry is older than its leave.
	release(t, tb, acquire(t, tb, names[1]), at(2))
	tb.Sweep(at(linger + 1))
	tb.Sweep(at(linger + 2))
	tb.Changes(nil)
	check(t, tb)
	id := acquire(t, tb, names[2])
	tb.Changes(nil)
	release(t, tb, id, at(9*linger))
	sweep(t, tb, at(10*linger-1))
	wantChanges(t, tb)
	acquire(t, tb, names[2])
	sweep(t, tb, at(20*linger))
	wantChanges(t, tb)
	if tb.Name(id) != names[2] {
		t.Fatalf("Name = %q", tb.Name(id))
	}
}
