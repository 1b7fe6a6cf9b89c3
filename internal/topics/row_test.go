// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// values are JSON texts that must come out as they went in, with no number read
// and written again.
var values = []string{
	`1`, `0`, `-0`, `-0.0`, `1e400`, `-1E-400`, `0.10`, `100000000000000000000000000001`, `1.0000000000000000000001`,
	`""`, `"x"`, `"\u0041\/\n"`, `"}"`, `"Ä€😀"`, `true`, `false`, `null`,
	`{}`, `[]`, `{"p":189.30,"q":[1,2.50,{"b":"}"}]}`, `{"a":1,"a":2}`, `{"s":"MSFT","n":1,"v":2}`,
	" 1", "1 ", " \t\r\n{ \"p\" : 1.50 }\n ",
}

func TestRowBytes(t *testing.T) {
	for _, name := range []string{"A", "AAPL", "binance:kline:1m:BTC-USDT", strings.Repeat("x", NameMax)} {
		for _, value := range values {
			tb := newTable(10)
			id := acquire(t, tb, name)
			publish(t, tb, name, "0")
			publish(t, tb, name, value)
			row := tb.Row(id)
			if want := `{"s":"` + name + `","n":2,"v":` + value + `}`; string(row.JSON()) != want {
				t.Fatalf("row = %s, want %s", row.JSON(), want)
			}
			if string(row.Value()) != value {
				t.Fatalf("value = %q, want %q", row.Value(), value)
			}
			if !json.Valid(row.JSON()) {
				t.Fatalf("%s is not JSON", row.JSON())
			}
		}
	}
}

func TestRowOfTheHighestCount(t *testing.T) {
	row := newRow("A", "[]", math.MaxUint64, Meta{})
	if want := `{"s":"A","n":18446744073709551615,"v":[]}`; string(row.JSON()) != want || row.N != math.MaxUint64 {
		t.Fatalf("row = %s, want %s", row.JSON(), want)
	}
	if string(row.Value()) != "[]" {
		t.Fatalf("value = %s", row.Value())
	}
	// A row is one allocation.
	value := strings.Repeat("9", 1000)
	if got := testing.AllocsPerRun(100, func() { row = newRow("A", value, math.MaxUint64, Meta{}) }); got != 1 {
		t.Fatalf("%v allocations per row, want 1", got)
	}
}

func TestRowIsNeverChanged(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	value := []byte(`{"p":1}`)
	publish(t, tb, "A", string(value))
	row := tb.Row(id)
	seq, n, text := row.Seq, row.N, string(row.JSON())
	copy(value, `{"p":2}`)
	publish(t, tb, "A", "2")
	tb.Repair("A", "3", tb.Seq(id), Meta{})
	release(t, tb, id, at(0))
	sweep(t, tb, at(linger))
	tb.Changes(0, nil, all)
	acquire(t, tb, "A")
	publish(t, tb, "A", "4")
	if row.Seq != seq || row.N != n || string(row.JSON()) != text {
		t.Fatalf("row became %d %d %s", row.Seq, row.N, row.JSON())
	}
}

// Rows are shared by all loops. A caller that appends to what it got must get a
// copy, and must not write into the row.
func TestAppendingDoesNotChangeARow(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	publish(t, tb, "A", "1")
	row := tb.Row(id)
	_ = append(row.Value(), ']')
	if want := `{"s":"A","n":1,"v":1}`; string(row.JSON()) != want {
		t.Errorf("after an append to the value: row = %s, want %s", row.JSON(), want)
	}
	one, other := append(row.JSON(), ','), append(row.JSON(), ']')
	if one[len(one)-1] != ',' || other[len(other)-1] != ']' {
		t.Error("two appends to one row write into the same memory")
	}
}

func TestUnwantedTicksAreDropped(t *testing.T) {
	tb := newTable(10)
	if tb.Publish("A", "1", Meta{}) == Committed {
		t.Fatal("a tick of a topic that nobody asked for was taken")
	}
	if tb.Publish("", "1", Meta{}) == Committed {
		t.Fatal("a tick without a topic was taken")
	}
	if _, ok := tb.Mark("A"); ok {
		t.Fatal("Mark knows a topic that nobody asked for")
	}
	if tb.Repair("A", "1", 0, Meta{}) == Committed {
		t.Fatal("a topic that nobody asked for was repaired")
	}
	if tb.Watermark() != 0 {
		t.Fatalf("watermark = %d", tb.Watermark())
	}
	wantHeld(t, tb, 0, 0)
	check(t, tb)
}

// Wanted is what a subscriber makes it, whether the feed heard of it or not.
func TestTicksAreTakenBeforeTheFeedHeard(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	publish(t, tb, "A", "1")
	wantChanges(t, tb, Change{"A", true})
	if tb.Row(id) == nil {
		t.Fatal("the row was lost")
	}
}

func TestCountsAndSequences(t *testing.T) {
	tb := newTable(10)
	ids := map[string]ID{"A": acquire(t, tb, "A"), "B": acquire(t, tb, "B"), "C": acquire(t, tb, "C")}
	if tb.Watermark() != 0 {
		t.Fatalf("watermark of an empty table = %d", tb.Watermark())
	}
	count := map[string]uint64{}
	for i, name := range strings.Split("AABABBBAAC", "") {
		seq := uint64(i + 1)
		if tb.Publish("unwanted", "0", Meta{}) == Committed {
			t.Fatal("an unwanted tick was taken")
		}
		publish(t, tb, name, "1") // The same value again is a tick all the same.
		count[name]++
		if tb.Watermark() != seq || tb.Seq(ids[name]) != seq || tb.Row(ids[name]).Seq != seq {
			t.Fatalf("tick %d: watermark %d, seq %d, row's seq %d", seq, tb.Watermark(), tb.Seq(ids[name]), tb.Row(ids[name]).Seq)
		}
		if tb.Row(ids[name]).N != count[name] {
			t.Fatalf("tick %d of %s: n = %d, want %d", seq, name, tb.Row(ids[name]).N, count[name])
		}
	}
	if tb.Seq(ids["A"]) != 9 || tb.Seq(ids["B"]) != 7 || tb.Seq(ids["C"]) != 10 {
		t.Fatal("a tick changed the sequence of another topic")
	}
}

func TestTopicWithoutATick(t *testing.T) {
	tb := newTable(10)
	a, b := acquire(t, tb, "A"), acquire(t, tb, "B")
	publish(t, tb, "A", "1")
	if tb.Seq(b) != 0 || tb.Row(b) != nil || tb.Seq(a) != 1 {
		t.Fatal("a topic shows the row of another")
	}
}

func TestOfferedIsTicksTimesSubscribers(t *testing.T) {
	tb := newTable(10)
	wantOffered := func(want uint64) {
		t.Helper()
		check(t, tb)
		if got := tb.Offered(); got != want {
			t.Fatalf("Offered = %d, want %d", got, want)
		}
	}
	tb.Publish("A", "1", Meta{})
	wantOffered(0)
	a := acquire(t, tb, "A")
	publish(t, tb, "A", "1")
	wantOffered(1)
	acquire(t, tb, "A")
	acquire(t, tb, "B")
	publish(t, tb, "A", "1")
	wantOffered(3)
	publish(t, tb, "B", "1")
	wantOffered(4)
	tb.Changes(0, nil, all)
	release(t, tb, a, at(0))
	release(t, tb, a, at(0))
	publish(t, tb, "A", "1") // It lingers: stored, and offered to nobody.
	wantOffered(4)
	sweep(t, tb, at(linger))
	tb.Changes(0, nil, all)
	wantOffered(4) // The sum outlives the topic.
}

// A repaired value goes out to subscribers as any update does. Not counted, more
// rows would be sent than were offered, and fewer than none conflated. The first
// value of a topic goes out in snapshots, and is no update.
func TestOfferedCountsRepairs(t *testing.T) {
	tb := newTable(10)
	acquire(t, tb, "A")
	acquire(t, tb, "A")
	if tb.Repair("A", "1", mark(t, tb, "A"), Meta{}) != Committed || tb.Offered() != 0 {
		t.Errorf("after the first value: Offered = %d, want 0", tb.Offered())
	}
	if tb.Repair("A", "2", mark(t, tb, "A"), Meta{}) != Committed || tb.Offered() != 2 {
		t.Errorf("after a missed tick: Offered = %d, want 2", tb.Offered())
	}
	if tb.Repair("A", "2", mark(t, tb, "A"), Meta{}) == Committed || tb.Offered() != 2 {
		t.Errorf("after no repair: Offered = %d, want 2", tb.Offered())
	}
}

// What a row is followed by stands beside its text and changes nothing of it.
func TestRowTrace(t *testing.T) {
	a, b := newRow("A", "[]", 7, Meta{}), newRow("A", "[]", 7, Meta{Trace: math.MaxUint16, At: math.MaxUint32})
	if a.Trace != 0 || b.Trace != math.MaxUint16 || string(a.JSON()) != string(b.JSON()) || string(b.Value()) != "[]" {
		t.Errorf("%+v %s, %+v %s", a, a.JSON(), b, b.JSON())
	}
	name := strings.Repeat("n", NameMax)
	if long := newRow(name, "1", math.MaxUint64, Meta{Trace: 1}); string(long.Value()) != "1" {
		t.Errorf("%s has the value %s", long.JSON(), long.Value())
	}
}
