// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"tickedge/internal/topics"
)

// A shard has the traces of the rows that updates have brought, each once, whatever its length and whoever got it; and of no row
// that had no room yet.
func TestTracesOfRows(t *testing.T) {
	for _, long := range []string{"", strings.Repeat("x", 2*rowCopySize)} {
		m := newMarket(t, steadyConfig(), 100, 100, 10)
		m.turns()
		if got := m.shard.TakeTraced(); len(got) != 0 {
			t.Errorf("%v before there is any", got)
		}
		window := func() (all []uint16) {
			for range 100 {
				m.tick(SlotTime)
				all = append(all, m.shard.TakeTraced()...)
			}
			slices.Sort(all)
			return slices.Compact(all)
		}
		publish := func(i int, trace uint16) {
			m.table.Publish(m.names[i], `"`+long+`"`, topics.Meta{At: m.now.UnixMilli(), Trace: trace})
		}
		publish(3, 65_535)
		publish(4, 0)
		publish(5, 9)
		if got := window(); !slices.Equal(got, []uint16{9, 65_535}) {
			t.Errorf("%v, want 9 and 65535", got)
		}
		publish(5, 0) // A newer value that is not followed.
		if got := window(); len(got) != 0 {
			t.Errorf("%v behind them", got)
		}
		for i := range m.names { // More than there is room for.
			publish(i, uint16(i+1))
		}
		for range 100 {
			m.tick(SlotTime)
		}
		if got := m.shard.TakeTraced(); len(got) != tracedMax || slices.Contains(got, 0) {
			t.Errorf("%v of 100", got)
		}
	}
}

// A row that has no room in a piece is sent with the next one, and not before.
func TestTraceWithoutRoom(t *testing.T) {
	m := newMarket(t, steadyConfig(), 3, 1, 2)
	m.turns()
	m.shard.piece = 200
	for i, name := range m.names {
		m.table.Publish(name, `"`+strings.Repeat("x", 150)+`"`, topics.Meta{At: m.now.UnixMilli(), Trace: uint16(i + 1)})
	}
	c, aside := m.shard.conn(m.ids[0]), m.shard.aside(m.ids[0])
	for piece, left := range []bool{true, false} {
		out := m.shard.Rows(&c.Cursor, &aside.Pass, m.table.Watermark(), 0, nil)
		traced := slices.Clone(m.shard.TakeTraced())
		if len(traced) != 1 || !strings.Contains(string(out), m.names[traced[0]-1]+`"`) || c.More() != left {
			t.Errorf("piece %d has %v: %s", piece, traced, out)
		}
	}
}

// A flush of rows that are followed allocates nothing.
func TestTracesDoNotAllocate(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	m := newMarket(t, steadyConfig(), 100, 100, 10)
	for i, name := range m.names {
		m.table.Publish(name, "1", topics.Meta{At: m.now.UnixMilli(), Trace: uint16(i + 1)})
	}
	m.turns()
	taken := 0
	allocs := testing.AllocsPerRun(20, func() {
		m.forget()
		*m.shard.rows = rows{ages: m.shard.rows.ages} // As if all were new.
		for range 100 {
			m.tick(SlotTime)
			taken += len(m.shard.TakeTraced())
		}
	})
	if allocs != 0 || taken == 0 {
		t.Errorf("%v allocations, %d traces", allocs, taken)
	}
}
