// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/topics"
)

// at is the time of tests of cursors.
var at = time.UnixMilli(1_732_181_723_500)

func newTable(most int) *topics.Table {
	return topics.New(topics.Config{Max: most, Linger: time.Minute, StaleAfter: time.Second, Start: at})
}

// lacks gathers all that a client lacks.
func lacks(c *cursor) (all []string) {
	for more := true; more; {
		var out []string
		messages, m := c.gather(at)
		for _, message := range messages {
			out = append(out, text(message))
		}
		all, more = append(all, out...), m
	}
	return all
}

func wantLacks(t *testing.T, c *cursor, want ...string) {
	t.Helper()
	if got := lacks(c); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A client is told what it lacks and nothing twice: of ticks that came meanwhile only the newest.
func TestCursorGathersTheNewest(t *testing.T) {
	table := newTable(10)
	c := newCursor(table, nil, 0)
	wantLacks(t, c, "feed up=false since=1732181723500")
	table.SetSourceState(0, true, 7)
	wantLacks(t, c, "feed up=true since=7")
	must(t, c.add("A", false))
	wantLacks(t, c)
	table.Publish("A", "1", topics.Meta{})
	table.Publish("A", "2", topics.Meta{})
	wantLacks(t, c, "update A/2=2") // It had no value when it was subscribed.
	wantLacks(t, c)

	late := newCursor(table, nil, 0)
	must(t, late.add("A", false))
	must(t, late.add("B", false))
	if !late.awaits() {
		t.Error("B is not awaited")
	}
	table.Repair("B", "9", 0, topics.Meta{})
	table.Publish("A", "3", topics.Meta{})
	wantLacks(t, late, "snapshot A/3=3 B/0=9") // A value that was fetched is a snapshot.
	wantLacks(t, c, "update A/3=3")
	table.Publish("A", topics.Delisted, topics.Meta{})
	table.Publish("B", "10", topics.Meta{})
	wantLacks(t, late, "update A/4=delisted B/1=10")

	late.remove("A", at)
	late.remove("A", at)
	table.Publish("A", "5", topics.Meta{})
	table.Publish("B", "11", topics.Meta{})
	wantLacks(t, late, "update B/2=11")
	late.release(at)
	c.release(at)
	if n := table.Subscriptions(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
}

// Who is told that a topic is stale is told it once, and again if a row came in between.
func TestCursorTellsWhatIsStale(t *testing.T) {
	table := newTable(10)
	table.SetSourceState(0, true, 7)
	c := newCursor(table, nil, 0)
	must(t, c.add("A", false))
	must(t, c.add("B", false))
	table.Publish("A", "1", topics.Meta{})
	wantLacks(t, c, "update A/1=1")
	mark, _ := table.Mark("A")
	table.GoStale("A", mark, topics.NotPermitted)
	mark, _ = table.Mark("B")
	table.GoStale("B", mark, topics.Unserved)
	wantLacks(t, c, "stale [A] 403", "stale [B] 503")
	wantLacks(t, c)
	table.Publish("A", "2", topics.Meta{})
	mark, _ = table.Mark("A")
	table.GoStale("A", mark, topics.NotPermitted)
	wantLacks(t, c, "update A/2=2", "stale [A] 403")
}

// What the table has withdrawn is told and given up, and the others stay as they are.
func TestCursorTellsWhatWasWithdrawn(t *testing.T) {
	table := newTable(2)
	table.SetSourceState(0, true, 7)
	c := newCursor(table, nil, 1)
	must(t, c.add("A", false))
	must(t, c.add("B", false))
	table.Publish("B", "1", topics.Meta{})
	other := newCursor(table, nil, 2)
	must(t, other.add("C", true)) // It is known to exist, so a topic gives way that may be made up.
	table.Sweep(at)
	wantLacks(t, c, "update B/1=1", "unsubscribed [A]")
	table.Publish("B", "2", topics.Meta{})
	wantLacks(t, c, "update B/2=2")
	if c.has("A") || !c.has("B") {
		t.Error("it has the wrong topics")
	}
	if err := other.add("D", false); err != topics.ErrFull {
		t.Errorf("%v, want %v", err, topics.ErrFull)
	}
}

// What does not fit into a piece comes with the next, and with the row that is the newest then; all
// topics have had their turn before any comes again, also if one goes in the middle.
func TestCursorGathersInPieces(t *testing.T) {
	table := newTable(100)
	table.SetSourceState(0, true, 7)
	c := newCursor(table, nil, 0)
	value := `"` + strings.Repeat("x", 4000) + `"`
	for i := range 20 {
		name := fmt.Sprintf("T%02d", i)
		must(t, c.add(name, false))
		table.Publish(name, value, topics.Meta{})
	}
	seen := make(map[string]int)
	pieces := 0
	for more := true; more; pieces++ {
		messages, m := c.gather(at)
		size := 0
		for _, row := range messages[0].GetUpdate().GetRows() {
			seen[row.GetTopic()]++
			size += len(row.GetValue())
		}
		if size > pieceMax {
			t.Errorf("a piece of %d bytes, want %d at most", size, pieceMax)
		}
		more = m
		switch pieces {
		case 0:
			table.Publish("T00", value, topics.Meta{}) // It has had its turn.
		case 1:
			c.remove("T01", at) // The last one takes its place, which the pass has come by.
		}
	}
	if len(seen) != 20 || seen["T00"] != 2 || pieces < 3 {
		t.Errorf("%d topics in %d pieces: %v", len(seen), pieces, seen)
	}
	for name, n := range seen {
		if n != 1 && name != "T00" {
			t.Errorf("%s came %d times", name, n)
		}
	}
	wantLacks(t, c)
}

// Beyond the rate of its prefix a snapshot waits, and comes when there is more of that.
func TestCursorKeepsToTheRateOfSnapshots(t *testing.T) {
	table := newTable(100)
	table.SetSourceState(0, true, 7)
	holder := newCursor(table, nil, 0)
	limit := guard.NewPrefixLimit(guard.Rate{PerSecond: 1, Burst: 1}, at)
	c := newCursor(table, limit, 9)
	value := `"` + strings.Repeat("x", 3*fanout.SnapshotUnit) + `"`
	for i := range 20 {
		name := fmt.Sprint("T", i)
		must(t, holder.add(name, false))
		table.Publish(name, value, topics.Meta{})
		must(t, c.add(name, false))
	}
	rows := func(now time.Time) (n int) {
		out, _ := c.gather(now)
		for _, m := range out {
			n += len(m.GetSnapshot().GetRows())
		}
		return n
	}
	// A piece is charged whole, and then one row comes each time, which is free.
	if a, b, d, e := rows(at), rows(at), rows(at), rows(at.Add(time.Hour)); a != 10 || b != 1 || d != 1 || e != 8 {
		t.Errorf("%d, %d, %d and %d rows", a, b, d, e)
	}
}
