// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
)

// fill has an asker subscribe so many names, and returns the ids.
func fill(t testing.TB, tb *Table, by uint64, prefix string, count int) (ids []ID) {
	t.Helper()
	for i := range count {
		id, err := tb.Acquire([]byte(prefix+strconv.Itoa(i)), by)
		if err != nil {
			t.Fatalf("Acquire(%s%d) = %v", prefix, i, err)
		}
		ids = append(ids, id)
	}
	return ids
}

// lost are the indexes of the ids that were withdrawn.
func lost(tb *Table, ids []ID) (list []int) {
	for i, id := range ids {
		if tb.Withdrawn(id) {
			list = append(list, i)
		}
	}
	return list
}

func wantLost(t testing.TB, tb *Table, ids []ID, want ...int) {
	t.Helper()
	check(t, tb)
	if got := lost(tb, ids); !slices.Equal(got, want) {
		t.Fatalf("lost are %v, want %v", got, want)
	}
}

// Who asks for topics that exist finds room, whatever others have made up, and loses none
// of what it has.
func TestTopicsWithoutARowGiveWay(t *testing.T) {
	tb := newTable(100)
	honest := fill(t, tb, 1, "H", 10)
	for i := range honest {
		publish(t, tb, "H"+strconv.Itoa(i), "1")
	}
	squatted := fill(t, tb, 2, "S", 90)
	tb.Changes(0, nil, all)
	release(t, tb, honest[0], at(0))
	more := fill(t, tb, 1, "M", 20)
	var oldest []int
	for i := range 20 {
		oldest = append(oldest, i)
	}
	wantLost(t, tb, squatted, oldest...)
	wantLost(t, tb, honest)
	wantLost(t, tb, more)
	if acquireBy(t, tb, "H0", 1) != honest[0] || tb.Row(honest[0]) == nil {
		t.Fatal("a topic with a row did not linger")
	}
	// Nobody who holds one that was withdrawn sees another topic in its place.
	for i := range 20 {
		if tb.Name(squatted[i]) != "S"+strconv.Itoa(i) || tb.Seq(squatted[i]) != 0 {
			t.Fatalf("S%d has become %s", i, tb.Name(squatted[i]))
		}
		if tb.Publish("S"+strconv.Itoa(i), "1", Meta{}) != Unwanted {
			t.Fatal("a topic that was withdrawn took a tick")
		}
	}
	wantHeld(t, tb, 100, 10+90+20)
	for i := range 20 {
		release(t, tb, squatted[i], at(0))
	}
	wantHeld(t, tb, 100, 10+70+20)
}

// The name of a topic that was withdrawn is free at once, as another topic, and the feed
// hears of both in this order.
func TestWithdrawnAndWantedAgain(t *testing.T) {
	tb := newTable(2)
	a, b := acquireBy(t, tb, "A", 1), acquireBy(t, tb, "B", 1)
	wantChanges(t, tb, Change{"A", true}, Change{"B", true})
	acquireBy(t, tb, "C", 2)
	wantLost(t, tb, []ID{a, b}, 0)
	release(t, tb, b, at(0))
	again := acquireBy(t, tb, "A", 1)
	if again == a {
		t.Fatal("the id is used again, and is held")
	}
	publishLater := func() Outcome { return tb.Publish("A", "1", Meta{}) }
	if publishLater() != Committed || tb.Row(again) == nil || tb.Row(a) != nil {
		t.Fatal("the row is not that of the new topic alone")
	}
	got := tb.Changes(0, nil, all)
	if i, j := slices.Index(got, Change{"A", false}), slices.Index(got, Change{"A", true}); i < 0 || j < i {
		t.Fatalf("Changes = %v", got)
	}
	release(t, tb, a, at(0))
	if acquireBy(t, tb, "A", 1) != again {
		t.Fatal("the name has left its topic")
	}
}

// A small asker is no victim while there is a large one, and they end as equals.
func TestTheOneWithTheMostGivesWay(t *testing.T) {
	tb := newTable(120)
	large, small := fill(t, tb, 1, "L", 100), fill(t, tb, 2, "S", 20)
	tb.Changes(0, nil, all)
	third := fill(t, tb, 3, "T", 50)
	wantLost(t, tb, small)
	wantLost(t, tb, third)
	if n := len(lost(tb, large)); n != 50 {
		t.Fatalf("the large one has lost %d", n)
	}
	for _, i := range lost(tb, large) {
		tb.Release(large[i], at(0))
	}
	large = large[50:]
	// Now two have 50. Who wants more than that takes its own.
	third = append(third, fill(t, tb, 3, "U", 10)...)
	wantLost(t, tb, small)
	if n, own := len(lost(tb, large)), len(lost(tb, third)); n != 0 || own != 10 {
		t.Fatalf("the large one has lost %d, and who goes on %d of its own", n, own)
	}
}

// Who changes its own topics for others as fast as it can leaves room for others to be
// withdrawn.
func TestWithdrawnTopicsAreBounded(t *testing.T) {
	const limit = 80
	tb := newTable(limit)
	var held []ID
	full := 0
	for i := range 10 * limit { // Nothing is released.
		id, err := tb.Acquire([]byte("S"+strconv.Itoa(i)), 1)
		if errors.Is(err, ErrFull) {
			full++
			continue
		}
		held = append(held, id)
	}
	check(t, tb)
	const own = (limit - limit/ownPart) / ownPart
	if n := len(lost(tb, held)); n != own || full != 10*limit-limit-n {
		t.Fatalf("%d are withdrawn, %d were refused", n, full)
	}
	honest := fill(t, tb, 2, "H", limit/2)
	wantLost(t, tb, honest)
	if n := len(lost(tb, held)); n != own+limit/2 {
		t.Fatalf("%d are withdrawn", n)
	}
	// As many as the table holds, and no more, whoever asks.
	for by := uint64(3); by < 100; by++ {
		for i := range 10 {
			if id, err := tb.Acquire([]byte(strconv.Itoa(int(by))+"."+strconv.Itoa(i)), by); err == nil {
				held = append(held, id)
			}
		}
	}
	check(t, tb)
	if n := tb.WithdrawnTopics(); n > limit-limit/ownPart {
		t.Fatalf("%d are withdrawn", n)
	}
	// The rest is left to those who ask for what exists.
	for i := range limit / ownPart {
		id, err := tb.AcquireKnown([]byte("K"+strconv.Itoa(i)), 200)
		if err != nil {
			t.Fatalf("after %d topics that exist: %v", i, err)
		}
		held = append(held, id)
	}
	check(t, tb)
	for _, id := range slices.Concat(held, honest) {
		tb.Release(id, at(0))
	}
	tb.Changes(0, nil, all)
	tb.Sweep(at(linger))
	check(t, tb)
	wantHeld(t, tb, 0, 0)
	if n := tb.WithdrawnTopics(); n != 0 {
		t.Fatalf("%d are withdrawn and nobody holds any", n)
	}
}

// A few single topics that were looked for in vain, of which no more may give way for now, do not
// keep a client from its place where somebody has many.
func TestSingleTopicsAreInNobodysWay(t *testing.T) {
	const limit = 80
	tb := newTable(limit)
	large := fill(t, tb, 1, "L", limit/2)
	var single []ID
	for by := range uint64(limit / 2) {
		id := fill(t, tb, 100+by, "S"+strconv.Itoa(int(by))+".", 1)[0]
		tb.Absent(tb.Name(id))
		single = append(single, id)
	}
	for by := uint64(200); tb.WithdrawnTopics() < (limit-limit/ownPart)/ownPart; by++ {
		fill(t, tb, by, "T"+strconv.Itoa(int(by))+".", 1)
	}
	if n := len(lost(tb, single)); n != (limit-limit/ownPart)/ownPart {
		t.Fatalf("%d single ones are withdrawn", n)
	}
	fill(t, tb, 300, "H", 10)
	check(t, tb)
	if n := len(lost(tb, large)); n != 10 {
		t.Errorf("the one with many has lost %d, want 10", n)
	}
}

// Many that were withdrawn are one piece of news.
func TestOneNoticeForManyWithdrawn(t *testing.T) {
	tb := newTable(20)
	fill(t, tb, 1, "S", 20)
	tb.Changes(0, nil, all)
	before := tb.Watermark()
	fill(t, tb, 2, "H", 8)
	if tb.Watermark() != before {
		t.Fatalf("the watermark went from %d to %d", before, tb.Watermark())
	}
	<-tb.Changed()
	tb.Changes(0, nil, all)
	if tb.Notice() != before+1 || tb.Watermark() != before+1 {
		t.Fatalf("notice %d, watermark %d, want %d", tb.Notice(), tb.Watermark(), before+1)
	}
	tb.Changes(0, nil, all)
	if tb.Notice() != before+1 {
		t.Fatal("the notice was raised for nothing")
	}
}

// A topic of one asker waits for one of each of the others, and not for all that they have.
func TestTheFeedTakesAskersInTurn(t *testing.T) {
	tb := newTable(2000)
	fill(t, tb, 1, "A", 1000)
	fill(t, tb, 2, "B", 500)
	acquireBy(t, tb, "C", 3)
	got := tb.Changes(0, nil, 5)
	check(t, tb)
	want := []Change{{"A0", true}, {"B0", true}, {"C", true}, {"A1", true}, {"B1", true}}
	if !slices.Equal(got, want) {
		t.Fatalf("Changes = %v, want %v", got, want)
	}
	if tb.Waiting() != 1501-5 {
		t.Fatalf("%d wait", tb.Waiting())
	}
	acquireBy(t, tb, "D", 3)
	if got = tb.Changes(0, nil, 3); !slices.Contains(got, Change{"D", true}) {
		t.Fatalf("Changes = %v", got)
	}
}

// A topic that ticks before its feed was told of it goes first: its value is of use already.
func TestWhatHasARowIsToldFirst(t *testing.T) {
	tb := newTable(100)
	fill(t, tb, 1, "A", 10)
	publish(t, tb, "A7", "1")
	if got := tb.Changes(0, nil, 1); !slices.Equal(got, []Change{{"A7", true}}) {
		t.Fatalf("Changes = %v", got)
	}
	check(t, tb)
}

// A source of ticks that takes nothing holds up no other.
func TestSourcesAreToldApart(t *testing.T) {
	tb := newTable(100)
	tb.SetSources([]string{"x*", ""})
	tb.SetRoute(func(topic string) int {
		if topic[0] == 'x' {
			return 0
		}
		return 1
	})
	ids := fill(t, tb, 1, "x", 50)
	acquireBy(t, tb, "y", 1)
	check(t, tb)
	if got := tb.Changes(1, nil, 5); !slices.Equal(got, []Change{{"y", true}}) {
		t.Fatalf("Changes = %v", got)
	}
	if got := tb.Changes(0, nil, 50); len(got) != 50 {
		t.Fatalf("%d changes", len(got))
	}
	for _, id := range ids {
		tb.Release(id, at(0))
	}
	tb.Sweep(at(linger))
	check(t, tb)
	if got := tb.Changes(1, nil, all); len(got) > 0 {
		t.Fatalf("Changes = %v", got)
	}
	if got := tb.Changes(0, nil, 0); len(got) != 50 || got[0].Wanted {
		t.Fatalf("Changes = %v", got)
	}
}

// Who asks for what lingers answers for it from now on.
func TestWhoTakesUpALingeringTopicAnswersForIt(t *testing.T) {
	tb := newTable(4)
	ids := fill(t, tb, 1, "A", 3)
	tb.Changes(0, nil, all)
	release(t, tb, ids[0], at(0))
	acquireBy(t, tb, "A0", 2)
	ids = append(ids, acquireBy(t, tb, "B", 1)) // Now 1 has three, and 2 one.
	acquireBy(t, tb, "C", 2)
	wantLost(t, tb, ids, 1)
}

// Who asked first for a topic that turns out to exist is told of, once.
func TestExists(t *testing.T) {
	var told []uint64
	tb := New(Config{Max: 10, Exists: func(by uint64) { told = append(told, by) }})
	for i, by := range []uint64{7, 8, 0} {
		if _, err := tb.Acquire(fmt.Appendf(nil, "T%d", i), by); err != nil {
			t.Fatal(err)
		}
	}
	tb.Acquire([]byte("T0"), 9) // Not the first.
	tb.Changes(0, nil, 2)       // Two were told of, one waits.
	for i := range 3 {
		for range 2 {
			tb.Publish(fmt.Sprintf("T%d", i), "1", Meta{})
		}
	}
	if !slices.Equal(told, []uint64{7, 8}) {
		t.Errorf("told of %v, want 7 and 8", told)
	}
}
