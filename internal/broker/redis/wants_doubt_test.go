// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"testing"

	"tickedge/internal/topics"
)

// settled reports whether the table knows the newest value of a topic.
func (d *desk) settled(name string) bool {
	d.t.Helper()
	d.table.SetSourceState(0, true, 1)
	d.table.Heard(0, 1000)
	d.table.Stamp(func() (int64, int64) { return 1000, 1000 })
	return d.table.Settled(d.ids[name], d.table.Offer())
}

// Whatever has a topic not be heard for a while has it be in doubt, until its value was read anew.
func TestTopicsInDoubt(t *testing.T) {
	d := newDesk(t, 10)
	want := func(settled bool, why string) {
		t.Helper()
		if got := d.settled("A"); got != settled {
			t.Errorf("%s: settled is %v", why, got)
		}
	}
	d.want("A")
	want(false, "it is new")
	d.serve("A", "1")
	want(true, "it is served")
	d.lost("A")
	want(false, "its subscription is lost")
	d.again()
	d.serve("A", "1")
	want(true, "it is served again")
	d.inherit([]string{"A"}, false)
	want(false, "it comes from another node")
	d.serve("A", "1")
	want(true, "it is served by this one")
	d.confirm("A")
	f := d.fetchOf("A")
	d.unrepaired(f)
	want(false, "it has a row, and there is no value to read")
	d.table.Publish("A", "2", topics.Meta{})
	want(true, "it has ticked since")
}

// A topic that nobody waits for in a gap is in doubt from the end of its link.
func TestNewcomersInDoubt(t *testing.T) {
	d := newDesk(t, 10)
	d.want("OLD")
	d.reset() // Whatever link there was has ended.
	d.open = true
	d.want("A")
	d.serve("A", "1")
	if !d.settled("A") {
		t.Fatal("it is served, and not settled")
	}
	d.reset()
	if d.topics["A"].part == newcomer && d.settled("A") {
		t.Error("its link has ended, and it is settled")
	}
}

// An answer to an older fetch says nothing of a topic that was asked for again since.
func TestNoValueOfAnOlderFetch(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.confirm("A")
	f := d.fetchOf("A")
	d.confirm("A")
	d.unrepaired(f)
	if d.table.IsAbsent(d.ids["A"]) || d.settled("A") {
		t.Error("it counts as absent")
	}
	d.unrepaired(d.fetchOf("A"))
	if !d.table.IsAbsent(d.ids["A"]) || !d.settled("A") {
		t.Error("it does not count as absent")
	}
}
