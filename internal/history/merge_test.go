// SPDX-License-Identifier: Apache-2.0

package history

import (
	"slices"
	"testing"

	"tickedge/internal/bars"
)

// A single list is merged without a copy, and as it is beside others.
func TestMergeOfOneList(t *testing.T) {
	at := func(starts ...int64) (all []bars.Bar) {
		for i, s := range starts {
			all = append(all, bars.Bar{Start: s, Count: int64(i)})
		}
		return all
	}
	for _, c := range []struct {
		list     []bars.Bar
		from, to int64
		want     []int64
	}{
		{nil, 0, 9, nil},
		{at(1, 2, 3, 4), 0, 9, []int64{1, 2, 3, 4}},
		{at(1, 2, 3, 4), 2, 4, []int64{2, 3}},
		{at(1, 2), 3, 9, nil},
		{at(3, 4), 0, 3, nil},
		{at(3, 1, 2), 0, 9, []int64{1, 2, 3}},
		{at(1, 2, 2, 3), 0, 9, []int64{1, 2, 3}},
	} {
		got := merge(c.from, c.to, nil, c.list, nil)
		var starts []int64
		for i := range got {
			starts = append(starts, got[i].Start)
		}
		if !slices.Equal(starts, c.want) {
			t.Errorf("from %d to %d: got %v, want %v", c.from, c.to, starts, c.want)
		}
	}
	list := at(1, 2, 3)
	if got := merge(0, 9, list); &got[0] != &list[0] {
		t.Error("a list that needs nothing was copied")
	}
	if got := merge(0, 2, list); cap(got) != 1 {
		t.Error("to append to a part would overwrite the list")
	}
}

// BenchmarkMerge merges the bars of a page, with and without one that waits for the store.
func BenchmarkMerge(b *testing.B) {
	stored := make([]bars.Bar, 501)
	for i := range stored {
		stored[i].Start = int64(i)
	}
	b.Run("with one more", func(b *testing.B) {
		for b.Loop() {
			merge(0, 1000, stored, []bars.Bar{{Start: 501}})
		}
	})
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			merge(0, 1000, stored, nil)
		}
	})
}
