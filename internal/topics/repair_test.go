// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"testing"
	"time"
)

func mark(t testing.TB, tb *Table, name string) uint64 {
	t.Helper()
	m, ok := tb.Mark(name)
	if !ok {
		t.Fatalf("Mark(%q) does not know the topic", name)
	}
	return m
}

// wantRow compares a topic's newest row, and that the watermark is the sequence of
// the last commit.
func wantRow(t testing.TB, tb *Table, id ID, value string, n, watermark uint64) {
	t.Helper()
	check(t, tb)
	row := tb.Row(id)
	if row == nil {
		t.Fatalf("no row, want %s", value)
	}
	if string(row.Value()) != value || row.N != n || tb.Watermark() != watermark {
		t.Fatalf("row = %s, watermark = %d, want value %s, n %d, watermark %d", row.JSON(), tb.Watermark(), value, n, watermark)
	}
}

func TestRepairOfTheFirstValueIsNoTick(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	m := mark(t, tb, "A")
	if m != 0 {
		t.Fatalf("mark = %d", m)
	}
	if tb.Repair("A", "1", m, Meta{}) != Committed {
		t.Fatal("the first value was refused")
	}
	wantRow(t, tb, id, "1", 0, 1)
	if want := `{"s":"A","n":0,"v":1}`; string(tb.Row(id).JSON()) != want {
		t.Fatalf("row = %s, want %s", tb.Row(id).JSON(), want)
	}
	publish(t, tb, "A", "2")
	wantRow(t, tb, id, "2", 1, 2)
}

func TestRepairYieldsToANewerTick(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	m := mark(t, tb, "A")
	publish(t, tb, "A", "2")
	if tb.Repair("A", "1", m, Meta{}) == Committed {
		t.Fatal("an older first value took the place of a tick")
	}
	wantRow(t, tb, id, "2", 1, 1)
	m = mark(t, tb, "A")
	publish(t, tb, "A", "3")
	publish(t, tb, "A", "2")
	if tb.Repair("A", "5", m, Meta{}) == Committed {
		t.Fatal("an older value took the place of a tick")
	}
	wantRow(t, tb, id, "2", 3, 3)
}

func TestRepairYieldsToANewerRepair(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	m := mark(t, tb, "A")
	if tb.Repair("A", "1", m, Meta{}) != Committed || tb.Repair("A", "2", m, Meta{}) == Committed {
		t.Fatal("want the first repair of a mark and no other")
	}
	wantRow(t, tb, id, "1", 0, 1)
}

func TestRepairOfTheSameBytesDoesNothing(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	publish(t, tb, "A", `{"p":1.0}`)
	row := tb.Row(id)
	if tb.Repair("A", `{"p":1.0}`, mark(t, tb, "A"), Meta{}) == Committed {
		t.Fatal("the same bytes were committed again")
	}
	wantRow(t, tb, id, `{"p":1.0}`, 1, 1)
	if tb.Row(id) != row {
		t.Fatal("the row was made anew")
	}
	// It did not use up the mark either.
	if tb.Repair("A", `{"p":1.00}`, mark(t, tb, "A"), Meta{}) != Committed {
		t.Fatal("other bytes were refused")
	}
}

func TestRepairOfOtherBytesCountsOneMissedTick(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	publish(t, tb, "A", "1")
	if tb.Repair("A", "1.0", mark(t, tb, "A"), Meta{}) != Committed {
		t.Fatal("other bytes were refused")
	}
	wantRow(t, tb, id, "1.0", 2, 2)
	if tb.Row(id).Seq != 2 || tb.Seq(id) != 2 {
		t.Fatalf("seq = %d, %d", tb.Row(id).Seq, tb.Seq(id))
	}
	publish(t, tb, "A", "1")
	wantRow(t, tb, id, "1", 3, 3)
}

// The value of a repair that stood at 0 ticks is replaced as any other.
func TestRepairOfARepairCounts(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	tb.Repair("A", "1", mark(t, tb, "A"), Meta{})
	wantRow(t, tb, id, "1", 0, 1)
	tb.Repair("A", "2", mark(t, tb, "A"), Meta{})
	wantRow(t, tb, id, "2", 1, 2)
}

func TestMarkIsTheTopicsOwn(t *testing.T) {
	tb := newTable(10)
	a := acquire(t, tb, "A")
	acquire(t, tb, "B")
	m := mark(t, tb, "A")
	publish(t, tb, "B", "1")
	if tb.Repair("A", "2", m, Meta{}) != Committed {
		t.Fatal("a tick of another topic made the repair stale")
	}
	wantRow(t, tb, a, "2", 0, 2)
	if got := mark(t, tb, "A"); got != 2 {
		t.Fatalf("mark = %d, want 2", got)
	}
	if got := mark(t, tb, "B"); got != 1 {
		t.Fatalf("mark = %d, want 1", got)
	}
}

func TestRepairOfADroppedTopic(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	publish(t, tb, "A", "1")
	m := mark(t, tb, "A")
	tb.Changes(0, nil, all)
	release(t, tb, id, at(0))
	if got := mark(t, tb, "A"); got != m {
		t.Fatalf("lingering: mark = %d, want %d", got, m)
	}
	sweep(t, tb, at(linger))
	tb.Changes(0, nil, all)
	if _, ok := tb.Mark("A"); ok {
		t.Fatal("Mark knows a topic that was dropped")
	}
	if tb.Repair("A", "2", m, Meta{}) == Committed {
		t.Fatal("a topic that was dropped was repaired")
	}
	// Wanted again it has no row yet, and the old mark does not fit.
	id = acquire(t, tb, "A")
	if tb.Repair("A", "2", m, Meta{}) == Committed {
		t.Fatal("a mark of the former time was taken")
	}
	if tb.Row(id) != nil {
		t.Fatal("a row without a commit")
	}
	check(t, tb)
}

func TestRepairWhileLingering(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	tb.Changes(0, nil, all)
	release(t, tb, id, at(0))
	if tb.Repair("A", "1", mark(t, tb, "A"), Meta{}) != Committed {
		t.Fatal("a topic that lingers was not repaired")
	}
	acquire(t, tb, "A")
	wantRow(t, tb, id, "1", 0, 1)
}

// A topic is absent once its value was read and there was none, until it has a row, and not
// for whoever has its id after it.
func TestAbsent(t *testing.T) {
	table := New(Config{Max: 10})
	id, err := table.Acquire([]byte("A"), 0)
	if err != nil {
		t.Fatal(err)
	}
	is := func(want bool) {
		t.Helper()
		if table.IsAbsent(id) != want {
			t.Errorf("absent is %v", !want)
		}
	}
	is(false)
	table.Absent("nobody's")
	table.Absent("A")
	is(true)
	table.Publish("A", "1", Meta{})
	is(false)
	table.Absent("A") // The value was deleted, but clients have one.
	is(false)
	other, _ := table.Acquire([]byte("B"), 0)
	table.Absent("B")
	start := time.Now()
	table.Release(other, start)
	table.Sweep(start.Add(time.Hour))
	table.Changes(0, nil, 1000)
	if id, err = table.Acquire([]byte("C"), 0); err != nil {
		t.Fatal(err)
	}
	is(false)
	for range 8 {
		if next, err := table.Acquire([]byte{'D' + byte(table.Held())}, 0); err != nil || table.IsAbsent(next) {
			t.Errorf("id %d is absent, or %v", next, err)
		}
	}
}
