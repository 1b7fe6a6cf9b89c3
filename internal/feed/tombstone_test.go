// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"testing"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// take has a puppet tell a value as a source does: a tick, or one that was fetched.
func take(t *testing.T, p *puppet, f *Feed, value string, fetched bool) (taken bool) {
	t.Helper()
	before := f.Stats()
	if !fetched {
		p.Tick("A", value, 1)
		return f.Stats().Counts[broker.Ticks] > before.Counts[broker.Ticks]
	}
	version, flaw := p.Inspect(value)
	if flaw != broker.Flawless {
		return false
	}
	mark, _ := p.Mark("A")
	return p.Repair("A", value, mark, topics.Meta{At: 1, Version: version}) == topics.Committed
}

// Both shapes of a tombstone become the one that clients are shown, and are compared by their version.
func TestTombstonesOfBothShapes(t *testing.T) {
	versioned := string(broker.Tombstone(20))
	for _, c := range []struct {
		name, field, first, tombstone, older, newer string
	}{
		{"null", "", `{"p":1}`, `null`, "", `{"p":2}`},
		{"null among versions", "", `{"p":1,"ver":10}`, ` null `, `{"p":0,"ver":10}`, `{"p":2,"ver":11}`},
		{"null where a member is wanted", "ts", `{"ts":10}`, `null`, `{"ts":10}`, `{"ts":11}`},
		{"a version", "", `{"p":1,"ver":10}`, versioned, `{"p":0,"ver":20}`, `{"p":2,"ver":21}`},
		{"a version that is named", "ver", `{"p":1,"ver":10}`, versioned, `{"p":0,"ver":20}`, `{"p":2,"ver":21}`},
		{"a version among others", "ts", `{"ts":10}`, versioned, `{"ts":10}`, `{"ts":11}`},
	} {
		for _, fetched := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				f, p, _ := newFeed(t, c.field)
				id, _ := f.table.Acquire([]byte("A"), 0)
				if !take(t, p, f, c.first, fetched) || !take(t, p, f, c.tombstone, fetched) {
					t.Fatal("dropped")
				}
				if row := f.table.Row(id); !row.Delisted() || !f.table.IsAbsent(id) {
					t.Fatalf("the row is %s", row.JSON())
				}
				if c.older != "" && take(t, p, f, c.older, fetched) {
					t.Errorf("an older value came back: %s", f.table.Row(id).JSON())
				}
				if !take(t, p, f, c.newer, fetched) || string(f.table.Row(id).Value()) != c.newer {
					t.Errorf("the row is %s behind a newer value", f.table.Row(id).JSON())
				}
				if n := f.Stats().Counts[broker.Tombstones]; n != 1 {
					t.Errorf("%d tombstones counted", n)
				}
			})
		}
	}
}

// What only looks like a tombstone is a value, or is dropped as it was.
func TestNoTombstone(t *testing.T) {
	for _, value := range []string{
		`{"tombstone":true}`, `{"tombstone":true,"ver":1,"p":2}`, `{"tombstone":false,"ver":1}`, `{"tombstone": true,"ver":1}`, `"null"`, `[null]`, `0`,
	} {
		f, p, _ := newFeed(t, "")
		id, _ := f.table.Acquire([]byte("A"), 0)
		if !take(t, p, f, value, false) || f.table.Row(id).Delisted() || string(f.table.Row(id).Value()) != value {
			t.Errorf("%s became %v", value, f.table.Row(id))
		}
	}
	for _, value := range []string{`nul`, `null null`, `{"tombstone":true,"ver":+1}`, `{"tombstone":true,"ver":1`, `{"tombstone":true,"ver":01}`} {
		f, p, _ := newFeed(t, "")
		f.table.Acquire([]byte("A"), 0)
		if take(t, p, f, value, false) {
			t.Errorf("%s was taken", value)
		}
	}
}
