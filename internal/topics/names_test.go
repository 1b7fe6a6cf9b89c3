// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"fmt"
	"slices"
	"testing"
)

// The names are those that have a row, each once, however many a shard has.
func TestAppendNames(t *testing.T) {
	tb := newTable(100_000)
	var want []string
	for i := range 20_000 {
		name := fmt.Sprintf("T%05d", i)
		if _, err := tb.Acquire([]byte(name), 0); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			if tb.Publish(name, "1", Meta{}) != Committed {
				t.Fatalf("%s is not wanted", name)
			}
			want = append(want, name)
		}
	}
	got := tb.AppendNames([]string{"before"})
	slices.Sort(got[1:])
	if got[0] != "before" || !slices.Equal(got[1:], want) {
		t.Errorf("%d names, want %d", len(got)-1, len(want))
	}
}
