// SPDX-License-Identifier: Apache-2.0

package topics

import "testing"

func version(whole int64, nano uint32) Version { return Version{Whole: whole, Nano: nano, Set: true} }

func TestVersionsCompare(t *testing.T) {
	rising := []Version{
		{}, version(-2, 0), version(-2, 999_999_999), version(-1, 5), version(0, 0), version(0, 1),
		version(1, 0), version(1, 500_000_000), version(1<<62, 0),
	}
	for i, v := range rising {
		for j, w := range rising {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := v.Compare(w); got != want {
				t.Errorf("%+v.Compare(%+v) = %d, want %d", v, w, got, want)
			}
		}
	}
	// None is none, whatever else it holds.
	if got := (Version{Whole: 7}).Compare(Version{Whole: 8}); got != 0 {
		t.Errorf("none compared with none = %d", got)
	}
}

func TestOlderTicksAreDropped(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	n := uint64(0)
	for _, step := range []struct {
		value   string
		version Version
		want    Outcome
	}{
		{"1", version(5, 0), Committed},
		{"2", version(4, 0), Older},
		{"1", version(4, 999_999_999), Older},
		{"1", version(5, 0), Repeated},
		{"2", version(5, 0), Committed}, // Which is the newer one can't be told.
		{"2", version(5, 1), Committed}, // A newer tick of the same value is a tick.
		{"3", Version{}, Committed},
		{"3", Version{}, Committed},     // Without a version nothing is known.
		{"4", version(1, 0), Committed}, // The row before it has none.
		{"5", version(0, 0), Older},
	} {
		before := *tb.row(id)
		got := tb.Publish("A", step.value, Meta{Version: step.version})
		check(t, tb)
		if got != step.want {
			t.Fatalf("Publish(%s, %+v) = %d, want %d", step.value, step.version, got, step.want)
		}
		if got == Committed {
			n++
			wantRow(t, tb, id, step.value, n, n)
		} else if after := *tb.row(id); after != before {
			t.Fatalf("Publish(%s, %+v) = %d and changed %+v to %+v", step.value, step.version, got, before, after)
		}
	}
	if tb.Offered() != n || tb.Watermark() != n {
		t.Fatalf("%d ticks committed, offered %d, watermark %d", n, tb.Offered(), tb.Watermark())
	}
}

// row is a topic's newest row, an empty one while it has none.
func (t *Table) row(id ID) *Row {
	if r := t.Row(id); r != nil {
		return r
	}
	return new(Row)
}

// A replica that lags behind answers a fetch with an older value.
func TestAnOlderValueIsNoRepair(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	repair := func(value string, v Version, want Outcome) {
		t.Helper()
		if got := tb.Repair("A", value, mark(t, tb, "A"), Meta{Version: v}); got != want {
			t.Fatalf("Repair(%s, %+v) = %d, want %d", value, v, got, want)
		}
		check(t, tb)
	}
	repair("1", version(5, 0), Committed)
	repair("2", version(4, 0), Older)
	wantRow(t, tb, id, "1", 0, 1)
	repair("1", version(4, 0), Unchanged)
	repair("3", version(6, 0), Committed)
	if got := tb.Publish("A", "2", Meta{Version: version(5, 5)}); got != Older {
		t.Fatalf("a tick older than the repair: %d", got)
	}
	repair("4", Version{}, Committed) // The publisher has stopped to number them.
	wantRow(t, tb, id, "4", 2, 3)
	m := mark(t, tb, "A")
	tb.Publish("A", "5", Meta{Version: version(1, 0)})
	if got := tb.Repair("A", "6", m, Meta{Version: version(2, 0)}); got != Unchanged {
		t.Fatalf("a repair after a tick: %d", got)
	}
}

// Its publisher may have begun anew when the topic is wanted again.
func TestVersionsGoWithTheirTopic(t *testing.T) {
	tb := newTable(10)
	id := acquire(t, tb, "A")
	tb.Publish("A", "1", Meta{Version: version(9, 0)})
	release(t, tb, id, at(0))
	sweep(t, tb, at(linger))
	tb.Changes(0, nil, all)
	acquire(t, tb, "A")
	if got := tb.Publish("A", "2", Meta{Version: version(1, 0)}); got != Committed {
		t.Fatalf("the first tick of a new time: %d", got)
	}
}
