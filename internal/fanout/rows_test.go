// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tickedge/internal/topics"
)

// Copies are always of the row asked for: of rows of all sizes, of topics that share a
// place, of topics that tick between two looks, and of ids that are used again.
func TestRowCopies(t *testing.T) {
	const many = 3 * rowCopies
	table := topics.New(topics.Config{Max: many})
	names, ids := make([]string, many), make([]topics.ID, many)
	acquire := func(i, life int) {
		names[i] = fmt.Sprintf("T%d.%d", i, life)
		id, err := table.Acquire([]byte(names[i]), 0)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	for i := range ids {
		acquire(i, 0)
	}
	random := rand.New(rand.NewPCG(1, 1))
	publish := func(i int) {
		value := `"` + strings.Repeat("x", random.IntN(2*rowCopySize)) + `"`
		if table.Publish(names[i], value, topics.Meta{}) != topics.Committed {
			t.Fatal("nobody wants", names[i])
		}
	}
	for i := range ids {
		publish(i)
	}
	r := newRows()
	now, copies := time.Unix(0, 0), 0
	for step := range 200_000 {
		i := random.IntN(64) * many / 64 // Few enough to come again, and three to a place.
		switch random.IntN(8) {
		case 0:
			publish(i)
		case 1:
			table.Release(ids[i], now)
			table.Sweep(now.Add(time.Hour))
			table.Changes(0, nil, all) // Now the id is free.
			acquire(i, step)
			publish(i)
		}
		seq := table.Seq(ids[i])
		if r.copies[ids[i]%rowCopies].seq == seq {
			copies++
		}
		want := "before" + string(table.Row(ids[i]).JSON()) + ","
		if got := string(r.append([]byte("before"), table, ids[i], seq)); got != want {
			t.Fatalf("step %d, topic %s:\n got %s\nwant %s", step, names[i], got, want)
		}
	}
	if copies < 1000 {
		t.Errorf("%d rows came from copies, which shows nothing", copies)
	}
}
