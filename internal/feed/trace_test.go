// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"fmt"
	"slices"
	"testing"

	"tickedge/internal/broker"
	"tickedge/internal/logtest"
	"tickedge/internal/topics"
)

// follower follows everything, and notes what it is told.
type follower struct {
	last uint16
	said []string
}

func (f *follower) Arrived(topic, parent string) uint16 {
	f.last++
	f.said = append(f.said, fmt.Sprint(topic, " ", parent, " ", f.last))
	return f.last
}

func (f *follower) Committed(n uint16, committed bool) {
	f.said = append(f.said, fmt.Sprint(n, " ", committed))
}

// A tick that has a parent, in its value or beside it, is followed into its row; others are not, nor is any without a tracer.
func TestTicksAreFollowed(t *testing.T) {
	f, p, _ := newFeed(t, "")
	id, err := f.table.Acquire([]byte("A"), 0)
	if err != nil {
		t.Fatal(err)
	}
	of := p.Owner.(broker.Follower)
	if of.Follows() {
		t.Error("somebody follows")
	}
	p.Tick("A", `{"p":1,"tp":"x","ver":1}`, 1)
	of.TickOf("A", `{"p":2,"ver":2}`, 1, "y")
	if row := f.table.Row(id); row.Trace != 0 || row.N != 2 {
		t.Errorf("without a tracer the row has the trace %d; tick %d", row.Trace, row.N)
	}
	var tracer follower
	f.Trace(&tracer)
	if !of.Follows() {
		t.Error("nobody follows")
	}
	for _, step := range []struct {
		tick func()
		row  uint16
	}{
		{func() { p.Tick("A", `{"p":3,"ver":3}`, 1) }, 0},
		{func() { p.Tick("A", `{"p":4,"tp":"in it","ver":4}`, 1) }, 1},
		{func() { of.TickOf("A", `{"p":5,"tp":"in it","ver":5}`, 1, "beside it") }, 2},
		{func() { p.Tick("A", `{"p":6,"tp":7,"ver":6}`, 1) }, 0},
		{func() { of.TickOf("A", `[7]`, 1, "beside it") }, 3},
		{func() { p.Tick("A", `{"p":4,"tp":"old","ver":8}`, 1) }, 4},
		{func() { p.Tick("A", `{"p":4,"tp":"old","ver":2}`, 1) }, 4}, // The row stays.
		{func() { p.Tick("B", `{"p":4,"tp":"unwanted"}`, 1) }, 4},
	} {
		step.tick()
		if row := f.table.Row(id); row.Trace != step.row {
			t.Errorf("%s has the trace %d, want %d", row.JSON(), row.Trace, step.row)
		}
	}
	want := []string{"A in it 1", "1 true", "A beside it 2", "2 true", "A beside it 3", "3 true", "A old 4", "4 true", "A old 5", "5 false", "B unwanted 6", "6 false"}
	if !slices.Equal(tracer.said, want) {
		t.Errorf("\n got %q\nwant %q", tracer.said, want)
	}
}

// A pair passes what is beside a value on to the one that follows, and weighs the tick as any other.
func TestTicksOfAPairAreFollowed(t *testing.T) {
	log, _ := logtest.New(t)
	a, b := new(puppet), new(puppet)
	f, err := New(Config{{Broker: Pair{a, b}}}, topics.New(topics.Config{Max: 100}), log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.table.Acquire([]byte("A"), 0); err != nil {
		t.Fatal(err)
	}
	var tracer follower
	f.Trace(&tracer)
	for _, p := range []*puppet{a, b} {
		p.Owner.(broker.Follower).TickOf("A", `{"p":1,"ver":1}`, 1, "x")
	}
	if want := []string{"A x 1", "1 true", "A x 2", "2 false"}; !slices.Equal(tracer.said, want) {
		t.Errorf("%q, want %q", tracer.said, want)
	}
}
