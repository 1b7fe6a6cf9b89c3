// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"testing"
	"time"
	"unsafe"
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

// Loops pass the time they know. One that is behind the others has its topics given up with
// theirs, never before their time.
func TestLingerWithTimesOutOfOrder(t *testing.T) {
	tb := newTable(100)
	a, b, c := acquire(t, tb, "A"), acquire(t, tb, "B"), acquire(t, tb, "C")
	wantChanges(t, tb, Change{"A", true}, Change{"B", true}, Change{"C", true})
	release(t, tb, a, at(time.Second))
	release(t, tb, b, at(0))
	release(t, tb, c, at(time.Second+1))
	sweep(t, tb, at(linger+time.Second-1))
	wantChanges(t, tb)
	sweep(t, tb, at(linger+time.Second))
	wantChanges(t, tb, Change{"A", false}, Change{"B", false})
	sweep(t, tb, at(linger+time.Second+1))
	wantChanges(t, tb, Change{"C", false})
}

func TestSweepGivesUpOnlyWhatIsDue(t *testing.T) {
	tb := newTable(100)
	names := neighbours(tb, 8)
	var ids []ID
	for _, name := range names {
		ids = append(ids, acquire(t, tb, name))
	}
	tb.Changes(0, nil, all)
	for i, id := range ids {
		release(t, tb, id, at(time.Duration(i)*time.Second))
	}
	acquire(t, tb, names[1])
	acquire(t, tb, names[5])
	sweep(t, tb, at(linger+3*time.Second))
	wantChanges(t, tb, Change{names[0], false}, Change{names[2], false}, Change{names[3], false})
	sweep(t, tb, at(linger+7*time.Second))
	wantChanges(t, tb, Change{names[4], false}, Change{names[6], false}, Change{names[7], false})
	wantHeld(t, tb, 2, 2)
}

func TestFlappingDoesNotGrowTheLedger(t *testing.T) {
	tb := newTable(100)
	names := neighbours(tb, 3)
	now := at(0)
	for range 1000 {
		for _, name := range names {
			now = now.Add(time.Second)
			id := acquire(t, tb, name)
			tb.Changes(0, nil, all)
			if now.Unix()%2 == 0 {
				publish(t, tb, name, "1")
			}
			release(t, tb, id, now)
		}
		sweep(t, tb, now)
	}
	sweep(t, tb, now.Add(linger))
	if got := len(tb.ledger.entries); got > 1+len(names) {
		t.Fatalf("%d entries, for three topics", got)
	}
	wantHeld(t, tb, 0, 0)
}

// An index is used again while another topic lingers: the new topic is not given up in place
// of the former one.
func TestReusedIndexHasNoLingerOfTheFormerTopic(t *testing.T) {
	tb := newTable(100)
	names := neighbours(tb, 3)
	former := acquire(t, tb, names[0])
	tb.Changes(0, nil, all)
	release(t, tb, former, at(0))
	acquire(t, tb, names[0])
	release(t, tb, former, at(1))
	other := acquire(t, tb, names[1])
	tb.Changes(0, nil, all)
	release(t, tb, other, at(2))
	tb.Sweep(at(linger + 1))
	check(t, tb)
	id := acquire(t, tb, names[2])
	if id != former {
		t.Fatalf("the id is %d, want that of the former topic, %d", id, former)
	}
	tb.Changes(0, nil, all)
	tb.Sweep(at(linger + 2))
	release(t, tb, id, at(9*linger))
	sweep(t, tb, at(10*linger-1))
	wantHeld(t, tb, 1, 0)
	acquire(t, tb, names[2])
	sweep(t, tb, at(20*linger))
	wantHeld(t, tb, 1, 1)
	if tb.Name(id) != names[2] {
		t.Fatalf("Name = %q", tb.Name(id))
	}
}

// setBack is a time as it is read after the clock was set back, as far as a program can tell:
// the time of day is another, and the reading of the monotonic clock goes on.
func setBack(t *testing.T, now time.Time, by time.Duration) time.Time {
	t.Helper()
	back := now
	// See the comment of time.Time: the seconds stand above 30 bits of nanoseconds.
	*(*uint64)(unsafe.Pointer(&back)) -= uint64(by/time.Second) << 30
	if back.Unix() != now.Unix()-int64(by/time.Second) || back.Sub(now) != 0 {
		t.Fatalf("%v is no way to set %v back", back, now)
	}
	return back
}

func TestLingerDoesNotGoByTheTimeOfDay(t *testing.T) {
	start := time.Now()
	tb := New(Config{Max: 10, Linger: linger, Start: start})
	id := acquire(t, tb, "A")
	tb.Changes(0, nil, all)
	release(t, tb, id, start)
	now := setBack(t, start.Add(linger), 2*time.Hour)
	sweep(t, tb, now.Add(-1))
	wantHeld(t, tb, 1, 0)
	sweep(t, tb, now)
	wantHeld(t, tb, 0, 0)
	// And what began to linger then is not given up early when the clock is set right.
	id = acquire(t, tb, "B")
	tb.Changes(0, nil, all)
	release(t, tb, id, now)
	sweep(t, tb, start.Add(2*linger-1))
	wantHeld(t, tb, 1, 0)
}
