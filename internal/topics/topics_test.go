// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"fmt"
	"testing"
	"time"
)

func TestNewRefusesLimitsOutOfRange(t *testing.T) {
	for _, limit := range []int{-1, 0, IDLimit >> shardBits, IDLimit} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New with Max %d did not panic", limit)
				}
			}()
			newTable(limit)
		}()
	}
	check(t, newTable(1))
}

func TestSameIDWhileHeld(t *testing.T) {
	tb := newTable(100)
	name := []byte("AAPL")
	first, err := tb.Acquire(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The name was copied: the caller's buffer is the caller's.
	copy(name, "MSFT")
	if second := acquire(t, tb, "AAPL"); second != first {
		t.Fatalf("AAPL is %d and %d", first, second)
	}
	if tb.Name(first) != "AAPL" {
		t.Fatalf("Name = %q", tb.Name(first))
	}
	other := acquire(t, tb, "MSFT")
	if other == first {
		t.Fatal("two topics share an id")
	}
	release(t, tb, first, at(0))
	if third := acquire(t, tb, "AAPL"); third != first {
		t.Fatalf("AAPL was %d and is %d, with a holder all the time", first, third)
	}
	wantHeld(t, tb, 2, 3)
}

// More names than one chunk of slots per shard can hold.
func TestEveryNameHasItsID(t *testing.T) {
	const count = 3 << (shardBits + chunkBits) / 2
	tb := newTable(count)
	names := make(map[ID]string)
	for i := range count {
		name := fmt.Sprintf("T%d", i)
		id, err := tb.Acquire([]byte(name), 0)
		if err != nil {
			t.Fatal(err)
		}
		if id >= IDLimit {
			t.Fatalf("id %d is not below the limit", id)
		}
		if former, ok := names[id]; ok {
			t.Fatalf("%s and %s share an id", former, name)
		}
		names[id] = name
		if tb.Publish(name, fmt.Sprint(i), Meta{}) != Committed {
			t.Fatalf("%s is not wanted", name)
		}
	}
	check(t, tb)
	for id, name := range names {
		if tb.Name(id) != name || string(tb.Row(id).Value()) != name[1:] {
			t.Fatalf("id %d: %q with value %s, want %q", id, tb.Name(id), tb.Row(id).Value(), name)
		}
	}
	if got := len(tb.Changes(0, nil, all)); got != count {
		t.Fatalf("%d changes for %d topics", got, count)
	}
	check(t, tb)
}

func TestSubscribersAreCounted(t *testing.T) {
	tb := newTable(100)
	wantHeld(t, tb, 0, 0)
	a := acquire(t, tb, "A")
	acquire(t, tb, "A")
	b := acquire(t, tb, "B")
	wantHeld(t, tb, 2, 3)
	tb.Changes(0, nil, all)
	release(t, tb, a, at(0))
	wantHeld(t, tb, 2, 2)
	release(t, tb, b, at(0))
	wantHeld(t, tb, 2, 1) // B lingers.
	release(t, tb, a, at(0))
	wantHeld(t, tb, 2, 0)
	sweep(t, tb, at(linger))
	wantHeld(t, tb, 0, 0)
}

func TestFirstSubscriberIsOneChange(t *testing.T) {
	tb := newTable(100)
	wantChanges(t, tb)
	acquire(t, tb, "A")
	acquire(t, tb, "A")
	wantChanges(t, tb, Change{"A", true})
	acquire(t, tb, "A")
	wantChanges(t, tb)
}

func TestChangesAppends(t *testing.T) {
	tb := newTable(100)
	acquire(t, tb, "A")
	got := tb.Changes(0, []Change{{"before", false}}, all)
	if len(got) != 2 || got[0] != (Change{"before", false}) || got[1] != (Change{"A", true}) {
		t.Fatalf("Changes = %v", got)
	}
}

func TestChangedTellsOfChanges(t *testing.T) {
	tb := newTable(100)
	told := func() int {
		select {
		case <-tb.Changed():
			return 1
		default:
			return 0
		}
	}
	steps := []struct {
		what string
		do   func()
		want int
	}{
		{"nothing happened", func() {}, 0},
		{"a first subscriber", func() { acquire(t, tb, "A"); acquire(t, tb, "B") }, 1},
		{"all told", func() { tb.Changes(0, nil, all) }, 0},
		{"another subscriber", func() { acquire(t, tb, "A") }, 0},
		{"the last one left C", func() { id := acquire(t, tb, "C"); tb.Changes(0, nil, all); release(t, tb, id, at(0)) }, 1},
		{"a sweep too early", func() { sweep(t, tb, at(linger-1)) }, 0},
		{"a sweep", func() { sweep(t, tb, at(linger)) }, 1},
	}
	for _, step := range steps {
		step.do()
		if got := told(); got != step.want {
			t.Fatalf("%s: Changed told %d times, want %d", step.what, got, step.want)
		}
	}
}

func TestLastSubscriberIsAChangeAfterTheLinger(t *testing.T) {
	tb := newTable(100)
	id := acquire(t, tb, "A")
	acquire(t, tb, "A")
	wantChanges(t, tb, Change{"A", true})
	release(t, tb, id, at(0))
	sweep(t, tb, at(10*linger))
	wantChanges(t, tb) // One subscriber is left.
	release(t, tb, id, at(11*linger))
	sweep(t, tb, at(11*linger))
	wantChanges(t, tb)
	sweep(t, tb, at(12*linger-1))
	wantChanges(t, tb)
	sweep(t, tb, at(12*linger))
	sweep(t, tb, at(12*linger))
	wantChanges(t, tb, Change{"A", false})
	wantChanges(t, tb)
	wantHeld(t, tb, 0, 0)
}

// Ticks come by name, so an id needs not wait until the feed has taken that its topic was
// given up.
func TestIDIsFreeWhenTheTopicIsGivenUp(t *testing.T) {
	tb := newTable(100)
	names := neighbours(tb, 2)
	id := acquire(t, tb, names[0])
	wantChanges(t, tb, Change{names[0], true})
	publish(t, tb, names[0], "1")
	release(t, tb, id, at(0))
	sweep(t, tb, at(linger))
	if other := acquire(t, tb, names[1]); other != id {
		t.Fatal("the free id was not reused")
	}
	if tb.Publish(names[0], "3", Meta{}) == Committed {
		t.Fatal("a tick of a topic that nobody wants was taken")
	}
	if tb.Seq(id) != 0 || tb.Row(id) != nil || tb.Name(id) != names[1] {
		t.Fatal("the reused id shows the former topic")
	}
	publish(t, tb, names[1], "4")
	if row := tb.Row(id); row.N != 1 || string(row.Value()) != "4" {
		t.Fatalf("row = %s", row.JSON())
	}
	wantChanges(t, tb, Change{names[0], false}, Change{names[1], true})
}

func TestReacquireDuringTheLinger(t *testing.T) {
	tb := newTable(100)
	id := acquire(t, tb, "A")
	wantChanges(t, tb, Change{"A", true})
	publish(t, tb, "A", "1")
	row := tb.Row(id)
	release(t, tb, id, at(0))
	publish(t, tb, "A", "2") // A topic that lingers is kept up to date.
	sweep(t, tb, at(linger-1))
	if again := acquire(t, tb, "A"); again != id {
		t.Fatalf("A was %d and is %d", id, again)
	}
	sweep(t, tb, at(9*linger))
	wantChanges(t, tb)
	if got := tb.Row(id); got == row || string(got.Value()) != "2" || got.N != 2 {
		t.Fatalf("row = %s", got.JSON())
	}
}

// Given up and wanted again before the feed came by: it has to hear of both, in this order.
func TestWantedAgainBeforeTheFeedTookTheDrop(t *testing.T) {
	tb := newTable(100)
	id := acquire(t, tb, "A")
	wantChanges(t, tb, Change{"A", true})
	publish(t, tb, "A", "1")
	release(t, tb, id, at(0))
	sweep(t, tb, at(linger))
	if id = acquire(t, tb, "A"); tb.Row(id) != nil {
		t.Fatal("it has the row of its former time")
	}
	if got := tb.Changes(0, nil, 0); len(got) != 1 || got[0] != (Change{"A", false}) {
		t.Fatalf("Changes = %v, want the drop", got)
	}
	wantChanges(t, tb, Change{"A", true})
	publish(t, tb, "A", "2")
	// Its next linger is a full one, and ends in a drop as usual.
	release(t, tb, id, at(2*linger))
	sweep(t, tb, at(3*linger-1))
	wantChanges(t, tb)
	sweep(t, tb, at(3*linger))
	wantChanges(t, tb, Change{"A", false})
	wantHeld(t, tb, 0, 0)
}

// What comes and goes before the feed comes by does not pile up.
func TestDropsAreBounded(t *testing.T) {
	tb := newTable(100)
	id := acquire(t, tb, "A")
	wantChanges(t, tb, Change{"A", true})
	for i := range time.Duration(3) {
		release(t, tb, id, at(2*i*linger))
		sweep(t, tb, at((2*i+1)*linger))
		id = acquire(t, tb, "A")
	}
	release(t, tb, id, at(8*linger))
	sweep(t, tb, at(9*linger))
	wantChanges(t, tb, Change{"A", false})
	wantHeld(t, tb, 0, 0)
}

func TestReacquireAfterTheDrop(t *testing.T) {
	tb := newTable(100)
	id := acquire(t, tb, "A")
	wantChanges(t, tb, Change{"A", true})
	publish(t, tb, "A", "1")
	release(t, tb, id, at(0))
	sweep(t, tb, at(linger))
	wantChanges(t, tb, Change{"A", false})
	id = acquire(t, tb, "A")
	if tb.Seq(id) != 0 || tb.Row(id) != nil {
		t.Fatal("the row of the former time is visible")
	}
	wantChanges(t, tb, Change{"A", true})
	publish(t, tb, "A", "2")
	if row := tb.Row(id); row.N != 1 || row.Seq != 2 {
		t.Fatalf("n, seq = %d, %d, want 1, 2: the count starts anew, the order goes on", row.N, row.Seq)
	}
}

func TestFeedNeverHearsOfATopicThatCameAndWent(t *testing.T) {
	tb := newTable(100)
	id := acquire(t, tb, "A")
	release(t, tb, id, at(0))
	sweep(t, tb, at(linger))
	wantChanges(t, tb)
	wantHeld(t, tb, 0, 0)
	// Back in time, it is heard of once.
	id = acquire(t, tb, "A")
	release(t, tb, id, at(linger))
	sweep(t, tb, at(2*linger))
	acquire(t, tb, "A")
	wantChanges(t, tb, Change{"A", true})
	wantChanges(t, tb)
}

func TestReleaseOfAnUnheldIDPanics(t *testing.T) {
	tb := newTable(100)
	panics := func(what string, id ID) {
		t.Helper()
		defer func() {
			t.Helper()
			if got, want := recover(), "topics: Release of a topic that nobody holds"; got != want {
				t.Fatalf("%s: panic %v, want %q", what, got, want)
			}
			check(t, tb) // And no lock was left locked, or the next step hangs.
		}()
		tb.Release(id, at(0))
	}
	id := acquire(t, tb, "A")
	tb.Changes(0, nil, all)
	release(t, tb, id, at(0))
	panics("lingering", id)
	sweep(t, tb, at(linger))
	panics("free", id)
	wantHeld(t, tb, 0, 0)
	acquire(t, tb, "A")
}
